"""Glass to glass: a simulated screen and camera of known delay."""

import time
from collections import deque
from functools import partial

import numpy as np
import pytest

from livepose.bench.contender import parse_spec
from livepose.bench.glass import measure_glass
from livepose.bench.levels import make_estimator
from livepose.errors import SourceError
from tests.bench_doubles import PICTURE, FixedRate, until_true


class SimulatedLoop(FixedRate):
    """A screen, and a camera that sees it `delay_s` later in a part of its picture."""

    def __init__(self, delay_s: float, fps: float, sees: bool = True) -> None:
        super().__init__(fps)
        self._delay_s, self._sees = delay_s, sees
        self._shown: deque[tuple[float, bool]] = deque([(0.0, False)])
        self.closed = False

    def show(self, marker: bool) -> None:
        if marker != self._shown[-1][1]:
            self._shown.append((time.monotonic(), marker))

    def picture(self) -> np.ndarray:
        seen_s = time.monotonic() - self._delay_s
        marker = [shown for at_s, shown in self._shown if at_s <= seen_s][-1]
        picture = PICTURE // 4
        if marker and self._sees:
            picture[40:80, 60:120] = 220
        return picture

    def close(self) -> None:
        self.closed = True


def test_a_glass_loop_of_known_delay_is_measured_within_a_frame() -> None:
    delay_s, fps = 0.08, 60.0

    def check() -> bool:
        loop = SimulatedLoop(delay_s, fps)
        make = partial(make_estimator, parse_spec("null:1ms"), 8)
        glass = measure_glass(loop, lambda: loop, make, flashes=6)
        assert loop.closed
        assert len(glass.loop_ms) + glass.missed == 6
        assert min(glass.outside_ms) >= delay_s * 1e3
        assert min(glass.livepose_ms) >= 1
        return (
            glass.missed == 0
            and abs(float(np.median(glass.outside_ms)) - delay_s * 1e3) < 1e3 / fps
        )

    assert until_true(check, tries=2)


def test_a_camera_that_looks_elsewhere_is_told() -> None:
    loop = SimulatedLoop(0.01, 60, sees=False)
    make = partial(make_estimator, parse_spec("null:1ms"), 8)
    with pytest.raises(SourceError, match="point it at the window"):
        measure_glass(loop, lambda: loop, make, flashes=1)
