"""Frames at their own speed: a file that somebody watches, a stream that comes in pieces."""

import time
from dataclasses import replace

from livepose.capture import Frame, Source

LATE_S = 0.2
"""What is later than that, after a pause or on a slow machine, is not caught up with."""

LATE_LIVE_S = 10.0
"""Of a live stream: pieces come late now and then, and what has piled up is gone through."""

LONGEST_S = 0.8
"""No frame is waited for longer, and all that follow come as much sooner: whoever quits waits for
that too."""


class Paced:
    """Another source, whose frames come no sooner than they are due; see `Source`.

    A frame is stamped when it is handed out, as a camera's would be. The other one's `time_s` must
    be presentation times; this one's, of a live source, is seconds since the first frame, whatever
    the presentation times jump by.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.live = source.live
        self._start_s: float | None = None
        self._opened_s = 0.0
        self.info = source.info

    def read(self) -> Frame | None:
        """The next frame, when it is due."""
        frame = self._source.read()
        if frame is None:
            return None
        now_s = time.monotonic()
        late_s = LATE_LIVE_S if self.live else LATE_S
        if self._start_s is None:
            self._opened_s = now_s
        if self._start_s is None or now_s - frame.time_s > self._start_s + late_s:
            self._start_s = now_s - frame.time_s
        wait_s = max(self._start_s + frame.time_s - now_s, 0)
        if wait_s > LONGEST_S:
            self._start_s -= wait_s - LONGEST_S
            wait_s = LONGEST_S
        time.sleep(wait_s)
        time_s = self._start_s + frame.time_s - self._opened_s if self.live else frame.time_s
        return replace(frame, time_s=time_s, captured_s=time.monotonic())

    def close(self) -> None:
        """Close the other one."""
        self._source.close()
