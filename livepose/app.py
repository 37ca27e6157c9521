"""The main job: starts, watches and joins the three threads.

The capture thread reads the source, the inference thread finds the poses, and the main thread,
here, shows and writes them: windows must be on the main thread. An exception in any thread
comes out of `run`, with that thread's own traceback, after all threads have been joined.
"""

import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

from rich.console import Console

from livepose import __version__
from livepose.capture import CaptureStatus, CaptureThread, Source, SourceInfo
from livepose.console import RunDisplay, Telling, show, state_of
from livepose.errors import UsageError
from livepose.estimator import PoseEstimator
from livepose.inference import InferenceThread, Result
from livepose.outputs import Outputs
from livepose.runtime.hardware import has_nvidia_gpu
from livepose.sinks import check_name
from livepose.sources import SourceOptions, open_source
from livepose.sources.common import without_password
from livepose.sources.paced import Paced
from livepose.stats import LatencyStats, StatsSnapshot
from livepose.view import View, open_view

ENDING = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
"""Signals that end a run as Ctrl-C does; SIGHUP says that the terminal was closed."""

TICK_S = 0.02
"""The render loop looks at keys and the camera's health at least this often."""

HELD_S = 0.1
"""The same while the last picture is held."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The main job's options, named as on the command line.

    mirror: None mirrors physical cameras only. headless: None where there is no display.
    """

    source: str = "0"
    save: str | None = None
    keypoints: str | None = None
    model: str = "auto"
    engine: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    max_people: int = 8
    min_score: float = 0.3
    mirror: bool | None = None
    headless: bool = False
    max_frames: int | None = None
    duration_s: float | None = None
    smooth: bool = True
    size_wh: tuple[int, int] | None = None
    fps: float | None = None
    give_up_after_s: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.min_score <= 1:
            raise UsageError(f"--min-score {self.min_score}: give a number from 0 to 1")
        for name, value in (("max-people", self.max_people), ("max-frames", self.max_frames)):
            if value is not None and value < 1:
                raise UsageError(f"--{name} {value}: give at least 1")
        if self.keypoints:
            check_name(self.keypoints)
        for path in (self.save, self.keypoints):
            if path and os.path.exists(path) and same_file(path, self.source):
                raise UsageError(f"{path}: the source would be overwritten; choose another name")
        if self.duration_s is not None and not 0 < self.duration_s < math.inf:
            raise UsageError(f"--duration {self.duration_s}: give a time above 0 s")


def same_file(path: str, source: str) -> bool:
    return os.path.exists(source) and os.path.samefile(path, source)


def run(options: RunOptions, console: Console, started_s: float | None = None) -> None:
    """Do the main job to its end; returns when the source, a limit or the user ends it.

    started_s: `time.monotonic()` when the program was started, for the time to first skeleton.
    Raises LivePoseError, or KeyboardInterrupt on Ctrl-C, SIGTERM and SIGHUP; by then all threads
    are joined and everything written is playable.
    """
    view = open_view(options, console)
    capture = CaptureThread(
        lambda: open_for(options, view),
        give_up_after_s=options.give_up_after_s,
        max_frames=options.max_frames,
        duration_s=options.duration_s,
    )
    inference = InferenceThread(capture, lambda: make_estimator(options, console))
    with ExitStack() as stack:
        stack.callback(view.close)
        stack.enter_context(terminated_as_interrupted())
        stack.callback(capture.stop)
        stack.callback(inference.stop)
        capture.start()
        inference.start()
        Run(options, console, view, capture, inference, started_s or time.monotonic()).loop()


def open_for(options: RunOptions, view: View) -> Source:
    """The source. The test source, written to a file unseen, need not be paced by the clock; a
    file that is only watched is."""
    limited = options.max_frames is not None or options.duration_s is not None
    rendering = options.save is not None and not view.visible and limited
    wishes = SourceOptions(size_wh=options.size_wh, fps=options.fps, paced=not rendering)
    source = open_source(options.source, options=wishes)
    watched = view.visible and not (options.save or options.keypoints)
    return Paced(source) if watched and not source.live else source


def make_estimator(options: RunOptions, console: Console) -> PoseEstimator:
    """The estimator; `auto` goes over to TensorRT by itself once its engine is built.

    On a GPU engines are opened one after the other: CUDA graphs of two threads cannot be captured
    at once.
    """
    estimator = PoseEstimator(
        options.model,
        options.engine,
        options.device,
        options.precision,
        options.max_people,
        options.smooth,
        ahead=not (may_take_gpu(options) and has_nvidia_gpu()),
    )
    if options.engine == "auto":
        try:
            estimator.build_in_background(lambda line: say(console, line))
        except BaseException:
            estimator.close()
            raise
    return estimator


def may_take_gpu(options: RunOptions) -> bool:
    return options.device != "cpu" and options.engine not in ("openvino", "onnx")


class Run:
    """The render loop of one run."""

    def __init__(
        self,
        options: RunOptions,
        console: Console,
        view: View,
        capture: CaptureThread,
        inference: InferenceThread,
        started_s: float,
    ) -> None:
        self.options, self.console, self.view = options, console, view
        self.capture, self.inference = capture, inference
        self.started_s = started_s
        self.stats = LatencyStats()
        self.outputs: Outputs | None = None
        self.people = 0
        self.paused_s: float | None = None
        self.first_shown_s: float | None = None
        self.first_skeleton_s: float | None = None

    def loop(self) -> None:
        """Show results until there are no more or the user quits; then finish the outputs."""
        whole = False
        try:
            with ExitStack() as stack:
                display: RunDisplay | None = None
                while not (self.inference.ended or self.view.wants_to_quit):
                    result = self._next()
                    status = self.capture.status
                    if status.error is not None and status.info is None:
                        raise status.error  # never opened: no model need be waited for
                    now = self.stats.snapshot(now_s=time.monotonic(), dropped=status.dropped)
                    if result is not None:
                        display = display or stack.enter_context(self._begin(status))
                        self._show(result, now)
                    else:
                        waiting = self.capture.waiting() if display is None else None
                        if waiting is not None and status.info is not None:
                            self.view.preview(waiting, status.info, state_of(status))
                        self.view.idle(state_of(status), now)
                    if display:
                        display.update(now, self.people, self.stats.frames, state_of(status))
            # An error of a thread that ended in the very last turn must not be lost.
            self.inference.get(0)
            whole = not self.view.wants_to_quit and not self._limited()
            if whole:
                self._hold()
        finally:
            self._finish(whole)

    def _next(self) -> Result | None:
        """The next result, if there is one within a tick and the view is not paused.

        What waited through a pause of a live source is as old as the pause: it is not shown.
        """
        if self.view.paused:
            self.paused_s = self.paused_s or time.monotonic()
            return self.inference.get(TICK_S, take=False)
        if self.paused_s is not None:
            self.stats.leave_out(self.paused_s, time.monotonic(), waited=not self.capture.live)
            self.paused_s = None
            if self.capture.live:
                self.inference.get(0)
        return self.inference.get(TICK_S)

    def _hold(self) -> None:
        """In a window the last of a set of pictures stays until the user has seen it, unless they
        are to be written: then the end is what is waited for."""
        info = self.capture.status.info
        if self.options.save or self.options.keypoints:
            return
        while info and info.pictures and self.view.visible and not self.view.wants_to_quit:
            now = self.stats.snapshot(now_s=time.monotonic(), dropped=self.capture.status.dropped)
            self.view.idle("the last picture: q quits", now)
            time.sleep(HELD_S)

    def _limited(self) -> bool:
        """Whether a limit of the user's, not the source, may have ended the run."""
        by_count = self.options.max_frames is not None
        return self.options.duration_s is not None or (
            by_count and self.stats.frames == self.options.max_frames
        )

    def _finish(self, whole: bool) -> None:
        """Whatever ended the run: stop the threads, so that the counts are final, close the
        outputs, and say how it was. A second Ctrl-C must not leave half a file."""
        ending = [signal.SIGINT, *ENDING]
        before = [signal.signal(s, signal.SIG_IGN) for s in ending]
        try:
            self.inference.stop()
            self.capture.stop()
            if self.outputs:
                self.outputs.close(self.summary(), whole, interrupted())
                with suppress(OSError):  # the terminal may have been closed
                    self._report()
        finally:
            for number, handler in zip(ending, before, strict=True):
                signal.signal(number, handler)

    def _begin(self, status: CaptureStatus) -> RunDisplay:
        """At the first result, when source and engine are known: say so, open the outputs."""
        info, estimator = status.info, self.inference.estimator
        assert info is not None and estimator is not None
        header = {
            "version": __version__,
            "source": without_password(self.options.source),
            "model": estimator.model.name,
            "engine": str(estimator.engine.info),
        }
        self.outputs = Outputs(
            self.options.save, self.options.keypoints, info, header, self.options.min_score
        )
        self.view.begin(info, estimator)
        choice = estimator.engine.info.choice
        why = f" ({choice})" if choice else ""
        self._say(f"{info.description}; model {header['model']}, {header['engine']}{why}")
        asked = self.options.size_wh or self.options.fps
        if asked and not (info.is_camera or self.options.source.partition(":")[0] == "test"):
            self._say("--size and --fps are for cameras: this source has its own")
        return RunDisplay(self.console, self.capture.live, self._expected_frames(info))

    def _expected_frames(self, info: SourceInfo) -> int | None:
        """How many frames the run will have, as far as that can be told beforehand."""
        frames = info.frames
        seconds = [s for s in (info.duration_s, self.options.duration_s) if s is not None]
        if info.fps and seconds and (frames is None or self.options.duration_s is not None):
            frames = round(min(seconds) * info.fps)
        known = [n for n in (frames, self.options.max_frames) if n is not None]
        return min(known) if known else None

    def _show(self, result: Result, now: StatsSnapshot) -> None:
        frame = result.frame
        assert self.outputs is not None
        self.outputs.write(result)
        age_ms = self.stats.age_ms(frame.captured_s, time.monotonic())
        self.view.show(result, replace(now, frame_age_ms=age_ms))
        shown_s = time.monotonic()
        self.stats.frame_shown(
            frame.index,
            captured_s=frame.captured_s,
            inference_ms=result.inference_ms,
            shown_s=shown_s,
        )
        self.first_shown_s = self.first_shown_s or shown_s
        self.people = len(result.poses)
        if result.poses:
            self.first_skeleton_s = self.first_skeleton_s or shown_s

    def summary(self) -> dict[str, Any]:
        """The whole run in figures; ends the NDJSON."""
        status = self.capture.status
        first = {
            "first_frame_s": self.first_shown_s,
            "first_skeleton_s": self.first_skeleton_s,
        }
        return {
            **self.stats.summary(dropped=status.dropped),
            "captured": status.captured,
            "used": status.used,
            "reconnects": status.reconnects,
            **{k: round(v - self.started_s, 3) if v else None for k, v in first.items()},
        }

    def _report(self) -> None:
        summary = self.summary()
        first = summary["first_skeleton_s"]
        when = "no skeleton" if first is None else f"first skeleton after {first:.2f} s"
        if self.capture.live and summary["frames"]:
            self._say(
                f"latency p50 {show(summary['latency_p50_ms'], ' ms')}"
                f"  p99 {show(summary['latency_p99_ms'], ' ms')}"
                f"  inference {show(summary['inference_p50_ms'], ' ms')}"
                f"  dropped {summary['dropped']}  reconnects {summary['reconnects']}"
            )
        fps = f" at {summary['fps']} fps" if summary["fps"] else ""
        self._say(f"{summary['frames']} frames{fps}, {when}")
        assert self.outputs is not None
        for path in self.outputs.finished:
            self._say(f"wrote {path}")

    def _say(self, line: str) -> None:
        say(self.console, line)


def say(console: Console, line: str) -> None:
    """A line for people, beside whatever else the terminal shows; from any thread."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def interrupted() -> bool:
    """Whether Ctrl-C, or a signal that is taken for it, is on its way through what calls this."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """`ENDING` signals end a run as Ctrl-C does: threads joined, outputs finished. One that is
    ignored (nohup) stays so."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {s: h for s in ENDING if (h := signal.getsignal(s)) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stderr_console() -> Console:
    """Where everything but results goes."""
    return Telling(file=sys.stderr, stderr=True)
