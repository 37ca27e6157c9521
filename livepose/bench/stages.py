"""What a frame's time is made of: the pipeline with a clock at every stage.

A stage has a sample for each frame in which it took place, and none where it did not: the
finder looks at few frames only, and an engine that computes on the CPU uploads nothing.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from livepose.bench.contender import BenchEstimator, Clip, Contender, Image
from livepose.pose import Pose
from livepose.runtime import Engine
from livepose.runtime.base import DEVICE_STAGES, RunSquares, device_ms
from livepose.search import Among

STAGES = {
    "find": "the finder's look over the whole frame, on the frames that have one",
    "crop": "boxes to crops, unless the device cuts them, and joints back to the frame",
    "upload": "crops, or the frame that they are cut from, to the device, by its events",
    "compute": "the network, decoding and cutting on the device: by the device's events, or the "
    "engine's call on the CPU",
    "download": "joints from the device, by its events",
    "launch": "the rest of the engine's call: copies to pinned memory, queueing, waiting",
    "track": "who is who, colours, smoothing",
}
"""In a frame's order. They add up to the sample."""

APART = {
    "new scene": "the search of a frame of which nothing is known",
    "draw": "the skeletons on a copy of the frame",
}
"""Measured by themselves, before or after the samples: part of none."""

NO_DEVICE = "the engine computes on the CPU, in the memory that the crops are in"


class TimedEngine:
    """An engine that adds up in `ms` how long its runs took: by stage, and `all_ms`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.info = engine.info
        self.ms: dict[str, float] = defaultdict(float)
        self.all_ms = 0.0

    def warm_up(self) -> None:
        self._engine.warm_up()

    def run(self, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        joints = self._timed(partial(self._engine.run, crops))
        assert joints is not None
        return joints

    @property
    def run_squares(self) -> RunSquares | None:
        own: RunSquares | None = getattr(self._engine, "run_squares", None)
        return None if own is None else lambda *given: self._timed(partial(own, *given))

    def _timed(
        self, call: Callable[[], npt.NDArray[np.float32] | None]
    ) -> npt.NDArray[np.float32] | None:
        start_s = time.perf_counter()
        joints = call()
        if joints is None:  # it wants crops: nothing ran
            return None
        call_ms = (time.perf_counter() - start_s) * 1e3
        parts = device_ms(self._engine)
        for stage, ms in parts.items():
            self.ms[stage] += ms
        self.ms["launch" if parts else "compute"] += call_ms - sum(parts.values())
        self.all_ms += call_ms
        return joints

    def close(self) -> None:
        self._engine.close()


class StagedEstimator(BenchEstimator):
    """An estimator whose stages can be told apart: `track_timed`."""

    def __init__(self, contender: Contender, max_people: int) -> None:
        self._timed = TimedEngine(contender.engine)
        self._ms = self._timed.ms
        super().__init__(contender.spec, contender.model, self._timed, max_people)

    def track_timed(self, frame_bgr: Image, time_s: float) -> tuple[list[Pose], dict[str, float]]:
        """As `track`, and the ms of the stages that took place."""
        self._ms.clear()
        start_s = time.perf_counter()
        poses = self.track(frame_bgr, time_s)
        all_ms = (time.perf_counter() - start_s) * 1e3
        return poses, {**self._ms, "track": all_ms - sum(self._ms.values())}

    def _find(self, frame_bgr: Image) -> npt.NDArray[np.float32]:
        start_s = time.perf_counter()
        boxes = super()._find(frame_bgr)
        self._ms["find"] += (time.perf_counter() - start_s) * 1e3
        return boxes

    def _look(
        self,
        frame_bgr: Image,
        boxes_xyxy: npt.NDArray[np.float32],
        without: Sequence[Sequence[Pose]] = (),
        among: Sequence[Among | None] = (),
    ) -> list[Pose]:
        self._timed.all_ms = 0.0
        start_s = time.perf_counter()
        poses = super()._look(frame_bgr, boxes_xyxy, without, among)
        self._ms["crop"] += (time.perf_counter() - start_s) * 1e3 - self._timed.all_ms
        return poses


class Pipeline:
    """Frame in, poses out: calling it with i takes frame i of the clip through the estimator."""

    def __init__(self, contender: Contender, clip: Clip, max_people: int = 8) -> None:
        self._clip = clip
        self.estimator = StagedEstimator(contender, max_people)
        self.poses: list[Pose] = []
        self._frames: list[dict[str, float]] = []
        self._people: list[int] = []

    def __call__(self, i: int) -> list[Pose]:
        self.poses, ms = self.estimator.track_timed(self._clip[i], i / self._clip.fps)
        self._frames.append(ms)
        self._people.append(len(self.poses))
        return self.poses

    def stages_after(self, warm_up: int) -> dict[str, Sequence[float]]:
        """ms by stage, without those of the first frames."""
        frames = self._frames[warm_up:]
        found = {stage: [ms[stage] for ms in frames if stage in ms] for stage in STAGES}
        return {stage: ms for stage, ms in found.items() if ms}

    def facts_after(self, warm_up: int) -> dict[str, Any]:
        """How many people were followed: one who is lost costs nothing, and is no success. And
        the stages that this engine does not have.
        """
        facts: dict[str, Any] = {"mean_people": float(np.mean(self._people[warm_up:]))}
        if not any(stage in ms for ms in self._frames for stage in ("upload", "download")):
            facts["no_stages"] = {s: NO_DEVICE for s in DEVICE_STAGES if s != "compute"}
        return facts
