"""The capture thread: what it hands out and counts, how it survives a bad source, how it ends."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from livepose.capture import CaptureStatus, CaptureThread, Frame, Source, SourceInfo, SourceLost
from livepose.errors import SourceError
from livepose.sources import SourceOptions, open_source
from tests.mjpeg_server import MjpegServer

SLOW = os.environ.get("LIVEPOSE_SLOW_TESTS") == "1"
CUTS = 20 if SLOW else 3
AWAY_S = 5.0 if SLOW else 0.0
BACK_WITHIN_S = 2.0 if SLOW else 10.0  # a busy machine must not fail the short form
PATIENCE_S = 20.0
"""Far beyond what anything here takes: only a hang is a failure."""


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


class FakeSource:
    """Gives `count` frames, then calls `then`, whose frame, None or exception is the next."""

    def __init__(
        self,
        count: int,
        *,
        live: bool,
        then: Callable[[], Frame | None] = lambda: None,
        image: Callable[[int], np.ndarray] = lambda i: np.full((32, 48, 3), i % 256, np.uint8),
        is_camera: bool = False,
    ) -> None:
        self.live = live
        self.info = SourceInfo("fake", (48, 32), is_camera=is_camera)
        self.count, self.then, self.image = count, then, image
        self.reads = 0
        self.closed = 0

    def read(self) -> Frame | None:
        index = self.reads
        self.reads += 1
        if index >= self.count:
            return self.then()
        return Frame(self.image(index), index, index * 0.1, time.monotonic())

    def close(self) -> None:
        self.closed += 1


@contextmanager
def running(
    open_source: Callable[[], Source],
    *,
    give_up_after_s: float | None = None,
    max_frames: int | None = None,
    duration_s: float | None = None,
    lost_after_s: float = 2.0,
    frozen_after_s: float = 3.0,
) -> Iterator[CaptureThread]:
    capture = CaptureThread(
        open_source,
        give_up_after_s=give_up_after_s,
        max_frames=max_frames,
        duration_s=duration_s,
        lost_after_s=lost_after_s,
        frozen_after_s=frozen_after_s,
    )
    capture.start()
    try:
        yield capture
    finally:
        started_s = time.monotonic()
        capture.stop()
        assert time.monotonic() - started_s < 2
        status = capture.status
        assert status.captured == status.used + status.dropped


def wait_for(capture: CaptureThread, good: Callable[[CaptureStatus], bool]) -> CaptureStatus:
    give_up_s = time.monotonic() + PATIENCE_S
    while not good(capture.status):
        assert time.monotonic() < give_up_s, capture.status
        time.sleep(0.002)
    return capture.status


def next_frame(capture: CaptureThread) -> Frame:
    frame = capture.get(PATIENCE_S)
    assert frame is not None, capture.status
    return frame


def read_to_end(capture: CaptureThread) -> list[Frame]:
    frames = []
    while capture.status.state != "ended":
        frame = capture.get(PATIENCE_S)
        if frame is not None:
            frames.append(frame)
    assert capture.get(0) is None
    return frames


def no_capture_thread_is_left() -> bool:
    return not any(thread.name == "capture" for thread in threading.enumerate())


# What is handed out, and what is counted


def test_live_gives_the_newest_and_counts_the_rest() -> None:
    blocked = threading.Event()
    source = FakeSource(100, live=True, then=lambda: blocked.wait(PATIENCE_S) and None)
    with running(lambda: source) as capture:
        wait_for(capture, lambda status: status.captured == 100)
        assert next_frame(capture).index == 99
        assert capture.get(0.01) is None
        status = capture.status
        assert (status.used, status.dropped, status.state) == (1, 99, "running")
        blocked.set()


@pytest.mark.parametrize("live", [True, False])
def test_a_waiting_frame_can_be_seen_without_being_used(live: bool) -> None:
    blocked = threading.Event()
    source = FakeSource(1, live=live, then=lambda: blocked.wait(PATIENCE_S) and None)
    with running(lambda: source) as capture:
        wait_for(capture, lambda _: capture.waiting() is not None)
        seen = capture.waiting()
        assert seen is not None and capture.waiting() is seen
        assert (capture.status.captured, capture.status.used) == (1, 0)
        assert next_frame(capture) is seen
        assert capture.waiting() is None and capture.status.used == 1
        blocked.set()


def test_frames_that_a_live_source_left_out_count_as_dropped() -> None:
    class Hasty(FakeSource):
        def read(self) -> Frame | None:
            frame = super().read()
            return frame and replace(frame, index=3 * frame.index)

    blocked = threading.Event()
    source = Hasty(5, live=True, then=lambda: blocked.wait(PATIENCE_S) and None)
    with running(lambda: source) as capture:
        wait_for(capture, lambda status: status.captured == 13)
        assert next_frame(capture).index == 12
        assert (capture.status.used, capture.status.dropped) == (1, 12)
        blocked.set()


def test_a_slow_camera_is_not_lost_between_two_frames() -> None:
    class Slow(FakeSource):
        def read(self) -> Frame | None:
            time.sleep(0.3)
            return super().read()

    states = set()
    with running(lambda: Slow(50, live=True), lost_after_s=0.1) as capture:
        while capture.status.captured < 4:
            if capture.status.captured >= 2:
                states.add(capture.status.state)
            time.sleep(0.01)
    assert states == {"running"}
    assert no_capture_thread_is_left()


def test_file_gives_every_frame_and_waits() -> None:
    source = FakeSource(40, live=False)
    with running(lambda: source) as capture:
        for index in range(40):
            if index % 10 == 0:
                time.sleep(0.02)
            assert next_frame(capture).index == index
            assert source.reads <= index + 3
        assert read_to_end(capture) == []
        status = capture.status
        assert (status.captured, status.used, status.dropped) == (40, 40, 0)
    assert source.closed >= 1
    assert no_capture_thread_is_left()


def test_state_is_not_ended_while_the_last_frame_waits() -> None:
    with running(lambda: FakeSource(1, live=False)) as capture:
        capture._thread.join(PATIENCE_S)
        assert capture.status.state == "running"
        next_frame(capture)
        assert capture.status.state == "ended"


@pytest.mark.parametrize("used", [0, 1, 5])
def test_stopped_file_counts_what_was_left(used: int) -> None:
    with running(lambda: FakeSource(1000, live=False)) as capture:
        for _ in range(used):
            next_frame(capture)
        wait_for(capture, lambda status: status.captured >= used + 1)
    status = capture.status
    assert (status.used, status.state) == (used, "ended")
    assert status.dropped in (1, 2)
    assert capture.get(0) is None


def test_limits() -> None:
    with running(lambda: FakeSource(100, live=False), max_frames=7) as capture:
        assert [frame.index for frame in read_to_end(capture)] == list(range(7))
    assert capture.status.dropped == 0
    with running(lambda: FakeSource(100, live=False), duration_s=0.45) as capture:
        assert [frame.index for frame in read_to_end(capture)] == list(range(5))
    with running(lambda: open_source("test:64x64@100"), max_frames=3) as capture:
        assert len(read_to_end(capture)) == 3
    with running(lambda: open_source("test:64x64@100"), duration_s=0.2) as capture:
        frames = read_to_end(capture)
        assert frames[-1].time_s - frames[0].time_s < 0.2


# Sources that fail


def test_error_of_any_kind_reaches_the_consumer_with_its_traceback() -> None:
    def broken_inside() -> None:
        raise ZeroDivisionError("inside the source")

    with running(lambda: FakeSource(1, live=True, then=broken_inside)) as capture:
        wait_for(capture, lambda status: status.state == "failed")
        next_frame(capture)
        with pytest.raises(ZeroDivisionError, match="inside the source") as caught:
            capture.get(PATIENCE_S)
        assert any(entry.name == "broken_inside" for entry in caught.traceback)
        assert capture.status.error is caught.value
    assert no_capture_thread_is_left()


def test_source_that_cannot_be_opened_fails_at_once() -> None:
    with running(lambda: open_source("nowhere.mp4")) as capture:
        with pytest.raises(SourceError, match=r"nowhere\.mp4"):
            capture.get(PATIENCE_S)
        assert capture.status.state == "failed"


def lost() -> None:
    raise SourceLost("the cable was pulled")


def test_lost_file_is_not_read_again_from_its_start() -> None:
    with running(lambda: FakeSource(3, live=False, then=lost)) as capture:
        assert [next_frame(capture).index for _ in range(3)] == [0, 1, 2]
        with pytest.raises(SourceLost):
            capture.get(PATIENCE_S)


def test_lost_source_is_opened_again_and_numbers_go_on() -> None:
    sources = [FakeSource(3, live=True, then=lost), FakeSource(3, live=True, then=lost)]
    opened = iter([*sources, FakeSource(10**9, live=True)])
    seen = []
    with running(lambda: next(opened)) as capture:
        while not seen or seen[-1].index < 8:
            seen.append(next_frame(capture))
        assert capture.status.reconnects == 2
        assert capture.status.attempts == 0
    assert all(a.index < b.index and a.time_s < b.time_s for a, b in pairwise(seen))
    assert all(source.closed for source in sources)


def test_giving_up() -> None:
    sources = iter([FakeSource(1, live=True, then=lost)])

    def open_once() -> Source:
        source = next(sources, None)
        if source is None:
            raise SourceError("fake: not there")
        return source

    with running(open_once, give_up_after_s=0.4) as capture:
        next_frame(capture)
        assert wait_for(capture, lambda status: status.state != "running").state == "lost"
        with pytest.raises(SourceError, match="fake: not there; given up after"):
            capture.get(PATIENCE_S)
        assert capture.status.attempts >= 1


def test_size_change_is_told() -> None:
    def image(index: int) -> np.ndarray:
        return np.zeros((32, 48, 3) if index == 0 else (64, 40, 3), np.uint8)

    with running(lambda: FakeSource(2, live=False, image=image)) as capture:
        assert next_frame(capture).image.shape == (32, 48, 3)
        assert next_frame(capture).image.shape == (64, 40, 3)
        info = capture.status.info
        assert info is not None and info.size_wh == (40, 64)


def camera_frames(noise_until: int) -> Callable[[int], np.ndarray]:
    def image(index: int) -> np.ndarray:
        time.sleep(0.002)
        return np.full((32, 48, 3), min(index, noise_until) % 251, np.uint8)

    return image


def test_camera_that_repeats_itself_is_opened_again_once() -> None:
    """After reopening, the same picture is believed: a shut lens is black for ever."""
    opened = []

    def open_frozen() -> Source:
        image = camera_frames(5 if not opened else 0)
        if opened:
            image = lambda index: np.full((32, 48, 3), 5, np.uint8)  # noqa: E731
        opened.append(FakeSource(10**9, live=True, image=image, is_camera=True))
        return opened[-1]

    with running(open_frozen, frozen_after_s=0.05) as capture:
        wait_for(capture, lambda status: status.reconnects == 1 and status.captured > 200)
        time.sleep(0.2)
        assert capture.status.reconnects == 1
    assert len(opened) == 2


def test_still_picture_of_no_camera_is_no_fault() -> None:
    source = FakeSource(10**9, live=True, image=camera_frames(0))
    with running(lambda: source, frozen_after_s=0.02) as capture:
        wait_for(capture, lambda status: status.captured > 50)
        assert (capture.status.state, capture.status.reconnects) == ("running", 0)


def test_blocked_read_shows_as_lost_and_does_not_block_the_end() -> None:
    blocked = threading.Event()

    def late_frame() -> Frame:
        blocked.wait(PATIENCE_S)
        return Frame(np.zeros((32, 48, 3), np.uint8), 1, 0.1, time.monotonic())

    source = FakeSource(1, live=True, then=late_frame)
    with running(lambda: source, lost_after_s=0.05) as capture:
        next_frame(capture)
        wait_for(capture, lambda status: status.state == "lost")
    before = capture.status
    assert before.captured == before.used == 1
    blocked.set()
    capture._thread.join(PATIENCE_S)
    assert capture.status == replace(before, state="ended")
    assert source.closed == 1


# A real stream that fails


def open_handles() -> int:
    folder = "/proc/self/fd"
    return len(os.listdir(folder)) if os.path.isdir(folder) else 0


@pytest.mark.timeout(300)
def test_stream_cut_again_and_again() -> None:
    with MjpegServer() as server:
        handles = []
        with running(lambda: open_source(server.url)) as capture:
            last = next_frame(capture)
            for cut in range(CUTS):
                server.cut()
                wait_for(capture, lambda status: status.state == "lost")
                time.sleep(AWAY_S)
                server.resume()
                returned_s = time.monotonic()
                while capture.status.reconnects <= cut:
                    capture.get(0.05)
                frame = next_frame(capture)
                assert time.monotonic() - returned_s <= BACK_WITHIN_S
                assert frame.index > last.index and frame.time_s > last.time_s
                last = frame
                handles.append(open_handles())
            assert capture.status.state == "running"
    assert handles[-1] <= handles[0]
    assert no_capture_thread_is_left()


def test_stream_that_stalls_comes_back() -> None:
    options = SourceOptions(timeout_s=0.3)
    with (
        MjpegServer() as server,
        running(lambda: open_source(server.url, options=options), lost_after_s=0.1) as capture,
    ):
        next_frame(capture)
        server.stalled = True
        wait_for(capture, lambda status: status.attempts >= 1)
        server.stalled = False
        wait_for(capture, lambda status: status.state == "running" and status.reconnects >= 1)


def test_stream_stalled_for_long_does_not_hold_up_the_end() -> None:
    with MjpegServer() as server:
        with running(lambda: open_source(server.url)) as capture:
            next_frame(capture)
            server.stalled = True
            time.sleep(0.05)
        server.cut()
        capture._thread.join(PATIENCE_S)
    assert no_capture_thread_is_left()


def test_stream_that_changes_size_when_it_returns() -> None:
    with (
        MjpegServer(size_wh=(96, 64)) as server,
        running(lambda: open_source(server.url)) as capture,
    ):
        next_frame(capture)
        server.cut()
        server.size_wh = (64, 96)
        server.resume()
        while next_frame(capture).image.shape != (96, 64, 3):
            continue
        info = capture.status.info
        assert info is not None and info.size_wh == (64, 96)
