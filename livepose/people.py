"""Where the people are: a finder says so on a new scene (`search.py`), their last poses afterwards.

Nothing here touches pixels: `Find` gives boxes of the current frame, `Look` turns boxes into
poses, `Wear` tells a person's colours; all three belong to `estimator.py`.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from livepose.clothes import Colours, blend
from livepose.finder import iou
from livepose.pose import Pose
from livepose.search import (
    BESIDE,
    SAME,
    SURELY,
    Among,
    Find,
    Look,
    distinct,
    is_somebody,
    search,
)
from livepose.track import (
    BEHIND,
    MOMENT,
    STRANGER,
    STRANGER_STILL,
    TICK_S,
    Boxes,
    Track,
    alike,
    box_around,
    overlap,
)
from livepose.whose import costs, exchanged, one_to_one, unsure


class Wear(Protocol):
    """What tells the colours of people of the current frame: `PoseEstimator`."""

    def __call__(
        self, poses: Sequence[Pose], before: Sequence[Sequence[Pose]] = ()
    ) -> Sequence[Colours]:
        """Each one's; `before`: for each, if given, who stands before them."""
        ...


FOLLOWED = 0.8
"""`is_somebody` of a new person, unless behind others (`SURELY`). In a single picture less will do:
who is less sure in one frame may be surer in the next, and furniture that is once taken for a
person stays one."""

KEPT = 0.22
"""A followed person's `Pose.score`, at least; below it for `GRACE` frames the track ends."""

PARTLY = 0.4
"""The same for who is behind somebody and first seen with those before them crossed out."""

GRACE = 8
"""Frames in a row that a followed person may be missed in."""

HIDDEN = 45
"""Such frames for somebody whose expected place another person is standing in front of; when it is
free again `GRACE` begins."""

NEWCOMERS_EVERY = 6
"""While there is room for more people the finder looks at every so many frames."""

MISSING_EVERY = 3
"""As often while somebody who is followed is not seen."""

KNOWN = 0.3
"""IoU of a found box with a followed person's from which it may be theirs."""

TWIN = 0.8
"""`search.BESIDE` with a model that is believed."""

SURER = 0.02
"""Of two people, one before the other, whose score is so much better is the one before."""

DOUBTED_NEW = 4
"""Frames in which somebody who is first seen behind somebody is doubted, unless in full view."""

SUSPECTED_EVERY = 12
"""Behind each of several people somebody new is looked for at every so many frames,"""

LONE_EVERY = 48
"""and beside one who is alone. Two people may stand in one box of the finder's."""

ANEW_EVERY = 8
"""On every so many frames who was behind somebody is looked for as everybody else first."""


def unknown(found: Boxes, known: Sequence[Boxes]) -> list[Boxes]:
    """Those of the boxes found [N, 4] that are nobody's: each known one takes the likest."""
    theirs = one_to_one(
        (-share if (share := iou(box, other)) >= KNOWN else np.inf, i, k)
        for i, box in enumerate(found)
        for k, other in enumerate(known)
    )
    return [box for i, box in enumerate(found) if i not in theirs]


def who_is_behind(bodies: Sequence[Pose], in_view: int) -> set[int]:
    """Which of the bodies are behind others: those but the first `in_view`, who were seen with
    the others crossed out, unless one of them is surer than everybody thought before them.
    """
    behind = set(range(in_view, len(bodies)))
    boxes = [box_around(pose) for pose in bodies]
    for i in range(in_view, len(bodies)):
        before = {
            j
            for j in set(range(len(bodies))) - behind
            if (box := boxes[i]) is not None
            and (other := boxes[j]) is not None
            and overlap(box, other) > BEHIND
        }
        if before and all(bodies[i].score > bodies[j].score + SURER for j in before):
            behind = (behind - {i}) | before
    return behind


LONGEST_GAP_S = 3.0
"""Between two frames; after a longer one, or a time that goes back, nobody is known any more: the
camera was unplugged, the view paused, or it is another video."""


class Tracker:
    """Follows people from frame to frame. Ids rise from 1 and are never handed on.

    trusted: whether the model is believed of who stands behind others, because it hardly ever
    answers who is crossed out. least: `is_somebody` of a new person; `FOLLOWED` is for the scores
    of calibrated models.
    """

    def __init__(self, max_people: int, trusted: bool = False, least: float = FOLLOWED) -> None:
        self.max_people = max_people
        self._trusted, self._least = trusted, least
        self._beside = TWIN if trusted else BESIDE
        self._stranger = STRANGER_STILL if trusted else STRANGER
        self._tracks: list[Track] = []
        self._next_id = 1
        self._frames = 0
        self._last_s: float | None = None
        self._ticks = 1.0

    def at(self, time_s: float) -> None:
        """The next `step` is of that time, in seconds; without, it is a tick after the last."""
        last_s, self._last_s = self._last_s, time_s
        if last_s is not None and not 0 <= time_s - last_s <= LONGEST_GAP_S:
            self._tracks = []
        elif last_s is not None:
            self._ticks = (time_s - last_s) / TICK_S

    @property
    def doubted(self) -> set[int]:
        """Ids of those whose poses of the last `step`, if there are any, are better not shown: they
        stand behind somebody, and `Track.doubted` counts.
        """
        return {track.id for track in self._tracks if track.doubted}

    def step(self, look: Look, find: Find, wear: Wear) -> list[Pose]:
        """The people of one frame, each with its id: one call of `look`, another where somebody
        has just gone behind somebody or may be there unknown, and now and then one of `find`.
        In the first call it is the expected poses of those in view that are crossed out for who
        was behind them, and of two who overlap each one's answer is kept from being the other.
        """
        if not self._tracks:
            poses = search(look, find, self.max_people, self._least)
            return [self._start(pose, worn) for pose, worn in zip(poses, wear(poses), strict=True)]
        self._frames += 1
        for track in self._tracks:
            track.go_on(self._ticks)
        covered = [i for i, track in enumerate(self._tracks) if self._covered(track)]
        plain = [track for i, track in enumerate(self._tracks) if i not in covered]
        boxes = [track.box for track in plain] + self._newcomers(find)
        behind = [i for i in covered if self._worth_a_look(self._tracks[i])]
        before = [track.expected() for track in self._tracks if track.in_view]
        asked_for = [self._tracks[i] for i in behind]
        hidden = [track for track in self._tracks if track.hidden]
        poses = look(
            np.stack(boxes + [track.box for track in asked_for]),
            [()] * len(boxes) + [before] * len(behind),
            [self._surrounded(track, self._tracks) for track in plain]
            + [None] * (len(boxes) - len(plain))
            + [self._surrounded(track, hidden) for track in asked_for],
        )
        bodies = distinct(poses[: len(boxes)], KEPT, len(boxes))
        colours = [*wear(bodies)]
        mine = self._whose(bodies, colours)
        found = poses[len(plain) : len(boxes)]
        in_view = len(bodies)
        gone = self._gone_behind(bodies, {*mine, *covered}) + self._suspected(mine)
        asked = zip(behind, poses[len(boxes) :], strict=True)
        seen = [(i, pose) for i, pose in asked if i not in mine]
        if gone:
            again = look(np.stack([self._tracks[i].box for i in gone]), [bodies] * len(gone))
            seen += zip(gone, again, strict=True)
        theirs, strangers = self._behind(seen, wear, bodies, mine)
        for i, (pose, worn) in theirs.items():
            mine[i] = len(bodies)
            bodies.append(pose)
            colours.append(worn)
        if len(mine) > 1:
            mine = exchanged(mine, costs(self._tracks, bodies, colours, self._stranger))
        kept = self._follow(bodies, colours, mine, who_is_behind(bodies, in_view))
        self._tracks = [
            track
            for track in self._tracks
            if track.waited <= GRACE and track.missed - track.waited <= HIDDEN
        ]
        for j, pose in enumerate(bodies[:in_view]):
            # Who is looked for elsewhere and seen here is not new: only the finder says so.
            new = j not in mine.values() and any(alike(pose, other) >= SAME for other in found)
            if new and is_somebody(pose, self._least) and self._make_room():
                kept.append(self._start(pose, colours[j]))
        for pose, worn in strangers:
            if self._make_room():
                kept.append(self._start(pose, worn))
                self._tracks[-1].hidden, self._tracks[-1].doubted = True, DOUBTED_NEW
        return kept

    def _surrounded(self, track: Track, others: Sequence[Track]) -> Among | None:
        """Which of the others were seen a frame ago and are expected where this person is, if the
        model is believed of who is crossed out.
        """
        if track.missed or not self._trusted:
            return None
        poses = [
            other.expected()
            for other in others
            if other is not track and not other.missed and overlap(other.box, track.box) > BEHIND
        ]
        return (track.expected(), poses) if poses else None

    def _covered(self, track: Track) -> bool:
        """Whether, as a frame ago, somebody in full view is expected where this person is. Now
        and then that is forgotten: it may have become the other way round.
        """
        return (
            track.hidden
            and self._frames % ANEW_EVERY != 0
            and any(
                other.in_view and overlap(track.box, other.box) > BEHIND for other in self._tracks
            )
        )

    def _worth_a_look(self, track: Track) -> bool:
        """Who has not been seen for some frames need not be looked for at every one."""
        return track.missed <= MOMENT or self._frames % MISSING_EVERY == 0

    def _gone_behind(self, bodies: Sequence[Pose], others: Collection[int]) -> list[int]:
        """Tracks, but for these `others`, that are expected where one of these bodies is."""
        if len(others) == len(self._tracks):
            return []
        shown = [box for pose in bodies if (box := box_around(pose)) is not None]
        return [
            i
            for i, track in enumerate(self._tracks)
            if i not in others
            and self._worth_a_look(track)
            and any(overlap(track.box, box) > BEHIND for box in shown)
        ]

    def _behind(
        self,
        seen: Sequence[tuple[int, Pose]],
        wear: Wear,
        bodies: Sequence[Pose],
        mine: dict[int, int],
    ) -> tuple[dict[int, tuple[Pose, Colours]], list[tuple[Pose, Colours]]]:
        """Of poses seen with those in view crossed out, each where the track of that index is:
        which is whose of the tracks that are nobody's of `bodies`, and who is somebody new; each
        with what they wear.
        """
        if not seen:
            return {}, []
        lost = [i for i in range(len(self._tracks)) if i not in mine]
        # Who was seen so a frame ago need not be as sure now: nobody should come and go.
        partly = {i for i in lost if self._tracks[i].hidden and not self._tracks[i].missed}
        for i in {i for i, _ in seen} & set(lost):
            self._tracks[i].hidden = True
        others = [
            pose
            for pose in distinct([pose for _, pose in seen], KEPT, len(seen))
            if all(alike(pose, body) < self._beside for body in bodies)
        ]
        colours = wear(others, [bodies] * len(others))
        tracks = [self._tracks[i] for i in lost]
        cost = costs(tracks, others, colours, self._stranger)
        given = one_to_one(
            (each, k, j)
            for k, row in enumerate(cost)
            for j, each in enumerate(row)
            if others[j].score >= PARTLY or lost[k] in partly
        )
        # Who it is may show when more of them is seen; somebody new it is not.
        doubtful = unsure(given, cost, tracks, colours)
        theirs = {lost[k]: j for k, j in given.items() if k not in doubtful}
        # Who is looked for here and was not known by their colours may still be the one seen. An
        # answer of whom nothing is to be seen beside the others is one of the others.
        looked = [pose for i, pose in seen if i in mine]
        waiting = [self._tracks[i].box for i in lost if i not in theirs]
        strangers = [
            (pose, colours[j])
            for j, pose in enumerate(others)
            if j not in given.values()
            and pose.score >= SURELY
            and not np.isnan(colours[j]).all()
            and any(pose is p for p in looked)
            and all(overlap(box, pose.box_xyxy) <= BEHIND for box in waiting)
        ]
        return {i: (others[j], colours[j]) for i, j in theirs.items()}, strangers

    def _suspected(self, mine: dict[int, int]) -> list[int]:
        """Tracks in full view that somebody unknown may stand behind: each when it is new, and then
        each on another frame. The finder takes two such people for one. Beside one who is alone
        only a trusted model is asked, and not on the frames of the finder.
        """
        if len(self._tracks) >= self.max_people:
            return []
        alone = len(self._tracks) == 1
        if alone and not self._trusted:
            return []
        every = LONE_EVERY if alone else SUSPECTED_EVERY
        return [
            i
            for i in mine
            if self._tracks[i].seen == 1 or (self._frames - 2 * i) % every == every // 2 + alone
        ]

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
        known = [track for track in self._tracks if track.missed <= GRACE]
        alone = known[0] if len(known) == len(bodies) == 1 and not known[0].missed else None
        cost = costs(self._tracks, bodies, colours, self._stranger, alone)
        return one_to_one((each, i, j) for i, row in enumerate(cost) for j, each in enumerate(row))

    def _follow(
        self,
        bodies: Sequence[Pose],
        colours: Sequence[Colours],
        mine: dict[int, int],
        hidden: Collection[int],
    ) -> list[Pose]:
        """Correct every track by the body that is its own, if there is one. Those `hidden` stand
        behind the others.
        """
        boxes = [box_around(pose) for pose in bodies]
        kept = []
        for i, track in enumerate(self._tracks):
            j = mine.get(i)
            others = [
                box for k, box in enumerate(boxes) if k != j and k not in hidden and box is not None
            ]
            if j is None or (box := boxes[j]) is None:
                track.miss(others)
                continue
            if j not in hidden and track.comes_in(bodies[j]):
                track.begin_anew(bodies[j], box, colours[j])
            else:
                track.take(bodies[j], box, hidden=j in hidden)
            if all(overlap(box, other) < 0.2 for other in others):
                track.colours = blend(track.colours, colours[j], 0.1)
            elif j in hidden:
                # What was not known of them yet.
                track.colours = blend(track.colours, colours[j], 0.0)
            kept.append(replace(bodies[j], id=track.id))
        return kept

    def _make_room(self) -> bool:
        """Whether one more person may be followed: of too many who was not seen for longest is
        given up, before those who are thought behind somebody who is not where they should be."""
        if len(self._tracks) < self.max_people:
            return True
        lost = [track for track in self._tracks if track.missed > GRACE]
        if not lost:
            return False
        longest = max(lost, key=lambda track: (not track.hidden, track.missed))
        self._tracks = [track for track in self._tracks if track is not longest]
        return True

    def _start(self, pose: Pose, colours: Colours) -> Pose:
        box = box_around(pose)
        assert box is not None
        self._tracks.append(Track(self._next_id, box, pose.joints_xy, pose.scores, colours))
        self._next_id += 1
        return replace(pose, id=self._next_id - 1)
