"""What colours a person wears: who is who where people cross and one hides the other.

Nothing here says where anybody is; that is `people.py`'s.
"""

import cv2
import numpy as np
import numpy.typing as npt

from livepose.pose import Pose
from livepose.skeleton import INDEX

Colours = npt.NDArray[np.float32]
"""float32 [3, 3]: L, a, b (CIE Lab) of the head, the trunk and the thighs; nan where unseen."""

SEEN = 0.08
"""Score from which a joint says where a part of the body is."""

STRANGE = 45.0
"""Lab distance from which two parts are as different as can be."""


def colours_of(frame_bgr: npt.NDArray[np.uint8], pose: Pose) -> Colours:
    """Mean colours of the parts of the body that the pose shows, from frame uint8 [H, W, 3]."""
    out = np.full((3, 3), np.nan, np.float32)
    for i, (joints, points) in enumerate(PARTS):
        if (pose.scores[joints] < SEEN).any():
            continue
        x, y = np.rint(points @ pose.joints_xy[joints]).astype(int).T
        height, width = frame_bgr.shape[:2]
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        if inside.sum() * 2 < len(points):
            continue
        pixels = frame_bgr[y[inside], x[inside]][None].astype(np.float32) / 255
        out[i] = cv2.cvtColor(pixels, cv2.COLOR_BGR2Lab)[0].mean(axis=0)
    return out


def unlike(a: Colours, b: Colours) -> float:
    """How different two people's colours are, 0..1; 0 where nothing of both is known.

    Lightness counts half: it changes with the light and with the way a body turns.
    """
    apart = np.linalg.norm((a - b) * (0.5, 1, 1), axis=1) / STRANGE
    known = apart[np.isfinite(apart)]
    return float(np.minimum(known, 1).mean()) if len(known) else 0.0


def blend(known: Colours, new: Colours, weight: float) -> Colours:
    """What is known of somebody, moved towards what is seen now."""
    moved = known + np.float32(weight) * (new - known)
    return np.where(np.isnan(known), new, np.where(np.isnan(new), known, moved))


def _between(names: tuple[str, ...], weights: npt.ArrayLike) -> tuple[list[int], Colours]:
    """Joint indices [K], and float32 [P, K]: each point's place as weights of those joints."""
    return [INDEX[name] for name in names], np.asarray(weights, np.float32)


_INNER = (0.2, 0.4, 0.6, 0.8)

PARTS = (
    _between(("upper_neck", "head_top"), [(1 - t, t) for t in (0.3, 0.45, 0.6, 0.75, 0.9)]),
    _between(
        ("r_shoulder", "l_shoulder", "l_hip", "r_hip"),
        [((1 - s) * (1 - t), s * (1 - t), s * t, (1 - s) * t) for s in _INNER for t in _INNER],
    ),
    _between(
        ("r_hip", "r_knee", "l_hip", "l_knee"),
        [(*((1 - t), t, 0, 0),) for t in _INNER] + [(*(0, 0, (1 - t), t),) for t in _INNER],
    ),
)
