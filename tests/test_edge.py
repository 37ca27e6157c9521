"""Training crops whose picture ends in the middle of somebody."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from livepose.training.augment import (
    LEFT,
    Augmentation,
    crop_matrix,
    end_beyond,
    picture_edge,
    random_crop,
    warp,
)

NONE = Augmentation(**{field: 0.0 for field in Augmentation.__slots__})
SIDES = {"top": (0, 1), "left": (1, 0), "right": (-1, 0)}


def somebody() -> np.ndarray:
    """Whole and labelled: from 100 to 200 across, from 50 to 350 down."""
    joints = np.ones((16, 3), np.float32)
    joints[:, 0] = np.linspace(100, 200, 16)
    joints[:, 1] = np.linspace(350, 50, 16)[[*range(0, 16, 2), *range(1, 16, 2)]]
    return joints


def edges(joints: np.ndarray, name: str) -> list[tuple[float, np.ndarray]]:
    """Where the picture ended on that side, and the boxes, over 300 seeds."""
    every = [picture_edge(joints, np.random.default_rng(seed)) for seed in range(300)]
    return [(found[0][2], found[1]) for found in every if found and found[0][:2] == SIDES[name]]


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [("top", 50 + 0.02 * 300, 50 + 0.3 * 300), ("left", 110, 150), ("right", -190, -150)],
)
def test_picture_ends_somewhere_in_the_head_or_before_the_middle(
    name: str, first: float, last: float
) -> None:
    found = np.array([c for c, _ in edges(somebody(), name)])
    assert len(found) > 70 and found.min() >= first - 0.01 and found.max() <= last + 0.01
    assert np.ptp(found) > 0.9 * (last - first)


@pytest.mark.parametrize(("name", "index"), [("top", 1), ("left", 0), ("right", 2)])
def test_box_holds_who_is_left_and_ends_at_the_edge(name: str, index: int) -> None:
    joints, (a, b) = somebody(), SIDES[name]
    for c, box in edges(joints, name):
        left = joints[joints[:, :2] @ (a, b) >= c, :2]
        assert (box[:2] <= left.min(axis=0)).all() and (box[2:] >= left.max(axis=0)).all()
        assert (a + b) * box[index] >= c - 0.01
        room = 0.1 * np.ptp(left, axis=0).max()
        sides = [0, 1, 2, 3]
        sides.remove(index)
        rest = np.concatenate((left.min(axis=0) - room, left.max(axis=0) + room))
        np.testing.assert_allclose(box[sides], rest[sides], atol=0.01)


def test_who_shows_few_joints_is_left_whole() -> None:
    joints = somebody()
    joints[LEFT:, 2] = 0
    assert not any(picture_edge(joints, np.random.default_rng(seed)) for seed in range(30))
    joints[LEFT, 2] = 1  # one may go
    found = [picture_edge(joints, np.random.default_rng(seed)) for seed in range(60)]
    kept = [(joints[: LEFT + 1, :2] @ f[0][:2] >= f[0][2]).sum() for f in found if f]
    assert kept and set(kept) == {LEFT}
    assert picture_edge(np.full((16, 3), -1, np.float32), np.random.default_rng(0)) is None


@pytest.mark.parametrize("edge", [(0, 1, 120.0), (1, 0, 130.0), (-1, 0, -170.0)])
@pytest.mark.parametrize(("angle", "mirrored"), [(0, False), (0, True), (30, False), (-70, True)])
def test_crop_is_as_of_a_picture_that_ends_there(
    edge: tuple[float, float, float], angle: float, mirrored: bool
) -> None:
    picture = np.full((400, 300, 3), (40, 160, 90), np.uint8)
    y, x = np.mgrid[:400, :300]
    ended = picture * (edge[0] * x + edge[1] * y >= edge[2])[..., None].astype(np.uint8)
    matrix = crop_matrix(np.array((150.0, 200.0)), 320, angle, mirrored, 128)
    joints = somebody()
    joints[3, 2], joints[4, 2] = 0, -1
    moved = joints.copy()
    moved[:, :2] = joints[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    crop, seen = end_beyond(warp(picture, matrix, 128, 320), moved, matrix, edge)
    truth = warp(ended, matrix, 128, 320)
    apart = (np.abs(crop.astype(int) - truth).max(axis=2) > 8).astype(np.uint8)
    assert apart.sum() < 400 and not cv2.erode(apart, np.ones((3, 3))).any()  # the edge's own row
    assert not crop.all(axis=2).all() and crop.any()
    beyond = joints[:, :2] @ edge[:2] < edge[2]
    np.testing.assert_array_equal(
        seen[:, 2], np.where(beyond & (joints[:, 2] > 0), -1, joints[:, 2])
    )
    np.testing.assert_array_equal(seen[:, :2], moved[:, :2])


def test_what_came_in_stays_as_it_is() -> None:
    crop, joints = np.full((128, 128, 3), 200, np.uint8), somebody()
    before = joints.copy()
    end_beyond(crop, joints, np.eye(2, 3), (0, 1, 100.0))
    assert (crop == 200).all() and np.array_equal(joints, before)


def upright_from_behind() -> tuple[np.ndarray, np.ndarray]:
    joints = np.zeros((16, 3), np.float32)
    for joint, x, y in (
        *((2, 24, 255), (3, -24, 255), (6, 0, 255), (7, 0, 144), (8, 0, 120), (9, 0, 60)),
        *((12, 42, 138), (13, -42, 138)),
    ):
        joints[joint] = (192 + x, y, 1)
    return joints, np.array((110, 40, 275, 270), np.float32)


def test_crops_end_as_often_as_asked_for_and_nothing_is_beyond() -> None:
    """Not even hair, which hangs from a head that is gone."""
    picture = np.full((384, 384, 3), (0, 255, 0), np.uint8)
    joints, box = upright_from_behind()
    how, ended, hairy = replace(NONE, edge=0.4, hair=1.0, flip=0.5, rotate=0.5), 0, 0
    for seed in range(200):
        crop, seen = random_crop(picture, joints, box, 128, np.random.default_rng(seed), how)
        gone = (seen[:, 2] < 0).any()
        ended += gone
        if not gone:
            continue
        left = ~(crop == 0).all(axis=2)
        hairy += (crop[left] != (0, 255, 0)).any()
        for x, y, state in seen:
            column, row = round(float(x)), round(float(y))
            if state < 0 and 2 <= column < 126 and 2 <= row < 126:
                assert not left[row - 2 : row + 3, column - 2 : column + 3].all()
    assert 50 < ended < 100 and hairy > 20


def test_who_is_left_is_in_the_middle_of_the_crop() -> None:
    picture = np.full((384, 384, 3), 200, np.uint8)
    joints, box = upright_from_behind()
    for seed in range(30):
        rng = np.random.default_rng(seed)
        crop, seen = random_crop(picture, joints, box, 128, rng, replace(NONE, edge=1.0))
        if not (seen[:, 2] < 0).any():
            continue
        left = seen[seen[:, 2] > 0, :2]
        room = 0.1 * np.ptp(left, axis=0).max()
        rows, columns = np.nonzero(crop.all(axis=2))
        shown = np.array(((columns.min(), rows.min()), (columns.max(), rows.max())))
        low = np.maximum(left.min(axis=0) - room, shown[0])
        high = np.minimum(left.max(axis=0) + room, shown[1])
        np.testing.assert_allclose((low + high) / 2, 63.5, atol=1)
