"""What the terminal shows of a run: a bar for files, a line of figures for live sources.

Everything goes to stderr, which leaves stdout to `--keypoints -`. Where stderr is no terminal,
plain lines: one at the start, one every few seconds, one summary.
"""

import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from livepose.capture import CaptureStatus
from livepose.sinks import drop
from livepose.stats import StatsSnapshot

PLAIN_EVERY_S = 5.0
REFRESH_S = 0.25


def show(value: float | None, unit: str) -> str:
    """A figure for people; a dash where it is not known."""
    return "-" if value is None else f"{value:.1f}{unit}"


def figures(snapshot: StatsSnapshot, people: int) -> str:
    """The panel's figures in one line; a dash where nothing is known yet."""

    return "  ".join(
        (
            show(snapshot.fps, " fps"),
            f"latency p50 {show(snapshot.latency_p50_ms, ' ms')}",
            f"p99 {show(snapshot.latency_p99_ms, ' ms')}",
            f"inference {show(snapshot.inference_ms, ' ms')}",
            f"dropped {snapshot.dropped}",
            f"people {people}",
        )
    )


def panel_lines(snapshot: StatsSnapshot, people: int, engine: str) -> list[str]:
    """The panel of the window, a figure or two a line."""
    return [
        f"{show(snapshot.fps, ' fps')}  {people} {'person' if people == 1 else 'people'}",
        f"latency p50 {show(snapshot.latency_p50_ms, ' ms')}"
        f"  p99 {show(snapshot.latency_p99_ms, ' ms')}",
        f"inference {show(snapshot.inference_ms, ' ms')}"
        f"  frame age {show(snapshot.frame_age_ms, ' ms')}",
        f"dropped {snapshot.dropped}",
        engine,
    ]


def state_of(status: CaptureStatus) -> str | None:
    """What is wrong with a live source, for people; None while all is well."""
    if status.state == "opening":
        return "opening the source"
    if status.state == "lost":
        return "camera lost, reconnecting" + (f" ({status.attempts})" if status.attempts else "")
    return None


def kind_of(state: str | None) -> str | None:
    """The state without its count, for plain lines: one a loss, not one an attempt."""
    return state and state.partition(" (")[0]


class Printing(Console):
    """A console whose reader may go away: an OSError as of every other file, no silent exit."""

    def on_broken_pipe(self) -> None:
        raise


class Telling(Console):
    """A console for people: where nobody listens any more, the work goes on in silence."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        drop(self.file)


class RunDisplay:
    """Shows a run's progress; a context manager, so that the terminal is left in order."""

    def __init__(self, console: Console, live: bool, frames: int | None) -> None:
        self._console = console
        self._shown_s = 0.0
        self._said: str | None = None
        self._frames = 0
        self._progress: Progress | None = None
        self._live: Live | None = None
        if console.is_terminal and live:
            self._live = Live(console=console, auto_refresh=False, transient=True)
        elif console.is_terminal:
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
            self._progress = Progress(*columns, TimeRemainingColumn(), console=console)
            self._task = self._progress.add_task("", total=frames)

    def __enter__(self) -> "RunDisplay":
        if self._live:
            self._live.start()
        if self._progress:
            self._progress.start()
        self._shown_s = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()
        if self._progress:
            self._progress.update(self._task, completed=self._frames)
            self._progress.stop()

    def update(self, snapshot: StatsSnapshot, people: int, frames: int, state: str | None) -> None:
        """May be called as often as one likes; shows at its own pace, a new state at once."""
        now_s = time.monotonic()
        self._frames = frames
        every_s = REFRESH_S if self._live or self._progress else PLAIN_EVERY_S
        if now_s - self._shown_s < every_s and state == self._said:
            return
        self._shown_s = now_s
        line = state or figures(snapshot, people)
        if self._live:
            self._live.update(Text(line, style="bold yellow" if state else ""), refresh=True)
        elif self._progress:
            self._progress.update(self._task, completed=frames, description=line)
        elif not state or kind_of(state) != kind_of(self._said):
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
        self._said = state
