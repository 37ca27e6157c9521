"""One training crop from one labelled person: where it is cut, and how its pixels are spoilt.

Geometry first (scale, shift, rotation, half bodies, mirror), then what webcams do to light
and sharpness. All randomness comes from the generator that is handed in.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from livepose.crops import FILL, cross_out, torso_of
from livepose.skeleton import FLIP_ORDER
from livepose.training.hair import long_hair

Image = npt.NDArray[np.uint8]
Joints = npt.NDArray[np.float32]
Edge = tuple[float, float, float]
"""(a, b, c): where a x + b y < c in picture pixels is beyond it."""

ROOM = 0.2
"""Of the side of a box with nobody in it, on each side: a crop shows so much more."""

CROSSED_WIDTHS = (0.12, 0.28)
"""Widths of the lines that cross somebody out, in torsos,"""

STRAY = 0.05
"""and the standard deviation of where their joints are thought to be."""

BEYOND_TOP, BEYOND_SIDE, KEPT = (0.02, 0.22), (0.1, 0.5), 6
"""Of somebody's height or width, what is beyond the picture's upper edge, or its left or right;
and how many labelled joints are left at least."""

PAINTED = 2
"""State of a labelled joint in a crop that is drawn, or painted over by the augmentation: a
teacher that has seen photographs alone may be wrong about it."""

UPPER = (7, 8, 9, 10, 11, 12, 13, 14, 15)
LOWER = (0, 1, 2, 3, 4, 5, 6)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How strong: probabilities in 0..1, `scale` and `shift` as shares, `rotation_deg` a sigma."""

    scale: float = 0.2
    shift: float = 0.1
    rotation_deg: float = 25.0
    rotate: float = 0.5
    flip: float = 0.5
    half_body: float = 0.1
    cut_off: float = 0.12
    nobody: float = 0.05
    crossed: float = 0.0
    edge: float = 0.0
    hair: float = 0.0
    crushed: float = 0.0
    upside_down: float = 0.05
    colour: float = 0.8
    occlude: float = 0.25
    degrade: float = 0.25

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if type(value := getattr(self, name)) not in (int, float):
                raise ValueError(f"augmentation: {name} is {value!r}; give a number")


def crop_matrix(
    centre_xy: npt.NDArray[np.float64], side: float, angle_deg: float, mirrored: bool, size: int
) -> npt.NDArray[np.float64]:
    """Affine [2, 3] from picture pixels to crop pixels: turned about the centre, then mirrored."""
    angle = np.deg2rad(angle_deg)
    scale = size / side
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) * scale
    if mirrored:
        turn[0] *= -1
    middle = (size - 1) / 2
    return np.column_stack((turn, middle - turn @ centre_xy))


def choose_body_box(
    joints: Joints, box_xyxy: Joints, rng: np.random.Generator, probability: float
) -> Joints:
    """The box of the whole person or, now and then, of the upper or lower half."""
    if rng.random() >= probability:
        return box_xyxy
    part = list(UPPER if rng.random() < 0.8 else LOWER)
    seen = joints[part][joints[part, 2] > 0, :2]
    if len(seen) < 4:
        return box_xyxy
    low, high = seen.min(axis=0), seen.max(axis=0)
    pad = 0.15 * (high - low).max()
    return np.concatenate((low - pad, high + pad)).astype(np.float32)


def cut_off(
    image_bgr: Image, joints: Joints, box_xyxy: Joints, rng: np.random.Generator
) -> tuple[Image, Joints, Joints]:
    """The picture ends between chest and knees, as a webcam's does; what is below is absent.

    Only for people who stand upright in it; others are returned as they are.
    """
    pelvis, thorax = joints[6], joints[7]
    torso = pelvis[1] - thorax[1]
    if min(pelvis[2], thorax[2]) <= 0 or torso < 2 * abs(pelvis[0] - thorax[0]) or torso < 8:
        return image_bgr, joints, box_xyxy
    line = int(pelvis[1] + torso * rng.uniform(-0.3, 0.7))
    if not 0 < line < image_bgr.shape[0]:
        return image_bgr, joints, box_xyxy
    joints = joints.copy()
    joints[(joints[:, 2] > 0) & (joints[:, 1] >= line), 2] = -1
    seen = joints[joints[:, 2] > 0, :2]
    box = np.concatenate((seen.min(axis=0), seen.max(axis=0)))
    pad = 0.1 * (box[2:] - box[:2]).max()
    box = box + np.array((-pad, -pad, pad, pad))
    return image_bgr[:line], joints, box.astype(np.float32)


def picture_edge(
    joints: Joints, box_xyxy: Joints, rng: np.random.Generator
) -> tuple[Edge, Joints] | None:
    """The picture ends at the upper part of somebody's box, or at its left or right: where, and
    what is left of the box, float32 [4]. None where fewer than `KEPT` labelled joints are left.
    """
    side, (a, b) = ((0, (1, 0)), (1, (0, 1)), (2, (-1, 0)))[rng.integers(3)]
    length = box_xyxy[3] - box_xyxy[1] if side == 1 else box_xyxy[2] - box_xyxy[0]
    share = rng.uniform(*(BEYOND_TOP if side == 1 else BEYOND_SIDE))
    c = float((a + b) * box_xyxy[side] + share * length)
    if ((joints[:, 2] > 0) & (joints[:, :2] @ (a, b) >= c)).sum() < KEPT:
        return None
    box = box_xyxy.copy()
    box[side] = (a + b) * c
    return (a, b, c), box


def end_beyond(
    crop: Image, joints: Joints, matrix: npt.NDArray[np.float64], edge: Edge
) -> tuple[Image, Joints]:
    """Black beyond the edge of a picture that `matrix` took to the crop; absent joints there."""
    across = np.array(edge[:2]) @ cv2.invertAffineTransform(matrix)
    y, x = np.mgrid[: crop.shape[0], : crop.shape[1]]
    beyond = across[0] * x + across[1] * y + across[2] < edge[2]
    crop = np.where(beyond[..., None], np.uint8(0), crop)
    joints = joints.copy()
    joints[(joints[:, 2] > 0) & (joints[:, :2] @ across[:2] + across[2] < edge[2]), 2] = -1
    return crop, joints


def without_legs(joints: Joints, height: int) -> Joints:
    """Unlabelled knees and ankles become absent where the picture ends just below the hips."""
    pelvis, thorax = joints[6], joints[7]
    torso = pelvis[1] - thorax[1]
    if min(pelvis[2], thorax[2]) <= 0 or height > pelvis[1] + 0.3 * torso:
        return joints
    joints = joints.copy()
    legs = np.array((0, 1, 4, 5))
    joints[legs[joints[legs, 2] == 0], 2] = -1
    return joints


def empty_window(
    image_bgr: Image, box_xyxy: Joints, everybody: Joints, rng: np.random.Generator
) -> Joints | None:
    """A box float32 [4] in the picture beside the person of that box and `everybody` who is
    labelled, float32 [N, 4], with room for the rest of a crop; None if it is not found.

    It is small: others may be in the picture, but rarely the whole of one in it.
    """
    height, width = image_bgr.shape[:2]
    for _ in range(4):
        side = rng.uniform(0.2, 0.8) * float((box_xyxy[2:] - box_xyxy[:2]).max())
        corner = rng.uniform(0, 1, 2) * (width - side, height - side)
        window = np.concatenate((corner, corner + side))
        low, high = corner - ROOM * side, corner + (1 + ROOM) * side
        apart = (high < everybody[:, :2]) | (low > everybody[:, 2:])
        if corner.min() >= 0 and apart.any(axis=1).all():
            return window.astype(np.float32)
    return None


def random_crop(
    image_bgr: Image,
    joints: Joints,
    box_xyxy: Joints,
    size: int,
    rng: np.random.Generator,
    how: Augmentation,
    everybody: Joints | None = None,
) -> tuple[Image, Joints]:
    """A randomly placed, turned, mirrored and spoilt crop.

    image_bgr: uint8 [H, W, 3]; joints: float32 [16, 3] (x, y, state); box_xyxy: float32 [4];
    everybody: such boxes [N, 4] of all who are labelled in the picture, if there are others.
    Returns the crop uint8 [size, size, 3] RGB and joints float32 [16, 3] in crop pixels; labelled
    ones are in state 1, or `PAINTED` where there is hair, an edge or a crushed shadow.
    """
    if rng.random() < how.nobody:
        known = box_xyxy[None] if everybody is None else everybody
        window = empty_window(image_bgr, box_xyxy, known, rng)
        if window is not None:
            box_xyxy, joints = window, np.full_like(joints, -1)
    elif rng.random() < how.cut_off:
        image_bgr, joints, box_xyxy = cut_off(image_bgr, joints, box_xyxy, rng)
    joints = without_legs(joints, image_bgr.shape[0])
    box, edge = choose_body_box(joints, box_xyxy, rng, how.half_body), None
    if how.edge and rng.random() < how.edge and (ending := picture_edge(joints, box, rng)):
        edge, box = ending
    side = float((box[2:] - box[:2]).max()) / FILL
    side = max(side, 8.0) * np.exp(np.clip(rng.normal() * how.scale, -0.6, 0.6))
    shift = how.shift * (3 if rng.random() < 0.15 else 1)
    centre = (box[:2] + box[2:]) / 2.0 + rng.uniform(-shift, shift, 2) * side
    angle = 0.0
    if rng.random() < how.rotate:
        angle = float(np.clip(rng.normal() * how.rotation_deg, -80, 80))
    if rng.random() < how.upside_down:
        angle += 180.0
    mirrored = bool(rng.random() < how.flip)
    matrix = crop_matrix(centre.astype(np.float64), side, angle, mirrored, size)
    crop = warp(image_bgr, matrix, size, side)
    out = joints.copy()
    out[:, :2] = joints[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    if mirrored:
        out = out[list(FLIP_ORDER)]
    out = out.astype(np.float32)
    warped = crop
    if how.crushed and rng.random() < how.crushed:
        crop = crush(crop, rng)  # before hair, which may be light over clothes that are black
    if how.hair and rng.random() < how.hair:
        crop = long_hair(crop, out, rng)
    if edge:
        crop, out = end_beyond(crop, out, matrix, edge)
    if crop is not warped:
        out[out[:, 2] > 0, 2] = PAINTED
    if how.crossed and rng.random() < how.crossed:
        crop, out = crossed(crop, out, rng)
    return spoil(crop, rng, how), out


def crossed(crop: Image, joints: Joints, rng: np.random.Generator) -> tuple[Image, Joints]:
    """The person is crossed out and nobody, or somebody who is not there is crossed out before
    them: of their own shape, mirrored, to one side. Who shows few joints stays as they are.
    """
    seen = joints[:, 2] > 0
    torso = torso_of(joints[:, :2], seen)
    if seen.sum() < 8 or torso < 4:
        return crop, joints
    crop, width = crop.copy(), rng.uniform(*CROSSED_WIDTHS)
    if rng.random() < 0.5:
        off = rng.normal(0, STRAY * torso, (16, 2))
        cross_out(crop, (joints[:, :2] + off).astype(np.float32), seen, width)
        return crop, np.full_like(joints, -1)
    other = joints[:, :2].copy()
    other[:, 0] = 2 * other[seen, 0].mean() - other[:, 0]
    aside = rng.choice((-1, 1)) * rng.uniform(0.5, 1.2), rng.uniform(-0.3, 0.3)
    cross_out(crop, other + np.float32(torso) * np.array(aside, np.float32), seen, width)
    return crop, joints


def warp(image_bgr: Image, matrix: npt.NDArray[np.float64], size: int, side: float) -> Image:
    """Cut the crop, RGB; a picture much larger than the crop is shrunk by areas first."""
    shrink = int(side / size / 1.5)
    if shrink >= 2:
        height, width = image_bgr.shape[:2]
        small = (max(width // shrink, 1), max(height // shrink, 1))
        image_bgr = cv2.resize(image_bgr, small, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        ratio = np.array([width / small[0], height / small[1]])
        offset = matrix[:, :2] @ (0.5 * ratio - 0.5) + matrix[:, 2]
        matrix = np.column_stack((matrix[:, :2] * ratio, offset))
    crop = cv2.warpAffine(image_bgr, matrix, (size, size), flags=cv2.INTER_LINEAR)
    return cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def spoil(crop: Image, rng: np.random.Generator, how: Augmentation) -> Image:
    """Light and colour, occluding patches, and the blur, noise and blocks of cheap cameras."""
    if rng.random() < how.colour:
        crop = recolour(crop, rng)
    if rng.random() < how.occlude:
        crop = occlude(crop, rng)
    if rng.random() < how.degrade:
        crop = degrade(crop, rng)
    return crop


def recolour(crop: Image, rng: np.random.Generator) -> Image:
    """Gain per channel, offset and gamma through a look-up table; sometimes grey, pale or loud."""
    if rng.random() < 0.12:
        grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
        crop = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)  # type: ignore[assignment]
    elif rng.random() < 0.25:
        grey = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        more = rng.uniform(0, 2)
        crop = cv2.addWeighted(crop, more, grey, 1 - more, 0)  # type: ignore[assignment]
    ramp = np.linspace(0, 1, 256)[:, None] ** np.exp(rng.normal() * 0.25)
    gain = np.exp(rng.normal() * 0.2) * np.exp(rng.normal(size=3) * 0.08)
    if rng.random() < 0.07:
        gain *= rng.uniform(0.3, 0.6)
    table = np.clip((ramp * gain + rng.normal() * 0.06) * 255, 0, 255).astype(np.uint8)
    return cv2.LUT(crop, table.reshape(1, 256, 3))  # type: ignore[return-value]


def crush(crop: Image, rng: np.random.Generator) -> Image:
    """Shadows without any drawing in them: dark clothes, somebody before a window."""
    black, white = rng.uniform(0.1, 0.45), rng.uniform(0.7, 1)
    table = np.clip((np.linspace(0, 1, 256) - black) / (white - black) * 255, 0, 255)
    return cv2.LUT(crop, table.astype(np.uint8))  # type: ignore[return-value]


def occlude(crop: Image, rng: np.random.Generator) -> Image:
    """One to three rectangles of one colour, of noise, or of another place of the crop."""
    crop = crop.copy()
    size = crop.shape[0]
    for _ in range(rng.integers(1, 4)):
        w, h = rng.integers(size // 12, size // 3, 2)
        x, y = rng.integers(0, size - w), rng.integers(0, size - h)
        kind = rng.integers(3)
        if kind == 0:
            patch = np.broadcast_to(rng.integers(0, 256, 3), (h, w, 3))
        elif kind == 1:
            patch = rng.integers(0, 256, (h, w, 3))
        else:
            x2, y2 = rng.integers(0, size - w), rng.integers(0, size - h)
            patch = crop[y2 : y2 + h, x2 : x2 + w].copy()
        crop[y : y + h, x : x + w] = patch
    return crop


def degrade(crop: Image, rng: np.random.Generator) -> Image:
    """One of: soft focus, motion blur, sensor noise, JPEG blocks, low resolution."""
    size = crop.shape[0]
    kind = rng.integers(5)
    if kind == 0:
        crop = cv2.GaussianBlur(crop, (0, 0), rng.uniform(0.5, 1.5))  # type: ignore[assignment]
    elif kind == 1:
        length = 2 * int(rng.integers(1, 4)) + 1  # odd, and through the middle: nothing moves
        kernel = np.zeros((length, length), np.float32)
        end = int(rng.integers(0, length))
        cv2.line(kernel, (end, 0), (length - 1 - end, length - 1), 1.0)
        turned = kernel if rng.random() < 0.5 else kernel.T
        crop = cv2.filter2D(crop, -1, turned / turned.sum())  # type: ignore[assignment]
    elif kind == 2:
        noise = rng.normal(0, rng.uniform(4, 20), crop.shape)
        crop = np.clip(crop + noise, 0, 255).astype(np.uint8)
    elif kind == 3:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(12, 50))]
        crop = cv2.imdecode(cv2.imencode(".jpg", crop, quality)[1], cv2.IMREAD_COLOR)  # type: ignore[assignment]
    else:
        small = int(size / rng.uniform(1.3, 2.5))
        shrunk = cv2.resize(crop, (small, small), interpolation=cv2.INTER_AREA)
        crop = cv2.resize(shrunk, (size, size), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    return crop
