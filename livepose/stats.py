"""Numbers that do not lie: displayed rate, latency and age of the frames a person saw.

Holds the arithmetic only: every time is passed in (seconds of `time.monotonic()`), nothing here
reads a clock, draws or prints. All calls come from the thread that shows frames.
"""

from array import array
from collections import deque
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class StatsSnapshot:
    """The last seconds, for the panel. None where too few frames were shown to tell."""

    fps: float | None
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    frame_age_ms: float | None
    inference_ms: float | None
    dropped: int


class LatencyStats:
    """Counts each displayed frame once and keeps every sample of the run, outliers included.

    Memory is 16 bytes a frame (2 MB an hour at 30 frames a second), so that the percentiles of
    the whole run are exact; the panel's numbers come from the last `window_s` seconds.
    """

    def __init__(self, window_s: float = 2.0) -> None:
        self._window_s = window_s
        self._latencies_ms = array("d")
        self._inferences_ms = array("d")
        self._recent: deque[tuple[float, float, float]] = deque()  # shown_s, latency, inference
        self._pauses: deque[tuple[float, float]] = deque()
        self._last_index = -1
        self._last_captured_s = 0.0
        self._first_shown_s = 0.0
        self._last_shown_s = 0.0

    @property
    def frames(self) -> int:
        """How many different frames were shown so far."""
        return len(self._latencies_ms)

    def frame_shown(
        self, index: int, *, captured_s: float, inference_ms: float, shown_s: float
    ) -> None:
        """Record that the source's frame `index` was shown; showing it again changes nothing."""
        if index == self._last_index:
            return
        if not self._latencies_ms:
            self._first_shown_s = shown_s
        while self._pauses and self._pauses[0][1] <= captured_s:
            self._pauses.popleft()
        latency_ms = self.age_ms(captured_s, shown_s)
        self._latencies_ms.append(latency_ms)
        self._inferences_ms.append(inference_ms)
        self._recent.append((shown_s, latency_ms, inference_ms))
        self._last_index = index
        self._last_captured_s = shown_s - latency_ms / 1e3
        self._last_shown_s = shown_s
        self._forget_before(shown_s - self._window_s)

    def age_ms(self, captured_s: float, now_s: float) -> float:
        """How old a frame is, without the pauses that it waited through."""
        waited_s = (end_s - max(start_s, captured_s) for start_s, end_s in self._pauses)
        return (now_s - captured_s - sum(s for s in waited_s if s > 0)) * 1e3

    def leave_out(self, start_s: float, end_s: float, waited: bool) -> None:
        """A pause of the display does not count: neither as time, nor in the panel's window, nor,
        where frames `waited` through it, in their latency."""
        self._first_shown_s += end_s - start_s
        if waited:
            self._pauses.append((start_s, end_s))
        self._recent.clear()

    def snapshot(self, *, now_s: float, dropped: int = 0) -> StatsSnapshot:
        """The state at `now_s`; `dropped` counts the frames captured and never used."""
        self._forget_before(now_s - self._window_s)
        age_ms = (now_s - self._last_captured_s) * 1e3 if self.frames else None
        if not self._recent:
            return StatsSnapshot(None, None, None, age_ms, None, dropped)
        latencies = [latency_ms for _, latency_ms, _ in self._recent]
        p50, p99 = np.percentile(latencies, (50, 99))
        return StatsSnapshot(
            fps=_rate(len(self._recent), self._recent[-1][0] - self._recent[0][0]),
            latency_p50_ms=float(p50),
            latency_p99_ms=float(p99),
            frame_age_ms=age_ms,
            inference_ms=float(np.median([inference_ms for *_, inference_ms in self._recent])),
            dropped=dropped,
        )

    def summary(self, *, dropped: int = 0) -> dict[str, int | float | None]:
        """The whole run, JSON-ready: rates per second, times in milliseconds, None if unknown."""
        elapsed_s = self._last_shown_s - self._first_shown_s
        fps = _rate(self.frames, elapsed_s)
        return {
            "frames": self.frames,
            "dropped": dropped,
            "elapsed_s": round(elapsed_s, 3),
            "fps": None if fps is None else round(fps, 2),
            **_percentiles("latency", self._latencies_ms),
            **_percentiles("inference", self._inferences_ms),
        }

    def _forget_before(self, oldest_s: float) -> None:
        while self._recent and self._recent[0][0] < oldest_s:
            self._recent.popleft()


def _rate(frames: int, elapsed_s: float) -> float | None:
    """Frames a second between the first and the last: (N-1)/elapsed."""
    return (frames - 1) / elapsed_s if frames > 1 and elapsed_s > 0 else None


def _percentiles(name: str, samples_ms: "array[float]") -> dict[str, int | float | None]:
    keys = [f"{name}_{p}_ms" for p in ("p50", "p90", "p99", "max")]
    if not samples_ms:
        return dict.fromkeys(keys)
    values = np.percentile(np.frombuffer(samples_ms), (50, 90, 99, 100))
    return {key: round(float(value), 3) for key, value in zip(keys, values, strict=True)}
