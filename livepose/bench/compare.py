"""Contenders against each other: blocks interleaved in one run, because machines drift."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from livepose.bench.measure import Budget, Floats, Row, Samples, measure

BLOCK = 5
RESAMPLES = 2000
ROUNDS = 5

Block = Callable[[Sequence[int]], Samples]
"""Runs those turns one after the other, and says how long each took."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """`name`'s median over `base`'s; below 1 it is faster. low..high: 95 % of the bootstrap, nan
    where there are fewer than ROUNDS to draw from."""

    name: str
    base: str
    ratio: float
    low: float
    high: float

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "base": self.base,
            "ratio_of_medians": self.ratio,
            "interval_95": [self.low, self.high],
        }


def interleave(
    contenders: Mapping[str, Block], budget: Budget, block: int = BLOCK
) -> dict[str, list[Samples]]:
    """Each contender's blocks, one a round; the order is rotated from round to round.

    The budget is for each contender: that many samples (rounded up to blocks), or seconds.
    All contenders get the same turns of the same frames.
    """
    names = list(contenders)
    for name in names:
        if budget.warm_up:
            contenders[name](range(budget.warm_up))
    blocks: dict[str, list[Samples]] = {name: [] for name in names}
    spent_s = 0.0
    done = 0
    while budget.goes_on(done, spent_s / len(names)):
        turns = range(budget.warm_up + done, budget.warm_up + done + block)
        shift = (done // block) % len(names)
        for name in names[shift:] + names[:shift]:
            samples = contenders[name](turns)
            blocks[name].append(samples)
            spent_s += float(samples.ms.sum()) / 1e3
        done += block
    return blocks


def ratio_of_medians(
    name: str, base: str, blocks: Mapping[str, list[Samples]], seed: int = 0
) -> Ratio:
    """With an interval from resampling whole rounds: what drifts, drifts for both in a round."""
    above, below = (np.stack([b.ms for b in blocks[n]]) for n in (name, base))
    rng = np.random.default_rng(seed)
    rounds = rng.integers(len(above), size=(RESAMPLES, len(above)))
    ratios = medians(above, rounds) / medians(below, rounds)
    low, high = np.percentile(ratios, (2.5, 97.5)) if len(above) >= ROUNDS else (np.nan, np.nan)
    ratio = float(np.median(above) / np.median(below))
    return Ratio(name, base, ratio, float(low), float(high))


def medians(ms: Floats, rounds: npt.NDArray[np.int64]) -> Floats:
    """ms float64 [R, B], rounds int64 [K, R] -> float64 [K], the median of each choice."""
    return np.array([np.median(ms[chosen]) for chosen in rounds])


def joined(level: str, name: str, blocks: Sequence[Samples], facts: dict[str, Any]) -> Row:
    """All blocks of a contender as one row. Its rate is that within the blocks."""
    ms = np.concatenate([b.ms for b in blocks])
    # The other contenders' turns are cut out of the timeline.
    return Row(level, name, "interleaved", Samples(ms, np.cumsum(ms) / 1e3), facts=facts)


def timed(work: Callable[[int], object]) -> Block:
    """A block that takes the time of `work(i)` for each turn."""

    def run(turns: Sequence[int]) -> Samples:
        first = turns[0]
        return measure(lambda i: work(first + i), Budget(count=len(turns), warm_up=0))

    return run
