"""Who wears what: colours under a pose, how unlike they are, and ids that go by them."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest

from livepose.clothes import blend, colours_of, lab_of, median, unlike
from livepose.crops import cross_out
from livepose.people import HIDDEN, Tracker
from livepose.pose import Pose
from livepose.skeleton import INDEX
from livepose.synthetic import SyntheticScene
from livepose.track import Boxes

Without = Sequence[Sequence[Pose]]


def truth(scene: SyntheticScene, time_s: float) -> tuple[np.ndarray, list[Pose]]:
    """A frame and the true poses in it."""
    frame, joints = scene.render(time_s)
    poses = []
    for person in joints:
        xy = person[:, :2]
        box = np.concatenate((xy.min(axis=0), xy.max(axis=0))).astype(np.float32)
        poses.append(Pose(xy.astype(np.float32), 0.9 * person[:, 2], box, 0.9))
    return frame, poses


def test_one_person_is_like_themselves_and_unlike_another() -> None:
    scene = SyntheticScene((640, 480), people=2)
    first, later = (colours_of(*truth(scene, time_s)) for time_s in (0.0, 0.5))
    for i in (0, 1):
        assert unlike(first[i], later[i]) < 0.5 * unlike(first[i], later[1 - i])


def test_parts_that_are_not_seen_say_nothing() -> None:
    scene = SyntheticScene((640, 480), people=1)
    frame, (pose,) = truth(scene, 0.0)
    (whole,) = colours_of(frame, [pose])
    pose.scores[[1, 4, 8, 9]] = 0.0  # knees, neck, head
    (part,) = colours_of(frame, [pose])
    assert np.isnan(part[[0, 2]]).all() and np.array_equal(part[1], whole[1])
    assert unlike(whole, part) == 0
    assert unlike(np.full((3, 3), np.nan, np.float32), whole) == 0
    pose.joints_xy[:] += 5000
    assert np.isnan(colours_of(frame, [pose])).all()
    assert colours_of(frame, []) == []


def test_what_others_cover_of_somebody_says_nothing_of_their_clothes() -> None:
    """Somebody in red, everywhere in the picture, with somebody in blue before them."""
    _, (front,) = truth(SyntheticScene((640, 480), people=1), 0.0)
    frame = np.full((480, 640, 3), (0, 0, 200), np.uint8)
    grey = np.zeros_like(frame)
    cross_out(grey, front.joints_xy, front.scores > 0, 0.3)
    frame[grey > 0] = 0
    frame[grey[..., 0] > 0, 0] = 200
    (red,) = colours_of(np.full_like(frame, (0, 0, 200)), [front])
    checked = 0
    for aside in range(0, 120, 5):
        behind = replace(front, joints_xy=front.joints_xy + np.float32([aside, 0]))
        (mixed,) = colours_of(frame, [behind])
        (seen,) = colours_of(frame, [behind], [[front]])
        known = ~np.isnan(seen).all(axis=1)
        assert np.abs(seen - red)[known].max(initial=0) < 0.1
        assert not known.any() if aside == 0 else known.all() or aside < 100
        checked += bool(known.any() and np.abs(mixed - red)[known].max() > 5)
    assert checked >= 3


def test_an_arm_over_a_part_does_not_change_its_colour() -> None:
    """A trunk in red, 100 pixels wide, and blue from its side on."""
    joints_xy = np.zeros((16, 2), np.float32)
    for name, xy in {
        "r_shoulder": (100, 100),
        "l_shoulder": (200, 100),
        "r_hip": (100, 220),
        "l_hip": (200, 220),
    }.items():
        joints_xy[INDEX[name]] = xy
    pose = Pose(joints_xy, np.ones(16, np.float32), np.float32([90, 90, 210, 230]), 0.9)
    frame = np.full((240, 320, 3), (0, 0, 200), np.uint8)
    (red,) = colours_of(frame, [pose])
    for wide, changed in ((30, 0), (70, 1)):
        frame[:, : 100 + wide] = (200, 0, 0)
        (seen,) = colours_of(frame, [pose])
        assert unlike(seen[1:2], red[1:2]) == changed


@pytest.mark.parametrize("count", range(1, 6))
def test_the_median_is_of_what_is_shown(count: int) -> None:
    rng = np.random.default_rng(count)
    values = np.full((2, 5, 3), np.inf, np.float32)
    values[0, rng.permutation(5)[:count]] = rng.random((count, 3))
    found = median(values, np.array([count, 0]))
    shown = values[0][np.isfinite(values[0, :, 0])]
    assert found[0] == pytest.approx(np.median(shown, axis=0))
    assert np.isinf(found[1]).all() and found.dtype == np.float32


def test_white_and_black_are_strangers_and_blend_keeps_what_is_known() -> None:
    white, black = np.full((2, 3, 3), 0, np.float32)
    white[:, 0] = 100
    assert unlike(white, black) == 1
    assert blend(white, black, 0.1)[:, 0] == pytest.approx([90] * 3)
    assert np.array_equal(blend(white, np.full((3, 3), np.nan, np.float32), 0.1), white)
    assert np.array_equal(blend(np.full((3, 3), np.nan, np.float32), black, 0.1), black)


def test_who_turns_back_behind_another_keeps_the_id() -> None:
    """Two meet, the farther one is hidden for half a second, and both go back where they came
    from: by their way alone they would have passed each other."""
    shape = np.random.default_rng(0).uniform(0, 1, (16, 2)) * (80, 200)
    worn = {0: np.full((3, 3), 80, np.float32), 1: np.full((3, 3), 20, np.float32)}
    tracker = Tracker(2)
    seen: dict[int, set[int]] = {0: set(), 1: set()}
    for frame in range(120):
        out = abs(frame - 60) * 4.0
        at = {0: 300 - out, 1: 300 + out}
        shown = {0: at[0]} if 53 <= frame <= 67 else at

        def look(
            boxes: Boxes,
            without: Without = (),
            among: object = (),
            shown: dict[int, float] = shown,
        ) -> list[Pose]:
            poses = []
            for box, others in zip(boxes, without or [()] * len(boxes), strict=True):
                crossed = [pose.joints_xy[0, 0] - shape[0, 0] for pose in others]
                left = {i: x for i, x in shown.items() if all(abs(x - c) > 1 for c in crossed)}
                centre = (box[0] + box[2]) / 2
                who = min(left, key=lambda i: abs(left[i] + 40 - centre), default=None)
                x, score = (0.0, 0.05) if who is None else (left[who], 0.9)
                xy = (shape + (x, 150)).astype(np.float32)
                poses.append(Pose(xy, np.full(16, score, np.float32), box, score))
            return poses

        def find(shown: dict[int, float] = shown) -> Boxes:
            return np.array([(x - 8, 130, x + 88, 370) for x in shown.values()], np.float32)

        def wear(
            poses: Sequence[Pose], before: object = (), shown: dict[int, float] = shown
        ) -> list[np.ndarray]:
            lefts = [float(pose.joints_xy[0, 0] - shape[0, 0]) for pose in poses]
            return [worn[min(shown, key=lambda i: abs(shown[i] - left))] for left in lefts]

        for pose in tracker.step(look, find, wear):
            left = float(pose.joints_xy[0, 0] - shape[0, 0])
            seen[min(shown, key=lambda i: abs(shown[i] - left))].add(pose.id)
    assert HIDDEN > 15
    assert sorted(map(len, seen.values())) == [1, 1] and seen[0] != seen[1]


def test_who_is_alone_keeps_the_id_when_the_light_is_switched_on() -> None:
    shape = np.random.default_rng(0).uniform(0, 1, (16, 2)) * (80, 200)

    def look(boxes: Boxes, without: Without = (), among: object = ()) -> list[Pose]:
        xy = (shape + (300, 150)).astype(np.float32)
        return [Pose(xy, np.full(16, 0.9, np.float32), box, 0.9) for box in boxes]

    tracker = Tracker(8)
    for light in (10.0, 10.0, 90.0, 90.0):
        grey = np.full((3, 3), light, np.float32)
        poses = tracker.step(
            look,
            lambda: np.array([(292, 130, 388, 370)], np.float32),
            lambda poses, before=(), grey=grey: [grey for _ in poses],  # type: ignore[misc]
        )
        assert [pose.id for pose in poses] == [1]


def test_lab_is_opencvs_but_for_its_tables() -> None:
    """White, black, and noise, where OpenCV interpolates between 33 values of each colour."""
    ends = np.array([[255, 255, 255], [0, 0, 0]], np.uint8)
    assert np.allclose(lab_of(ends), [[100, 0, 0], [0, 0, 0]], atol=1e-3)
    pixels = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    expected = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_BGR2Lab)
    assert lab_of(pixels).dtype == np.float32
    assert np.allclose(lab_of(pixels), expected, atol=0.6)
