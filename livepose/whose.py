"""Which pose is whose: by where everybody is expected, and by what they wear."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np

from livepose.clothes import Colours, unlike
from livepose.pose import Pose
from livepose.track import STRANGER, Track, distances

UNSURE = 0.2
"""A pose that costs somebody else, who is lost as well, at most so much more may be theirs,"""

UNSURE_BLANK = 0.3
"""or so much, where it shows nothing of what the one it is given to is known to wear."""

APART = 0.2
"""So much `unlike` are clothes by which two people may be told apart."""


def costs(
    tracks: Sequence[Track],
    poses: Sequence[Pose],
    colours: Sequence[Colours],
    stranger: float = STRANGER,
    alone: Track | None = None,
) -> list[list[float]]:
    """`Track.cost` of each of B poses for each of T tracks, [T][B]; `alone`: the one, if any, who
    has nobody else about.
    """
    apart = distances(tracks, poses).tolist()
    return [
        [
            track.cost(pose, worn, away, track is alone, stranger)
            for pose, worn, away in zip(poses, colours, row, strict=True)
        ]
        for track, row in zip(tracks, apart, strict=True)
    ]


def one_to_one(pairs: Iterable[tuple[float, int, int]]) -> dict[int, int]:
    """Of (cost, i, j) the cheapest pairs, each i and each j once; an infinite cost is no pair."""
    chosen: dict[int, int] = {}
    for cost, i, j in sorted(pairs):
        if cost < np.inf and i not in chosen and j not in chosen.values():
            chosen[i] = j
    return chosen


def exchanged(mine: Mapping[int, int], cost: Sequence[Sequence[float]]) -> dict[int, int]:
    """Which pose is which track's, in one pass over all twos exchanged where that costs less: the
    surest pair first is not the cheapest in sum, and some were given away before others were seen.
    Who has a pose for want of anybody else, at an infinite cost, keeps it.
    """
    better = dict(mine)
    for i, k in combinations(better, 2):
        a, b = better[i], better[k]
        if np.inf > cost[i][a] + cost[k][b] > cost[i][b] + cost[k][a]:
            better[i], better[k] = b, a
    return better


def unsure(
    mine: Mapping[int, int],
    cost: Sequence[Sequence[float]],
    tracks: Sequence[Track],
    colours: Sequence[Colours],
) -> list[int]:
    """Of the tracks that were missed, those whose pose may as well be that of another who is lost:
    they cost about the same, and what would tell the two apart is not to be seen.
    """
    lost = [k for k in range(len(tracks)) if k not in mine]
    answer = []
    for i, j in mine.items():
        if not tracks[i].missed:
            continue
        worn = tracks[i].colours
        unseen = np.where(np.isnan(colours[j]), worn, np.nan)
        more = UNSURE_BLANK if np.isnan(colours[j] - worn).all() else UNSURE
        if any(
            cost[k][j] < cost[i][j] + more and unlike(unseen, tracks[k].colours) > APART
            for k in lost
        ):
            answer.append(i)
    return answer
