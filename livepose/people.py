"""Where the people are: a finder says so on a new scene, their last poses afterwards.

Nothing here touches pixels: `Find` gives boxes of the current frame, `Look` turns boxes into
poses, `Wear` tells a person's colours; all three belong to `estimator.py`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from livepose.clothes import Colours, blend, unlike
from livepose.finder import iou
from livepose.pose import Pose

Boxes = npt.NDArray[np.float32]
"""float32 [N, 4]: x0, y0, x1, y1 in frame pixels."""

Find = Callable[[], Boxes]
"""Boxes of the people in the current frame, best first."""


class Look(Protocol):
    """What turns boxes of the current frame into poses: `PoseEstimator`."""

    def __call__(self, boxes: Boxes, without: Sequence[Pose] = ()) -> list[Pose]:
        """One pose for each box [N, 4]: of somebody who is none of `without`."""
        ...


Wear = Callable[[Pose], Colours]
"""The colours of a person of the current frame."""

FOUND = 0.53
"""A new person's `Pose.score`, at least: half of their best joints are right."""

GLIMPSED = 0.25
"""At least, from the finder's box; from a tighter box the pose may well reach `FOUND`."""

KEPT = 0.22
"""A followed person's `Pose.score`, at least; below it for `GRACE` frames the track ends."""

PARTLY = 0.4
"""The same for who is behind somebody and first seen with those before them crossed out."""

GRACE = 8
"""Frames in a row that a followed person may be missed in."""

HIDDEN = 45
"""Such frames for somebody whose expected place another person is standing in front of."""

NEWCOMERS_EVERY = 6
"""While there is room for more people the finder looks at every so many frames."""

MISSING_EVERY = 3
"""As often while somebody who is followed is not seen."""

KNOWN = 0.3
"""IoU of a found box with a followed person's from which it may be theirs."""

SEEN = 0.08
"""Score from which a joint helps to place the next box."""

PAD = 0.1
"""Room around the outermost joints, as a share of the longer side; as the training boxes have."""

SAME = 0.5
"""Two poses that are at least so alike (`alike`) are one body's."""

BESIDE = 0.8
"""The same for a pose behind somebody who was crossed out: it is hardly theirs once more, and who
stands behind somebody often stands alike."""

FAR = 0.4
"""Body sizes between where a person is expected and a pose that is not theirs any more."""

WIDER = 0.03
"""Added to `FAR` for each frame a person has been missed in, for one who comes back."""

STRANGER = 0.4
"""Colours that are so much `unlike` are another person's."""

CLOSE = 0.1
"""Body sizes from where somebody was expected who was seen a frame ago: they are that person,
with colours up to twice as strange. Colours are mixed while one person passes another."""

PLACE = 0.4
"""IoU from which a box fills the place where a person is expected,"""

MOMENT = 2
"""who has been missed for so many frames in a row at most."""

YOUNG = 5
"""Frames that a person has been seen in up to which they may be just coming into the picture:
the first poses are of a head and say little. Who stands there and is larger is them."""

LARGER = 1.3
"""Times the size, at least."""

BEHIND = 0.5
"""More than that share of the smaller box is in the other: one stands before the other."""

SUSPECTED_EVERY = 12
"""Behind each of several people somebody new is looked for at every so many frames."""

ANEW_EVERY = 8
"""On every so many frames who was behind somebody is looked for as everybody else first."""

THERE = 0.3
"""More than that share of the smaller box is in the other."""

ABSENT = 0.15
"""Added to the cost of a pose for who was missed or behind somebody: those in sight keep theirs."""

STILL = 0.03
"""Body sizes that the next box must differ by: a crop that moves with every noise in the pose
makes more of it, and of two answers now one and now the other."""

COAST = 0.95
"""What is left of its speed each frame that a person is not seen in."""


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


def one_to_one(pairs: Iterable[tuple[float, int, int]]) -> dict[int, int]:
    """Of (cost, i, j) the cheapest pairs, each i and each j once; an infinite cost is no pair."""
    chosen: dict[int, int] = {}
    for cost, i, j in sorted(pairs):
        if np.isfinite(cost) and i not in chosen and j not in chosen.values():
            chosen[i] = j
    return chosen


def unknown(found: Boxes, known: Sequence[Boxes]) -> list[Boxes]:
    """Those of the boxes found [N, 4] that are nobody's: each known one takes the likest."""
    theirs = one_to_one(
        (-share if (share := iou(box, other)) >= KNOWN else np.inf, i, k)
        for i, box in enumerate(found)
        for k, other in enumerate(known)
    )
    return [box for i, box in enumerate(found) if i not in theirs]


def size_of(box: Boxes) -> float:
    """The longer side in pixels."""
    return max(float((box[2:] - box[:2]).max()), 1.0)


def alike(a: Pose, b: Pose) -> float:
    """How far two poses are one body's, 0..1: as OKS, with one tolerance for all joints, a
    tenth of the smaller body's size, over the joints that both see.
    """
    both = (a.scores >= SEEN) & (b.scores >= SEEN)
    box_a, box_b = box_around(a), box_around(b)
    if both.sum() < 4 or box_a is None or box_b is None:
        return 0.0
    apart = np.linalg.norm(a.joints_xy - b.joints_xy, axis=1)[both]
    tolerance = 0.1 * min(size_of(box_a), size_of(box_b))
    return float(np.exp(-((apart / tolerance) ** 2) / 2).mean())


def distinct(poses: list[Pose], least: float, most: int) -> list[Pose]:
    """The best-scored poses of at least that score, of different bodies."""
    chosen: list[Pose] = []
    for pose in sorted(poses, key=lambda p: -p.score):
        if pose.score < least or box_around(pose) is None or len(chosen) == most:
            continue
        if all(alike(pose, other) < SAME for other in chosen):
            chosen.append(pose)
    return chosen


def search(look: Look, find: Find, max_people: int) -> list[Pose]:
    """Everybody the finder sees, best first, each looked at again up close."""
    boxes = find()
    if not len(boxes):
        return []
    poses = distinct(look(boxes), GLIMPSED, max_people)
    closer = [box for pose in poses if (box := box_around(pose)) is not None]
    return distinct(look(np.stack(closer)), FOUND, max_people) if closer else []


@dataclass
class Track:
    """One followed person. `box` and `joints_xy` are where the person is expected next;
    `speed` in pixels a frame; `seen` counts frames with them, `missed` frames in a row without;
    `hidden` says whether somebody else was in that place, before them, seen or not.
    """

    id: int
    box: Boxes
    joints_xy: npt.NDArray[np.float32]
    colours: Colours
    speed: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(2, np.float32))
    seen: int = 1
    missed: int = 0
    hidden: bool = False

    def cost(self, pose: Pose, colours: Colours, alone: bool = False) -> float:
        """How little the pose is this person's: body sizes from where they are expected, and
        how unlike their colours are. Infinite where it is too far away or, unless there is
        nobody else, too unlike; neither counts for who is coming into the picture.
        """
        seen = pose.scores >= SEEN
        if not seen.any():
            return np.inf
        apart = np.linalg.norm(pose.joints_xy - self.joints_xy, axis=1)[seen]
        away = float(np.median(apart)) / size_of(self.box)
        strange = unlike(self.colours, colours)
        most = STRANGER if self.missed or away > CLOSE else 2 * STRANGER
        far = away > FAR + WIDER * self.missed and not self.in_place(pose)
        unlikely = far or (strange > most and not alone)
        if unlikely and not self.comes_in(pose):
            return np.inf
        return away + strange + (ABSENT if self.missed or self.hidden else 0.0)

    def in_place(self, pose: Pose) -> bool:
        """Whether it fills the place of the person, who was seen there a moment ago: whatever its
        joints say, upside down as they may be, it is hardly somebody new."""
        box = box_around(pose)
        return self.missed <= MOMENT and box is not None and iou(self.box, box) > PLACE

    def comes_in(self, pose: Pose) -> bool:
        """Whether the person was but glimpsed so far, and the pose is in their place and larger."""
        if self.seen > YOUNG or self.hidden:
            return False
        box = box_around(pose)
        return (
            box is not None
            and size_of(box) > LARGER * size_of(self.box)
            and overlap(self.box, box) > THERE
        )

    def begin_anew(self, pose: Pose, box: Boxes, colours: Colours) -> None:
        """The first glimpses said little: forget them, but for the id."""
        self.box, self.joints_xy, self.colours = box, pose.joints_xy, colours
        self.speed = np.zeros(2, np.float32)
        self.seen, self.missed, self.hidden = self.seen + 1, 0, False

    def take(self, pose: Pose, box: Boxes, hidden: bool = False) -> None:
        """The person was seen: correct the expectation, and move it on by a frame.

        hidden: in part, behind somebody; the box then only moves along, for what is seen of them
        does not say how large they are.
        """
        seen = pose.scores >= SEEN
        moved = (pose.joints_xy - self.joints_xy)[seen].mean(axis=0)
        # Limited, so that one wild pose does not throw the box out of the picture.
        speed = self.speed + 0.3 * moved
        limit = 0.1 * size_of(box)
        self.speed = np.clip(speed, -limit, limit).astype(np.float32)
        self.seen, self.missed, self.hidden = self.seen + 1, 0, hidden
        if hidden:
            self.box = self.box + np.tile(moved + self.speed, 2)
        else:
            moved_box = steadied(self.box, box) + np.tile(self.speed, 2)
            if np.abs(moved_box - self.box).max() > STILL * size_of(box):
                self.box = moved_box
        self.joints_xy = pose.joints_xy + self.speed

    def miss(self, others: Sequence[Boxes]) -> None:
        """The person was not seen: go on as before, slower and slower. `others` are the boxes
        of who was.
        """
        self.missed += 1
        self.hidden = any(overlap(self.box, box) > BEHIND for box in others)
        self.speed = self.speed * np.float32(COAST)
        self.box = self.box + np.tile(self.speed, 2)
        self.joints_xy = self.joints_xy + self.speed


class Tracker:
    """Follows people from frame to frame. Ids rise from 1 and are never handed on."""

    def __init__(self, max_people: int) -> None:
        self.max_people = max_people
        self._tracks: list[Track] = []
        self._next_id = 1
        self._frames = 0

    def step(self, look: Look, find: Find, wear: Wear) -> list[Pose]:
        """The people of one frame, each with its id: one call of `look` where people are
        followed, another where somebody may be behind them, and now and then one of `find`.
        """
        if not self._tracks:
            return [self._start(pose, wear(pose)) for pose in search(look, find, self.max_people)]
        self._frames += 1
        newcomers = self._newcomers(find)
        plain = [track for track in self._tracks if not self._covered(track)]
        boxes = [track.box for track in plain] + newcomers
        poses = look(np.stack(boxes))
        bodies = distinct(poses, KEPT, len(boxes))
        colours = [wear(pose) for pose in bodies]
        mine = self._whose(bodies, colours)
        found = poses[len(plain) :]
        in_view = len(bodies)
        theirs, strangers = self._behind(look, wear, bodies, mine)
        for i, pose in theirs.items():
            mine[i] = len(bodies)
            bodies.append(pose)
            colours.append(wear(pose))
        kept = self._follow(bodies, colours, mine, in_view)
        for j, pose in enumerate(bodies[:in_view]):
            # Who is looked for elsewhere and seen here is not new: only the finder says so.
            new = j not in mine.values() and any(alike(pose, other) >= SAME for other in found)
            if new and pose.score >= FOUND and len(self._tracks) < self.max_people:
                kept.append(self._start(pose, colours[j]))
        for pose in strangers:
            if len(self._tracks) < self.max_people:
                kept.append(self._start(pose, wear(pose)))
                self._tracks[-1].hidden = True
        self._tracks = [t for t in self._tracks if t.missed <= (HIDDEN if t.hidden else GRACE)]
        return kept

    def _covered(self, track: Track) -> bool:
        """Whether, as a frame ago, somebody in full view is expected where this person is. Now
        and then that is forgotten: it may have become the other way round.
        """
        return (
            track.hidden
            and self._frames % ANEW_EVERY != 0
            and any(
                not other.hidden and not other.missed and overlap(track.box, other.box) > BEHIND
                for other in self._tracks
            )
        )

    def _behind(
        self, look: Look, wear: Wear, bodies: Sequence[Pose], mine: dict[int, int]
    ) -> tuple[dict[int, Pose], list[Pose]]:
        """Who is to be seen with all of these bodies crossed out: of the tracks (by index) that are
        nobody's of them, but expected where one of them is; and now and then somebody new.
        """
        shown = [box for pose in bodies if (box := box_around(pose)) is not None]
        asked = [
            i
            for i, track in enumerate(self._tracks)
            if i not in mine
            and any(overlap(track.box, box) > BEHIND for box in shown)
            # Who has not been seen for some frames need not be looked for at every one.
            and (track.missed <= MOMENT or self._frames % MISSING_EVERY == 0)
        ]
        # Who was seen so a frame ago need not be as sure now: nobody should come and go.
        partly = {i for i in asked if self._tracks[i].hidden and not self._tracks[i].missed}
        for i in asked:
            self._tracks[i].hidden = True
        where = asked + self._suspected(mine)
        if not where:
            return {}, []
        poses = look(np.stack([self._tracks[i].box for i in where]), bodies)
        others = [
            pose
            for pose in distinct(poses, KEPT, len(where))
            if all(alike(pose, body) < BESIDE for body in bodies)
        ]
        colours = [wear(pose) for pose in others]
        theirs = one_to_one(
            (self._tracks[i].cost(pose, worn), i, j)
            for i in asked
            for j, (pose, worn) in enumerate(zip(others, colours, strict=True))
            if pose.score >= PARTLY or i in partly
        )
        # Who is looked for here and was not known by their colours may still be the one seen.
        looked = poses[len(asked) :]
        waiting = [self._tracks[i].box for i in asked if i not in theirs]
        strangers = [
            pose
            for j, pose in enumerate(others)
            if j not in theirs.values()
            and pose.score >= FOUND
            and any(pose is p for p in looked)
            and all(overlap(box, pose.box_xyxy) <= BEHIND for box in waiting)
        ]
        return {i: others[j] for i, j in theirs.items()}, strangers

    def _suspected(self, mine: dict[int, int]) -> list[int]:
        """Tracks in full view that somebody unknown may stand behind, each on another frame. The
        finder takes two such people for one. Where one is alone it is not worth its time.
        """
        if len(self._tracks) < 2 or len(self._tracks) >= self.max_people:
            return []
        return [i for i in mine if (self._frames - 2 * i) % SUSPECTED_EVERY == SUSPECTED_EVERY // 2]

    def _newcomers(self, find: Find) -> list[Boxes]:
        """Boxes in which nobody is followed yet, on the frames that the finder looks at."""
        missing = sum(track.missed > 0 for track in self._tracks)
        # Nobody in sight is as nobody followed: look until somebody is.
        lost = any(track.missed == 1 for track in self._tracks) or missing == len(self._tracks)
        # Who is hidden may well be gone: they keep nobody out.
        gone = sum(track.missed > 0 or track.hidden for track in self._tracks)
        room = self.max_people - len(self._tracks) + gone
        every = MISSING_EVERY if missing else NEWCOMERS_EVERY
        if room <= 0 or (self._frames % every and not lost):
            return []
        known = [track.box for track in self._tracks if not track.missed]
        return unknown(find(), known)[:room]

    def _whose(self, bodies: Sequence[Pose], colours: Sequence[Colours]) -> dict[int, int]:
        """Which body (its index) is which track's (its index): the surest pair first."""
        # Who is alone and in sight stays the same person when the light is switched on.
        alone = len(self._tracks) == len(bodies) == 1 and not self._tracks[0].missed
        return one_to_one(
            (track.cost(pose, worn, alone), i, j)
            for i, track in enumerate(self._tracks)
            for j, (pose, worn) in enumerate(zip(bodies, colours, strict=True))
        )

    def _follow(
        self,
        bodies: Sequence[Pose],
        colours: Sequence[Colours],
        mine: dict[int, int],
        in_view: int,
    ) -> list[Pose]:
        """Move every track on by the body that is its own, if there is one. The first `in_view`
        bodies stand before the others."""
        boxes = [box_around(pose) for pose in bodies]
        kept = []
        for i, track in enumerate(self._tracks):
            j = mine.get(i)
            others = [box for k, box in enumerate(boxes[:in_view]) if k != j and box is not None]
            if j is None or (box := boxes[j]) is None:
                track.miss(others)
                continue
            if track.comes_in(bodies[j]):
                track.begin_anew(bodies[j], box, colours[j])
            else:
                track.take(bodies[j], box, hidden=j >= in_view)
            if all(overlap(box, other) < 0.2 for other in others):
                track.colours = blend(track.colours, colours[j], 0.1)
            kept.append(replace(bodies[j], id=track.id))
        return kept

    def _start(self, pose: Pose, colours: Colours) -> Pose:
        box = box_around(pose)
        assert box is not None
        self._tracks.append(Track(self._next_id, box, pose.joints_xy, colours))
        self._next_id += 1
        return replace(pose, id=self._next_id - 1)


def steadied(last: Boxes, new: Boxes) -> Boxes:
    """The next box: at once around joints that moved outwards, slowly inwards.

    A joint that flickers for a frame must not make the crop jump and all joints with it.
    """
    outwards = np.concatenate((new[:2] < last[:2], new[2:] > last[2:]))
    return np.where(outwards, 0.3 * last + 0.7 * new, 0.7 * last + 0.3 * new).astype(np.float32)
