"""livepose: live human pose from a webcam, with a stacked hourglass network."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livepose.estimator import PoseEstimator
    from livepose.pose import Pose

__version__ = "0.1.0"
__all__ = ["Pose", "PoseEstimator", "__version__"]


# OpenCV reads these when it is loaded. V4L2 may wait 10 s for a frame of a silent camera unless
# told otherwise, in whole seconds; Windows' Media Foundation takes many seconds to open a camera
# with its hardware transforms (opencv/opencv#17687).
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "1")
os.environ.setdefault("OPENCV_VIDEOIO_MSMF_ENABLE_HW_TRANSFORMS", "0")


def __getattr__(name: str) -> object:
    # OpenCV and the engine are loaded when they are used: `livepose --help` is instant.
    if name == "PoseEstimator":
        from livepose.estimator import PoseEstimator

        return PoseEstimator
    if name == "Pose":
        from livepose.pose import Pose

        return Pose
    raise AttributeError(f"module 'livepose' has no attribute {name!r}")
