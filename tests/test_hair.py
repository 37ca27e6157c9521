"""Long hair painted over people in training crops, and shadows with nothing in them."""

from dataclasses import replace

import numpy as np
import pytest

from livepose.training.augment import PAINTED, Augmentation, crush, random_crop
from livepose.training.datasets import load_set
from livepose.training.hair import long_hair

GREEN = np.full((128, 128, 3), (0, 255, 0), np.uint8)  # which no hair is
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
    return (long_hair(GREEN, joints, np.random.default_rng(seed)) != GREEN).any(axis=2)


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


def test_joints_and_the_crop_that_came_in_stay_as_they_are() -> None:
    joints, crop = standing(behind=True), GREEN.copy()
    before = joints.copy()
    long_hair(crop, joints, np.random.default_rng(0))
    assert np.array_equal(joints, before) and np.array_equal(crop, GREEN)


def without(*gone: int) -> np.ndarray:
    joints = standing(behind=True)
    joints[list(gone), 2] = 0
    return joints


def turned(degrees: float, *which: int) -> np.ndarray:
    """Those joints, or all, turned about the neck."""
    joints, a = standing(behind=True), np.deg2rad(degrees)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    chosen, neck = list(which or range(16)), joints[8, :2].copy()
    joints[chosen, :2] = (joints[chosen, :2] - neck) @ turn.T + neck
    return joints


def shoulders_apart(px: float) -> np.ndarray:
    """The torso is 45 pixels long."""
    joints = standing(behind=True)
    joints[[12, 13], 0] = 64 + px / 2, 64 - px / 2
    return joints


def small(share: float) -> np.ndarray:
    joints = standing(behind=True)
    joints[:, :2] *= share
    return joints


def short_head() -> np.ndarray:
    joints = standing(behind=True)
    joints[9, 1] = 35
    return joints


def folded() -> np.ndarray:
    """The pelvis where the neck is: no direction at all."""
    joints = standing(behind=True)
    joints[6, :2] = joints[8, :2]
    return joints


TRUNK, HEAD = (2, 3, 6, 7, 12, 13), (9,)


@pytest.mark.parametrize(
    "joints",
    [
        *(without(9), without(8), without(12), without(13), np.full((16, 3), -1, np.float32)),
        *(turned(90), turned(180), turned(60), turned(60, *TRUNK), turned(60, *HEAD)),
        *(shoulders_apart(6), small(0.25), short_head(), folded()),
    ],
)
def test_who_leans_is_small_or_not_all_there_keeps_their_own_hair(joints: np.ndarray) -> None:
    assert long_hair(GREEN, joints, np.random.default_rng(0)) is GREEN


@pytest.mark.parametrize(
    "joints",
    [turned(45), turned(45, *TRUNK), turned(-45, *HEAD), shoulders_apart(14), small(0.4)],
)
def test_who_leans_a_little_is_slim_or_further_away_has_it(joints: np.ndarray) -> None:
    assert painted(joints, 0).sum() > 60


def test_hair_hangs_down_the_trunk_below_a_head_held_aside() -> None:
    joints = turned(30, *HEAD)
    x, y = joints[9, :2].round().astype(int)
    for seed in SEEDS:
        hair = painted(joints, seed)
        assert hair[y + 3, x] and hair[45:50, 64].all()
        assert not hair[50:, :40].any()  # nor on along the head's own line


def test_hair_is_as_long_below_a_head_held_aside() -> None:
    for seed in range(60):
        for degrees in (0, 50):
            assert not painted(turned(degrees, *HEAD), seed)[102:].any()


def test_hair_is_brown_yellow_or_grey_in_rgb() -> None:
    colours = []
    for seed in range(60):
        crop = long_hair(GREEN, standing(behind=True), np.random.default_rng(seed))
        colours.append(crop[30:45, 60:68].reshape(-1, 3).mean(axis=0))
    red, _, blue = np.array(colours).T
    assert (red > blue + 15).mean() > 0.4 and (blue > red + 15).mean() < 0.15


def test_forearms_and_hands_before_chest_and_face_stay_free() -> None:
    joints = standing(behind=False)
    joints[[14, 11]] = (86, 86, 1), (44, 74, 1)
    joints[[15, 10]] = (76, 62, 1), (54, 34, 1)  # one hand before the chest, one at the cheek
    places = (62, 76), (54, 73), (34, 54), (54, 49)  # wrists, fingers of one, a forearm
    covered = np.zeros(len(places))
    for seed in range(60):
        hair, whole = painted(joints, seed), painted(standing(behind=False), seed)
        assert not any(hair[place] for place in places)
        covered += [whole[place] for place in places]
    assert (covered[:3] > 5).all()  # without the hands there was hair


def test_where_no_pelvis_is_labelled_hair_hangs_as_the_head_does() -> None:
    hair = painted(without(6), 3)
    assert hair[24:50, 64].all() and not hair[:, :45].any()


def test_crushed_shadows_are_black_and_order_is_kept() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    blacks, whites = [], []
    for seed in SEEDS:
        out = crush(ramp, np.random.default_rng(seed))[0, :, 0].astype(int)
        assert (np.diff(out) >= 0).all() and out[-1] == 255
        blacks.append((out == 0).sum())
        whites.append((out == 255).sum())
    assert min(blacks) >= 25 and max(blacks) <= 116 and max(blacks) > 70
    assert max(whites) > 30


@pytest.mark.parametrize(("name", "least"), [("crushed", 6), ("hair", 2)])
def test_a_crop_has_them_where_they_are_asked_for_and_labels_stay(name: str, least: int) -> None:
    none = Augmentation(**{field: 0.0 for field in Augmentation.__slots__})
    changed = 0
    for seed, person in enumerate(load_set("speaker:6").people):
        given = person.image.load(), person.joints, person.box_xyxy, 128
        plain, joints = random_crop(*given, np.random.default_rng(seed), none)
        asked = replace(none, **{name: 1.0})
        other, same = random_crop(*given, np.random.default_rng(seed), asked)
        painted = not np.array_equal(other, plain)
        joints[joints[:, 2] > 0, 2] = PAINTED if painted else 1
        assert np.array_equal(same, joints)
        changed += painted
    assert changed >= least


def test_hair_is_on_the_head_of_a_crop_also_in_a_mirror_and_as_often_as_asked_for() -> None:
    """From behind the neck is covered: the order of the shoulders still holds in a mirror."""
    joints = standing(behind=True) * (3, 3, 1)  # in a larger picture, away from the crop's scale
    box = np.array((100, 40, 290, 270), np.float32)
    picture = np.full((384, 384, 3), (0, 255, 0), np.uint8)
    none = Augmentation(**{field: 0.0 for field in Augmentation.__slots__})
    for flip in (0.0, 1.0):
        often = 0
        for seed in range(100):
            how = replace(none, flip=flip, hair=0.3)
            crop, seen = random_crop(
                picture, joints.astype(np.float32), box, 128, np.random.default_rng(seed), how
            )
            x, y = seen[8, :2].round().astype(int)
            x1, y1 = seen[9, :2].round().astype(int)
            hair = (crop != (0, 255, 0)).any(axis=2)
            often += hair.any()
            assert hair[y, x] == hair[(y + y1) // 2, (x + x1) // 2] == hair.any()
        assert 18 <= often <= 42
