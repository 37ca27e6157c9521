"""The three levels, never to be mixed up.

engine: crops in, joints out. pipeline: frame in, poses out; drawing is timed beside it.
live: from a frame's capture stamp to its skeleton drawn, with the threads of the main job.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from livepose.bench.contender import (
    BenchEstimator,
    Clip,
    Contender,
    Image,
    Spec,
    load,
)
from livepose.bench.machine import memory_mib
from livepose.bench.measure import Budget, Row, Samples, measure
from livepose.bench.stages import Pipeline
from livepose.capture import CaptureThread, Frame, Source
from livepose.errors import SourceError
from livepose.estimator import PoseEstimator
from livepose.inference import InferenceThread
from livepose.pose import Pose
from livepose.sources import open_source

FINDS, DRAWINGS = 10, 50
"""How often a new scene is searched and a skeleton drawn, for the stages measured apart."""

TICK_S = 0.02


def engine_level(
    contender: Contender, clip: Clip, budget: Budget, pace_fps: float | None = None, batch: int = 1
) -> Row:
    """Crops in, joints out; one sample is one call with `batch` crops."""
    crops = [clip.crops(batch + i, contender.model.size)[i:] for i in range(4)]
    samples = measure(lambda i: contender.engine.run(crops[i % 4]), budget, pace_fps)
    return Row(
        "engine", contender.spec.text, pace(pace_fps), samples, batch, facts=known(contender)
    )


def pipeline_level(
    contender: Contender,
    clip: Clip,
    budget: Budget,
    pace_fps: float | None = None,
    max_people: int = 8,
) -> Row:
    """Frame in, poses out, following people as a video is played.

    Its stages are those of `stages.py`: they add up to the sample, but for two measured apart.
    """
    pipeline = Pipeline(contender, clip, max_people)
    samples = measure(pipeline, budget, pace_fps)
    facts = known(contender) | pipeline.facts_after(budget.warm_up)
    stages = pipeline.stages_after(budget.warm_up)
    finds, drawings = (Budget(count=count, warm_up=1) for count in (FINDS, DRAWINGS))
    new_scene = measure(lambda i: pipeline.estimator.estimate(clip[i]), finds)
    stages["new scene"] = new_scene.ms.tolist()
    stages["draw"] = measure(lambda i: draw(clip[i], pipeline.poses), drawings).ms.tolist()
    facts["source"] = clip.description
    return Row("pipeline", contender.spec.text, pace(pace_fps), samples, stages=stages, facts=facts)


def live_level(
    spec: Spec,
    open_it: Callable[[], Source],
    description: str,
    budget: Budget,
    max_people: int = 8,
) -> Row:
    """Capture stamp to skeleton drawn, with the capture and inference threads of the main job.

    No window: what the screen adds is for `--glass`. The first `budget.warm_up` frames are not
    counted. The source must be live, or the age of its frames means nothing.
    """
    limits: dict[str, Any] = {"max_frames": budget.warm_up + budget.count} if budget.count else {}
    capture = CaptureThread(open_it, **limits)
    inference = InferenceThread(capture, lambda: make_estimator(spec, max_people))
    begin_s = time.monotonic()
    spans = np.array(list(watch(capture, inference, budget)), np.float64).reshape(-1, 3)
    status = capture.status
    if len(spans) <= budget.warm_up + 1:
        raise SourceError(f"{description}: {len(spans)} frames are too few to measure")
    captured_s, inferred_s, shown_s = spans[budget.warm_up :].T
    stages = {
        "inference": inferred_s.tolist(),
        "wait+draw": ((shown_s - captured_s) * 1e3 - inferred_s).tolist(),
    }
    facts: dict[str, Any] = {
        "source": description,
        "start_to_first_shown_ms": float(spans[0, 2] - begin_s) * 1e3,
        "captured": status.captured,
        "used": status.used,
        "dropped": status.dropped,
        **memory_mib(),
    }
    samples = Samples((shown_s - captured_s) * 1e3, shown_s)
    return Row("live", spec.text, "the source's", samples, stages=stages, facts=facts)


def watch(
    capture: CaptureThread, inference: InferenceThread, budget: Budget
) -> Iterator[tuple[float, float, float]]:
    """Run the threads, draw each result; yields its capture stamp, inference ms, shown stamp."""
    try:
        capture.start()
        inference.start()
        done, begin_s = 0, float("inf")
        while not inference.ended:
            result = inference.get(TICK_S)
            if result is not None:
                draw(result.frame.image, result.poses)
                shown_s = time.monotonic()
                yield result.frame.captured_s, result.inference_ms, shown_s
                done += 1
                if done == budget.warm_up + 1:
                    begin_s = shown_s
            if not budget.goes_on(done - budget.warm_up, time.monotonic() - begin_s):
                return
    finally:
        inference.stop()
        capture.stop()


class RealTime:
    """A file played as a camera: endless, at its own rate, late frames skipped by the thread.

    See `capture.Source`. A frame is decoded beforehand and stamped when it is due.
    """

    live = True

    def __init__(self, spec: str) -> None:
        self._spec = spec
        self._source = open_source(spec)
        self.info = self._source.info
        self._index = 0
        self._start_s: float | None = None
        self._time_s = self._offset_s = 0.0
        self._gap_s = 1 / (self.info.fps or 30.0)

    def read(self) -> Frame | None:
        frame = self._source.read()
        if frame is None:
            self._source.close()
            self._source = open_source(self._spec)
            self._offset_s = self._time_s + self._gap_s
            frame = self._source.read()
            if frame is None:
                return None
        self._time_s = self._offset_s + frame.time_s
        if self._start_s is None:
            self._start_s = time.monotonic() - self._time_s
        time.sleep(max(0.0, self._start_s + self._time_s - time.monotonic()))
        self._index += 1
        return replace(
            frame, index=self._index - 1, time_s=self._time_s, captured_s=time.monotonic()
        )

    def close(self) -> None:
        self._source.close()


def open_live(spec: str) -> Source:
    """A camera, a stream or the test source as it is; a file at its rate."""
    source = open_source(spec)
    if source.live:
        return source
    source.close()
    return RealTime(spec)


def make_estimator(spec: Spec, max_people: int) -> PoseEstimator:
    """An estimator that owns its engine, as the main job's."""
    model, engine = load(spec)
    return BenchEstimator(spec, model, engine, max_people)


def draw(image: Image, poses: list[Pose]) -> None:
    """The skeletons on a copy of the frame."""
    from livepose.render import draw_poses

    draw_poses(image.copy(), poses, min_score=0.3)


def pace(fps: float | None) -> str:
    return "back to back" if fps is None else f"{fps:g} fps"


def known(contender: Contender) -> dict[str, Any]:
    """What goes with every figure of a contender."""
    return {
        "model": contender.model.name,
        "size": contender.model.size,
        "engine": str(contender.engine.info),
        "load_ms": contender.load_ms,
        "compiled_before": getattr(contender.engine, "read_back", False),
        "first_ms": contender.first_ms,
        **memory_mib(),
    }
