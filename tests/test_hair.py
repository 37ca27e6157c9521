"""Long hair painted over people in training crops, and shadows with nothing in them."""

from dataclasses import replace

import numpy as np
import pytest

from livepose.skeleton import FLIP_ORDER
from livepose.training.augment import Augmentation, crush, random_crop
from livepose.training.datasets import load_set
from livepose.training.hair import long_hair

GREY = np.full((128, 128, 3), 255, np.uint8)  # lighter than any hair
SEEDS = range(12)


def standing(behind: bool) -> np.ndarray:
    """Somebody upright: head 20 to 40, shoulders at 46, pelvis at 85."""
    joints = np.zeros((16, 3), np.float32)
    side = 1 if behind else -1
    for joint, x, y in (
        *((2, 8 * side, 85), (3, -8 * side, 85), (6, 0, 85), (7, 0, 48), (8, 0, 40), (9, 0, 20)),
        *((12, 14 * side, 46), (13, -14 * side, 46)),
    ):
        joints[joint] = (64 + x, y, 1)
    return joints


def painted(joints: np.ndarray, seed: int) -> np.ndarray:
    """Where the crop changed, bool [128, 128]."""
    return (long_hair(GREY, joints, np.random.default_rng(seed)) != GREY).any(axis=2)


@pytest.mark.parametrize("seed", SEEDS)
def test_from_behind_hair_hangs_from_the_top_of_the_head_down_the_back(seed: int) -> None:
    hair = painted(standing(behind=True), seed)
    assert hair[24:50, 64].all()  # over the neck, too
    assert not hair[:15].any() and not hair[100:].any()  # not beyond the head, nor below the hips
    assert not hair[:, :45].any() and not hair[:, 83:].any()
    assert hair.sum() > 500


@pytest.mark.parametrize("seed", SEEDS)
def test_from_the_front_the_face_stays_free_between_two_strands(seed: int) -> None:
    hair = painted(standing(behind=False), seed)
    assert not hair[28:, 64].any()  # face, neck and chest
    assert hair[30:40, :62].any() and hair[30:40, 66:].any()
    assert hair[22, 64]  # the parting


def test_sides_decide_it_in_a_mirror_as_well() -> None:
    joints = standing(behind=True)
    joints[:, 0] = 127 - joints[:, 0]
    joints = joints[list(FLIP_ORDER)]
    assert painted(joints, 0)[24:50, 63].all()


def test_joints_and_the_crop_that_came_in_stay_as_they_are() -> None:
    joints, crop = standing(behind=True), GREY.copy()
    before = joints.copy()
    long_hair(crop, joints, np.random.default_rng(0))
    assert np.array_equal(joints, before) and np.array_equal(crop, GREY)


def without(*gone: int) -> np.ndarray:
    joints = standing(behind=True)
    joints[list(gone), 2] = 0
    return joints


def turned(degrees: float) -> np.ndarray:
    """The whole person turned about the crop's middle."""
    joints, a = standing(behind=True), np.deg2rad(degrees)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    joints[:, :2] = (joints[:, :2] - 64) @ turn.T + 64
    return joints


def from_the_side() -> np.ndarray:
    joints = standing(behind=True)
    joints[[12, 13], 0] = (65, 63)
    return joints


def small() -> np.ndarray:
    joints = standing(behind=True)
    joints[:, :2] *= 0.2
    return joints


def folded() -> np.ndarray:
    """The pelvis where the neck is: no direction at all."""
    joints = standing(behind=True)
    joints[6, :2] = joints[8, :2]
    return joints


@pytest.mark.parametrize(
    "joints",
    [without(9), without(8), without(12), turned(90), turned(180), from_the_side(), small()]
    + [folded(), np.full((16, 3), -1, np.float32)],
)
def test_who_leans_is_small_or_not_all_there_keeps_their_own_hair(joints: np.ndarray) -> None:
    assert long_hair(GREY, joints, np.random.default_rng(0)) is GREY


def test_where_no_pelvis_is_labelled_hair_hangs_as_the_head_does() -> None:
    hair = painted(without(6), 3)
    assert hair[24:50, 64].all() and not hair[:, :45].any()


def test_crushed_shadows_are_black_and_order_is_kept() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    blacks = []
    for seed in SEEDS:
        out = crush(ramp, np.random.default_rng(seed))[0, :, 0].astype(int)
        assert (np.diff(out) >= 0).all() and out[-1] == 255
        blacks.append((out == 0).sum())
    assert min(blacks) >= 25 and max(blacks) <= 116 and max(blacks) > 70


@pytest.mark.parametrize(("name", "least"), [("crushed", 6), ("hair", 2)])
def test_a_crop_has_them_where_they_are_asked_for_and_labels_stay(name: str, least: int) -> None:
    none = Augmentation(**{name: 0.0 for name in Augmentation.__slots__})
    changed = 0
    for seed, person in enumerate(load_set("speaker:6").people):
        given = person.image.load(), person.joints, person.box_xyxy, 128
        plain, joints = random_crop(*given, np.random.default_rng(seed), none)
        asked = replace(none, **{name: 1.0})
        other, same = random_crop(*given, np.random.default_rng(seed), asked)
        assert np.array_equal(same, joints)
        changed += not np.array_equal(other, plain)
    assert changed >= least
