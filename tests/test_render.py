"""Drawings, judged by their pixels."""

import numpy as np
import pytest

from livepose.pose import Pose
from livepose.render import (
    SIDE_COLOURS_BGR,
    Detail,
    draw_banner,
    draw_help,
    draw_panel,
    draw_poses,
    mirror_pose,
)
from livepose.skeleton import INDEX, LIMBS, side_of

STANDING = {
    **{"r_ankle": (120, 220), "r_knee": (120, 180), "r_hip": (130, 140)},
    **{"l_hip": (170, 140), "l_knee": (180, 180), "l_ankle": (180, 220)},
    **{"pelvis": (150, 140), "thorax": (150, 70), "upper_neck": (150, 60), "head_top": (150, 30)},
    **{"r_wrist": (90, 130), "r_elbow": (100, 100), "r_shoulder": (120, 70)},
    **{"l_shoulder": (180, 70), "l_elbow": (200, 100), "l_wrist": (210, 130)},
}
SIZES_WH = [(16, 16), (64, 48), (320, 240), (1080, 1920), (3840, 2160)]
PANEL = ["29.8 fps  1 person", "latency p50 41 ms  p99 58 ms", "dropped 3"]
LIMIT = "camera-limited: 15 fps in YUYV; asked for MJPG"


def grey(size_wh: tuple[int, int] = (320, 240), level: int = 128) -> np.ndarray:
    return np.full((size_wh[1], size_wh[0], 3), level, np.uint8)


def pose(score: float = 0.9, **scores: float) -> Pose:
    """Someone who stands facing us; keyword arguments are the scores of single joints."""
    joints_xy = np.zeros((16, 2), np.float32)
    all_scores = np.full(16, score, np.float32)
    for name, xy in STANDING.items():
        joints_xy[INDEX[name]] = xy
    for name, value in scores.items():
        all_scores[INDEX[name]] = value
    box_xyxy = np.array([80, 20, 220, 230], np.float32)
    return Pose(joints_xy, all_scores, box_xyxy, score, id=1)


def middle(a: str, b: str) -> tuple[int, int]:
    """Row and column halfway between two joints."""
    (xa, ya), (xb, yb) = STANDING[a], STANDING[b]
    return (ya + yb) // 2, (xa + xb) // 2


def test_limbs_have_the_colour_of_their_side():
    image = grey()
    draw_poses(image, [pose()])
    for a, b in LIMBS:
        names = [name for name, i in INDEX.items() if i in (a, b)]
        side = next((s for s in map(side_of, (a, b)) if s != "centre"), "centre")
        assert tuple(image[middle(*names)]) == SIDE_COLOURS_BGR[side], names


def test_a_dark_outline_surrounds_limbs_on_any_background():
    for level in (0, 128, 255):
        image = grey(level=level)
        draw_poses(image, [pose()])
        row, column = middle("thorax", "pelvis")
        across = image[row, column - 8 : column + 9].sum(axis=1)
        assert across.min() < 300
        assert across.max() > 600


@pytest.mark.parametrize("blindness", ["none", "protan", "deutan", "tritan"])
def test_sides_are_told_apart_by_every_colour_vision(blindness):
    """Full dichromacy, by the matrices of Machado, Oliveira and Fernandes (2009)."""
    matrices = {
        "none": np.eye(3),
        "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
        "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
        "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
    }
    seen = {
        side: np.clip(np.array(matrices[blindness]) @ (np.array(bgr[::-1]) / 255) ** 2.2, 0, 1)
        for side, bgr in SIDE_COLOURS_BGR.items()
    }
    for a, b in (("left", "right"), ("left", "centre"), ("right", "centre")):
        assert np.linalg.norm(seen[a] - seen[b]) > 0.3, (a, b)


def test_nothing_below_the_threshold_is_drawn():
    image = grey()
    draw_poses(image, [pose(0.29)], min_score=0.3)
    assert (image == 128).all()
    draw_poses(image, [pose(0.9, r_wrist=0.2)], min_score=0.3)
    assert (image[middle("r_elbow", "r_wrist")] == 128).all()
    assert (image[middle("r_shoulder", "r_elbow")] != 128).any()
    assert (image[STANDING["r_wrist"][1], STANDING["r_wrist"][0]] == 128).all()


def test_the_less_certain_the_fainter():
    row_column = middle("l_knee", "l_ankle")
    strength = []
    for score in (0.29, 0.31, 0.4, 0.5, 0.6, 0.66, 1.0):
        image = grey()
        draw_poses(image, [pose(0.9, l_ankle=score)], min_score=0.3)
        strength.append(int(np.abs(image[row_column].astype(int) - 128).sum()))
    assert strength[0] == 0
    assert strength[1] > 20
    assert strength[1:-1] == sorted(strength[1:-1])
    assert len(set(strength)) == len(strength) - 1
    assert strength[-1] == strength[-2]


def test_certain_limbs_look_the_same_beside_faint_ones():
    plain, mixed = grey(), grey()
    draw_poses(plain, [pose()])
    draw_poses(mixed, [pose(0.9, r_ankle=0.4)])
    np.testing.assert_array_equal(plain[:140], mixed[:140])


def test_only_the_surroundings_of_the_person_are_touched():
    image = grey()
    draw_poses(image, [pose(0.45)])
    changed = (image != 128).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert (rows[0] >= 20, rows[-1] <= 230) == (True, True)
    assert (columns[0] >= 80, columns[-1] <= 220) == (True, True)


@pytest.mark.parametrize("score", [0.4, 0.9])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e30, 1e6, 1000, -700])
@pytest.mark.parametrize("detail", list(Detail))
def test_joints_that_are_nowhere_do_no_harm(value, detail, score):
    image = grey()
    odd = pose(score)
    odd.joints_xy[INDEX["l_wrist"]] = value, 100
    odd.joints_xy[INDEX["r_ankle"]] = 100, value
    odd.box_xyxy[2] = value
    draw_poses(image, [odd, odd], detail=detail)
    assert (image[middle("thorax", "pelvis")] != 128).any()
    nowhere = Pose(np.full((16, 2), value, np.float32), odd.scores, odd.box_xyxy, score)
    draw_poses(image, [nowhere], detail=detail)


def test_a_limb_points_at_a_joint_outside_the_frame():
    image = grey()
    outside = pose()
    outside.joints_xy[INDEX["l_wrist"]] = 400, 100
    draw_poses(image, [outside])
    assert tuple(image[100, 310]) == SIDE_COLOURS_BGR["left"]


def test_several_people_get_labels_and_one_does_not():
    one, two = grey(), grey()
    draw_poses(one, [pose()])
    draw_poses(two, [pose(), pose()])
    above_the_head = np.s_[5:25, 130:170]
    assert (one[above_the_head] == 128).all()
    assert (two[above_the_head] != 128).any()


def test_each_detail_adds_to_the_one_before():
    drawn = []
    for detail in Detail:
        image = grey()
        draw_poses(image, [pose()], detail=detail)
        drawn.append(int((image != 128).any(axis=2).sum()))
    assert drawn[Detail.SKELETON] == drawn[Detail.PANEL] < drawn[Detail.FULL]


def test_mirroring_moves_joints_and_keeps_their_side():
    mirrored = mirror_pose(pose(), 320)
    assert mirrored.joints_xy[INDEX["l_wrist"]].tolist() == [319 - 210, 130]
    assert mirrored.box_xyxy.tolist() == [319 - 220, 20, 319 - 80, 230]
    assert (mirrored.id, mirrored.score) == (1, pose().score)
    back = mirror_pose(mirrored, 320)
    np.testing.assert_array_equal(back.joints_xy, pose().joints_xy)
    np.testing.assert_array_equal(back.box_xyxy, pose().box_xyxy)


def test_a_mirrored_drawing_is_the_drawing_mirrored():
    straight, mirrored = grey(), grey()
    draw_poses(straight, [pose(0.9, l_wrist=0.4)])
    draw_poses(mirrored, [mirror_pose(pose(0.9, l_wrist=0.4), 320)])
    difference = np.abs(straight[:, ::-1].astype(int) - mirrored)
    assert difference.mean() < 0.5


@pytest.mark.parametrize("size_wh", SIZES_WH)
def test_everything_fits_into_frames_of_every_size(size_wh):
    for draw in (
        lambda image: draw_poses(image, [pose(), pose(0.5)], detail=Detail.FULL),
        lambda image: draw_panel(image, PANEL, LIMIT),
        draw_help,
        lambda image: draw_banner(image, "camera lost, reconnecting (3)"),
    ):
        image = grey(size_wh)
        draw(image)
        assert (image != 128).any() or size_wh == (16, 16)


@pytest.mark.parametrize("size_wh", [(320, 240), (640, 480), (1920, 1080), (3840, 2160)])
def test_the_panel_is_legible_and_leaves_most_of_the_frame(size_wh):
    image = grey(size_wh)
    draw_panel(image, PANEL, LIMIT)
    changed = (image != 128).any(axis=2)
    assert 0.02 < changed.mean() < 0.25
    assert not changed[:, -size_wh[0] // 10 :].any()
    text_rows = (image.max(axis=2) > 190).any(axis=1)
    heights = np.diff(np.flatnonzero(np.diff(np.r_[0, text_rows, 0])))[::2]
    assert heights.max() >= max(7, size_wh[1] / 90)


def test_the_limit_stands_out():
    image = grey()
    draw_panel(image, PANEL, LIMIT)
    yellow = (image[..., 2] > 200) & (image[..., 0] < 120)
    assert yellow.sum() > 100
    image = grey()
    draw_panel(image, PANEL)
    assert not ((image[..., 2] > 200) & (image[..., 0] < 120)).any()


def test_long_lines_are_broken_at_words():
    short, long = grey(), grey()
    draw_panel(short, ["word"])
    draw_panel(long, ["word " * 60])
    rows = [(image != 128).any(axis=(1, 2)).sum() for image in (short, long)]
    assert rows[1] > 4 * rows[0]
    assert (long[:, -4:] == 128).all()


def test_banner_and_help_lie_inside_the_smallest_camera_frame():
    for draw in (draw_help, lambda image: draw_banner(image, "camera lost, reconnecting (3)")):
        image = grey()
        draw(image)
        assert (image[:, :2] == 128).all()
        assert (image[:, -2:] == 128).all()
        assert (image[0] == 128).all()
        assert (image[-1] == 128).all()
