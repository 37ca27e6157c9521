"""Following people by the frames' time stamps: frames left out, pauses, frames stamped at once."""

from collections.abc import Sequence

import numpy as np
import pytest

from livepose.people import Tracker
from livepose.pose import Pose
from livepose.track import Boxes, Track
from tests.people_world import Near, Without, World, in_grey


def test_who_walks_is_expected_where_they_are_by_then_though_frames_are_left_out() -> None:
    world, tracker = World([(0, 150)]), Tracker(1)
    boxes = []

    def look(asked: Boxes, without: Without = (), among: Near = ()) -> list[Pose]:
        boxes.append(asked[0])
        return world(asked, without, among)

    ticks = 0
    ahead = []
    for step in [1] * 20 + [3, 1, 2, 3, 1, 1, 3, 2, 1, 3]:
        ticks += step
        world.people = [(8.0 * ticks, 150)]
        tracker.at(ticks / 30)
        tracker.step(look, world.find, in_grey)
        ahead.append(float((boxes[-1][0] + boxes[-1][2]) / 2) - 8.0 * ticks)
    # The middle of the shape, as the last frames in a row had it.
    assert np.abs(np.array(ahead[20:]) - ahead[19]).max() < 4


def walked(tracker: Tracker, world: World, steps: Sequence[tuple[int, float]]) -> Track:
    """The only track after frames that many ticks apart, each with the person there."""
    ticks = 0
    for step, x in steps:
        ticks += step
        world.people = [(x, 150)]
        tracker.at(ticks / 30)
        assert [pose.id for pose in tracker.step(world, world.find, in_grey)] == [1], ticks
    (track,) = tracker._tracks
    return track


@pytest.mark.parametrize("pause", [6, 20, 30])
def test_a_pause_is_not_taken_for_haste(pause: int) -> None:
    slow = [(1, 2.0 * i) for i in range(20)]
    track = walked(Tracker(1), World([]), [*slow, (pause, 38 + 2.0 * pause)])
    assert 1.5 < track.speed[0] < 3


def test_a_box_that_rests_goes_on_after_a_pause() -> None:
    slow = [(1, 1.0 * i) for i in range(23)]
    resting, going = (walked(Tracker(1), World([]), slow) for _ in range(2))
    at = resting.box[0]
    resting.go_on(1.0)
    going.go_on(10.0)
    assert resting.box[0] == at < going.box[0]


def test_one_wild_pose_before_a_pause_is_the_same_person() -> None:
    still = [(1, 200.0)] * 20
    walked(Tracker(1), World([]), [*still, (1, 240.0), (6, 200.0), (1, 200.0)])


def test_frames_stamped_at_once_do_not_change_the_speed() -> None:
    steady = [(1, 8.0 * i) for i in range(20)]
    track = walked(Tracker(1), World([]), [*steady, (0, 160.0)])
    assert abs(track.speed[0] - 8) < 0.5
