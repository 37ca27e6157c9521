"""Who stands behind somebody and moves as nobody does is followed, but their pose is doubted."""

from collections.abc import Callable

import numpy as np
import pytest

from livepose import PoseEstimator
from livepose.people import DOUBTED_NEW, Tracker
from livepose.pose import Pose
from livepose.synthetic import SyntheticScene
from livepose.track import DOUBTED, LEAP, LONGEST, MOMENT, Boxes, Track, box_around, size_of
from tests.people_world import GREY, SHAPE, Near, Without, World, in_grey


def pose(x: float, y: float = 150.0) -> Pose:
    joints = (SHAPE + (x, y)).astype(np.float32)
    return Pose(joints, np.full(16, 0.9, np.float32), np.zeros(4, np.float32), 0.9)


def standing() -> Track:
    """Somebody at (200, 150) who has stood there for some frames, behind somebody."""
    first = pose(200)
    track = Track(1, box(first), first.joints_xy, first.scores, GREY)
    for _ in range(5):
        step(track, 200)
    return track


def box(of: Pose) -> np.ndarray:
    around = box_around(of)
    assert around is not None
    return around


STEP_PX = LEAP * size_of(box(pose(200)))


def step(track: Track, x: float, hidden: bool = True, ticks: float = 1.0) -> bool:
    """Whether they are shown there in the next frame."""
    track.go_on(ticks)
    track.take(pose(x), box(pose(x)), hidden)
    return not track.doubted


@pytest.mark.parametrize(("far", "shown"), [(0.9, True), (1.1, False)])
def test_a_jump_behind_somebody_is_not_shown(far: float, shown: bool) -> None:
    assert step(standing(), 200 + far * STEP_PX) == shown


def test_it_is_shown_again_some_frames_later_or_in_full_view() -> None:
    track = standing()
    there = 200 + 1.1 * STEP_PX
    assert [step(track, there) for _ in range(DOUBTED + 2)] == [False] * DOUBTED + [True] * 2
    track = standing()
    assert not step(track, there) and not step(track, there)
    assert step(track, there, hidden=False) and step(track, there)


def test_another_jump_meanwhile_begins_it_anew() -> None:
    track, x = standing(), 200.0
    for _ in range(4):
        x += 3 * STEP_PX * (-1 if x > 200 else 1)
        assert not step(track, x)
    assert [step(track, x) for _ in range(DOUBTED + 3)][-1]


def test_in_full_view_everything_is_shown() -> None:
    track = standing()
    assert step(track, 200 + 3 * STEP_PX, hidden=False)


@pytest.mark.parametrize("ticks", [0.5, 1.0, 2.0, LONGEST])
def test_in_more_time_more_is_expected(ticks: float) -> None:
    most = max(ticks, 1.0) * STEP_PX
    assert step(standing(), 200 + 0.9 * most, ticks=ticks)
    assert not step(standing(), 200 + 1.1 * most, ticks=ticks)


@pytest.mark.parametrize("fps", [1.0, 3.0, 5.0, 9.0, 11.0, 15.0, 30.0, 60.0])
def test_who_walks_by_behind_somebody_is_shown_at_any_rate(fps: float) -> None:
    """At half a body size a second, for three seconds."""
    track = standing()
    shown = [step(track, 200 + 10 * STEP_PX * k / fps, ticks=30 / fps) for k in range(int(3 * fps))]
    assert sum(shown) >= 0.8 * len(shown)


@pytest.mark.parametrize(("missed", "shown"), [(MOMENT, False), (MOMENT + 1, True)])
def test_who_was_out_of_sight_may_be_elsewhere(missed: int, shown: bool) -> None:
    track = standing()
    for _ in range(missed):
        track.go_on(1.0)
        track.miss([])
    assert step(track, 200 + 2 * STEP_PX) == shown


def torn(by: Callable[[int], bool]) -> Pose:
    """Some joints of a pose at (200, 150) far away."""
    whole = pose(200)
    for k in range(16):
        if by(k):
            whole.joints_xy[k, 0] += 100
    return whole


@pytest.mark.parametrize(("joints", "shown"), [(7, True), (9, False)])
def test_most_joints_decide(joints: int, shown: bool) -> None:
    """A wrist that is thrown up is no jump."""
    track = standing()
    track.go_on(1.0)
    track.take(answer := torn(lambda k: k < joints), box(answer), True)
    assert (not track.doubted) == shown


def test_who_is_first_seen_behind_somebody_is_doubted_for_some_frames() -> None:
    front, unknown = (200.0, 150.0), (228.0, 150.0)
    shown = [front, (420.0, 150.0)]
    world, tracker = World(shown), Tracker(8)
    tracker.step(world, world.find, in_grey)
    assert tracker.doubted == set()  # who is seen first of all is not
    world.people = [*shown, unknown]

    def covered(boxes: Boxes, without: Without = (), among: Near = ()) -> list[Pose]:
        return world.look(boxes, without, among, shown)

    doubted = []
    for _ in range(DOUBTED_NEW + 2):
        poses = tracker.step(covered, lambda: np.zeros((0, 4), np.float32), in_grey)
        assert [p.id for p in poses] == [1, 2, 3]
        doubted.append(tracker.doubted)
    assert doubted == [{3}] * DOUBTED_NEW + [set()] * 2


def test_who_comes_in_anew_is_not_doubted() -> None:
    """Who was before them has gone, and more of them is seen."""
    track = standing()
    assert not step(track, 200 + 2 * STEP_PX)
    track.begin_anew(pose(200), box(pose(200)), GREY)
    assert not track.doubted


@pytest.mark.parametrize("smooth", [True, False])
def test_a_doubted_pose_is_left_out_and_smoothed_all_the_same(
    smooth: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it comes back it is where it would have been."""
    scene = SyntheticScene((320, 240), people=2, seed=3)
    frames = [scene.render(k / 30)[0] for k in range(6)]
    answers = []
    for doubt in (set(), {2}):
        with PoseEstimator("small", engine="onnx", device="cpu", smooth=smooth) as estimator:
            for k, frame in enumerate(frames):
                now = doubt if k in (3, 4) else set()
                monkeypatch.setattr(Tracker, "doubted", property(lambda _, now=now: now))
                answers.append({pose.id: pose for pose in estimator.track(frame, k / 30)})
    for k, (all_, some) in enumerate(zip(answers[:6], answers[6:], strict=True)):
        assert set(all_) == {1, 2}
        assert set(some) == ({1} if k in (3, 4) else {1, 2})
        for i, one in some.items():
            np.testing.assert_array_equal(one.joints_xy, all_[i].joints_xy)
