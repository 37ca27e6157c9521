"""What it costs to grow: more crops a call, more people, larger frames, and the slope of each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from livepose.bench.compare import interleave, joined, timed
from livepose.bench.contender import Clip, Contender
from livepose.bench.levels import known
from livepose.bench.measure import Budget, Row
from livepose.estimator import PoseEstimator

BATCHES = (1, 2, 4, 8, 16, 32, 64)
PEOPLE = (1, 2, 3, 4, 5, 6, 7, 8)
SIZES_WH = ((640, 480), (1280, 720), (1920, 1080), (3840, 2160))


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """p50 by `values`, in `unit`s; what one unit more costs is the slope of a straight line."""

    what: str
    unit: str
    values: list[float]
    rows: list[Row]

    @property
    def line(self) -> tuple[float, float]:
        """ms at zero units, ms a unit: least squares through the medians."""
        medians = [float(np.median(row.samples.ms)) for row in self.rows]
        slope, start = np.polyfit(self.values, medians, 1)
        return float(start), float(slope)

    def as_dict(self) -> dict[str, Any]:
        start_ms, slope_ms = self.line
        return {
            "what": self.what,
            "unit": self.unit,
            "values": self.values,
            "start_ms": start_ms,
            "slope_ms": slope_ms,
            "rows": [row.as_dict() for row in self.rows],
        }


def sweep_batch(contender: Contender, clip: Clip, budget: Budget) -> Sweep:
    """Level engine: crops in one call."""
    crops = clip.crops(max(BATCHES), contender.model.size)

    def work(batch: int) -> Callable[[int], object]:
        return lambda i: contender.engine.run(crops[:batch])

    works = {f"batch {n}": work(n) for n in BATCHES}
    return sweep(contender, "engine", "batch", "crop", list(BATCHES), works, budget)


def sweep_people(contender: Contender, clip: Clip, budget: Budget) -> Sweep:
    """Level pipeline, people at known places: frame in, poses out."""
    estimator = PoseEstimator(model=contender.model, engine=contender.engine)
    height, width = clip.images[0].shape[:2]

    def work(people: int) -> Callable[[int], object]:
        boxes = places(people, width, height)
        return lambda i: estimator.estimate(clip[i], boxes)

    works = {f"people {n}": work(n) for n in PEOPLE}
    return sweep(contender, "pipeline", "people", "person", list(PEOPLE), works, budget)


def sweep_size(contender: Contender, clip: Clip, budget: Budget) -> Sweep:
    """Level pipeline, one person who fills the frame's height, in larger and larger frames."""
    estimator = PoseEstimator(model=contender.model, engine=contender.engine)

    def work(size_wh: tuple[int, int]) -> Callable[[int], object]:
        frame = np.asarray(cv2.resize(clip.images[0], size_wh), np.uint8)
        boxes = places(1, *size_wh)
        return lambda i: estimator.estimate(frame, boxes)

    works = {f"{w}x{h}": work((w, h)) for w, h in SIZES_WH}
    megapixels = [w * h / 1e6 for w, h in SIZES_WH]
    return sweep(contender, "pipeline", "frame size", "megapixel", megapixels, works, budget)


SWEEPS = {"batch": sweep_batch, "people": sweep_people, "size": sweep_size}


def sweep(
    contender: Contender,
    level: str,
    what: str,
    unit: str,
    values: list[float],
    works: dict[str, Callable[[int], object]],
    budget: Budget,
) -> Sweep:
    """All steps interleaved, so that drift of the machine is no slope."""
    blocks = interleave({name: timed(work) for name, work in works.items()}, budget, block=2)
    facts = known(contender)
    rows = [joined(level, f"{contender.spec.text}, {name}", blocks[name], facts) for name in works]
    return Sweep(what, unit, values, rows)


def places(people: int, width: int, height: int) -> npt.NDArray[np.float32]:
    """Boxes float32 [people, 4] side by side, each as high as four fifths of the frame."""
    centres = (np.arange(people) + 0.5) / people * width
    half = 0.2 * height
    top, bottom = np.full((2, people), [[0.1 * height], [0.9 * height]])
    return np.stack((centres - half, top, centres + half, bottom), axis=1).astype(np.float32)
