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
    x, y = np.rint(POINTS @ pose.joints_xy).astype(int).T
    height, width = frame_bgr.shape[:2]
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    pixels = frame_bgr[np.where(inside, y, 0), np.where(inside, x, 0)]
    lab = cv2.cvtColor(pixels[None].astype(np.float32) / 255, cv2.COLOR_BGR2Lab)[0]
    unseen = pose.scores < SEEN
    for i, (joints, part) in enumerate(PARTS):
        here = inside[part]
        if not unseen[joints].any() and here.sum() * 2 >= len(here):
            out[i] = lab[part][here].mean(axis=0)
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


_INNER = (0.2, 0.4, 0.6, 0.8)

_PLACES = (
    (("upper_neck", "head_top"), [(1 - t, t) for t in (0.3, 0.45, 0.6, 0.75, 0.9)]),
    (
        ("r_shoulder", "l_shoulder", "l_hip", "r_hip"),
        [((1 - s) * (1 - t), s * (1 - t), s * t, (1 - s) * t) for s in _INNER for t in _INNER],
    ),
    (
        ("r_hip", "r_knee", "l_hip", "l_knee"),
        [(1 - t, t, 0, 0) for t in _INNER] + [(0, 0, 1 - t, t) for t in _INNER],
    ),
)


def _points() -> tuple[npt.NDArray[np.float32], list[tuple[list[int], slice]]]:
    """float32 [P, 16]: each point's place as weights of the joints; and each part's joints and
    which points are its."""
    rows: list[npt.NDArray[np.float32]] = []
    parts: list[tuple[list[int], slice]] = []
    for names, weights in _PLACES:
        joints = [INDEX[name] for name in names]
        parts.append((joints, slice(len(rows), len(rows) + len(weights))))
        for own in weights:
            row = np.zeros(len(INDEX), np.float32)
            row[joints] = own
            rows.append(row)
    return np.stack(rows), parts


POINTS, PARTS = _points()
