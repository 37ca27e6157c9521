"""What is measured: a model on an engine, named `small@onnx/fp32`, and the frames it is given."""

import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from livepose import crops
from livepose.bench.measure import wait_until
from livepose.errors import SourceError, UsageError
from livepose.estimator import PoseEstimator
from livepose.models import Model
from livepose.runtime import Engine, EngineInfo, open_engine
from livepose.runtime.choice import suited_model
from livepose.sources import SourceOptions, open_source

Image = npt.NDArray[np.uint8]

MOST_FRAMES = 120
"""A clip is kept in memory: 110 MB at 640x480."""

NULL_SIZE = 128


@dataclass(frozen=True, slots=True)
class Spec:
    """What a contender is, as the user wrote it."""

    text: str
    model: str = "auto"
    engine: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    null_s: float | None = None


def parse_spec(text: str, device: str = "auto") -> Spec:
    """`MODEL[@ENGINE][/PRECISION]`, `@ENGINE`, or `null:5ms`, an engine that only waits."""
    null = re.fullmatch(r"null:(\d+\.?\d*|\.\d+)ms", text)
    if null:
        return Spec(text, null_s=float(null[1]) / 1e3)
    # A model may be a path: the precision is what follows the engine, after the last @.
    model, _, rest = text.rpartition("@") if "@" in text else (text, "", "")
    engine, _, precision = rest.partition("/")
    if text.startswith("null") or ("@" in text and not rest):
        raise UsageError(f"{text}: write MODEL@ENGINE/PRECISION, such as small@onnx, or null:5ms")
    return Spec(text, model or "auto", engine or "auto", device, precision or "auto")


class NullEngine:
    """See `runtime.Engine`. Takes exactly `delay_s` a call and sees the same person everywhere.

    It checks the meter: whatever is measured beyond the delay is the meter's or livepose's.
    """

    def __init__(self, delay_s: float) -> None:
        self.info = EngineInfo(f"null {delay_s * 1e3:g} ms", "cpu", "none")
        self._delay_s = delay_s
        angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        ring = np.stack((0.25 * np.cos(angle), 0.33 * np.sin(angle)), axis=1) + 0.5
        scores = np.full((16, 1), 0.9)
        self._joints = np.concatenate((ring * NULL_SIZE, scores), axis=1).astype(np.float32)

    def warm_up(self) -> None:
        pass

    def run(self, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        due_s = time.perf_counter() + self._delay_s
        joints = np.repeat(self._joints[None], len(crops), axis=0)
        wait_until(due_s)
        return joints

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """A model loaded into an engine; `close` it.

    load_ms: finding and loading the model, and the self-test of two crops. first_ms: the first
    inference of one crop, after that.
    """

    spec: Spec
    model: Model
    engine: Engine
    load_ms: float
    first_ms: float

    def close(self) -> None:
        self.engine.close()


def load(spec: Spec) -> tuple[Model, Engine]:
    """The model and the engine that a spec names."""
    if spec.null_s is not None:
        return Model(spec.text, Path(spec.text), NULL_SIZE, {}), NullEngine(spec.null_s)
    model = suited_model(spec.model, spec.engine, spec.device, spec.precision)
    return model, open_engine(model, spec.engine, spec.device, spec.precision)


def open_contender(spec: Spec) -> Contender:
    """Load, and run for the first time; both are timed and belong to no level. A TensorRT engine
    that is not there is built before, for that is neither."""
    if spec.engine == "tensorrt" and spec.null_s is None:
        from livepose.runtime.build import build_engine

        model = suited_model(spec.model, spec.engine, spec.device, spec.precision)
        build_engine(model, spec.device, spec.precision)
    start_s = time.perf_counter()
    model, engine = load(spec)
    loaded_s = time.perf_counter()
    engine.run(np.zeros((1, model.size, model.size, 3), np.uint8))
    first_s = time.perf_counter()
    engine.warm_up()
    return Contender(spec, model, engine, (loaded_s - start_s) * 1e3, (first_s - loaded_s) * 1e3)


class NullFinder:
    """Beside a null engine: sees one person, in the middle of every frame, at no cost."""

    def find(self, frame_bgr: Image) -> npt.NDArray[np.float32]:
        height, width = frame_bgr.shape[:2]
        return np.array([[0.2 * width, 0.1 * height, 0.8 * width, 0.9 * height]], np.float32)

    def close(self) -> None:
        pass


class BenchEstimator(PoseEstimator):
    """The estimator of a contender, whose finder runs as the main job's would; a null engine has
    a null finder beside it."""

    def __init__(self, spec: Spec, model: Model, engine: Engine, max_people: int) -> None:
        super().__init__(model=model, engine=engine, max_people=max_people)
        self._asked = (spec.engine, spec.device, spec.precision)
        if not model.card:
            self._finder = NullFinder()


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Frames in memory: uint8 [H, W, 3] BGR each, all of one size. `fps` is nominal."""

    images: list[Image]
    fps: float
    description: str

    def __getitem__(self, i: int) -> Image:
        return self.images[self.position(i)]

    def position(self, i: int) -> int:
        """Which frame turn i shows: forwards and backwards for ever, so that nothing jumps."""
        last = len(self.images) - 1
        return last - abs(last - i % (2 * last)) if last else 0

    def crops(self, count: int, size: int) -> npt.NDArray[np.uint8]:
        """uint8 [count, size, size, 3] RGB, the middle of as many frames."""
        height, width = self.images[0].shape[:2]
        box = np.array([[0.2 * width, 0.1 * height, 0.8 * width, 0.9 * height]], np.float32)
        squares = crops.squares_of(box)
        return np.concatenate([crops.cut(self[i], squares, size) for i in range(count)])


def read_clip(sources: list[str], most: int = MOST_FRAMES) -> Clip:
    """The first frames of those sources, one after the other."""
    images: list[Image] = []
    fps = 30.0
    for spec in sources:
        source = open_source(spec, options=SourceOptions(paced=False))
        fps = source.info.fps or fps
        try:
            for _ in range(most // len(sources)):
                frame = source.read()
                if frame is None:
                    break
                images.append(frame.image)
        finally:
            source.close()
    sizes = {image.shape for image in images}
    if len(sizes) != 1:
        raise SourceError(f"{', '.join(sources)}: give pictures of one size, not {sorted(sizes)}")
    height, width = images[0].shape[:2]
    return Clip(images, fps, f"{', '.join(sources)}: {len(images)} frames, {width}x{height}")
