"""The finder: one small network over the whole frame says where people are.

What to do with its boxes is `search.py`'s, and when to ask it `people.py`'s.
"""

import cv2
import numpy as np
import numpy.typing as npt

from livepose.crops import shrink
from livepose.runtime import Engine

SURE = 0.12
"""Least score of a box. Too many boxes cost crops, for the pose network judges them; a person
who is not in any is not seen at all."""

SAME = 0.55
"""Two boxes that share this much (IoU) are taken for one person's."""

SURELY_SAME = 0.75
"""The same in single pictures, where between `SAME` and this the second box may be of somebody
close beside: it is looked at with the first person crossed out."""


class Finder:
    """Looks for people with an opened engine of a finder model of that picture size."""

    def __init__(self, engine: Engine, size: int) -> None:
        self._engine, self._size = engine, size

    def find(self, frame_bgr: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Frame uint8 [H, W, 3] BGR -> boxes float32 [N, 4] in its pixels, best first, tight
        around what is seen of each person; N is 0 to 16. One person may have several, see
        `distinct`.
        """
        picture, scale, (left, top) = letterbox(frame_bgr, self._size)
        answer = self._engine.run(picture[None])[0]
        boxes = answer[answer[:, 4] >= SURE, :4]
        boxes = (boxes + 0.5 - (left, top, left, top)) / scale - 0.5
        height, width = frame_bgr.shape[:2]
        return np.asarray(np.clip(boxes, 0, (width, height, width, height)), np.float32)

    def close(self) -> None:
        """Free the engine. Safe to call twice."""
        self._engine.close()


def letterbox(
    image_bgr: npt.NDArray[np.uint8], size: int
) -> tuple[npt.NDArray[np.uint8], float, tuple[int, int]]:
    """The whole picture in the middle of a black square: uint8 [size, size, 3] RGB, how many of
    its pixels a pixel of the picture takes, and the picture's left and top in it.
    """
    height, width = image_bgr.shape[:2]
    scale = size / max(width, height)
    wh = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (size - wh[0]) // 2, (size - wh[1]) // 2
    out = np.zeros((size, size, 3), np.uint8)
    place = out[top : top + wh[1], left : left + wh[0]]
    cv2.cvtColor(shrink(image_bgr, wh), cv2.COLOR_BGR2RGB, place)
    return out, scale, (left, top)


def distinct(boxes: npt.NDArray[np.float32], same: float = SAME) -> npt.NDArray[np.float32]:
    """Boxes float32 [N, 4], best first, without those that share so much with a better one."""
    kept: list[npt.NDArray[np.float32]] = []
    for box in boxes:
        if all(iou(box, other) < same for other in kept):
            kept.append(box)
    return np.stack(kept) if kept else np.zeros((0, 4), np.float32)


def iou(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """Shared area of two boxes float32 [4] as a share of what both cover."""
    shared, area_a, area_b = areas(a, b)
    both = area_a + area_b - shared
    return shared / both if both > 0 else 0.0


def areas(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> tuple[float, float, float]:
    """What two boxes float32 [4] share, and what each covers, in square pixels."""
    # By number: numpy takes several times as long for so few.
    (a_x0, a_y0, a_x1, a_y1), (b_x0, b_y0, b_x1, b_y1) = a.tolist(), b.tolist()
    width, height = min(a_x1, b_x1) - max(a_x0, b_x0), min(a_y1, b_y1) - max(a_y0, b_y0)
    shared = width * height if width > 0 and height > 0 else 0.0
    return shared, (a_x1 - a_x0) * (a_y1 - a_y0), (b_x1 - b_x0) * (b_y1 - b_y0)
