"""What the finder is trained on: whole pictures, zoomed views, and several pictures in one.

A view is a square picture with every labelled person's box. Where people may stand unlabelled,
"nobody" is said softly; around labelled people and where no picture is, it is said aloud.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from livepose.model.graph import STRIDE
from livepose.training.augment import (
    Augmentation,
    Image,
    crop_matrix,
    cut_off,
    empty_window,
    spoil,
    warp,
)
from livepose.training.datasets import Person, PoseSet
from livepose.training.loader import BatchLoader, Mixture

Boxes = npt.NDArray[np.float32]

DOUBT = {"synthetic": 1.0, "speaker": 1.0, "scene": 1.0, "coco": 0.5}
"""Weight of "nobody" away from labelled people, by kind of data set."""

USUAL_DOUBT = 0.2

SHOWN = 0.35
"""Share of a box inside the view from which somebody is to be found; with less nothing is said."""


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """A picture with its people: `boxes` float32 [N, 4], `doubt` the weight of the rest."""

    person: Person
    boxes: Boxes
    doubt: float


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """picture uint8 [H, W, 3] RGB; boxes float32 [N, 4]; sure float32 [H/4, W/4], 0..1."""

    picture: Image
    boxes: Boxes
    sure: npt.NDArray[np.float32]


def sights_of(people: PoseSet) -> list[Sight]:
    """The set's pictures, each with all of its people."""
    doubt = DOUBT.get(people.name.split(":")[0].split(" ")[0], USUAL_DOUBT)
    return [
        Sight(group[0], np.stack([p.box_xyxy for p in group]).astype(np.float32), doubt)
        for group in people.by_picture()
    ]


def shown(boxes: Boxes, width: float, height: float) -> tuple[Boxes, Boxes]:
    """Boxes as the view shows them, float32 [N, 4], and those of which too little is in it."""
    limits = np.array((width, height, width, height), np.float32)
    inside = np.clip(boxes, 0, limits)
    share = area(inside) / np.maximum(area(boxes), 1e-3)
    seen = (share >= SHOWN) & ((inside[:, 2:] - inside[:, :2]).min(axis=1, initial=1e9) >= 4)
    return inside[seen], inside[~seen & (share > 0)]


def area(boxes: Boxes) -> Boxes:
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1), np.float32)


def random_view(
    image_bgr: Image, sight: Sight, wh: tuple[int, int], rng: np.random.Generator, how: Augmentation
) -> View:
    """One picture seen whole or closer, mirrored or not; black where it ends."""
    width, height = wh
    boxes = sight.boxes
    chance = rng.random()
    if chance < how.cut_off and len(boxes) == 1:
        image_bgr, _, box = cut_off(image_bgr, sight.person.joints, boxes[0], rng)
        boxes = box[None]
    elif chance < how.cut_off + how.nobody and len(boxes) == 1:
        window = empty_window(image_bgr, boxes[0], boxes, rng)
        if window is not None:
            x0, y0, x1, y1 = np.rint(window).astype(int)
            image_bgr, boxes = image_bgr[y0:y1, x0:x1], np.zeros((0, 4), np.float32)
    picture_h, picture_w = image_bgr.shape[:2]
    whole = max(picture_w / width, picture_h / height)  # picture pixels per pixel of the view
    centre = np.array((picture_w, picture_h)) / 2.0
    if len(boxes) and rng.random() < 0.7:
        chosen = boxes[rng.integers(len(boxes))]
        longer = float((chosen[2:] - chosen[:2]).max())
        share = np.exp(rng.uniform(np.log(0.15), np.log(1.0)))
        step = min(longer / (share * min(width, height)), whole)
        room = np.maximum(np.array((width, height)) * step - 0.7 * (chosen[2:] - chosen[:2]), 0)
        centre = (chosen[:2] + chosen[2:]) / 2 + rng.uniform(-0.5, 0.5, 2) * room
    else:
        step = whole * np.exp(abs(rng.normal()) * 0.05)
    half = np.minimum(np.array((width, height)) * step, (picture_w, picture_h)) / 2
    centre = np.clip(centre, half, np.array((picture_w, picture_h)) - half)
    side = step * max(width, height)
    mirrored = bool(rng.random() < how.flip)
    matrix = crop_matrix(centre.astype(np.float64), side, 0.0, mirrored, max(width, height))
    matrix[:, 2] -= (max(wh) - np.array(wh)) / 2
    picture = warp(image_bgr, matrix, max(width, height), side)[:height, :width]
    corners = boxes.reshape(-1, 2, 2) @ matrix[:, :2].T + matrix[:, 2]
    placed = np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1).astype(np.float32)
    return surely(picture, placed, matrix, (picture_w, picture_h), sight.doubt)


def surely(
    picture: Image,
    placed: Boxes,
    matrix: npt.NDArray[np.float64],
    picture_wh: tuple[int, int],
    doubt: float,
) -> View:
    """The view, with how sure it is at each place that nobody stands there but the labelled."""
    height, width = picture.shape[:2]
    seen, ignored = shown(placed, width, height)
    sure = np.ones((height // STRIDE, width // STRIDE), np.float32)
    corners = np.array(((0, 0), picture_wh), np.float64) @ matrix[:, :2].T + matrix[:, 2]
    fill(sure, np.concatenate((corners.min(axis=0), corners.max(axis=0))), doubt)
    for box in seen:
        pad = 0.12 * (box[2:] - box[:2]).max()
        fill(sure, box + (-pad, -pad, pad, pad), 1.0)
    for box in ignored:
        fill(sure, box, 0.0)
    return View(picture, seen, sure)


def fill(grid: npt.NDArray[np.float32], box_px: npt.NDArray[np.floating], value: float) -> None:
    """Set the cells of the grid that a box in pixels covers."""
    x0, y0, x1, y1 = np.rint(np.clip(np.asarray(box_px) / STRIDE, 0, 1e6)).astype(int)
    grid[y0:y1, x0:x1] = value


def split(size: int, rng: np.random.Generator) -> list[tuple[int, int, int, int]]:
    """A square cut into two to four tiles (x, y, width, height), in multiples of the stride."""
    cells = size // STRIDE

    def cut(low: float, high: float) -> int:
        return int(cells * rng.uniform(low, high)) * STRIDE

    kind = rng.integers(4)
    ys = [0, cut(0.35, 0.65), size] if kind == 3 else [cut(0.0, 0.25), size - cut(0.0, 0.2)]
    xs = [0, cut(0.28, 0.38), cut(0.6, 0.72), size] if kind == 2 else [0, cut(0.35, 0.65), size]
    return [(x0, y0, x1 - x0, y1 - y0) for x0, x1 in pairwise(xs) for y0, y1 in pairwise(ys)]


def draw_targets(view: View) -> npt.NDArray[np.float32]:
    """float32 [7, h, w]: centre, weight, left, top, right, bottom in pixels, weight of the box.

    The centre is a Gaussian whose width goes with the box, 1 in the cell that is nearest.
    """
    rows, columns = view.sure.shape
    out = np.zeros((7, rows, columns), np.float32)
    out[1] = view.sure
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    px, py = (x + 0.5) * STRIDE - 0.5, (y + 0.5) * STRIDE - 0.5
    # The smaller person is drawn last and keeps its cells: it is the nearer one or none sees it.
    for x0, y0, x1, y1 in sorted(view.boxes.tolist(), key=lambda b: -(b[2] - b[0]) * (b[3] - b[1])):
        cx, cy = ((x0 + x1 + 1) / 2) / STRIDE - 0.5, ((y0 + y1 + 1) / 2) / STRIDE - 0.5
        column = int(np.clip(round(cx), 0, columns - 1))
        row = int(np.clip(round(cy), 0, rows - 1))
        spread = np.array(
            (max(0.7, 0.09 * (x1 - x0) / STRIDE), max(0.7, 0.09 * (y1 - y0) / STRIDE))
        )
        bump = np.exp(-(((x - column) / spread[0]) ** 2 + ((y - row) / spread[1]) ** 2) / 2)
        bump[row, column] = 1
        out[0] = np.maximum(out[0], bump)
        core = (bump > 0.4) & (px > x0) & (px < x1) & (py > y0) & (py < y1)
        for i, distance in enumerate((px - x0, py - y0, x1 - px, y1 - py)):
            out[2 + i][core] = np.maximum(distance, 0.5)[core]
        out[6][core] = bump[core]
    return out


class FinderLoader(BatchLoader):
    """Iterates over (pictures uint8 [B, S, S, 3] RGB, targets float32 [B, 7, S/4, S/4])."""

    def __init__(self, mixture: Mixture, *numbers: Any, **more: Any) -> None:
        """As `BatchLoader`."""
        super().__init__(mixture, *numbers, **more)
        self._sights = [sights_of(people) for people in mixture.sets]
        shares = np.asarray(mixture.weights, float)
        self._shares = shares / shares.sum()

    def _sample(self, step: int, i: int) -> tuple[Image, npt.NDArray[np.float32]]:
        rng = np.random.default_rng((self.seed, self.rank, step, i))
        view = self._mosaic(rng) if rng.random() < 0.35 else self._view((self.size,) * 2, rng)
        return spoil(view.picture, rng, self.augmentation), draw_targets(view)

    def _view(self, wh: tuple[int, int], rng: np.random.Generator) -> View:
        sights = self._sights[int(rng.choice(len(self._sights), p=self._shares))]
        sight = sights[int(rng.integers(len(sights)))]
        image = self.cache.load(sight.person.image)
        return random_view(image, sight, wh, rng, self.augmentation)

    def _mosaic(self, rng: np.random.Generator) -> View:
        """Several pictures side by side."""
        side = self.size
        picture = np.zeros((side, side, 3), np.uint8)
        sure = np.ones((side // STRIDE, side // STRIDE), np.float32)
        boxes = []
        for x, y, width, height in split(side, rng):
            tile = self._view((width, height), rng)
            picture[y : y + height, x : x + width] = tile.picture
            rows, columns = tile.sure.shape
            sure[y // STRIDE :, x // STRIDE :][:rows, :columns] = tile.sure
            boxes.append(tile.boxes + np.array((x, y, x, y), np.float32))
        return View(picture, np.concatenate(boxes), sure)


def pictures_of(people: PoseSet) -> Iterator[tuple[Image, Boxes]]:
    """Each picture, uint8 [H, W, 3] BGR, and its labelled people's boxes float32 [N, 4]."""
    for sight in sights_of(people):
        yield sight.person.image.load(), sight.boxes
