"""Draws poses, the stats panel and messages on the frame they belong to.

The fourth file of a frame's way: `estimator.py` found the joints, `app.py` shows the result.
What the panel says is decided elsewhere; here is only how things look. Every `image_bgr` is a
C-contiguous uint8 [H, W, 3] BGR array and is drawn on in place; sizes follow the frame's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from livepose.pose import Pose
from livepose.skeleton import JOINTS, LIMBS, side_of
from livepose.window import HELP

Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Point = tuple[int, int]

# Okabe and Ito's sky blue and orange: apart for every kind of colour vision, and in grey.
SIDE_COLOURS_BGR: Final[dict[str, Colour]] = {
    "left": (233, 180, 86),
    "right": (0, 159, 230),
    "centre": (240, 240, 240),
}
_OUTLINE: Final[Colour] = (30, 25, 20)
_WHITE: Final[Colour] = (255, 255, 255)
_GREY: Final[Colour] = (215, 215, 215)
_AMBER: Final[Colour] = (60, 200, 255)

_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_SUBPIXEL_BITS: Final = 4  # a sixteenth of a pixel: lines glide instead of hopping
_FAINTEST: Final = 0.3  # opacity of a joint that just passes the threshold


class Detail(IntEnum):
    """How much is drawn over the frame; the overlay key steps through them."""

    SKELETON = 0
    PANEL = 1
    FULL = 2  # and boxes, joint names


def mirror_pose(pose: Pose, width: int) -> Pose:
    """The pose in the mirrored frame of that width. The person's left joints stay left."""
    joints_xy = pose.joints_xy.copy()
    joints_xy[:, 0] = width - 1 - joints_xy[:, 0]
    x0, y0, x1, y1 = pose.box_xyxy
    box_xyxy = np.array([width - 1 - x1, y0, width - 1 - x0, y1], np.float32)
    return replace(pose, joints_xy=joints_xy, box_xyxy=box_xyxy)


def draw_poses(
    image_bgr: Image,
    poses: Sequence[Pose],
    *,
    min_score: float = 0.3,
    detail: int = Detail.SKELETON,
) -> None:
    """Draw each person's skeleton; joints below `min_score`, and limbs to them, are left out.

    The less certain a joint, the fainter it is. With several people, each gets a label.
    """
    for pose in poses:
        strokes = list(_strokes(image_bgr, pose, min_score))
        for stroke in strokes:
            if stroke.opacity < 1:
                stroke.blend_onto(image_bgr)
        solid = [stroke for stroke in strokes if stroke.opacity >= 1]
        # All outlines first, so that none cuts through a neighbouring limb.
        for stroke in solid:
            stroke.outline(image_bgr)
        for stroke in solid:
            stroke.fill(image_bgr)
    for pose in poses:
        if detail >= Detail.FULL:
            _draw_box(image_bgr, pose)
            _draw_names(image_bgr, pose, min_score)
        if len(poses) > 1 or detail >= Detail.FULL:
            _draw_label(image_bgr, pose, min_score)


def draw_panel(image_bgr: Image, lines: Sequence[str], limit: str | None = None) -> None:
    """The panel of figures in the upper left corner; `limit` names what holds the rate down."""
    rows = [(line, _WHITE if i == 0 else _GREY) for i, line in enumerate(lines)]
    if limit:
        rows.append((limit, _AMBER))
    _draw_plate(image_bgr, rows)


def draw_help(image_bgr: Image, keys: Sequence[tuple[str, str]] = HELP) -> None:
    """The list of keys, in the middle."""
    rows = [(f"{key}\t{meaning}", _WHITE) for key, meaning in keys]
    _draw_plate(image_bgr, rows, anchor=(0.5, 0.5))


def draw_banner(image_bgr: Image, text: str) -> None:
    """What must not be overlooked, such as a lost camera, along the lower edge."""
    _draw_plate(image_bgr, [(text, _AMBER)], anchor=(0.5, 1.0), enlarge=1.4)


@dataclass(frozen=True, slots=True)
class _Stroke:
    """A limb, or a joint where both ends are one; points in 1/16 pixels."""

    start: Point
    end: Point
    width: int  # pixels
    colour: Colour
    opacity: float

    def outline(self, image_bgr: Image) -> None:
        self._line(image_bgr, _OUTLINE, self.width + 2 * max(1, round(self.width / 4)))

    def fill(self, image_bgr: Image) -> None:
        self._line(image_bgr, self.colour, self.width)

    def blend_onto(self, image_bgr: Image) -> None:
        """Draw outline and colour with this opacity, touching only the stroke's surroundings."""
        height, width = image_bgr.shape[:2]
        margin = 2 * self.width + 2
        (xa, ya), (xb, yb) = self.start, self.end
        x0 = max(0, (min(xa, xb) >> _SUBPIXEL_BITS) - margin)
        y0 = max(0, (min(ya, yb) >> _SUBPIXEL_BITS) - margin)
        x1 = min(width, (max(xa, xb) >> _SUBPIXEL_BITS) + margin)
        y1 = min(height, (max(ya, yb) >> _SUBPIXEL_BITS) + margin)
        if x0 >= x1 or y0 >= y1:
            return
        part = image_bgr[y0:y1, x0:x1]
        layer = part.copy()
        dx, dy = x0 << _SUBPIXEL_BITS, y0 << _SUBPIXEL_BITS
        moved = replace(self, start=(xa - dx, ya - dy), end=(xb - dx, yb - dy))
        moved.outline(layer)
        moved.fill(layer)
        part[:] = cv2.addWeighted(layer, self.opacity, part, 1 - self.opacity, 0)

    def _line(self, image_bgr: Image, colour: Colour, width: int) -> None:
        if self.start == self.end:
            radius = (width << _SUBPIXEL_BITS) // 2
            cv2.circle(image_bgr, self.start, radius, colour, -1, cv2.LINE_AA, _SUBPIXEL_BITS)
        else:
            cv2.line(image_bgr, self.start, self.end, colour, width, cv2.LINE_AA, _SUBPIXEL_BITS)


def _strokes(image_bgr: Image, pose: Pose, min_score: float) -> Iterator[_Stroke]:
    """The pose's limbs, then its joints."""
    points = _drawable(image_bgr, pose, min_score)
    if not points:
        return
    width = _line_width(image_bgr, pose, list(points))
    opacity = {i: _opacity(float(pose.scores[i]), min_score) for i in points}
    for a, b in LIMBS:
        if a in points and b in points and points[a] != points[b]:
            sides = {side_of(a), side_of(b)} - {"centre"}
            colour = SIDE_COLOURS_BGR[sides.pop() if sides else "centre"]
            yield _Stroke(points[a], points[b], width, colour, min(opacity[a], opacity[b]))
    for i, point in points.items():
        colour = SIDE_COLOURS_BGR[side_of(i)]
        yield _Stroke(point, point, round(width * 1.7) + 1, colour, opacity[i])


def _drawable(image_bgr: Image, pose: Pose, min_score: float) -> dict[int, Point]:
    """The joints to draw, in 1/16 pixels; not those so far out that a line there tells nothing."""
    reach = 4 * np.array(image_bgr.shape[1::-1], np.float32)
    with np.errstate(invalid="ignore"):
        near = (np.abs(pose.joints_xy) <= reach).all(axis=1)  # False for NaN too
        kept = np.flatnonzero(near & (pose.scores >= min_score))
    fixed = np.rint(pose.joints_xy[kept] * (1 << _SUBPIXEL_BITS)).astype(int).tolist()
    return {int(i): (x, y) for i, (x, y) in zip(kept, fixed, strict=True)}


def _opacity(score: float, min_score: float) -> float:
    """Rises from the threshold and is full halfway between it and 1."""
    certainty = (score - min_score) / max(0.5 * (1 - min_score), 1e-6)
    return min(1.0, _FAINTEST + (1 - _FAINTEST) * certainty)


def _line_width(image_bgr: Image, pose: Pose, joints: list[int]) -> int:
    """Pixels: grows with the frame, but stays thin on people who are small in it."""
    person_px = float(np.ptp(pose.joints_xy[joints], axis=0).max())
    return max(1, round(min(_shorter_side(image_bgr) / 130, person_px / 25)))


def _draw_box(image_bgr: Image, pose: Pose) -> None:
    if not np.isfinite(pose.box_xyxy).all():
        return
    limit = 4 * max(image_bgr.shape)
    x0, y0, x1, y1 = np.rint(pose.box_xyxy.clip(-limit, limit)).astype(int).tolist()
    width = max(1, round(_shorter_side(image_bgr) / 480))
    cv2.rectangle(image_bgr, (x0, y0), (x1, y1), _OUTLINE, width + 2)
    cv2.rectangle(image_bgr, (x0, y0), (x1, y1), _GREY, width)


def _draw_names(image_bgr: Image, pose: Pose, min_score: float) -> None:
    scale = 0.7 * _text_scale(image_bgr)
    for i, (x, y) in _drawable(image_bgr, pose, min_score).items():
        at = (x >> _SUBPIXEL_BITS) + round(12 * scale), (y >> _SUBPIXEL_BITS) - round(8 * scale)
        _draw_text(image_bgr, JOINTS[i], (at[0] + 1, at[1] + 1), scale, _OUTLINE)
        _draw_text(image_bgr, JOINTS[i], at, scale, _WHITE)


def _draw_label(image_bgr: Image, pose: Pose, min_score: float) -> None:
    """Id and score above the highest joint drawn."""
    points = _drawable(image_bgr, pose, min_score).values()
    if not points:
        return
    height, width = image_bgr.shape[:2]
    x, y = min(points, key=lambda point: point[1])
    line_px = _line_height(_text_scale(image_bgr))
    at = (x >> _SUBPIXEL_BITS) / width, ((y >> _SUBPIXEL_BITS) - line_px) / height
    text = f"#{pose.id} {pose.score:.2f}" if pose.id else f"{pose.score:.2f}"
    _draw_plate(image_bgr, [(text, _WHITE)], anchor=at, enlarge=0.85)


def _draw_plate(
    image_bgr: Image,
    rows: Sequence[tuple[str, Colour]],
    *,
    anchor: tuple[float, float] = (0.0, 0.0),
    enlarge: float = 1.0,
) -> None:
    """Rows of text on a darkened rectangle, which lies in the frame as `anchor` says:
    (0, 0) upper left, (1, 1) lower right. A row that is too long for the frame is broken; what
    follows a tab stands in a second column."""
    height, width = image_bgr.shape[:2]
    scale = enlarge * _text_scale(image_bgr)
    line_px = _line_height(scale)
    margin = line_px // 2
    fitted = [
        (part, colour) for text, colour in rows for part in _broken(text, scale, width - 4 * margin)
    ]
    columns = [text.rpartition("\t") for text, _ in fitted]
    indent = max(_text_width(first, scale) + 2 * margin * bool(tab) for first, tab, _ in columns)
    text_w = max(_text_width(last, scale) + indent * bool(tab) for _, tab, last in columns)
    plate_w = min(width, 2 * margin + text_w)
    plate_h = min(height, margin + line_px * len(fitted))
    inset = margin // 2
    x0 = round(min(max(anchor[0] * width - plate_w / 2, inset), max(0, width - plate_w - inset)))
    y0 = round(min(max(anchor[1] * height - plate_h / 2, inset), max(0, height - plate_h - inset)))
    plate = image_bgr[y0 : y0 + plate_h, x0 : x0 + plate_w]
    plate[:] = cv2.convertScaleAbs(plate, alpha=0.3)
    for i, ((_, colour), (first, tab, last)) in enumerate(zip(fitted, columns, strict=True)):
        x, y = x0 + margin, y0 + margin // 2 + round((i + 0.75) * line_px)
        _draw_text(image_bgr, first, (x, y), scale, colour)
        _draw_text(image_bgr, last, (x + indent * bool(tab), y), scale, colour)


def _broken(text: str, scale: float, width_px: int) -> Iterator[str]:
    """The text in lines of at most that width, broken between words."""
    line = ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if line and _text_width(longer, scale) > width_px:
            yield line
            line = word
        else:
            line = longer
    yield line


def _text_scale(image_bgr: Image) -> float:
    """1 is OpenCV's own size, capitals 21 pixels high; below 0.4 letters run together."""
    return max(0.4, _shorter_side(image_bgr) / 1100)


def _shorter_side(image_bgr: Image) -> int:
    return int(min(image_bgr.shape[:2]))


def _line_height(scale: float) -> int:
    return round(34 * scale)


def _text_width(text: str, scale: float) -> int:
    return int(cv2.getTextSize(text, _FONT, scale, max(1, round(scale)))[0][0])


def _draw_text(image_bgr: Image, text: str, at: Point, scale: float, colour: Colour) -> None:
    """`at` is the left end of the base line."""
    cv2.putText(image_bgr, text, at, _FONT, scale, colour, max(1, round(scale)), cv2.LINE_AA)
