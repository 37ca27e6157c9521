"""People behind and among others: with a made-up network that knows the truth."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from livepose.clothes import Colours
from livepose.people import (
    GRACE,
    HIDDEN,
    KEPT,
    LONE_EVERY,
    MISSING_EVERY,
    SUSPECTED_EVERY,
    Tracker,
    who_is_behind,
)
from livepose.pose import Pose
from livepose.search import Look
from livepose.track import Boxes
from tests.people_world import (
    GREY,
    SHAPE,
    Near,
    Without,
    World,
    dressed,
    in_grey,
)


def test_somebody_hidden_for_three_frames_keeps_the_id_and_the_way() -> None:
    world = World([(100, 150)])
    tracker = Tracker(8)
    for frame in range(40):
        world.people = [] if 20 <= frame < 23 else [(100 + 8.0 * frame, 150)]
        poses = tracker.step(world, world.find, in_grey)
        assert [p.id for p in poses] == ([1] if world.people else [])


def test_who_stands_behind_somebody_is_seen_with_those_before_them_crossed_out() -> None:
    """The network sees the nearer one in both boxes; only without them the other."""
    front, behind = (200.0, 150.0), (235.0, 150.0)
    world = World([front, (420, 150)])
    tracker = Tracker(8)
    for x in range(420, 235, -15):
        world.people = [front, (float(x), 150)]
        assert len(tracker.step(world, world.find, in_grey)) == 2

    def covered(boxes: Boxes, without: Without = (), among: Near = ()) -> list[Pose]:
        return world.look(boxes, without, among, [front])

    looks = []
    world.people = [front, behind]
    for _ in range(HIDDEN + GRACE):
        world.looks.clear()
        poses = tracker.step(covered, lambda: np.zeros((0, 4), np.float32), in_grey)
        places = {p.id: tuple(p.joints_xy[0] - SHAPE[0]) for p in poses}
        assert places == {1: pytest.approx(front, abs=0.01), 2: pytest.approx(behind, abs=0.01)}
        looks.append(tuple(world.looks))
    # All in one batch, but now and then one of them is asked after twice.
    assert set(looks) == {(2,), (2, 1)}
    assert looks.count((2,)) > 3 * looks.count((2, 1))


@pytest.mark.parametrize("speed", [1.0, 3.0, 5.0])
def test_who_comes_out_from_behind_is_followed_into_full_view(speed: float) -> None:
    """By their pose alone: the finder finds nobody any more."""
    front = (200.0, 150.0)
    world = World([front, (420, 150)])
    tracker = Tracker(8)
    tracker.step(world, world.find, in_grey)
    nothing = np.zeros((0, 4), np.float32)
    way = [*np.arange(420, 240, -5.0), *np.arange(240, 400, speed)]
    for x in way:
        world.people = [front, (float(x), 150)]

        def covered(
            boxes: Boxes,
            without: Without = (),
            among: Near = (),
        ) -> list[Pose]:
            return world.look(
                boxes, without, among, [p for p in world.people if p[0] >= 250 or p == front]
            )

        poses = tracker.step(covered, lambda: nothing, in_grey)
        places = {p.id: p.joints_xy[0] - SHAPE[0] for p in poses}
        assert set(places) == {1, 2}, x
        assert places[2] == pytest.approx((x, 150), abs=0.01)


def covered_by(world: World, shown: list[tuple[float, float]]) -> Look:
    """Looks at a world in which only those shown are seen until they are crossed out."""

    def look(boxes: Boxes, without: Without = (), among: Near = ()) -> list[Pose]:
        return world.look(boxes, without, among, shown)

    return look


NOTHING = np.zeros((0, 4), np.float32)


def test_somebody_unknown_behind_one_of_several_is_found_without_the_finder() -> None:
    front, unknown = (200.0, 150.0), (228.0, 150.0)
    shown = [front, (420.0, 150.0)]
    world = World(shown)
    tracker = Tracker(8)
    tracker.step(world, world.find, in_grey)
    world.people = [*shown, unknown]
    for frame in range(SUSPECTED_EVERY):
        poses = tracker.step(covered_by(world, shown), lambda: NOTHING, in_grey)
        # Who has just been found may hide somebody: that is looked for at once.
        assert [p.id for p in poses] == [1, 2, 3], frame
    assert poses[2].joints_xy[0] - SHAPE[0] == pytest.approx(unknown, abs=0.01)


def test_beside_one_who_is_alone_somebody_unknown_is_looked_for_at_first_and_seldom() -> None:
    """At every look it would cost every user a batch."""
    front, unknown = (200.0, 150.0), (228.0, 150.0)
    world = World([front, unknown])
    tracker = Tracker(8, trusted=True)
    look = covered_by(world, [front])
    tracker.step(look, world.find, in_grey)
    assert [p.id for p in tracker.step(look, lambda: NOTHING, in_grey)] == [1, 2]

    world, tracker = World([front]), Tracker(8, trusted=True)
    look = covered_by(world, [front])
    tracker.step(look, world.find, in_grey)
    tracker.step(look, lambda: NOTHING, in_grey)
    world.looks.clear()
    for _ in range(LONE_EVERY):
        assert [p.id for p in tracker.step(look, lambda: NOTHING, in_grey)] == [1]
    assert sum(world.looks) == LONE_EVERY + 1
    world.people = [front, unknown]
    for _ in range(LONE_EVERY):
        poses = tracker.step(look, lambda: NOTHING, in_grey)
    assert [p.id for p in poses] == [1, 2]


def test_a_weak_answer_from_behind_is_nobody() -> None:
    front = (200.0, 150.0)
    world = World([front, (420, 150)])
    tracker = Tracker(8)
    for x in range(420, 235, -15):
        world.people = [front, (float(x), 150)]
        tracker.step(world, world.find, in_grey)

    def imagined(boxes: Boxes, without: Without = (), among: Near = ()) -> list[Pose]:
        world.people = [(240.0, 150.0)]
        answers = world.look(boxes, without, among, [front])
        return [
            replace(pose, score=KEPT + 0.05) if others else pose
            for pose, others in zip(answers, without, strict=True)
        ]

    nothing = np.zeros((0, 4), np.float32)
    people = [tracker.step(imagined, lambda: nothing, in_grey) for _ in range(3)]
    assert [[p.id for p in poses] for poses in people] == [[1]] * 3


@pytest.mark.parametrize("trusted", [False, True])
def test_who_was_crossed_out_and_is_answered_again_is_nobody_new(trusted: bool) -> None:
    """Networks do so, and not in quite the same place; of one that does not it is somebody."""
    shown = [(200.0, 150.0), (420.0, 150.0)]
    world = World(shown)
    tracker = Tracker(8, trusted)
    tracker.step(world, world.find, in_grey)

    def again(boxes: Boxes, without: Without = (), among: Near = ()) -> list[Pose]:
        return [
            world.pose(box, [(x + 13.5, y + 13.5) for x, y in shown] if others else shown)
            for box, others in zip(boxes, without, strict=True)
        ]

    nothing = np.zeros((0, 4), np.float32)
    people = [tracker.step(again, lambda: nothing, in_grey) for _ in range(2 * SUSPECTED_EVERY)]
    assert all([p.id for p in poses][:2] == [1, 2] for poses in people)
    assert {len(poses) for poses in people} == ({4} if trusted else {2})


@pytest.mark.parametrize("visible", [True, False])
def test_an_answer_from_behind_is_somebody_new_if_some_of_them_is_visible(visible: bool) -> None:
    """If all of it is where others are, it is one of them again."""
    shown = [(200.0, 150.0), (420.0, 150.0)]
    world, tracker = World(shown), Tracker(8)
    tracker.step(world, world.find, in_grey)
    world.people = [*shown, (228.0, 150.0)]

    def covered(boxes: Boxes, without: Without = (), among: Near = ()) -> list[Pose]:
        return world.look(boxes, without, among, shown)

    def wear(poses: Sequence[Pose], before: Without = ()) -> list[Colours]:
        assert len(before) in (0, len(poses))
        return [GREY if visible or not before else np.full_like(GREY, np.nan) for _ in poses]

    nothing = np.zeros((0, 4), np.float32)
    for _ in range(SUSPECTED_EVERY):
        poses = tracker.step(covered, lambda: nothing, wear)
    assert [p.id for p in poses] == ([1, 2, 3] if visible else [1, 2])


def test_of_two_who_overlap_each_is_looked_for_with_the_other_beside() -> None:
    world, tracker = World([(200, 150), (420, 150)]), Tracker(8, trusted=True)
    asked: list[Near] = []

    def look(boxes: Boxes, without: Without = (), among: Near = ()) -> list[Pose]:
        asked.append(among)
        return world(boxes, without, among)

    tracker.step(look, world.find, in_grey)
    asked.clear()
    tracker.step(look, world.find, in_grey)
    assert asked[0] == [None, None]
    for x in range(420, 230, -5):
        world.people = [(200, 150), (float(x), 150)]
        asked.clear()
        poses = tracker.step(look, world.find, in_grey)
        assert [p.id for p in poses] == [1, 2]
    near = [one for one in asked[0] if one is not None]
    assert len(near) == 2
    for (own, others), person, other in zip(near, world.people, world.people[::-1], strict=True):
        assert np.abs(own.joints_xy - SHAPE - person).max() < 12
        assert [np.abs(pose.joints_xy - SHAPE - other).max() < 12 for pose in others] == [True]


def test_who_is_surer_is_before_who_was_thought_before_them() -> None:
    world = World([(200, 150), (230, 150), (500, 150)])
    boxes = world.find()
    first, second, third = (
        replace(world.pose(box, [person]), score=0.8)
        for box, person in zip(boxes, world.people, strict=True)
    )
    assert who_is_behind([first, third, second], 2) == {2}
    assert who_is_behind([first, third, replace(second, score=0.81)], 2) == {2}
    assert who_is_behind([first, third, replace(second, score=0.9)], 2) == {0}
    # Nobody is before them.
    assert who_is_behind([third, second], 1) == {1}
    assert who_is_behind([first, second, third], 3) == set()
    # Surer than one of two before them is not enough.
    sure = replace(second, score=0.9)
    assert who_is_behind([first, sure, replace(first, score=0.85)], 2) == {2}
    # Of two behind the same person only one comes before both.
    middle, back = replace(second, score=0.85), replace(first, score=0.95)
    assert who_is_behind([first, middle, back], 1) == {0, 1}


def test_who_proves_surer_is_followed_as_the_one_in_view() -> None:
    """2 went behind 1, and then is seen better than they are: 1 is who is hidden."""
    world, tracker = World([(200, 150), (420, 150)]), Tracker(8, trusted=True)

    def look(boxes: Boxes, without: Without = (), among: Near = ()) -> list[Pose]:
        poses = world.look(boxes, without, among, world.people)
        return [
            replace(p, score=0.9 if p.joints_xy[0, 0] > SHAPE[0, 0] + 215 else 0.8) for p in poses
        ]

    for x in range(420, 225, -5):
        world.people = [(200, 150), (float(x), 150)]
        tracker.step(world, world.find, in_grey)
    by_id = {track.id: track for track in tracker._tracks}
    by_id[2].hidden, by_id[1].hidden = True, False
    tracker._frames = 0  # of eight frames the one after this is like most
    poses = tracker.step(look, world.find, in_grey)
    assert [p.id for p in poses] == [1, 2]
    assert [by_id[i].hidden for i in (1, 2)] == [True, False]


def test_a_model_that_is_not_believed_is_shown_everybody_whole() -> None:
    world, tracker = World([(200, 150), (240, 150)]), Tracker(8)
    asked: list[Near] = []

    def look(boxes: Boxes, without: Without = (), among: Near = ()) -> list[Pose]:
        asked.append(among)
        return world(boxes, without, among)

    for _ in range(3):
        tracker.step(look, world.find, in_grey)
    assert not any(one for near in asked for one in near)


def test_of_two_behind_one_each_is_looked_for_among_the_other() -> None:
    world, tracker = World([(200, 150), (420, 150), (620, 150)]), Tracker(8, trusted=True)
    tracker.step(world, world.find, in_grey)
    world.people = [(200, 150), (230, 150), (245, 150)]
    for track, person in zip(
        sorted(tracker._tracks, key=lambda t: t.id), world.people, strict=True
    ):
        pose = world.pose(world.find()[world.people.index(person)], [person])
        track.take(pose, pose.box_xyxy, hidden=person[0] > 200)
        track.box, track.joints_xy, track.place = pose.box_xyxy, pose.joints_xy, None
        track.speed = np.zeros(2, np.float32)
    asked: list[tuple[Without, Near]] = []

    def look(boxes: Boxes, without: Without = (), among: Near = ()) -> list[Pose]:
        asked.append((without, among))
        return world(boxes, without, among)

    tracker.step(look, world.find, in_grey)
    without, among = asked[0]
    assert [len(poses) for poses in without] == [0, 1, 1]
    assert [near and len(near[1]) for near in among] == [2, 1, 1]


def test_who_is_not_seen_is_not_crossed_out_around_others() -> None:
    world, tracker = World([(200, 150), (240, 150)]), Tracker(8, trusted=True)
    tracker.step(world, world.find, in_grey)
    first, second = tracker._tracks
    assert tracker._surrounded(first, tracker._tracks) is not None
    assert tracker._surrounded(first, [first]) is None
    second.missed = 1
    assert tracker._surrounded(first, tracker._tracks) is None
    assert tracker._surrounded(second, tracker._tracks) is None


def test_nobody_is_behind_somebody_who_is_alone() -> None:
    world = World([(200, 150), (420, 150)])
    tracker = Tracker(8)
    tracker.step(world, world.find, in_grey)
    for x in range(420, 235, -15):
        world.people = [(200, 150), (float(x), 150)]
        tracker.step(world, world.find, in_grey)
    world.people = [(200, 150)]
    for _ in range(HIDDEN + 2):
        assert [p.id for p in tracker.step(world, world.find, in_grey)] == [1]
    world.looks.clear()
    tracker.step(world, world.find, in_grey)
    assert world.looks == [1]  # given up


def stepped_aside(unseen: int, hidden: int = 3 * GRACE) -> tuple[World, Tracker]:
    """1 stood before 2 for `hidden` frames and stepped aside `unseen` frames ago; 2 is not seen."""
    world, tracker = World([(200, 150), (420, 150)]), Tracker(3)
    tracker.step(world, world.find, dressed(10))
    nothing = np.zeros((0, 4), np.float32)
    way = [(200.0, x) for x in np.arange(420, 204, -5.0)] + [(200.0, None)] * hidden
    # After seven steps the boxes share less than half.
    for front, behind in way + [(200.0 + 10 * k, None) for k in range(7 + unseen)]:
        world.people = [(x, 150) for x in (front, behind) if x is not None]
        tracker.step(world, lambda: nothing, dressed(10))
    return world, tracker


@pytest.mark.parametrize("hidden", [GRACE, HIDDEN - 10])
@pytest.mark.parametrize(("unseen", "kept"), [(2, True), (GRACE, False)])
def test_who_was_hidden_for_long_has_some_frames_to_be_seen_when_the_other_steps_aside(
    unseen: int, kept: bool, hidden: int
) -> None:
    world, tracker = stepped_aside(unseen, hidden)
    world.people += [(205, 150)]
    assert (2 in {p.id for p in tracker.step(world, world.find, dressed(10))}) == kept


def test_who_was_hidden_is_nobody_far_away_and_keeps_nobody_from_being_alone() -> None:
    world, tracker = stepped_aside(2)
    world.people += [(-60, 150)]
    for _ in range(MISSING_EVERY + 1):
        poses = tracker.step(world, world.find, dressed(10))
    assert {p.id for p in poses} == {1, 3}
    world, tracker = stepped_aside(2)
    assert [p.id for p in tracker.step(world, world.find, dressed(200))] == [1]  # a light goes on


def test_too_full_who_may_be_gone_makes_room_before_who_is_hidden() -> None:
    """2 is hidden behind 1 for longer than 4 behind 3; 3 steps aside, and somebody comes."""
    world, tracker = World([(100, 150), (300, 150), (1000, 150), (1200, 150)]), Tracker(4)
    tracker.step(world, world.find, in_grey)
    nothing = np.zeros((0, 4), np.float32)
    for x in np.arange(200, 0, -5.0):
        behind = [(100 + x, 150), (1000 + x, 150)] if x > 5 else []
        world.people = [(100, 150), (1000, 150), *behind]
        tracker.step(world, lambda: nothing, in_grey)
    for k in range(12):
        world.people = [(100, 150), (1000.0 + 10 * k, 150)]
        tracker.step(world, lambda: nothing, in_grey)
    first, second = tracker.step(world, lambda: nothing, in_grey)
    world.people += [(600, 150)]
    while len(poses := tracker.step(world, world.find, in_grey)) < 3:
        pass
    assert {p.id for p in poses} - {first.id, second.id} == {5}
    for _ in range(MISSING_EVERY):
        world.people = [(160, 150), *world.people[1:], (105, 150)]
        poses = tracker.step(world, lambda: nothing, in_grey)
    assert len(poses) == 4 and max(p.id for p in poses) == 5, "who was hidden is known still"
