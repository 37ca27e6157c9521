"""Where frames come from: what a source is, and the thread that reads one.

The tour starts here. A `Source` makes `Frame`s; `CaptureThread` reads it and hands them to
one consumer. From a live source only the newest frame is kept, and a source that is lost is
opened again; from a file every frame is handed over in order and the reader waits.
The sources themselves are in `livepose.sources`; nothing here decodes or draws.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from livepose.errors import SourceError

FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 1.0
"""Waits between attempts to open a lost source double from the first to the longest, which
leaves time to open it and still show a frame within 2 s of its return."""

JOIN_S = 0.9
"""How long `stop` waits for a read that blocks; such a thread ends by itself when it returns."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture and when it was taken.

    image: uint8 [H, W, 3], BGR, the right way up; nobody writes to it.
    index: 0, 1, 2 ... in the order of capture; of a live source some may be missing, which gave
        way to a newer one before they were decoded.
    time_s: on the source's own timeline: presentation time of a file (from 0), seconds since
        opening of a live source.
    captured_s: `time.monotonic()` right after the picture was grabbed or decoded.
    name: the file the picture came from, where every picture has its own; otherwise empty.
    """

    image: npt.NDArray[np.uint8]
    index: int
    time_s: float
    captured_s: float
    name: str = ""


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known about a source once it is open.

    description: one line for people, such as "camera 0, 1280x720 at 30 fps, MJPG"; it never
        holds a password.
    size_wh: of the frames, in pixels, as they are handed out (after rotation).
    fps: nominal; None where the source does not say or has none (images).
    frames, duration_s: None where they are not known beforehand.
    is_camera: a physical camera: people expect to see themselves mirrored, and sensor noise
        makes no two pictures equal, so the same one again and again means that it hangs.
    pictures: the files it reads, where it is a set of pictures.
    """

    description: str
    size_wh: tuple[int, int]
    fps: float | None = None
    frames: int | None = None
    duration_s: float | None = None
    is_camera: bool = False
    pictures: tuple[Path, ...] = ()


class Source(Protocol):
    """An opened source of frames, for one thread.

    `live`: paced by the world, so only the newest frame matters; other sources have a fixed
    row of frames, each of which counts. Opening is the constructor's work: it raises
    `SourceError` unless at least one frame could be had.
    """

    live: bool
    info: SourceInfo

    def read(self) -> Frame | None:
        """The next frame; None at the end and after `close`.

        Raises `SourceLost` where opening again may help; then only `close` may follow.
        Blocks for a bounded time.
        """

    def close(self) -> None:
        """Free everything; a second call does nothing."""


class SourceLost(SourceError):
    """A source that worked has stopped giving frames; opening it again may help."""


State = Literal["opening", "running", "lost", "ended", "failed"]


@dataclass(frozen=True, slots=True)
class CaptureStatus:
    """The capture thread at one moment.

    captured: frames read. At the end captured == used + dropped, exactly.
    used: frames handed out by `get`.
    dropped: frames that gave way to a newer one, or were left when everything stopped.
    reconnects: how often a lost source came back.
    attempts: tries to reopen since the source was lost; 0 while all is well.
    last_frame_s: `captured_s` of the last frame read; None before the first.
    error: what ended the thread, with its traceback, in state "failed".
    info: of the source as opened last; None before it is open.
    """

    state: State
    captured: int
    used: int
    dropped: int
    reconnects: int
    attempts: int
    last_frame_s: float | None
    error: BaseException | None
    info: SourceInfo | None


class CaptureThread:
    """Reads a source in a thread of its own, for one consumer.

    open_source: called in that thread, so models can load meanwhile, and again whenever a live
        source is lost. A source that cannot be opened the first time ends the thread at once.
    give_up_after_s: how long a live source may stay lost; None: for ever.
    max_frames: end after that many frames were handed out; duration_s: after that much of the
        source's time, counted from the first of them.
    lost_after_s: a live source silent for longer, and for longer than twice the time between its
        last two frames, is shown as "lost", even while a read blocks.
    frozen_after_s: a camera that repeats the very same picture for longer is opened again.
    """

    def __init__(
        self,
        open_source: Callable[[], Source],
        *,
        give_up_after_s: float | None = None,
        max_frames: int | None = None,
        duration_s: float | None = None,
        lost_after_s: float = 2.0,
        frozen_after_s: float = 3.0,
    ) -> None:
        self._open = open_source
        self._give_up_after_s = give_up_after_s
        self._max_frames = max_frames
        self._duration_s = duration_s
        self._lost_after_s = lost_after_s
        self._frozen = _FrozenPicture(frozen_after_s)
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        # One lock for everything below; its condition is notified on every change.
        self._changed = threading.Condition()
        self._slot: Frame | None = None
        self._stopping = False
        self._joined = False
        self._status = CaptureStatus("opening", 0, 0, 0, 0, 0, None, None, None)
        self._first: Frame | None = None
        self._period_s = 0.0
        self._begin_s: float | None = None
        self._live = False

    def start(self) -> None:
        """Open the source and begin to read it, in the thread."""
        self._thread.start()

    def get(self, timeout_s: float) -> Frame | None:
        """The newest frame (live) or the next one (file), each at most once.

        None when none came within `timeout_s`, and at the end: `status.state` tells which.
        Raises what ended the thread, once the frames before it have been handed out.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._slot or self._stopping or self._finished(), timeout_s
            )
            frame, self._slot = self._slot, None
            if frame is None:
                if self._status.error is not None:
                    raise self._status.error
                return None
            if self._begin_s is None:
                self._begin_s = frame.time_s
            self._update(used=self._status.used + 1)
            if self._status.used == self._max_frames:
                self._stop_reading()
            return frame

    def waiting(self) -> Frame | None:
        """The frame that `get` would give at once, left where it is; None where there is none."""
        with self._changed:
            return self._slot

    def stop(self) -> None:
        """Stop reading, drop what waits, and join the thread, all within 2 s; repeatable.

        A thread blocked in a stalled read is left behind: it is a daemon, counts nothing any
        more, and closes its source when the read's own time-out is over.
        """
        with self._changed:
            self._stop_reading()
        if self._thread.ident is not None and not self._joined:
            self._thread.join(JOIN_S)
            self._joined = True

    @property
    def status(self) -> CaptureStatus:
        """A snapshot; "ended" is said only when no frame waits any more."""
        with self._changed:
            status = self._status
            if status.state == "ended" and self._slot is not None:
                return replace(status, state="running")
            if self._stopping and status.state != "failed":
                # Nothing more will be handed out, even while a last read still blocks.
                return replace(status, state="ended")
            patience_s = max(self._lost_after_s, 2 * self._period_s)
            if status.state == "running" and self._live and self._silent_s() > patience_s:
                return replace(status, state="lost")
            return status

    @property
    def live(self) -> bool:
        """Whether the source, once open, is paced by the world."""
        return self._live

    # The rest runs in the thread, or with the lock held.

    def _run(self) -> None:
        try:
            self._read_all()
        except BaseException as error:
            # Kept for the consumer, whose `get` raises it with this thread's traceback.
            with self._changed:
                self._update(state="failed", error=error)
        else:
            with self._changed:
                self._update(state="ended")

    def _read_all(self) -> None:
        source: Source | None = self._open()
        try:
            while source is not None:
                self._opened(source)
                try:
                    self._read(source)
                    return
                except SourceLost as lost:
                    if not source.live:
                        raise
                    source.close()
                    source = self._reopen(lost)
        finally:
            if source is not None:
                source.close()

    def _read(self, source: Source) -> None:
        """Read until the end, a limit or `stop`."""
        base = self._status.captured
        while not self._stopping:
            frame = source.read()
            if frame is None:
                if source.live and not self._stopping:
                    raise SourceLost(f"{source.info.description}: the stream ended")
                return
            if base and self._first is not None:
                # The source was opened again and counts from 0, but its reader does not.
                time_s = self._first.time_s + frame.captured_s - self._first.captured_s
                frame = replace(frame, index=base + frame.index, time_s=time_s)
            if self._is_over(frame.time_s):
                return
            self._offer(frame)
            if source.info.is_camera and self._frozen.repeats(frame):
                raise SourceLost(f"{source.info.description}: repeats the same picture")
            if not source.live and self._status.captured == self._max_frames:
                return

    def _offer(self, frame: Frame) -> None:
        """Put the frame in the slot: over a waiting one (live), or when it is free (file)."""
        with self._changed:
            if self._stopping:
                return
            self._first = self._first or frame
            size_wh = frame.image.shape[1], frame.image.shape[0]
            info = self._status.info
            if info is not None and info.size_wh != size_wh:
                info = replace(info, size_wh=size_wh)
            # What a live source left out, for something newer was there, was captured too.
            overtaken = max(0, frame.index - self._status.captured) if self._live else 0
            dropped = self._status.dropped + overtaken + (self._live and self._slot is not None)
            last_s = self._status.last_frame_s
            going = last_s is not None and self._status.state == "running"
            self._period_s = frame.captured_s - last_s if going else 0.0  # type: ignore[operator]
            self._update(
                state="running",
                captured=self._status.captured + overtaken + 1,
                dropped=dropped,
                attempts=0,
                last_frame_s=frame.captured_s,
                info=info,
            )
            if not self._live:
                if self._begin_s is None:
                    self._begin_s = frame.time_s
                self._changed.wait_for(lambda: self._slot is None or self._stopping)
            if self._stopping:
                self._update(dropped=self._status.dropped + 1)
                return
            self._slot = frame
            self._changed.notify_all()

    def _reopen(self, lost: SourceError) -> Source | None:
        """Try until the source is back; None when stopped or at the end of the duration.

        Only a frame proves that it is back, so the clock of giving up runs on till then.
        """
        wait_s = FIRST_WAIT_S
        with self._changed:
            self._update(state="lost")
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping, wait_s)
                if self._stopping or self._is_over(self._timeline_s()):
                    return None
                self._update(attempts=self._status.attempts + 1)
            if self._give_up_after_s is not None and self._silent_s() >= self._give_up_after_s:
                raise SourceError(
                    f"{lost}; given up after {self._silent_s():.0f} s without a frame: check the "
                    "cable or the network and start again"
                ) from lost
            try:
                source = self._open()
            except SourceError as error:
                lost = error
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
                continue
            with self._changed:
                self._update(reconnects=self._status.reconnects + 1)
            return source

    def _opened(self, source: Source) -> None:
        with self._changed:
            self._live = source.live
            self._update(info=source.info)

    def _stop_reading(self) -> None:
        self._stopping = True
        if self._slot is not None:
            self._slot = None
            self._update(dropped=self._status.dropped + 1)
        self._changed.notify_all()

    def _update(self, **changes: object) -> None:
        self._status = replace(self._status, **changes)  # type: ignore[arg-type]
        self._changed.notify_all()

    def _finished(self) -> bool:
        return self._status.state in ("ended", "failed")

    def _silent_s(self) -> float:
        last_s = self._status.last_frame_s
        return 0.0 if last_s is None else time.monotonic() - last_s

    def _timeline_s(self) -> float:
        first = self._first
        return 0.0 if first is None else first.time_s + time.monotonic() - first.captured_s

    def _is_over(self, time_s: float) -> bool:
        if self._duration_s is None or self._begin_s is None:
            return False
        return time_s - self._begin_s >= self._duration_s


class _FrozenPicture:
    """Tells a camera that hangs from one that looks at something still.

    Only every 8th pixel each way is compared. One and the same picture is reported once: if it
    is there again after the camera was opened anew, it is what the camera sees (a shut lens
    gives pure black), and nothing hangs.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._pixels = b""
        self._since_s = 0.0
        self._reported = False

    def repeats(self, frame: Frame) -> bool:
        """Whether this frame makes it certain that the camera hangs."""
        pixels = frame.image[::8, ::8].tobytes()
        if pixels != self._pixels:
            self._pixels, self._since_s, self._reported = pixels, frame.captured_s, False
        if self._reported or frame.captured_s - self._since_s < self._limit_s:
            return False
        self._reported = True
        return True
