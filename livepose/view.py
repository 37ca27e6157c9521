"""What a run shows while it goes on: a window with keys, or nothing.

`render.py` draws, `window.py` is the window itself; here is what they show when, and what the
keys do.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
from rich.console import Console

from livepose.capture import Frame, SourceInfo
from livepose.errors import OutputError
from livepose.inference import Result
from livepose.sources.camera import FPS as CAMERA_FPS
from livepose.stats import StatsSnapshot

if TYPE_CHECKING:
    from livepose.app import RunOptions
    from livepose.estimator import PoseEstimator


PREVIEW_EVERY_S = 0.1
"""Until the model is loaded the picture moves as seldom: loading needs the processor more."""


class View(Protocol):
    """The render loop's counterpart, used on the main thread only."""

    visible: bool
    wants_to_quit: bool
    paused: bool

    def preview(self, frame: Frame, info: SourceInfo, state: str | None) -> None:
        """Before `begin`: a frame that waits for the model to be loaded; state: as of `idle`."""

    def begin(self, info: SourceInfo, estimator: "PoseEstimator") -> None:
        """Source and engine are known; the first result comes next."""

    def show(self, result: Result, stats: StatsSnapshot) -> None:
        """Show a frame with the poses that were computed from it."""

    def idle(self, state: str | None, stats: StatsSnapshot) -> None:
        """Nothing new: look at the keys, and show what there is to say of the source, if any."""

    def close(self) -> None:
        """Safe to call twice."""


class NoView:
    """Shows nothing; for `--headless`."""

    visible = False
    wants_to_quit = False
    paused = False

    def preview(self, frame: Frame, info: SourceInfo, state: str | None) -> None:
        pass

    def begin(self, info: SourceInfo, estimator: "PoseEstimator") -> None:
        pass

    def show(self, result: Result, stats: StatsSnapshot) -> None:
        pass

    def idle(self, state: str | None, stats: StatsSnapshot) -> None:
        pass

    def close(self) -> None:
        pass


def open_view(options: "RunOptions", console: Console) -> View:
    """A window where there is a display; otherwise one line that says why not, and no view."""
    if options.headless:
        return NoView()
    from livepose.window import display_available

    reason = display_available()
    if reason is not None:
        console.print(
            f"no window: {reason}; going on headless", highlight=False, markup=False, soft_wrap=True
        )
        return NoView()
    return WindowView(options, console)


class WindowView:
    """A window: skeletons, panel and keys. See `Command` for the keys."""

    visible = True

    def __init__(self, options: "RunOptions", console: Console) -> None:
        from livepose.window import Window

        self._options, self._console = options, console
        self._window = Window("livepose")
        self._mirror = bool(options.mirror)
        self._min_score = options.min_score
        self._detail = 1
        self._help = False
        self._state: str | None = None
        self._last: Result | None = None
        self._stats: StatsSnapshot | None = None
        self._estimator: PoseEstimator | None = None
        self._info: SourceInfo | None = None
        self._recording: Recording | None = None
        self._previewed_s = 0.0
        self.wants_to_quit = False
        self.paused = False

    def preview(self, frame: Frame, info: SourceInfo, state: str | None) -> None:
        from livepose.render import draw_banner

        now_s = time.monotonic()
        if now_s - self._previewed_s < PREVIEW_EVERY_S:
            return
        self._previewed_s = now_s
        if self._options.mirror is None:
            self._mirror = info.is_camera
        image = self._copy(frame)
        draw_banner(image, state or "loading the model")
        self._window.show(image)

    def begin(self, info: SourceInfo, estimator: "PoseEstimator") -> None:
        self._estimator = estimator
        self._info = info
        if self._options.mirror is None:
            self._mirror = info.is_camera

    def show(self, result: Result, stats: StatsSnapshot) -> None:
        self._last, self._stats, self._state = result, stats, None
        if self._recording:
            self._record(result)
        self._draw(None)
        self._obey()

    def idle(self, state: str | None, stats: StatsSnapshot) -> None:
        self._stats = stats
        if self._last is not None and state != self._state:
            self._draw(state)
        self._state = state
        self._obey()

    def close(self) -> None:
        self._stop_recording()
        self._window.close()

    def _draw(self, state: str | None) -> None:
        from livepose.render import draw_banner, draw_help, draw_panel, draw_poses, mirror_pose

        assert self._last is not None
        image, poses = self._copy(self._last.frame), self._last.poses
        if self._mirror:
            poses = [mirror_pose(p, image.shape[1]) for p in poses]
        draw_poses(image, poses, min_score=self._min_score, detail=self._detail)
        if self._detail and self._stats:
            draw_panel(image, self._panel(), self._limit())
        if self._help:
            draw_help(image)
        if state or self.paused:
            draw_banner(image, state or "paused")
        self._window.show(image)

    def _copy(self, frame: Frame) -> npt.NDArray[np.uint8]:
        """To draw on: uint8 [H, W, 3] BGR, the way round that it is shown."""
        image: npt.NDArray[np.uint8] = frame.image[:, :: -1 if self._mirror else 1].copy()
        return image

    def _panel(self) -> list[str]:
        from livepose.console import panel_lines

        assert self._stats is not None and self._last is not None
        # Asked for each time: the engine can be another after a while.
        estimator = self._estimator
        engine = f"{estimator.model.name}, {estimator.engine.info}" if estimator else ""
        lines = panel_lines(self._stats, len(self._last.poses), engine)
        if self._recording:
            lines.append(f"recording {self._recording.path}")
        if round(self._min_score - self._options.min_score, 3):
            lines.append(f"joints from a score of {self._min_score:.2f} on")
        return lines

    def _limit(self) -> str | None:
        """What holds the displayed rate down, if anything does."""
        info, stats = self._info, self._stats
        if info is None or stats is None or info.fps is None:
            return None
        if stats.inference_ms is not None and stats.inference_ms > 1000 / info.fps:
            if stats.fps is not None and stats.fps < 800 / stats.inference_ms:
                return None  # the source or other work keeps it from what the engine could do
            return f"engine-limited: {stats.inference_ms:.0f} ms a frame"
        wanted = self._options.fps or CAMERA_FPS
        if info.is_camera and info.fps < 0.95 * wanted:
            return f"camera-limited: {info.description}; asked for {wanted:g} fps"
        return None

    def _obey(self) -> None:
        from livepose.window import Command

        for command in self._window.commands():
            if command is Command.QUIT:
                self.wants_to_quit = True
            elif self._estimator is None:
                continue  # a preview has nothing else to obey
            elif command is Command.PAUSE:
                self.paused = not self.paused
            elif command is Command.SNAPSHOT:
                self._snapshot()
            elif command is Command.RECORD:
                self._toggle_recording()
            elif command is Command.MIRROR:
                self._mirror = not self._mirror
            elif command is Command.OVERLAY:
                self._detail = (self._detail + 1) % 3
            elif command is Command.HELP:
                self._help = not self._help
            elif command is Command.MORE:
                self._min_score = min(0.95, self._min_score + 0.05)
            elif command is Command.FEWER:
                self._min_score = max(0.05, self._min_score - 0.05)
            if self._last is not None:
                self._draw(self._state)
        self.wants_to_quit = self.wants_to_quit or self._window.closed

    def _snapshot(self) -> None:
        if self._last is None:
            return
        from livepose.record import write_image

        path = free_name(".png")
        try:
            write_image(path, annotated(self._last, self._min_score))
        except OutputError as e:
            self._say(str(e))  # a key must not end the run
        else:
            self._say(f"wrote {path}")

    def _toggle_recording(self) -> None:
        if self._recording:
            self._stop_recording()
        elif self._last is not None:
            try:
                self._recording = Recording(self._last, self._info)
            except OutputError as e:
                self._say(str(e))
            else:
                self._record(self._last)  # of a held picture there comes no other

    def _record(self, result: Result) -> None:
        assert self._recording is not None
        try:
            self._recording.write(result, self._min_score)
        except OutputError as e:
            self._recording = None
            self._say(str(e))

    def _stop_recording(self) -> None:
        recording, self._recording = self._recording, None
        if recording:
            try:
                recording.close()
            except OutputError as e:
                self._say(str(e))
            else:
                self._say(f"wrote {recording.path}")

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


class Recording:
    """What the r key writes: the source's frames with skeletons, in the current folder."""

    def __init__(self, first: Result, info: SourceInfo | None) -> None:
        from livepose.record import VideoWriter

        height, width = first.frame.image.shape[:2]
        self.path = free_name(".mp4")
        self._writer = VideoWriter(self.path, (width, height), (info and info.fps) or 30.0)

    def write(self, result: Result, min_score: float) -> None:
        self._writer.write(annotated(result, min_score), result.frame.time_s)

    def close(self) -> None:
        self._writer.close()


def free_name(suffix: str) -> str:
    """A name by the clock for a file in the current folder, of no file that is there."""
    name = time.strftime("livepose-%Y%m%d-%H%M%S")
    number = 2
    while Path(name + suffix).exists():
        name = f"{name.partition('_')[0]}_{number}"
        number += 1
    return name + suffix


def annotated(result: Result, min_score: float) -> npt.NDArray[np.uint8]:
    """The source's frame, uint8 [H, W, 3] BGR, with its skeletons; a copy."""
    from livepose.render import draw_poses

    image: npt.NDArray[np.uint8] = result.frame.image.copy()
    draw_poses(image, result.poses, min_score=min_score)
    return image
