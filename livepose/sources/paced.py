"""Frames at their own speed: a file that somebody watches, a stream that comes in pieces."""

import time
from dataclasses import replace

from livepose.capture import Frame, Source

LATE_S = 0.2
"""What is later than that, after a pause or on a slow machine, is not caught up with."""

LONGEST_S = 0.8
"""No frame is waited for longer, and all that follow come as much sooner: whoever quits waits for
that too."""


class Paced:
    """Another source, whose frames come no sooner than they are due; see `Source`.

    A frame is stamped when it is handed out, as a camera's would be. The other one's `time_s` must
    be presentation times.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.live = source.live
        self._start_s: float | None = None
        self.info = source.info

    def read(self) -> Frame | None:
        """The next frame, when it is due."""
        frame = self._source.read()
        if frame is None:
            return None
        now_s = time.monotonic()
        if self._start_s is None or now_s - frame.time_s > self._start_s + LATE_S:
            self._start_s = now_s - frame.time_s
        wait_s = max(self._start_s + frame.time_s - now_s, 0)
        if wait_s > LONGEST_S:
            self._start_s -= wait_s - LONGEST_S
            wait_s = LONGEST_S
        time.sleep(wait_s)
        return replace(frame, captured_s=time.monotonic())

    def close(self) -> None:
        """Close the other one."""
        self._source.close()
