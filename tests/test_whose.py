"""Which pose is whose where two may have it."""

from collections.abc import Sequence

import numpy as np
import pytest

from livepose.clothes import STRANGE, Colours
from livepose.people import Tracker
from livepose.pose import Pose
from livepose.search import Look
from livepose.track import TURNS, TURNS_HIDDEN, Track, box_around
from livepose.whose import exchanged
from tests.people_world import GREY, SHAPE, Near, Without, World

BLANK = np.full((3, 3), np.nan, np.float32)
RED = GREY + np.array((0, STRANGE, 0), np.float32)
BLUE = GREY - np.array((0, STRANGE, 0), np.float32)


def test_two_poses_are_exchanged_where_that_costs_less_and_only_there() -> None:
    """The costs are of a frame of the synthetic camera: who was before took the arm of who was
    behind, and who was behind got the rest."""
    inf = float("inf")
    assert exchanged({0: 0, 1: 1}, [[0.30, 0.08], [0.72, 0.67]]) == {0: 1, 1: 0}
    assert exchanged({0: 0, 1: 1}, [[0.30, 0.08], [0.72, 0.12]]) == {0: 0, 1: 1}
    assert exchanged({0: 0, 1: 1}, [[0.30, 0.08], [inf, 0.67]]) == {0: 0, 1: 1}
    assert exchanged({0: 0, 1: 1}, [[inf, 0.08], [0.72, 0.67]]) == {0: 0, 1: 1}
    assert exchanged({2: 0}, [[inf], [0.1], [0.2]]) == {2: 0}


def nobody() -> np.ndarray:
    return np.zeros((0, 4), np.float32)


def front_only(world: World) -> Look:
    """In full view there is but the first."""

    def look(boxes: np.ndarray, without: Without = (), among: Near = ()) -> list[Pose]:
        return world.look(boxes, without, among, world.people[:1])

    return look


def two_behind_one(red: Colours, blue: Colours) -> tuple[Tracker, World]:
    """Of three people two have just gone behind the first, and nothing is to be seen of them."""
    world = World([(200, 150), (320, 150), (440, 150)])
    where = {(200.0, 150.0): GREY}
    tracker = Tracker(8)

    def wear(poses: Sequence[Pose], before: object = ()) -> list[Colours]:
        return [
            next(c for p, c in where.items() if np.allclose(SHAPE[0] + p, pose.joints_xy[0]))
            for pose in poses
        ]

    for worn in (red, blue):
        for x in [*range(440, 250, -10), *[245] * 12]:
            where[float(x), 150.0] = worn
            world.people = [(200, 150), (float(x), 150)]
            assert len(tracker.step(world, world.find, wear)) == 2
        world.people = [(200, 150)]
        assert len(tracker.step(world, nobody, wear)) == 1
    assert len(tracker._tracks) == 3
    return tracker, world


def id_of(tracker: Tracker, worn: Colours) -> int:
    return next(track.id for track in tracker._tracks if np.allclose(track.colours, worn))


@pytest.mark.parametrize("worn", [RED, BLUE])
def test_who_may_be_either_of_two_is_nobody_until_their_clothes_show(worn: Colours) -> None:
    tracker, world = two_behind_one(RED, BLUE)
    front, right = id_of(tracker, GREY), id_of(tracker, worn)
    world.people = [(200, 150), (245, 150)]
    shown = BLANK

    def wear(poses: Sequence[Pose], before: object = ()) -> list[Colours]:
        return [GREY if pose.joints_xy[0, 0] < SHAPE[0, 0] + 210 else shown for pose in poses]

    look = front_only(world)
    for _ in range(9):
        poses = tracker.step(look, nobody, wear)
        assert [pose.id for pose in poses] == [front]
    shown = worn
    for _ in range(4):
        poses = tracker.step(look, nobody, wear)
    assert {pose.id for pose in poses} == {front, right}


@pytest.mark.parametrize("parts", [2, 3])
def test_of_two_who_are_dressed_alike_one_is_taken_at_once(parts: int) -> None:
    """Nothing more is to be seen that could tell them apart."""
    tracker, world = two_behind_one(RED, RED)
    shown = RED.copy()
    shown[parts:] = np.nan
    world.people = [(200, 150), (245, 150)]

    def wear(poses: Sequence[Pose], before: object = ()) -> list[Colours]:
        return [GREY if pose.joints_xy[0, 0] < SHAPE[0, 0] + 210 else shown for pose in poses]

    for _ in range(4):
        poses = tracker.step(front_only(world), nobody, wear)
    assert len(poses) == 2


def test_who_is_in_full_view_is_somebody_whoever_they_are() -> None:
    """Two sit side by side, all is dark for a moment, and one is back of whom little shows."""
    world = World([(200, 150), (262, 150)])
    shown = [RED, BLUE]

    def wear(poses: Sequence[Pose], before: object = ()) -> list[Colours]:
        return [shown[int(pose.joints_xy[0, 0] > SHAPE[0, 0] + 230)] for pose in poses]

    tracker = Tracker(8)
    for _ in range(20):
        assert len(tracker.step(world, world.find, wear)) == 2
    left = id_of(tracker, RED)
    world.people = []
    for _ in range(2):
        assert tracker.step(world, world.find, wear) == []
    world.people, shown = [(200, 150)], [BLANK, BLANK]
    assert [pose.id for pose in tracker.step(world, world.find, wear)] == [left]


def test_who_is_seen_in_part_keeps_more_of_the_speed() -> None:
    pose = World([(200, 150)]).pose(np.array((192, 130, 288, 370), np.float32))
    box = box_around(pose)
    assert box is not None
    for hidden, share in ((False, TURNS), (True, TURNS_HIDDEN)):
        track = Track(1, box, pose.joints_xy - np.float32(5), pose.scores, GREY)
        track.take(pose, box, hidden)
        assert track.speed == pytest.approx([5 * share] * 2)
    assert TURNS_HIDDEN < TURNS


def test_who_has_just_come_in_is_not_begun_anew_behind_somebody() -> None:
    """What is seen of them in part says neither how large they are nor what they wear."""
    small = World([]).pose(np.array((220, 200, 260, 300), np.float32), [(200, 150)])
    behind = World([]).pose(np.array((192, 130, 288, 370), np.float32), [(200, 150)])
    tracker = Tracker(2)
    tracker._tracks = [Track(1, small.box_xyxy, small.joints_xy, small.scores, RED)]
    assert tracker._tracks[0].comes_in(behind)
    tracker._follow([behind], [BLANK], {0: 0}, {0})
    assert tracker._tracks[0].hidden and np.array_equal(tracker._tracks[0].colours, RED)


def test_who_was_taken_for_the_one_behind_is_the_one_before_again() -> None:
    """The only pose in full view is nearer to whom is behind in place and clothes, and the pose
    behind it is of who was before."""
    red, blue = GREY + np.float32(0.35) * (RED - GREY), GREY + np.float32(0.35) * (BLUE - GREY)
    world = World([])

    def pose_at(x: float) -> Pose:
        box = np.array((x - 8, 130, x + 88, 370), np.float32)
        return world.pose(box, [(x, 150)])

    def track(number: int, x: float, worn: Colours, hidden: bool) -> Track:
        pose = pose_at(x)
        box = box_around(pose)
        assert box is not None
        return Track(number, box, pose.joints_xy, pose.scores, worn, seen=9, hidden=hidden)

    shown, behind = pose_at(230), pose_at(206)

    def look(boxes: np.ndarray, without: Without = (), among: Near = ()) -> list[Pose]:
        return [behind if i < len(without) and without[i] else shown for i in range(len(boxes))]

    def wear(poses: Sequence[Pose], before: object = ()) -> list[Colours]:
        return [red if pose is behind else (2 * red + blue) / 3 for pose in poses]

    tracker = Tracker(2)
    tracker._tracks = [track(1, 204, red, hidden=False), track(2, 226, blue, hidden=True)]
    places = {p.id: float(p.joints_xy[0, 0]) for p in tracker.step(look, nobody, wear)}
    assert places == {1: float(behind.joints_xy[0, 0]), 2: float(shown.joints_xy[0, 0])}
