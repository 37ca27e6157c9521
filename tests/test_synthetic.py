"""The synthetic camera and the training figures: repeatable, joints where they are painted."""

from typing import Any

import numpy as np
import pytest

from livepose.errors import UsageError
from livepose.skeleton import INDEX
from livepose.synthetic import SyntheticScene, random_figure
from livepose.synthetic.body import Build, Stance, pose_body, reach, rotation, unit
from livepose.synthetic.draw import Camera, draw_figure
from livepose.synthetic.figure import Look
from livepose.synthetic.motion import stroll
from livepose.synthetic.paint import Light
from livepose.training.datasets import load_set
from livepose.training.readers_synthetic import SHOWN

SMALL = (320, 240)
TIMES_S = (0.0, 3.1, 6.7, 9.0, 11.3, 13.0, 17.4)


def background(size_wh: tuple[int, int]) -> np.ndarray:
    """The same room with nobody in it."""
    return SyntheticScene(size_wh, people=0, noise=0).render(0.0)[0]


def test_shapes_and_types() -> None:
    image, joints = SyntheticScene(SMALL).render(1.0)
    assert image.shape == (240, 320, 3) and image.dtype == np.uint8
    assert joints.shape == (1, 16, 3) and joints.dtype == np.float32
    assert set(np.unique(joints[..., 2])) <= {0.0, 1.0}


@pytest.mark.parametrize("people", [1, 3])
def test_same_time_gives_the_same_picture(people: int) -> None:
    one, two = (SyntheticScene(SMALL, people=people, seed=4) for _ in range(2))
    two.render(7.7)
    for time_s in (0.0, 2.345):
        for a, b in zip(one.render(time_s), two.render(time_s), strict=True):
            np.testing.assert_array_equal(a, b)


def test_who_stands_behind_somebody_is_covered() -> None:
    """Covered joints are those whose pixel is another one when the nearer people are away."""
    scene = SyntheticScene(SMALL, people=2, noise=0)
    hidden = 0
    for time_s in np.arange(0, 10, 0.25):
        image, joints, covered = scene.render_crowd(float(time_s))
        assert covered.shape == (2, 16) and not covered[joints[..., 2] == 0].any()
        assert not covered.all(axis=1).all(), "the nearer of two hides nothing of herself"
        hidden = max(hidden, int(covered.sum()))
        np.testing.assert_array_equal(scene.render(float(time_s))[0], image)
    assert hidden >= 8, "they walk past each other"


def test_seeds_give_different_pictures() -> None:
    pictures = [SyntheticScene(SMALL, seed=seed).render(0.0)[0] for seed in (1, 2)]
    assert np.abs(pictures[0].astype(int) - pictures[1]).mean() > 5


def test_still_moves_nothing_but_noise() -> None:
    scene = SyntheticScene(SMALL, motion="still")
    (a, joints_a), (b, joints_b) = scene.render(1.0), scene.render(1.0 + 1 / 30)
    np.testing.assert_array_equal(joints_a, joints_b)
    assert (a != b).any()
    assert np.abs(a.astype(int) - b).mean() < 6


def test_wave_moves_the_right_hand_only() -> None:
    scene = SyntheticScene(SMALL, motion="wave")
    track = np.stack([scene.render(time_s)[1][0, :, :2] for time_s in np.arange(0, 1, 0.1)])
    moved = np.ptp(track, axis=0).max(1)
    assert moved[INDEX["r_wrist"]] > 8
    moved[[INDEX["r_wrist"], INDEX["r_elbow"]]] = 0
    assert moved.max() < 0.01


def test_right_side_is_left_in_the_picture_from_the_front() -> None:
    joints = SyntheticScene(SMALL).render(0.0)[1][0]
    for name in ("wrist", "elbow", "shoulder", "hip", "knee", "ankle"):
        assert joints[INDEX[f"r_{name}"], 0] < joints[INDEX[f"l_{name}"], 0], name
    heights = [
        joints[INDEX[n], 1] for n in ("head_top", "upper_neck", "thorax", "pelvis", "l_knee")
    ]
    assert heights == sorted(heights)


def test_size_in_the_picture() -> None:
    joints = SyntheticScene((640, 480)).render(0.0)[1][0]
    tall = (np.ptp(joints[:, 1]) + 20) / 480
    assert 0.7 < tall < 0.85
    assert abs(joints[INDEX["pelvis"], 0] - 320) < 60


@pytest.mark.parametrize(("people", "motion"), [(1, "live"), (4, "live"), (1, "wave")])
def test_joints_move_continuously(people: int, motion: str) -> None:
    scene = SyntheticScene((64, 64), people=people, motion=motion, noise=0)  # type: ignore[arg-type]
    times_s = np.concatenate([np.arange(0, 20, 0.5), [19.98]])
    for time_s in times_s:
        before, after = (scene.render(t)[1][..., :2] for t in (time_s, time_s + 1 / 30))
        assert np.abs(after - before).max() < 0.05 * 64, time_s


def test_live_uses_arms_and_knees() -> None:
    scene = SyntheticScene((64, 64), noise=0)
    track = np.stack([scene.render(time_s)[1][0, :, :2] for time_s in np.arange(0, 20, 0.5)])
    span = np.ptp(track, axis=0).max(1) / 64
    assert span[[INDEX["r_wrist"], INDEX["l_wrist"]]].min() > 0.4
    assert span[[INDEX["r_knee"], INDEX["l_ankle"]]].min() > 0.03


def test_joints_lie_on_the_figure() -> None:
    empty = background((640, 480)).astype(int)
    scene = SyntheticScene((640, 480), noise=0)
    for time_s in TIMES_S:
        image, joints = scene.render(time_s)
        painted = np.abs(image.astype(int) - empty).sum(-1) > 24
        for index, (x, y, state) in enumerate(joints[0]):
            if state:
                around = painted[max(int(y) - 3, 0) : int(y) + 4, max(int(x) - 3, 0) : int(x) + 4]
                # The top of the head is on the outline; the others are well inside.
                assert around.mean() > (0.2 if index == INDEX["head_top"] else 0.7), (time_s, index)


def test_nobody_leaves_the_room_empty() -> None:
    image, joints = SyntheticScene(SMALL, people=0).render(0.0)
    assert joints.shape == (0, 16, 3) and image.std() > 5


def test_several_people() -> None:
    joints = SyntheticScene(SMALL, people=4, seed=1).render(2.0)[1]
    assert joints.shape == (4, 16, 3)
    assert len({round(float(x)) for x in joints[:, INDEX["pelvis"], 0]}) > 1


@pytest.mark.parametrize("people", [2, 3, 4, 6])
def test_nobody_walks_through_anybody(people: int) -> None:
    """Shoulders are about 0.4 m broad."""
    places = np.array(
        [
            [stroll(Build(), t / 5, person, people)[1][[0, 2]] for person in range(people)]
            for t in range(1000)
        ]
    )
    apart = np.linalg.norm(places[:, :, None] - places[:, None], axis=-1)
    apart[:, range(people), range(people)] = np.inf
    assert apart.min() > 0.45
    # They come past one another in the picture, though, now one and now the other before.
    x, deep = places[:, 1].T - places[:, 0].T
    crossing = np.flatnonzero(x[1:] * x[:-1] < 0)
    before = deep[crossing] > 0
    assert len(crossing) > 20 and 0.2 < before.mean() < 0.8


@pytest.mark.parametrize("size_wh", [(64, 64), (65, 97), (200, 64), (720, 1280), (3840, 2160)])
def test_any_size(size_wh: tuple[int, int]) -> None:
    image, joints = SyntheticScene(size_wh).render(1.0)
    assert image.shape == (size_wh[1], size_wh[0], 3)
    assert joints[0, :, 2].all()


def test_impossible_size_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="0x480"):
        SyntheticScene((0, 480))


def test_random_figure_repeats_with_its_generator() -> None:
    a, b = (random_figure(np.random.default_rng(9)) for _ in range(2))
    np.testing.assert_array_equal(a[0], b[0])
    np.testing.assert_array_equal(a[1], b[1])
    assert a[0].shape == (256, 256, 3) and a[0].dtype == np.uint8
    assert a[1].shape == (16, 3) and a[1].dtype == np.float32


def test_random_figures_vary_and_state_tells_what_is_in_the_picture() -> None:
    rng = np.random.default_rng(1)
    joints = np.stack([random_figure(rng, (128, 96))[1] for _ in range(60)])
    x, y, state = np.moveaxis(joints, -1, 0)
    inside = (x >= -0.5) & (x < 127.5) & (y >= -0.5) & (y < 95.5)
    np.testing.assert_array_equal(state, inside)
    assert 0.05 < 1 - state.mean() < 0.5
    assert state[:, INDEX["thorax"]].mean() > 0.9
    facing = joints[:, INDEX["l_shoulder"], 0] > joints[:, INDEX["r_shoulder"], 0]
    assert 0.5 < facing.mean() < 1


def test_speakers_show_their_hands_and_no_knees() -> None:
    people = load_set("speaker:60").people
    joints = np.stack([person.joints for person in people])
    assert (
        joints[:, [INDEX[n] for n in ("l_knee", "r_knee", "l_ankle", "r_ankle")], 2] == -1
    ).all(), "out of the picture, not unlabelled"
    assert (joints[:, [INDEX["thorax"], INDEX["upper_neck"]], 2] == 1).all()
    assert (joints[:, INDEX["head_top"], 2] == 1).mean() > 0.9
    wrists = joints[:, [INDEX["l_wrist"], INDEX["r_wrist"]]]
    assert 0.7 < (wrists[..., 2] == 1).mean() < 1
    # Some hands are before the face: between neck and crown, within the shoulders' width.
    neck, crown = joints[:, INDEX["upper_neck"]], joints[:, INDEX["head_top"]]
    wide = np.abs(joints[:, INDEX["l_shoulder"], 0] - joints[:, INDEX["r_shoulder"], 0])
    across = np.abs(wrists[..., 0] - neck[:, None, 0]) < wide[:, None] / 3
    height = (wrists[..., 1] < neck[:, None, 1]) & (wrists[..., 1] > crown[:, None, 1])
    assert 0.02 < (across & height).mean() < 0.4
    # Of some both hands are put together: nearer to each other than a quarter of the forearms.
    elbows = joints[:, [INDEX["l_elbow"], INDEX["r_elbow"]], :2]
    forearm = np.linalg.norm(wrists[..., :2] - elbows, axis=2).max(axis=1)
    apart = np.linalg.norm(wrists[:, 0, :2] - wrists[:, 1, :2], axis=1)
    assert 0.1 < (apart < 0.25 * forearm).mean() < 0.5


def test_limbs_reach_what_is_asked_for() -> None:
    start, end = np.array([0.2, 1.4, 0.0]), np.array([0.1, 1.2, 0.3])
    upper, lower = reach(start, end, np.array([0.3, -1.0, 0.0]), (0.29, 0.255))
    np.testing.assert_allclose(np.linalg.norm([upper, lower], axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(start + 0.29 * upper + 0.255 * lower, end, atol=1e-9)
    assert upper[1] < -0.5, "the elbow bends down"
    far, lower = reach(start, start + [2.0, 0, 0], np.array([0.0, -1.0, 0.0]), (0.29, 0.255))
    assert far[0] > 0.99 and lower[0] > 0.99


def test_who_is_all_but_hidden_is_not_trained_on() -> None:
    people = load_set("scene:40").people
    labelled = np.array([np.count_nonzero(person.joints[:, 2]) for person in people])
    assert 80 < len(people) < 100, "one to four in each of 40 pictures, some behind others"
    assert (labelled == 16).mean() > 0.6
    assert labelled.min() >= SHOWN
    assert ((labelled >= SHOWN) & (labelled < 9)).any(), "who is covered by half is asked for"
    assert all((person.box_xyxy[2:] > person.box_xyxy[:2]).all() for person in people)


@pytest.mark.parametrize("worn", ["lanyard", "tie", "zip"])
def test_what_is_worn_before_the_shirt_is_seen_from_the_front_only(worn: Any) -> None:
    def drawn(what: Any, yaw: float) -> tuple[np.ndarray, np.ndarray]:
        picture = np.zeros((256, 256, 3), np.uint8)
        body = pose_body(Build(), Stance(root=rotation(yaw)))
        camera, light = Camera((128, 140), 120, 4, (128, 128)), Light(unit(np.array([0, -0.5, 1])))
        joints = draw_figure(picture, body, Look(worn=what), camera, light)
        return picture, joints

    (plain, joints), (dressed, same) = drawn("nothing", 0), drawn(worn, 0)
    np.testing.assert_array_equal(joints, same)
    rows, columns = np.nonzero((plain != dressed).any(axis=2))
    assert len(rows) > 50
    left, right = joints[INDEX["r_shoulder"], 0], joints[INDEX["l_shoulder"], 0]
    assert left < columns.min() and columns.max() < right
    np.testing.assert_array_equal(drawn("nothing", np.pi)[0], drawn(worn, np.pi)[0])
