"""livepose: live human pose from a webcam, with a stacked hourglass network."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livepose.estimator import PoseEstimator
    from livepose.pose import Pose

__version__ = "0.1.0"
__all__ = ["Pose", "PoseEstimator", "__version__"]


def __getattr__(name: str) -> object:
    # OpenCV and the engine are loaded when they are used: `livepose --help` is instant.
    if name == "PoseEstimator":
        from livepose.estimator import PoseEstimator

        return PoseEstimator
    if name == "Pose":
        from livepose.pose import Pose

        return Pose
    raise AttributeError(f"module 'livepose' has no attribute {name!r}")
