"""Where the people are: looked for on a new scene, followed by their last pose afterwards.

Until a finder network exists, people are looked for in a few fixed windows of the frame; the
pose network itself says in which of them somebody stands. Nothing here touches pixels: `Look`
turns boxes into poses, and belongs to `estimator.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from livepose.pose import Pose

Boxes = npt.NDArray[np.float32]
"""float32 [N, 4]: x0, y0, x1, y1 in frame pixels."""

Look = Callable[[Boxes], list[Pose]]
"""One pose for each box of the current frame."""

FOUND = 0.55
"""A new person's `Pose.score`, at least."""

KEPT = 0.4
"""A followed person's `Pose.score`, at least; below it for `GRACE` frames the track ends."""

GRACE = 5
"""Frames in a row that a followed person may be missed in."""

NEWCOMERS_EVERY = 6
"""While there is room for more people, every so many frames one window is searched: it costs that
frame one more crop."""

SEARCH_TURNS = 4
"""An empty scene is searched over this many frames, so that none of them is held up by all the
windows; the first frame of all is searched at once."""

SEEN = 0.25
"""Score from which a joint helps to place the next box."""

PAD = 0.1
"""Room around the outermost joints, as a share of the longer side; as the training boxes have."""


def windows(size_wh: tuple[int, int]) -> Boxes:
    """The boxes a new scene is searched in: the whole frame and squares of two smaller sizes."""
    width, height = size_wh
    long, short = max(width, height), min(width, height)
    centres = [(width / 2, height / 2, 0.75 * long)]
    for side in (short, 0.6 * short):
        for x in spread(width, side):
            for y in spread(height, side):
                centres.append((x, y, 0.75 * side))
    return np.array(
        [(x - s / 2, y - s / 2, x + s / 2, y + s / 2) for x, y, s in centres], np.float32
    )


def spread(length: float, side: float) -> list[float]:
    """Centres of the fewest windows of that side that cover the length, half overlapping."""
    if length <= side:
        return [length / 2]
    count = int(np.ceil(2 * (length - side) / side)) + 1
    return [float(c) for c in np.linspace(side / 2, length - side / 2, count)]


def box_around(pose: Pose) -> Boxes | None:
    """The tight box float32 [4] around the joints that were seen; None if they are too few."""
    seen = pose.joints_xy[pose.scores >= SEEN]
    if len(seen) < 4:
        return None
    low, high = seen.min(axis=0), seen.max(axis=0)
    longer = float((high - low).max())
    return np.concatenate((low - PAD * longer, high + PAD * longer)).astype(np.float32)


def overlap(a: Boxes, b: Boxes) -> float:
    """Shared area of two boxes as a share of the smaller one."""
    shared = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    if (shared <= 0).any():
        return 0.0
    return float(shared.prod() / max(1e-6, min((a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod())))


def distinct(poses: list[Pose], least: float, most: int) -> list[Pose]:
    """The best-scored poses of at least that score whose boxes do not lie on each other."""
    chosen: list[tuple[Pose, Boxes]] = []
    for pose in sorted(poses, key=lambda p: -p.score):
        box = box_around(pose)
        if pose.score < least or box is None or len(chosen) == most:
            continue
        if all(overlap(box, other) < 0.5 for _, other in chosen):
            chosen.append((pose, box))
    return [pose for pose, _ in chosen]


def search(
    look: Look,
    size_wh: tuple[int, int],
    max_people: int,
    among: slice = slice(None),
    known: Sequence[Boxes] = (),
) -> list[Pose]:
    """Everybody that the fixed windows show, best first, each looked at again up close.

    among: the windows to look into, all of them by default. known: boxes of people who are
    followed already; whoever lies on them is not looked at again.
    """
    poses = distinct(look(windows(size_wh)[among]), FOUND * 0.7, max_people)
    for _ in range(2):
        boxes = [box for pose in poses if (box := box_around(pose)) is not None]
        boxes = [box for box in boxes if all(overlap(box, other) < 0.3 for other in known)]
        if not boxes:
            return []
        poses = look(np.stack(boxes))
    return distinct(poses, FOUND, max_people)


@dataclass
class Track:
    """One followed person; `missed` counts frames in a row without them."""

    id: int
    box: Boxes
    missed: int = 0


class Tracker:
    """Follows people from frame to frame. Ids rise from 1 and are never handed on."""

    def __init__(self, max_people: int) -> None:
        self.max_people = max_people
        self._tracks: list[Track] = []
        self._next_id = 1
        self._turn: int | None = None
        self._with_room = 0

    def step(self, look: Look, size_wh: tuple[int, int]) -> list[Pose]:
        """The people of one frame, each with its id."""
        poses = self._follow(look) if self._tracks else []
        if not self._tracks:
            poses = self._start(search(look, size_wh, self.max_people, self._next_windows()))
        elif len(self._tracks) < self.max_people:
            self._with_room += 1
            turn, rest = divmod(self._with_room, NEWCOMERS_EVERY)
            if rest == 0:
                window = turn % len(windows(size_wh))
                among, known = slice(window, window + 1), [t.box for t in self._tracks]
                room = self.max_people - len(self._tracks)
                poses += self._start(search(look, size_wh, room, among, known))
        return poses

    def _next_windows(self) -> slice:
        if self._turn is None:
            self._turn = 0
            return slice(None)
        self._turn = (self._turn + 1) % SEARCH_TURNS
        return slice(self._turn, None, SEARCH_TURNS)

    def _follow(self, look: Look) -> list[Pose]:
        poses = look(np.stack([t.box for t in self._tracks]))
        kept: list[Pose] = []
        best = {id(p) for p in distinct(poses, KEPT, self.max_people)}
        for track, pose in zip(self._tracks, poses, strict=True):
            box = box_around(pose)
            if id(pose) in best and box is not None:
                track.box, track.missed = steadied(track.box, box), 0
                kept.append(replace(pose, id=track.id))
            else:
                track.missed += 1
        self._tracks = [t for t in self._tracks if t.missed <= GRACE]
        return kept

    def _start(self, poses: list[Pose]) -> list[Pose]:
        started = []
        for pose in poses:
            box = box_around(pose)
            assert box is not None
            self._tracks.append(Track(self._next_id, box))
            started.append(replace(pose, id=self._next_id))
            self._next_id += 1
        return started


def steadied(last: Boxes, new: Boxes) -> Boxes:
    """The next box: at once around joints that moved outwards, slowly inwards.

    A joint that flickers for a frame must not make the crop jump and all joints with it.
    """
    outwards = np.concatenate((new[:2] < last[:2], new[2:] > last[2:]))
    return np.where(outwards, 0.3 * last + 0.7 * new, 0.7 * last + 0.3 * new).astype(np.float32)
