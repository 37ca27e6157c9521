"""What colours a person wears: who is who where people cross and one hides the other.

Nothing here says where anybody is; that is `people.py`'s.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from livepose.crops import STOUT, cross_out_all, squares_of, to_crops
from livepose.pose import Pose
from livepose.skeleton import INDEX

Colours = npt.NDArray[np.float32]
"""float32 [3, 3]: L, a, b (CIE Lab) of the head, the trunk and the thighs; nan where unseen."""

SEEN = 0.08
"""Score from which a joint says where a part of the body is."""

STRANGE = 45.0
"""Lab distance from which two parts are as different as can be."""


LINEAR = np.array(
    [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in np.arange(256) / 255],
    np.float32,
)
"""How much light each value of sRGB is, 0..1 (IEC 61966-2-1)."""

XYZ = np.array(
    (
        (0.180423 / 0.950456, 0.072169, 0.950227 / 1.088754),
        (0.357580 / 0.950456, 0.715160, 0.119193 / 1.088754),
        (0.412453 / 0.950456, 0.212671, 0.019334 / 1.088754),
    ),
    np.float32,
)
"""From such blue, green and red to X, Y and Z, as shares of the white's."""

DRAWN = 64
"""Side of the picture in which bodies are drawn, to see what they cover."""


def colours_of(
    frame_bgr: npt.NDArray[np.uint8],
    poses: Sequence[Pose],
    before: Sequence[Sequence[Pose]] = (),
) -> list[Colours]:
    """Colours of the parts of the body that each pose shows, from frame uint8 [H, W, 3]: medians of
    their points, not means, for some are on whoever stands beside them.

    before: for each of them, if given, the people who stand before them and cover some of it.
    """
    if not poses:
        return []
    joints_xy = np.array([pose.joints_xy for pose in poses])
    unseen = np.array([pose.scores for pose in poses]) < SEEN
    points_xy = POINTS @ joints_xy  # [N, P, 2]
    x, y = np.moveaxis(np.rint(points_xy).astype(int), 2, 0)
    height, width = frame_bgr.shape[:2]
    shown = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    pixels = frame_bgr[np.where(shown, y, 0), np.where(shown, x, 0)]
    for mine, points, others in zip(shown, points_xy, before, strict=False):
        mine &= ~covered(points, others)
    lab = lab_of(pixels)
    counts = np.add.reduceat(shown, STARTS, axis=1, dtype=int)
    known = ~(unseen @ JOINTS) & (2 * counts >= SIZES)
    parts = np.split(np.where(shown[..., None], lab, np.inf), STARTS[1:], axis=1)
    medians = np.stack([median(*part) for part in zip(parts, counts.T, strict=True)], axis=1)
    return list(np.where(known[..., None], medians, np.nan).astype(np.float32))


def lab_of(pixels_bgr: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """sRGB uint8 [..., 3] BGR -> CIE Lab of D65 white, float32 [..., 3].

    As `cv2.cvtColor`, but for its tables: it makes them when first called, in 0.15 s.
    """
    xyz = LINEAR[pixels_bgr] @ XYZ
    light, dark = np.cbrt(xyz), np.float32(841 / 108) * xyz + np.float32(4 / 29)
    x, y, z = np.moveaxis(np.where(xyz > (6 / 29) ** 3, light, dark), -1, 0)
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), axis=-1)


def median(values: npt.NDArray[np.float32], count: npt.NDArray[np.int_]) -> npt.NDArray[np.float32]:
    """Medians float32 [N, C] of values [N, P, C], of which `count` [N] are finite and the rest are
    infinite; infinite where all are."""
    each, in_order = np.arange(len(values)), np.sort(values, axis=1)
    low, high = in_order[each, np.maximum(count - 1, 0) // 2], in_order[each, count // 2]
    return np.asarray((low + high) / 2, np.float32)


def covered(points_xy: npt.NDArray[np.float32], bodies: Sequence[Pose]) -> npt.NDArray[np.bool_]:
    """Which of the points float32 [P, 2] are where one of these bodies is: bool [P]."""
    if not bodies:
        return np.zeros(len(points_xy), bool)
    around = np.concatenate((points_xy.min(axis=0), points_xy.max(axis=0)))
    square = squares_of(around[None].astype(np.float32))
    drawn = np.zeros((DRAWN, DRAWN, 3), np.uint8)
    joints_xy = np.stack([body.joints_xy for body in bodies])
    seen = np.stack([body.scores for body in bodies]) >= SEEN
    cross_out_all(drawn, square[0], joints_xy, seen, STOUT)
    x, y = np.rint(to_crops(points_xy[None], square, DRAWN)[0]).astype(int).T
    return np.asarray(drawn[y, x, 0] > 0)


def unlike(a: Colours, b: Colours) -> float:
    """How different two people's colours are, 0..1; 0 where nothing of both is known.

    Lightness counts half: it changes with the light and with the way a body turns.
    """
    apart = [
        min(math.sqrt(light * light / 4 + green * green + blue * blue) / STRANGE, 1.0)
        for light, green, blue in (a - b).tolist()
        if not math.isnan(light)
    ]
    return sum(apart) / len(apart) if apart else 0.0


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


def _weights() -> npt.NDArray[np.float32]:
    """float32 [P, 16]: each point's place as weights of the joints."""
    rows: list[npt.NDArray[np.float32]] = []
    for names, weights in _PLACES:
        for own in weights:
            row = np.zeros(len(INDEX), np.float32)
            row[[INDEX[name] for name in names]] = own
            rows.append(row)
    return np.stack(rows)


POINTS = _weights()

SIZES = np.array([len(weights) for _, weights in _PLACES])
"""How many of them are each part's; one part's come after the other's."""

STARTS = np.cumsum(SIZES) - SIZES
"""Which is each part's first."""

JOINTS = np.array([[name in names for names, _ in _PLACES] for name in INDEX])
"""bool [16, 3]: which joints are each part's."""
