"""One person's joints in one frame."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """One person in one frame, in that frame's pixels.

    joints_xy: float32 [16, 2], x right and y down, sub-pixel; order of `skeleton.JOINTS`.
    scores: float32 [16] in 0..1, one per joint.
    box_xyxy: float32 [4], the box the joints were looked for in.
    score: mean of the joint scores that count, 0..1.
    id: stays with a person while tracked, starts at 1; 0 where nothing is tracked.
    """

    joints_xy: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    box_xyxy: npt.NDArray[np.float32]
    score: float
    id: int = 0
