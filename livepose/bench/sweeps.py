"""What it costs to grow: more crops a call, more people, larger frames, more stacks, and the
slope of each.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from livepose.bench.compare import interleave, joined, timed
from livepose.bench.contender import BenchEstimator, Clip, Contender, open_contender
from livepose.bench.levels import known
from livepose.bench.machine import Neighbours
from livepose.bench.measure import Budget, Row
from livepose.bench.stages import Pipeline
from livepose.errors import EngineError

BATCHES = (1, 2, 4, 8, 16, 32, 64)
PEOPLE = (1, 2, 3, 4, 5, 6, 7, 8)
SIZES_WH = ((640, 480), (1280, 720), (1920, 1080), (3840, 2160))
STACKS = (1, 2, 4, 8)

FRAMES = 8
"""Of the clip, in each size: 200 MB at 3840x2160."""

FIT = "straight line through the medians, least squares"


Work = Callable[[int], object]
"""Does turn i of a step."""


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """p50 by `values`, in `unit`s; what one unit more costs is the slope of a straight line.

    A sample is of all units of its step together. cpu_others: see `machine.Neighbours`.
    """

    what: str
    unit: str
    values: list[float]
    rows: list[Row]
    cpu_others: float | None = None

    @property
    def line(self) -> tuple[float, float]:
        """ms at zero units, ms a unit: least squares through the medians."""
        medians = [float(np.median(row.samples.ms)) for row in self.rows]
        slope, start = np.polyfit(self.values, medians, 1)
        return float(start), float(slope)

    @property
    def off_ms(self) -> float:
        """How far the median that fits the line least is from it."""
        start_ms, slope_ms = self.line
        medians = np.array([np.median(row.samples.ms) for row in self.rows])
        return float(np.abs(medians - start_ms - slope_ms * np.array(self.values)).max())

    def as_dict(self) -> dict[str, Any]:
        start_ms, slope_ms = self.line
        return {
            "what": self.what,
            "unit": self.unit,
            "values": self.values,
            "start_ms": start_ms,
            "slope_ms": slope_ms,
            "fit": FIT,
            "largest_residual_ms": self.off_ms,
            "cpu_others": self.cpu_others,
            "rows": [row.as_dict() for row in self.rows],
        }


def sweep_batch(contender: Contender, clip: Clip, budget: Budget) -> Sweep:
    """Level engine: crops in one call."""
    crops = clip.crops(max(BATCHES), contender.model.size)

    def work(batch: int) -> Work:
        return lambda i: contender.engine.run(crops[:batch])

    steps = {f"batch {n}": (contender, work(n)) for n in BATCHES}
    return sweep("engine", "batch", "crop", BATCHES, steps, budget)


def sweep_people(contender: Contender, clip: Clip, budget: Budget) -> Sweep:
    """Level pipeline, people at known places: frame in, poses out."""
    estimator = BenchEstimator(contender.spec, contender.model, contender.engine, max(PEOPLE))
    height, width = clip.images[0].shape[:2]

    def work(people: int) -> Work:
        boxes = places(people, width, height)
        return lambda i: estimator.estimate(clip[i], boxes)

    steps = {f"people {n}": (contender, work(n)) for n in PEOPLE}
    return sweep("pipeline", "people", "person", PEOPLE, steps, budget)


def sweep_size(contender: Contender, clip: Clip, budget: Budget) -> Sweep:
    """Level pipeline, following who is on the clip, enlarged to each size."""

    def work(size_wh: tuple[int, int]) -> Work:
        images = [np.asarray(cv2.resize(im, size_wh), np.uint8) for im in clip.images[:FRAMES]]
        return Pipeline(contender, replace(clip, images=images))

    steps = {f"{w}x{h}": (contender, work((w, h))) for w, h in SIZES_WH}
    megapixels = [w * h / 1e6 for w, h in SIZES_WH]
    return sweep("pipeline", "frame size", "megapixel", megapixels, steps, budget)


def sweep_stacks(contender: Contender, clip: Clip, budget: Budget) -> Sweep:
    """Level engine, one crop: networks of the contender's shape with as many stacks."""
    with networks(contender) as opened:
        crops = clip.crops(1, contender.model.size)

        def work(other: Contender) -> Work:
            return lambda i: other.engine.run(crops)

        steps = {f"stacks {n}": (other, work(other)) for n, other in opened.items()}
        return sweep("engine", "stacks", "stack", STACKS, steps, budget)


@contextmanager
def networks(contender: Contender) -> Iterator[dict[int, Contender]]:
    """By number of stacks: the contender's network with random weights, on its kind of engine.

    They are exported into a temporary folder. What a network costs does not hang on its weights.
    """
    if "network" not in contender.model.card:
        raise EngineError(f"--sweep stacks: {contender.model.name} has no network on its card")
    if not (find_spec("torch") and find_spec("onnx") and find_spec("onnxscript")):
        raise EngineError(
            "--sweep stacks exports networks and needs torch: pip install 'livepose[train]'"
        )
    with tempfile.TemporaryDirectory(prefix="livepose-stacks-") as folder, ExitStack() as stack:
        opened: dict[int, Contender] = {}
        for count in STACKS:
            path = Path(folder) / f"{contender.model.name}-{count}-stacks.onnx"
            write_random(contender.model.card["network"] | {"stacks": count}, path)
            spec = replace(contender.spec, model=str(path))
            opened[count] = open_contender(spec)
            stack.callback(opened[count].close)
        yield opened


def write_random(config: dict[str, Any], path: Path) -> None:
    """A network of that shape and its card; its heatmaps are faint, so that no peak is decided
    by the last bit where the export is held against torch.
    """
    import torch

    from livepose.model.export import export_onnx, write_card
    from livepose.model.graph import PoseGraph
    from livepose.model.hourglass import HourglassConfig, StackedHourglass

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = StackedHourglass(HourglassConfig.from_dict(config))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith(f"heads.{config['stacks'] - 1}.heatmaps."):
                parameter.mul_(1e-3)
    export_onnx(PoseGraph(network), path)
    write_card(network, path, {})


SWEEPS = {
    "batch": sweep_batch,
    "people": sweep_people,
    "size": sweep_size,
    "stacks": sweep_stacks,
}


def sweep(
    level: str,
    what: str,
    unit: str,
    values: Sequence[float],
    steps: dict[str, tuple[Contender, Work]],
    budget: Budget,
) -> Sweep:
    """All steps interleaved, so that drift of the machine is no slope."""
    works = {name: timed(work) for name, (_, work) in steps.items()}
    neighbours = Neighbours()
    blocks = interleave(works, budget, block=2)
    cpu_others = neighbours.share()
    rows = [
        joined(level, f"{contender.spec.text}, {name}", blocks[name], known(contender))
        for name, (contender, _) in steps.items()
    ]
    return Sweep(what, unit, list(values), rows, cpu_others)


def places(people: int, width: int, height: int) -> npt.NDArray[np.float32]:
    """Boxes float32 [people, 4] side by side, each as high as four fifths of the frame."""
    centres = (np.arange(people) + 0.5) / people * width
    half = 0.2 * height
    top, bottom = np.full((2, people), [[0.1 * height], [0.9 * height]])
    return np.stack((centres - half, top, centres + half, bottom), axis=1).astype(np.float32)
