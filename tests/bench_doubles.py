"""What the tests of bench share: a clip, sources that keep time, an engine that only waits."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from livepose.bench.contender import Clip, Contender, open_contender, parse_spec
from livepose.bench.measure import Budget
from livepose.capture import Frame, SourceInfo
from livepose.record import VideoWriter

SIZE_WH = (160, 120)
FPS = 50.0
PICTURE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
CLIP = Clip([np.roll(PICTURE, i, axis=1) for i in range(5)], 30.0, "made up")
QUICK = Budget(count=20, warm_up=2)


class FixedRate:
    """A live source that gives a frame every 1 / fps, on the dot."""

    live = True

    def __init__(self, fps: float) -> None:
        self.info = SourceInfo("made up", SIZE_WH, fps=fps)
        self._gap_s = 1 / fps
        self._due_s = time.monotonic()
        self._index = 0

    def read(self) -> Frame | None:
        self._due_s += self._gap_s
        time.sleep(max(0.0, self._due_s - time.monotonic()))
        self._index += 1
        picture = self.picture()
        return Frame(picture, self._index - 1, self._index * self._gap_s, time.monotonic())

    def picture(self) -> np.ndarray:
        return PICTURE

    def close(self) -> None:
        pass


def null_contender(delay_ms: float) -> Contender:
    return open_contender(parse_spec(f"null:{delay_ms:g}ms"))


def write_video(path: Path) -> str:
    """The clip as a file."""
    writer = VideoWriter(str(path), SIZE_WH, FPS)
    for i, image in enumerate(CLIP.images):
        writer.write(image, i / FPS)
    writer.close()
    return str(path)


def until_true(check: Callable[[], bool], tries: int = 3) -> bool:
    """A busy machine may spoil one measurement, not three in a row."""
    return any(check() for _ in range(tries))
