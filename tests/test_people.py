"""Searching and following people, with a made-up network that knows the truth."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from livepose.clothes import STRANGE, Colours
from livepose.people import (
    FOLLOWED,
    GRACE,
    MISSING_EVERY,
    NEWCOMERS_EVERY,
    SUSPECTED_EVERY,
    Tracker,
    unknown,
)
from livepose.pose import Pose
from livepose.search import SAME, search
from livepose.track import Boxes, Track, alike, box_around, distances, overlap, steadied
from tests.people_world import (
    GREY,
    SHAPE,
    Near,
    Without,
    World,
    cost_of,
    dressed_in,
    in_grey,
)


@pytest.mark.parametrize(("score", "ids"), [(FOLLOWED - 0.01, []), (FOLLOWED + 0.01, [1])])
def test_who_is_not_sure_to_be_one_is_not_followed(score: float, ids: list[int]) -> None:
    """Neither on a new scene nor beside somebody, however sure the finder is."""
    world = World([(200, 150)])

    def look(boxes: Boxes, without: Without = (), among: Near = ()) -> list[Pose]:
        scores = np.full(16, score, np.float32)
        return [replace(p, score=score, scores=scores) for p in world(boxes, without, among)]

    tracker = Tracker(8)
    assert [p.id for p in tracker.step(look, world.find, in_grey)] == ids
    tracker = Tracker(8)
    for _ in range(2):
        tracker.step(world, world.find, in_grey)
    world.people.append((400, 150))
    for _ in range(NEWCOMERS_EVERY):
        poses = tracker.step(look, world.find, in_grey)
    assert (2 in {p.id for p in poses}) == bool(ids)


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
