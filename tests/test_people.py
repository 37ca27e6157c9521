"""Searching and following people, with a made-up network that knows the truth."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from livepose.clothes import STRANGE, Colours
from livepose.people import (
    GRACE,
    HIDDEN,
    KEPT,
    MISSING_EVERY,
    NEWCOMERS_EVERY,
    SAME,
    SUSPECTED_EVERY,
    Among,
    Tracker,
    Wear,
    search,
    unknown,
    who_is_behind,
)
from livepose.pose import Pose
from livepose.track import Boxes, Track, alike, box_around, distances, overlap, steadied

Without = Sequence[Sequence[Pose]]
Near = Sequence[Among | None]

SHAPE = np.random.default_rng(0).uniform(0, 1, (16, 2)) * (80, 200)


@dataclass
class World:
    """Answers like a pose network: a person is seen in a box that holds them and fits them."""

    people: list[tuple[float, float]]
    looks: list[int] = field(default_factory=list)
    finds: int = 0

    def find(self) -> Boxes:
        self.finds += 1
        boxes = [(x - 8, y - 20, x + 88, y + 220) for x, y in self.people]
        return np.array(boxes, np.float32).reshape(-1, 4)

    def __call__(
        self,
        boxes: Boxes,
        without: Without = (),
        among: Near = (),
    ) -> list[Pose]:
        return self.look(boxes, without, among, self.people)

    def look(
        self,
        boxes: Boxes,
        without: Without,
        among: Near,
        plain: list[tuple[float, float]],
    ) -> list[Pose]:
        """As a call; where nobody stands before who is asked for, `plain` are all who can be
        seen."""
        self.looks.append(len(boxes))
        answers = []
        for i, box in enumerate(boxes):
            people = plain
            if i < len(among) and (near := among[i]) is not None:
                people = [p for p in people if at(p, [near[0]]) or not at(p, near[1])]
            if i < len(without) and without[i]:
                people = [p for p in self.people if not at(p, without[i])]
            answers.append(self.pose(box, people))
        return answers

    def pose(self, box: Boxes, people: list[tuple[float, float]] | None = None) -> Pose:
        people = self.people if people is None else people
        centre = (box[:2] + box[2:]) / 2
        side = float((box[2:] - box[:2]).max())
        scores = np.full(16, 0.05, np.float32)
        joints = np.tile(centre, (16, 1))
        if people:
            nearest = min(people, key=lambda p: float(np.hypot(*(centre - middle(p)))))
            apart = float(np.hypot(*(centre - middle(nearest))))
            fit = min(side / 200, 200 / side)
            scores[:] = max(0.05, 0.9 * fit - apart / 300)
            joints = SHAPE + nearest
        return Pose(joints.astype(np.float32), scores, box, float(scores[0]))


def at(person: tuple[float, float], poses: Sequence[Pose]) -> bool:
    """Whether one of the poses is that person's, seen or expected."""
    places = [pose.joints_xy[0] - SHAPE[0] for pose in poses]
    return any(np.hypot(*(person - place)) <= 4 for place in places)


GREY = np.full((3, 3), 50, np.float32)


def in_grey(poses: Sequence[Pose], before: object = ()) -> list[Colours]:
    """Nobody can be told by their clothes."""
    return [GREY for _ in poses]


def dressed(light: float) -> Wear:
    """All of one lightness."""
    return dressed_in(np.full((3, 3), light, np.float32))


def dressed_in(colours: Colours) -> Wear:
    return lambda poses, before=(): [colours] * len(poses)


def cost_of(track: Track, pose: Pose, colours: Colours) -> float:
    return track.cost(pose, colours, float(distances([track], [pose])[0, 0]))


def middle(corner: tuple[float, float]) -> np.ndarray:
    return np.array(corner) + (40, 100)


def test_search_finds_the_one_person_and_nobody_in_an_empty_frame() -> None:
    world = World([(300, 150)])
    (pose,) = search(world, world.find, 8)
    assert np.allclose(pose.joints_xy, SHAPE + (300, 150), atol=0.01)
    world.people = []
    assert search(world, world.find, 8) == []


def test_search_keeps_people_apart_and_to_the_limit() -> None:
    world = World([(60, 150), (480, 150)])
    assert len(search(world, world.find, 8)) == 2
    assert len(search(world, world.find, 1)) == 1


def test_a_box_with_nobody_in_it_is_nobody() -> None:
    world = World([(60, 150)])
    wrong = np.array([[500, 10, 560, 80]], np.float32)
    assert len(search(world, lambda: np.concatenate((world.find(), wrong)), 8)) == 1


def test_follows_by_one_crop_a_frame_and_keeps_the_id() -> None:
    world = World([(200, 150)])
    tracker = Tracker(1)
    assert [p.id for p in tracker.step(world, world.find, in_grey)] == [1]
    world.looks.clear()
    world.finds = 0
    for i in range(30):
        world.people = [(200 + 6.0 * i, 150)]
        (pose,) = tracker.step(world, world.find, in_grey)
        assert pose.id == 1
    assert (world.looks, world.finds) == ([1] * 30, 0)


def test_a_pose_upside_down_for_a_moment_is_nobody_new() -> None:
    world = World([(200, 150)])
    tracker = Tracker(8)

    def upside_down(boxes: Boxes, without: Without = (), among: Near = ()) -> list[Pose]:
        poses = world(boxes, without, among)
        turned = [(p.joints_xy - (0, 250)) * (1, -1) + (0, 250) for p in poses]
        pairs = zip(poses, turned, strict=True)
        return [replace(p, joints_xy=xy.astype(np.float32)) for p, xy in pairs]

    for i in range(40):
        look = upside_down if i in (15, 16, 24, 25, 26) else world
        assert [p.id for p in tracker.step(look, world.find, in_grey)] == [1], i


def test_who_keeps_still_keeps_their_box_and_who_walks_does_not() -> None:
    world = World([(200, 150)])
    tracker = Tracker(1)
    boxes = []

    def look(asked: Boxes, without: Without = (), among: Near = ()) -> list[Pose]:
        boxes.append(asked[0])
        return world(asked, without, among)

    rng = np.random.default_rng(1)
    for _ in range(20):  # two pixels to and fro, of a body of 200
        world.people = [(200 + rng.uniform(-1, 1), 150 + rng.uniform(-1, 1))]
        tracker.step(look, world.find, in_grey)
    assert all((box == boxes[-1]).all() for box in boxes[5:])
    for i in range(10):
        world.people = [(200 + 8.0 * i, 150)]
        tracker.step(look, world.find, in_grey)
    assert boxes[-1][0] - boxes[19][0] > 50


def test_who_is_in_sight_keeps_the_pose_that_somebody_missed_fits_as_well() -> None:
    pose = World([(200, 150)]).pose(np.array((192, 130, 288, 370), np.float32))
    box = box_around(pose)
    assert box is not None
    known = [Track(i, box, pose.joints_xy, pose.scores, GREY, missed=i) for i in (0, 1)]
    assert cost_of(known[0], pose, GREY) < cost_of(known[1], pose, GREY)


def test_strange_colours_are_forgiven_only_where_somebody_was_expected() -> None:
    pose = World([(200, 150)]).pose(np.array((192, 130, 288, 370), np.float32))
    box = box_around(pose)
    assert box is not None
    mine = np.zeros((3, 3), np.float32)
    mixed = mine + (0, 0.6 * STRANGE, 0)
    here = Track(1, box, pose.joints_xy, pose.scores, mine)
    assert np.isfinite(cost_of(here, pose, mixed.astype(np.float32)))
    aside = replace(here, joints_xy=pose.joints_xy + 0.2 * float((box[2:] - box[:2]).max()))
    gone = replace(here, missed=3)
    for other in (aside, gone):
        assert np.isinf(cost_of(other, pose, mixed.astype(np.float32)))
        assert np.isfinite(cost_of(other, pose, mine))


def test_who_the_finder_finds_is_new_where_somebody_else_was_looked_for() -> None:
    """A stranger stands where a followed person was: new at once, not when that one is given up."""
    world = World([(100, 150), (500, 150)])
    left = np.zeros((3, 3), np.float32)

    def wear(poses: Sequence[Pose], before: object = ()) -> list[Colours]:
        return [
            left if pose.joints_xy[0, 0] < 300 else np.zeros((3, 3), np.float32) for pose in poses
        ]

    tracker = Tracker(8)
    assert {pose.id for pose in tracker.step(world, world.find, wear)} == {1, 2}
    kept = min(tracker._tracks, key=lambda track: track.box[0]).id
    left = np.full((3, 3), 2 * STRANGE, np.float32)
    ids: set[int] = set()
    for _ in range(3):
        ids |= {pose.id for pose in tracker.step(world, world.find, wear)}
    assert ids == {3 - kept, 3}


def test_while_nobody_is_in_sight_the_finder_looks_at_every_frame() -> None:
    world = World([(60, 150)])
    tracker = Tracker(8)
    tracker.step(world, world.find, in_grey)
    world.people = []
    for _ in range(4):
        assert tracker.step(world, world.find, in_grey) == []
    assert world.finds == 1 + 3, "that they are missed is known a frame later"
    world.people = [(480, 150)]
    assert [pose.id for pose in tracker.step(world, world.find, in_grey)] == [2]


def test_who_comes_into_the_picture_is_the_head_that_was_seen_first() -> None:
    whole = World([(200, 150)]).pose(np.array((192, 130, 288, 370), np.float32))
    head = replace(whole, joints_xy=whole.joints_xy * np.float32(0.3) + (150, 250))
    box = box_around(head)
    assert box is not None
    dark, bright = np.zeros((3, 3), np.float32), np.full((3, 3), 2 * STRANGE, np.float32)
    coming = Track(1, box, head.joints_xy, head.scores, dark, seen=2, missed=1)
    assert np.isfinite(cost_of(coming, whole, bright))
    for other in (
        replace(coming, seen=30),
        replace(coming, box=box + 300),
        replace(coming, box=box_around(whole)),
        replace(coming, hidden=True),
    ):
        assert np.isinf(cost_of(other, whole, bright))
    larger = box_around(whole)
    assert larger is not None
    coming.begin_anew(whole, larger, bright)
    assert cost_of(coming, whole, bright) == pytest.approx(0), "nothing is left of the glimpse"


def test_a_short_gap_keeps_the_id_and_a_long_one_ends_it() -> None:
    world = World([(200, 150)])
    tracker = Tracker(8)
    tracker.step(world, world.find, in_grey)
    for gap, expected in ((GRACE, 1), (GRACE + 1, 2)):
        world.people = []
        for _ in range(gap):
            assert tracker.step(world, world.find, in_grey) == []
        world.people = [(200, 150)]
        assert [p.id for p in tracker.step(world, world.find, in_grey)] == [expected]


@pytest.mark.parametrize(("gap_s", "expected"), [(0.5, 1), (60.0, 2), (-5.0, 2)])
def test_after_a_long_gap_or_in_another_video_everybody_is_new(gap_s: float, expected: int) -> None:
    world = World([(200, 150)])
    tracker = Tracker(8)
    for time_s in (10.0, 10.1, 10.1 + gap_s):
        tracker.at(time_s)
        poses = tracker.step(world, world.find, in_grey)
    assert [p.id for p in poses] == [expected]


def test_who_has_left_does_not_keep_the_last_place() -> None:
    """Somebody else comes in where they went, in other clothes."""
    world = World([(200, 150)])
    tracker = Tracker(1)
    dark, bright = np.full((3, 3), 10, np.float32), np.full((3, 3), 200, np.float32)
    tracker.step(world, world.find, dressed_in(dark))
    world.people = []
    for _ in range(4):
        tracker.step(world, world.find, dressed_in(dark))
    world.people = [(210, 150)]
    frames = 0
    while not (
        poses := tracker.step(world, world.find, lambda poses, before=(): [bright] * len(poses))
    ):
        frames += 1
        assert frames < GRACE + MISSING_EVERY
    assert [p.id for p in poses] == [2]


@pytest.mark.parametrize("place", [(480, 150), (90, 170)], ids=["elsewhere", "half hidden"])
def test_newcomers_are_found_while_others_are_followed(place: tuple[float, float]) -> None:
    """Also who has most of their box in that of somebody followed."""
    world = World([(60, 150)])
    tracker = Tracker(2)
    tracker.step(world, world.find, in_grey)
    world.people.append(place)
    for _ in range(NEWCOMERS_EVERY):
        poses = tracker.step(world, world.find, in_grey)
    assert [p.id for p in poses] == [1, 2]
    assert np.allclose(poses[1].joints_xy, SHAPE + place, atol=0.01)


def test_a_box_is_known_once_and_by_the_likest() -> None:
    followed = [np.array([0, 0, 100, 200], np.float32), np.array([400, 0, 500, 200], np.float32)]
    found = np.array([[30, 0, 130, 200], [5, 0, 105, 200], [700, 0, 800, 200]], np.float32)
    assert [box.tolist() for box in unknown(found, followed)] == found[[0, 2]].tolist()
    assert unknown(np.zeros((0, 4), np.float32), followed) == []


def test_who_is_missed_is_looked_for_more_often() -> None:
    world = World([(60, 150), (480, 150)])
    tracker = Tracker(8)
    tracker.step(world, world.find, in_grey)
    gone = world.people.pop()
    for _ in range(2):
        tracker.step(world, world.find, in_grey)
    world.finds = 0
    for _ in range(2 * MISSING_EVERY):
        tracker.step(world, world.find, in_grey)
    assert world.finds == 2
    world.people.append(gone)
    for _ in range(MISSING_EVERY):
        poses = tracker.step(world, world.find, in_grey)
    assert [p.id for p in poses] == [1, 2]


def test_a_frame_costs_one_batch_and_now_and_then_a_look_behind_and_a_search() -> None:
    world = World([(60, 150), (480, 150)])
    tracker = Tracker(8)
    tracker.step(world, world.find, in_grey)
    world.looks.clear()
    world.finds = 0
    for _ in range(5 * NEWCOMERS_EVERY):
        tracker.step(world, world.find, in_grey)
    # Behind each of the two somebody new is looked for at once, and now and then.
    most = 5 * NEWCOMERS_EVERY
    extra = [n for n in world.looks[2:] if n == 1]
    assert world.looks[:2] == [2, 2]
    assert len(world.looks) - len(extra) == most + 1
    assert 0 < len(extra) <= 2 * (most // SUSPECTED_EVERY + 1)
    assert world.finds == 5


def test_an_empty_scene_costs_the_finder_alone() -> None:
    world = World([])
    tracker = Tracker(8)
    for _ in range(9):
        assert tracker.step(world, world.find, in_grey) == []
    assert (world.looks, world.finds) == ([], 9)


@pytest.mark.parametrize("people", [2, 4])
def test_people_who_cross_keep_their_ids(people: int) -> None:
    """In pairs, through each other; the nearer one hides the other for a few frames."""
    world = World([])
    tracker = Tracker(8)
    seen: list[set[int]] = [set() for _ in range(people)]
    for frame in range(80):
        at = -200 + 5.0 * frame
        world.people = [
            (320 + (at if i % 2 else -at) * (1 if i < 2 else 0.8), 120 + 260.0 * (i // 2))
            for i in range(people)
        ]
        for pose in tracker.step(world, world.find, in_grey):
            corner = pose.joints_xy.mean(axis=0) - SHAPE.mean(axis=0)
            apart = [float(np.hypot(*(corner - p))) for p in world.people]
            if sorted(apart)[1] > 60:
                seen[int(np.argmin(apart))].add(pose.id)
    assert sorted(i for ids in seen for i in ids) == list(range(1, people + 1))


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


@pytest.mark.parametrize("beside", [True, False])
def test_somebody_unknown_behind_one_of_several_is_found_without_the_finder(beside: bool) -> None:
    """Where one is alone it is not looked for: that would cost every user a batch."""
    front, unknown = (200.0, 150.0), (228.0, 150.0)
    shown = [front, (420.0, 150.0)] if beside else [front]
    world = World(shown)
    tracker = Tracker(8)
    tracker.step(world, world.find, in_grey)
    world.people = [*shown, unknown]

    def covered(boxes: Boxes, without: Without = (), among: Near = ()) -> list[Pose]:
        return world.look(boxes, without, among, shown)

    nothing = np.zeros((0, 4), np.float32)
    world.looks.clear()
    for frame in range(SUSPECTED_EVERY):
        poses = tracker.step(covered, lambda: nothing, in_grey)
        # Who has just been found may hide somebody: that is looked for at once.
        assert [p.id for p in poses] == ([1, 2, 3] if beside else [1]), frame
    assert beside or world.looks == [1] * SUSPECTED_EVERY
    if beside:
        assert poses[2].joints_xy[0] - SHAPE[0] == pytest.approx(unknown, abs=0.01)


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
        track.box, track.joints_xy = pose.box_xyxy, pose.joints_xy
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


def test_two_tracks_on_one_body_become_one() -> None:
    world = World([(100, 150), (400, 150)])
    tracker = Tracker(8)
    assert len(tracker.step(world, world.find, in_grey)) == 2
    world.people = [(250, 150)]
    for _ in range(GRACE + 2):
        poses = tracker.step(world, world.find, in_grey)
    assert len(poses) == 1


def test_alike_is_one_for_the_same_and_falls_with_the_distance() -> None:
    world = World([(100, 150)])
    (pose,) = search(world, world.find, 1)
    near, far = (replace(pose, joints_xy=pose.joints_xy + d) for d in (10.0, 60.0))
    assert alike(pose, pose) == pytest.approx(1)
    assert alike(pose, pose) > alike(pose, near) > SAME > alike(pose, far)


def test_box_around_needs_joints() -> None:
    joints = np.arange(32, dtype=np.float32).reshape(16, 2)
    scores = np.zeros(16, np.float32)
    pose = Pose(joints, scores, np.zeros(4, np.float32), 0.0)
    assert box_around(pose) is None
    five = np.where(np.arange(16) < 5, 0.9, 0).astype(np.float32)
    assert box_around(replace(pose, scores=five)) == pytest.approx(
        [-0.8, 0.2, 8.8, 9.8]
    )  # 0..8, 1..9 and a tenth


def test_distances_are_medians_over_the_joints_that_are_seen() -> None:
    rng = np.random.default_rng(0)
    box = np.array((0, 0, 100, 100), np.float32)
    tracks, poses = [], []
    for i in range(3):
        xy = rng.uniform(0, 100, (16, 2)).astype(np.float32)
        tracks.append(Track(i, box, xy, np.ones(16, np.float32), GREY))
    for shown in (16, 15, 1, 0):
        xy = rng.uniform(0, 100, (16, 2)).astype(np.float32)
        poses.append(Pose(xy, np.repeat((1, 0), (shown, 16 - shown)).astype(np.float32), box, 1.0))
    apart = distances(tracks, poses)
    assert apart.shape == (3, 4) and np.isinf(apart[:, 3]).all()
    for track, row in zip(tracks, apart, strict=True):
        for pose, shown, away in zip(poses, (16, 15, 1), row, strict=False):
            each = np.linalg.norm(pose.joints_xy - track.joints_xy, axis=1)[:shown]
            assert away == pytest.approx(np.median(each))
    assert distances([], poses).shape == (0, 4)


def test_overlap_by_hand() -> None:
    a, b = np.array([0, 0, 10, 10], np.float32), np.array([5, 5, 15, 25], np.float32)
    assert overlap(a, b) == pytest.approx(0.25)
    assert overlap(a, b + 20) == 0


def test_the_box_grows_fast_and_shrinks_slowly() -> None:
    last = np.array([0, 0, 100, 100], np.float32)
    new = np.array([-10, 10, 90, 110], np.float32)
    assert steadied(last, new) == pytest.approx([-7, 3, 97, 107])
