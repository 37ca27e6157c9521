"""The meter: a clock around a piece of work, and what its samples say. Knows no model.

Every sample is kept. Percentiles are numpy's (linear between order statistics), rates are
(N - 1) / elapsed between the ends of the first and the last sample.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PERCENTILES = {"p50_ms": 50, "p90_ms": 90, "p99_ms": 99, "max_ms": 100}

SPIN_S = 0.002
"""The last part of a precise wait is spent awake: a sleep ends late by up to a tick."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How long to measure: `count` samples if given, else as many as begin in `seconds_s`.

    warm_up: runs before, not counted.
    """

    seconds_s: float = 3.0
    count: int | None = None
    warm_up: int = 10

    def goes_on(self, done: int, elapsed_s: float) -> bool:
        """Whether one more sample is due; there are always two, so that there is a rate."""
        if self.count is not None:
            return done < self.count
        return done < 2 or elapsed_s < self.seconds_s


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Durations in the order they were taken.

    ms: float64 [N]. ends_s: float64 [N], when each ended, on any rising clock.
    """

    ms: Floats
    ends_s: Floats

    @property
    def per_s(self) -> float:
        """Samples a second: (N - 1) / elapsed; nan for fewer than two."""
        elapsed_s = self.ends_s[-1] - self.ends_s[0] if len(self.ends_s) > 1 else 0.0
        return float((len(self.ends_s) - 1) / elapsed_s) if elapsed_s > 0 else float("nan")


def percentiles(samples_ms: npt.ArrayLike) -> dict[str, float]:
    """p50_ms, p90_ms, p99_ms and max_ms of all samples."""
    values = np.percentile(np.asarray(samples_ms, np.float64), list(PERCENTILES.values()))
    return dict(zip(PERCENTILES, values.tolist(), strict=True))


@dataclass(slots=True, eq=False)
class Row:
    """One line of the report.

    level: engine, pipeline or live. name: what ran. pace: "back to back" or "30 fps".
    items: people or crops in one sample; the throughput is of items.
    stages: durations in ms by stage, a sample each. facts: anything else that is known.
    """

    level: str
    name: str
    pace: str
    samples: Samples
    items: int = 1
    stages: Mapping[str, Sequence[float]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Everything, raw samples included, ready for JSON."""
        samples = self.samples
        return {
            "level": self.level,
            "name": self.name,
            "pace": self.pace,
            "items": self.items,
            "count": len(samples.ms),
            **percentiles(samples.ms),
            "samples_per_s": samples.per_s,
            "items_per_s": samples.per_s * self.items,
            "samples_ms": samples.ms.tolist(),
            "ends_s": (samples.ends_s - samples.ends_s[0]).tolist(),
            "stages": {
                stage: {"count": len(ms), **percentiles(ms), "samples_ms": list(ms)}
                for stage, ms in self.stages.items()
                if len(ms)
            },
            **self.facts,
        }


def wait_until(due_s: float, *, precisely: bool = True) -> None:
    """Return at `due_s` of `time.perf_counter()`, or at once if that is over."""
    spin_s = SPIN_S if precisely else 0.0
    time.sleep(max(0.0, due_s - spin_s - time.perf_counter()))
    while precisely and time.perf_counter() < due_s:
        pass


def measure(
    work: Callable[[int], object], budget: Budget, pace_fps: float | None = None
) -> Samples:
    """Time `work(i)` for i = 0, 1, 2 ...

    Back to back, or paced: run i then begins at i / pace_fps, and the processor rests in
    between as it does in live use; a run that is late begins at once and the pace goes on
    from there.
    """
    for i in range(budget.warm_up):
        work(i)
    ms: list[float] = []
    ends_s: list[float] = []
    begin_s = due_s = time.perf_counter()
    while budget.goes_on(len(ms), time.perf_counter() - begin_s):
        if pace_fps is not None:
            # Asleep to the end: spinning would keep the clock of the processor up.
            wait_until(due_s, precisely=False)
            due_s = max(due_s, time.perf_counter() - 1 / pace_fps) + 1 / pace_fps
        start_s = time.perf_counter()
        work(budget.warm_up + len(ms))
        end_s = time.perf_counter()
        ms.append((end_s - start_s) * 1e3)
        ends_s.append(end_s)
    return Samples(np.array(ms), np.array(ends_s))
