"""One person who is followed: where they are expected next, and what poses may be theirs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from livepose.clothes import Colours, unlike
from livepose.finder import areas, iou
from livepose.pose import Pose

Boxes = npt.NDArray[np.float32]
"""float32 [N, 4]: x0, y0, x1, y1 in frame pixels."""

SEEN = 0.08
"""Score from which a joint helps to place the next box."""

PAD = 0.1
"""Room around the outermost joints, as a share of the longer side; as the training boxes have."""

FAR = 0.4
"""Body sizes between where a person is expected and a pose that is not theirs any more."""

WIDER = 0.03
"""Added to `FAR` for each frame a person has been missed in, for one who comes back."""

STRANGER = 0.4
"""Colours that are so much `unlike` are another person's."""

STRANGER_STILL = 0.55
"""The same with a model that is believed of who stands behind others: they are found between them,
with colours of both."""

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

THERE = 0.3
"""More than that share of the smaller box is in the other."""

ABSENT = 0.15
"""Added to the cost of a pose for who was missed or behind somebody: those in sight keep theirs."""

LEAP = 0.05
"""Body sizes a tick from where somebody behind others was expected, from which a pose of theirs is
doubted: it may be somebody else's, or torn between two."""

DOUBTED = 3
"""Frames with somebody behind others in which their pose is doubted, from a leap on."""

STILL = 0.03
"""Body sizes that the next box must differ by: a crop that moves with every noise in the pose
makes more of it, and of two answers now one and now the other."""

OUT = np.array((-1, -1, 1, 1), np.float32)
"""Which way is outwards for each side of a box."""

TICK_S = 1 / 30
"""What speeds are measured by. Cameras are slower in the dark, and frames are left out."""

LONGEST = 3.0
"""Ticks that a person is thought to go on as before: after a longer pause they hardly did, and one
wild pose should not throw them out of the picture."""

TURNS = 0.3
"""How much of a step that was not expected is added to the speed, if it took a tick; of a longer
time it is a part, and hardly any time says little;"""

TURNS_HIDDEN = 0.1
"""of somebody seen in part. The rest of their joints is guessed, and jumps."""

COAST = 0.95
"""What is left of its speed each tick that a person is not seen in."""


@lru_cache(maxsize=64)
def box_around(pose: Pose) -> Boxes | None:
    """The tight box float32 [4] around the joints that were seen; None if they are too few.

    It is asked for dozens of times a frame, and is not to be changed.
    """
    seen = pose.joints_xy[pose.scores >= SEEN]
    if len(seen) < 4:
        return None
    low, high = seen.min(axis=0), seen.max(axis=0)
    longer = float((high - low).max())
    return np.concatenate((low - PAD * longer, high + PAD * longer)).astype(np.float32)


def overlap(a: Boxes, b: Boxes) -> float:
    """Shared area of two boxes as a share of the smaller one."""
    shared, area_a, area_b = areas(a, b)
    return shared / max(1e-6, min(area_a, area_b))


def size_of(box: Boxes) -> float:
    """The longer side in pixels."""
    x0, y0, x1, y1 = box
    return max(float(x1 - x0), float(y1 - y0), 1.0)


def alike(a: Pose, b: Pose) -> float:
    """How far two poses are one body's, 0..1: as OKS, with one tolerance for all joints, a
    tenth of the smaller body's size, over the joints that both see. Below 0.3 where their boxes
    do not touch, and taken for 0.
    """
    box_a, box_b = box_around(a), box_around(b)
    if box_a is None or box_b is None or not overlap(box_a, box_b):
        return 0.0
    both = (a.scores >= SEEN) & (b.scores >= SEEN)
    if both.sum() < 4:
        return 0.0
    x, y = (a.joints_xy - b.joints_xy)[both].T
    tolerance = 0.1 * min(size_of(box_a), size_of(box_b))
    return float(np.exp(-(x * x + y * y) / (2 * tolerance**2)).mean())


@dataclass
class Track:
    """One followed person. `box` and `joints_xy` are where the person is expected, by `go_on` in
    the next frame, `scores` are of their last pose; `speed` in pixels a tick; `seen` counts
    frames with them, `missed` frames in a row without, `waited` those since somebody else was last
    in that place, before them; `hidden` says whether somebody is, seen or not; in `doubted` frames
    with them, this one counted, the pose may be another's; `ticks` since the frame before; the
    next box comes from `place`, where that is more than `slack` pixels away.
    """

    id: int
    box: Boxes
    joints_xy: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    colours: Colours
    speed: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(2, np.float32))
    seen: int = 1
    missed: int = 0
    waited: int = 0
    hidden: bool = False
    doubted: int = 0
    ticks: float = 1.0
    place: Boxes | None = None
    slack: float = 0.0

    @property
    def in_view(self) -> bool:
        """Whether the person was seen a frame ago, with nobody before them."""
        return not self.hidden and not self.missed

    def expected(self) -> Pose:
        """The person as they should be seen next; such a pose has no score of its own."""
        return Pose(self.joints_xy, self.scores, self.box, 0.0, self.id)

    def cost(
        self,
        pose: Pose,
        colours: Colours,
        apart: float,
        alone: bool = False,
        stranger: float = STRANGER,
    ) -> float:
        """How little the pose is this person's: body sizes from where they are expected, and
        how unlike their colours are. Infinite where it is too far away or, unless there is
        nobody else, too unlike; neither counts for who is coming into the picture.

        apart: how far it is from there in pixels, see `distances`.
        """
        if apart == np.inf:
            return np.inf
        away = apart / size_of(self.box)
        # Who was hidden may have gone anywhere meanwhile; from where nobody stands, no further.
        wider = WIDER * (self.missed if self.hidden else self.waited)
        far = away > FAR + wider and not self.in_place(pose)
        if far and not self.comes_in(pose):
            return np.inf
        strange = unlike(self.colours, colours)
        most = stranger if self.missed or away > CLOSE else 2 * stranger
        if strange > most and not alone and not self.comes_in(pose):
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

    def go_on(self, ticks: float) -> None:
        """Expect the person so much later than the last frame was."""
        self.ticks = ticks
        way = self.speed * np.float32(min(ticks, LONGEST))
        self.joints_xy = self.joints_xy + way
        box = (self.box if self.place is None else self.place) + twice(way)
        if np.abs(box - self.box).max() > self.slack:
            self.box = box
        self.place, self.slack = None, 0.0

    def begin_anew(self, pose: Pose, box: Boxes, colours: Colours) -> None:
        """The first glimpses said little: forget them, but for the id."""
        self.box, self.colours = box, colours
        self.joints_xy, self.scores = pose.joints_xy, pose.scores
        self.speed = np.zeros(2, np.float32)
        self.seen, self.missed, self.waited, self.hidden = self.seen + 1, 0, 0, False
        self.doubted = 0

    def take(self, pose: Pose, box: Boxes, hidden: bool = False) -> None:
        """The person was seen: correct the expectation.

        hidden: in part, behind somebody; the box then only moves along, for what is seen of them
        does not say how large they are.
        """
        seen = pose.scores >= SEEN
        moves = (pose.joints_xy - self.joints_xy)[seen]
        moved = moves.mean(axis=0)
        self.doubted = max(self.doubted - 1, 0) if hidden else 0
        if hidden and self.missed <= MOMENT and self._leaps(moves):
            self.doubted = DOUBTED
        turns = TURNS_HIDDEN if hidden else TURNS
        turns *= min(self.ticks, 1) / max(self.ticks, 1)
        speed = self.speed + np.float32(turns) * moved
        # Limited, so that one wild pose does not throw the box out of the picture.
        limit = 0.1 * size_of(box)
        self.speed = np.minimum(np.maximum(speed, -limit), limit)
        self.seen, self.missed, self.waited, self.hidden = self.seen + 1, 0, 0, hidden
        if hidden:
            self.box = self.box + twice(moved)
        else:
            self.place, self.slack = steadied(self.box, box), STILL * size_of(box)
        self.joints_xy, self.scores = pose.joints_xy, pose.scores

    def _leaps(self, moves: npt.NDArray[np.float32]) -> bool:
        """Whether joints that went so far from where they were expected, [N, 2], are too far. After
        a long pause anybody may be elsewhere.
        """
        far = LEAP * max(self.ticks, 1.0) * size_of(self.box)
        return self.ticks <= LONGEST and float(np.median(np.hypot(*moves.T))) > far

    def miss(self, others: Sequence[Boxes]) -> None:
        """The person was not seen: they go on slower and slower. `others`: boxes of who was."""
        self.missed += 1
        self.hidden = any(overlap(self.box, box) > BEHIND for box in others)
        self.waited = 0 if self.hidden else self.waited + 1
        self.speed = self.speed * np.float32(COAST**self.ticks)


def distances(tracks: Sequence[Track], poses: Sequence[Pose]) -> npt.NDArray[np.float32]:
    """The median way in pixels from where the joints of T tracks are expected to where they are
    seen in B poses: float32 [T, B]; infinite for a pose that shows none.
    """
    if not tracks or not poses:
        return np.zeros((len(tracks), len(poses)), np.float32)
    expected = np.array([track.joints_xy for track in tracks])
    seen = np.array([pose.scores for pose in poses]) >= SEEN
    moved = np.array([pose.joints_xy for pose in poses]) - expected[:, None]
    apart = np.sort(np.where(seen, np.hypot(moved[..., 0], moved[..., 1]), np.inf))
    count, each = seen.sum(axis=1), np.arange(len(poses))
    low, high = apart[:, each, np.maximum(count - 1, 0) // 2], apart[:, each, count // 2]
    return np.asarray((low + high) / 2, np.float32)


def steadied(last: Boxes, new: Boxes) -> Boxes:
    """The next box: at once around joints that moved outwards, slowly inwards.

    A joint that flickers for a frame must not make the crop jump and all joints with it.
    """
    outwards = (new - last) * OUT > 0
    return np.where(outwards, 0.3 * last + 0.7 * new, 0.7 * last + 0.3 * new)


def twice(xy: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """float32 [2] -> [4], for both corners of a box; np.tile takes several times as long."""
    return np.concatenate((xy, xy))
