"""Square crops around people, and the way back from crop pixels to frame pixels.

One convention for training, evaluation and live use: pixel centres at whole numbers, the box
in the middle of the square, the person about four fifths of its side, black outside the
frame.
"""

import math

import cv2
import numpy as np
import numpy.typing as npt

from livepose.skeleton import INDEX, LIMBS

FILL = 0.8
"""Share of a crop's side that the longer side of the person's box takes."""

COARSE = 128
"""Sides of at least twice this length can be halved, as often as they stay this large."""

CROSSED = 0.2
"""The width of a line of `cross_out`, as a share of the person's torso."""

STOUT = 0.35
"""The same for where a person covers others: as wide as thighs are."""

GREY = 112
NEITHER = (GREY, GREY, GREY)
"""Its colour, RGB or BGR: about the mean that the networks subtract."""

MOST_FRAMES = 4
"""Longer squares, in longer sides of the frame, are black: the frame would be a dot in them."""

TRUNK = tuple(INDEX[name] for name in ("r_shoulder", "l_shoulder", "l_hip", "r_hip"))
SPINE = tuple(INDEX[name] for name in ("pelvis", "thorax", "upper_neck", "head_top"))

Squares = npt.NDArray[np.int64]
"""int64 [N, 3]: left, top, side of each square, in frame pixels; may reach outside the frame."""


def squares_of(boxes_xyxy: npt.NDArray[np.float32]) -> Squares:
    """Boxes float32 [N, 4] in frame pixels -> the squares that their crops are cut from."""
    low, high = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    side = np.maximum((high - low).max(axis=1) / FILL, 8)
    step = halvings(side)
    side = np.rint(side / step) * step
    # On whole blocks of the frame, so that squares can be cut from a frame that is halved.
    corner = np.rint((low + high - side[:, None]) / 2 / step[:, None]) * step[:, None]
    return np.column_stack((corner, side)).astype(np.int64)


def halvings(side: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """What such sides are a multiple of, so that they can be halved: 1, 2, 4 ..."""
    return np.asarray(2.0 ** np.floor(np.log2(np.maximum(np.asarray(side) / COARSE, 1))))


def shrink(image: npt.NDArray[np.uint8], size_wh: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """uint8 [H, W, 3] resized: halved as often as whole pixels allow, then bilinear, or by areas
    where sides are odd while they are twice as large as wanted or more.

    The networks are trained on bilinear crops, and averages over areas that are no whole pixels
    take several times as long.
    """
    height, width = image.shape[:2]
    while (large := width >= 2 * size_wh[0] and height >= 2 * size_wh[1]) and not (
        width % 2 or height % 2
    ):
        width, height = width // 2, height // 2
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    how = cv2.INTER_AREA if large else cv2.INTER_LINEAR
    return cv2.resize(image, size_wh, interpolation=how)  # type: ignore[return-value]


def cut(
    image_bgr: npt.NDArray[np.uint8],
    squares: Squares,
    size: int,
    grey: npt.NDArray[np.uint8] | None = None,
) -> npt.NDArray[np.uint8]:
    """Frame uint8 [H, W, 3] BGR -> crops uint8 [N, size, size, 3] RGB.

    Halved by averages first, so that a near person does not alias; then bilinear. grey: uint8
    [N, size, size], `NEITHER` wherever it is not 0.
    """
    crops = np.zeros((len(squares), size, size, 3), np.uint8)
    for crop, (image, square) in zip(crops, halved(image_bgr, squares, size), strict=True):
        _sample(image, square, crop)
    if grey is not None:
        paint = np.full((size, size, 3), GREY, np.uint8)
        for crop, where in zip(crops, grey, strict=True):
            cv2.copyTo(paint, where, crop)
    return crops


def halved(
    image_bgr: npt.NDArray[np.uint8], squares: Squares, size: int
) -> list[tuple[npt.NDArray[np.uint8], list[int]]]:
    """For each square what its crop is cut from, and the square there: the frame itself or,
    where large squares are more than the frame together, the frame halved once for all of them.
    """
    height, width = image_bgr.shape[:2]
    large = squares[squares[:, 2] >= 2 * size, 2]
    shared = (np.minimum(large, width) * np.minimum(large, height)).sum() > width * height
    images = [image_bgr]
    answer = []
    for square in squares.tolist():
        level = 0
        while shared and square[2] >= 2 * size:
            height, width = images[level].shape[:2]
            if any(length % 2 for length in (*square, height, width)):
                break
            square = [length // 2 for length in square]
            level += 1
            if level == len(images):
                half_wh = width // 2, height // 2
                half = cv2.resize(images[-1], half_wh, interpolation=cv2.INTER_AREA)
                images.append(half)  # type: ignore[arg-type]
        answer.append((images[level], square))
    return answer


def _sample(
    image_bgr: npt.NDArray[np.uint8], square: list[int], crop: npt.NDArray[np.uint8]
) -> None:
    """The square of the frame into the crop, uint8 [size, size, 3] RGB and black so far."""
    height, width = image_bgr.shape[:2]
    left, top, side = square
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + side, width), min(top + side, height)
    if x1 <= x0 or y1 <= y0:
        return
    part = image_bgr[y0:y1, x0:x1]
    if part.shape[:2] != (side, side):
        if side > MOST_FRAMES * max(width, height):
            return
        borders = (y0 - top, top + side - y1, x0 - left, left + side - x1)
        part = cv2.copyMakeBorder(part, *borders, cv2.BORDER_CONSTANT)  # type: ignore[assignment]
    cv2.cvtColor(shrink(part, crop.shape[:2]), cv2.COLOR_BGR2RGB, crop)


def to_frame(
    joints_xy: npt.NDArray[np.float32], squares: Squares, size: int
) -> npt.NDArray[np.float32]:
    """Joints float32 [N, K, 2] in crop pixels -> float32 [N, K, 2] in frame pixels."""
    scale = (squares[:, 2] / size)[:, None, None]
    joints = (joints_xy + 0.5) * scale - 0.5 + squares[:, None, :2]
    return joints.astype(np.float32)


def to_crops(
    joints_xy: npt.NDArray[np.float32], squares: Squares, size: int
) -> npt.NDArray[np.float32]:
    """Joints float32 [N, K, 2] in frame pixels -> crop pixels; the inverse of `to_frame`."""
    scale = (size / squares[:, 2])[:, None, None]
    joints = (joints_xy - squares[:, None, :2] + 0.5) * scale - 0.5
    return joints.astype(np.float32)


def cross_out(
    image: npt.NDArray[np.uint8],
    joints_xy: npt.NDArray[np.float32],
    seen: npt.NDArray[np.bool_],
    width: float = CROSSED,
    colour: tuple[int, int, int] = NEITHER,
) -> None:
    """Paint a person over with a grey skeleton, in place: who is asked for is somebody else.

    image: uint8 [H, W, 3], or a mask [H, W]; joints_xy: float32 [16, 2] in its pixels; seen: bool
    [16], which of them count; width: of the lines, in torsos. The networks have learnt what it
    means, from `behind` and `among` data and crossed crops. Somebody elsewhere or without a torso
    is left alone.
    """
    joints_xy = np.minimum(np.maximum(joints_xy, -9999), 9999)
    torso = torso_of(joints_xy, seen)
    if not torso:
        return
    # Plain numbers from here on: numpy takes longer for one than OpenCV for a line.
    points = np.rint(joints_xy).astype(int).tolist()
    shown = seen.tolist()
    right, bottom = image.shape[1] + torso, image.shape[0] + torso
    if not any(
        there and -torso < x < right and -torso < y < bottom
        for (x, y), there in zip(points, shown, strict=True)
    ):
        return
    if all(shown[j] for j in TRUNK):
        cv2.fillConvexPoly(image, np.array([points[j] for j in TRUNK], np.int32), colour)
    for a, b in LIMBS:
        if shown[a] and shown[b]:
            thick = 1.5 * width if a in SPINE and b in SPINE else width
            cv2.line(image, points[a], points[b], colour, max(1, round(thick * torso)))


def cross_out_all(
    crop: npt.NDArray[np.uint8],
    square: npt.NDArray[np.int64],
    joints_xy: npt.NDArray[np.float32],
    seen: npt.NDArray[np.bool_],
    width: float = CROSSED,
    colour: tuple[int, int, int] = NEITHER,
) -> None:
    """`cross_out` for people of the frame that the crop's square is in, in place.

    crop: uint8 [size, size, 3], or a mask [size, size]; square: int64 [3]; joints_xy: float32
    [N, 16, 2] in frame pixels; seen: bool [N, 16].
    """
    places = to_crops(joints_xy, square[None], len(crop))
    for place, of_them in zip(places, seen, strict=True):
        cross_out(crop, place, of_them, width, colour)


def torso_of(joints_xy: npt.NDArray[np.float32], seen: npt.NDArray[np.bool_]) -> float:
    """About how long the torso is, in pixels: from shoulder to hip, or twice neck to head top.

    joints_xy: float32 [16, 2]; seen: bool [16]. 0 where neither is seen.
    """
    xy = joints_xy.tolist()
    lengths = [
        times * math.dist(xy[a], xy[b])
        for a, b, times in ((12, 2, 1.0), (13, 3, 1.0), (7, 6, 1.0), (8, 9, 2.0))
        if seen[a] and seen[b]
    ]
    return max(lengths, default=0.0)
