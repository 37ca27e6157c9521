"""Real glass-to-glass latency, with one camera that looks at the screen.

The screen flashes a marker; the threads of the main job see it come back. From the marker being
handed to the window system until the picture with it has been handed over in its turn, there
is one screen, one camera and one livepose in the way: what somebody sees who moves in front of
the camera. Livepose's share is from the capture stamp on.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from livepose.bench.levels import draw
from livepose.bench.measure import percentiles
from livepose.capture import CaptureThread, Source
from livepose.errors import OutputError, SourceError
from livepose.estimator import PoseEstimator
from livepose.inference import InferenceThread, Result

SETTLE_S = 0.6
"""Longer than any screen, camera and exposure control take to follow a change."""

PAUSE_S = (0.25, 0.5)
"""Between flashes: random, so that no rhythm of the camera is met again and again."""

LOST_S = 3.0
LEAST_CONTRAST = 20.0
"""Grey levels by which the marker must stand out, of 255."""

TICK_S = 0.02


class Screen(Protocol):
    """Something that the camera sees."""

    def show(self, marker: bool) -> None:
        """Returns when the picture, white with the marker and black without, is handed over."""

    def close(self) -> None:
        """Safe to call twice."""


class MarkerWindow:
    """A window that is all marker. Use on the main thread only; closing it interrupts."""

    def __init__(self, size_wh: tuple[int, int] = (800, 600)) -> None:
        from livepose.window import Window, display_available

        reason = display_available()
        if reason is not None:
            raise OutputError(f"--glass: it flashes a window, and there is no display: {reason}")
        shape = (size_wh[1], size_wh[0], 3)
        self._pictures = [np.full(shape, grey, np.uint8) for grey in (0, 255)]
        self._window = Window("livepose glass")

    def show(self, marker: bool) -> None:
        self._window.show(self._pictures[marker])
        self._window.commands()
        if self._window.closed:
            raise KeyboardInterrupt

    def close(self) -> None:
        self._window.close()


@dataclass(frozen=True, slots=True, eq=False)
class Glass:
    """A sample a flash, ms. loop: marker shown until its return was shown; livepose: the part
    of it after the capture stamp. missed: flashes that never came back.
    """

    loop_ms: list[float]
    livepose_ms: list[float]
    missed: int

    @property
    def outside_ms(self) -> list[float]:
        """Screen, camera and driver: the loop without livepose."""
        return [a - b for a, b in zip(self.loop_ms, self.livepose_ms, strict=True)]

    def as_dict(self) -> dict[str, Any]:
        parts = {"loop": self.loop_ms, "livepose": self.livepose_ms, "outside": self.outside_ms}
        return {
            "flashes": len(self.loop_ms) + self.missed,
            "missed": self.missed,
            **{k: {**percentiles(ms), "samples_ms": ms} for k, ms in parts.items() if ms},
        }


def measure_glass(
    screen: Screen,
    open_it: Callable[[], Source],
    make: Callable[[], PoseEstimator],
    flashes: int = 30,
    seed: int = 0,
) -> Glass:
    """Flash that often. SourceError when the camera does not see the screen."""
    capture = CaptureThread(open_it)
    inference = InferenceThread(capture, make)
    try:
        capture.start()
        inference.start()
        return Loop(screen, inference).run(flashes, np.random.default_rng(seed))
    finally:
        inference.stop()
        capture.stop()
        screen.close()


class Loop:
    """The main thread's part: flashes, shows, and tells the marker from its absence."""

    def __init__(self, screen: Screen, inference: InferenceThread) -> None:
        self._screen, self._inference = screen, inference
        self._mask: npt.NDArray[np.bool_] | None = None
        self._middle = 0.0

    def run(self, flashes: int, rng: np.random.Generator) -> Glass:
        self._wait_for_camera()
        self._calibrate()
        result = Glass([], [], 0)
        missed = 0
        for _ in range(flashes):
            self._screen.show(False)
            pause_s = SETTLE_S + rng.uniform(*PAUSE_S) if missed else rng.uniform(*PAUSE_S)
            self._watch(pause_s)
            if self._until(False) is None:
                missed += 1
                continue
            flashed_s = time.monotonic()
            self._screen.show(True)
            seen = self._until(True)
            if seen is None:
                missed += 1
                continue
            shown_s, captured_s = seen
            result.loop_ms.append((shown_s - flashed_s) * 1e3)
            result.livepose_ms.append((shown_s - captured_s) * 1e3)
        return Glass(result.loop_ms, result.livepose_ms, missed)

    def _wait_for_camera(self) -> None:
        while self._inference.get(TICK_S) is None:
            if self._inference.ended:
                raise SourceError("--glass: the source ended before its first frame")
            self._screen.show(False)

    def _calibrate(self) -> None:
        """Where in the picture the marker is, and from which brightness on it is there."""
        self._screen.show(False)
        dark = self._watch(SETTLE_S)
        self._screen.show(True)
        bright = self._watch(SETTLE_S)
        change = bright - dark
        if change.max() < LEAST_CONTRAST:
            raise SourceError(
                f"--glass: the camera does not see the marker (it changes by {change.max():.0f} "
                "of 255): point it at the window, and darken the room"
            )
        self._mask = change > change.max() / 2
        self._middle = float((dark[self._mask].mean() + bright[self._mask].mean()) / 2)

    def _watch(self, for_s: float) -> npt.NDArray[np.float32]:
        """The brightness of the last frame within that time."""
        end_s = time.monotonic() + for_s
        last: Result | None = None
        while time.monotonic() < end_s or last is None:
            last = self._inference.get(TICK_S) or last
            if self._inference.ended or time.monotonic() > end_s + LOST_S:
                raise SourceError("--glass: the source gives no frames any more")
        return brightness(last)

    def _until(self, marker: bool) -> tuple[float, float] | None:
        """When a frame with (or without) the marker was shown, and captured; None: never."""
        assert self._mask is not None
        end_s = time.monotonic() + LOST_S
        while time.monotonic() < end_s and not self._inference.ended:
            result = self._inference.get(TICK_S)
            if result is None:
                continue
            draw(result.frame.image, result.poses)
            seen = bool(brightness(result)[self._mask].mean() > self._middle)
            self._screen.show(marker)
            if seen == marker:
                return time.monotonic(), result.frame.captured_s
        return None


def brightness(result: Result) -> npt.NDArray[np.float32]:
    """float32 [H/8, W/8], 0..255."""
    return np.asarray(result.frame.image[::8, ::8].mean(axis=2), np.float32)
