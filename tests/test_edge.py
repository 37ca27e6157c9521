"""Training crops whose picture ends in the middle of somebody."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from livepose.crops import FILL
from livepose.skeleton import FLIP_ORDER
from livepose.training import augment
from livepose.training.augment import (
    KEPT,
    PAINTED,
    Augmentation,
    crop_matrix,
    end_beyond,
    picture_edge,
    random_crop,
    warp,
)

NONE = Augmentation(**{field: 0.0 for field in Augmentation.__slots__})
ACROSS = {"top": (0, 1), "left": (1, 0), "right": (-1, 0)}
INDEX = {"top": 1, "left": 0, "right": 2}
BOX = np.array((90, 40, 210, 360), np.float32)


def somebody() -> np.ndarray:
    """Whole and labelled: from 100 to 200 across, from 50 to 350 down."""
    joints = np.ones((16, 3), np.float32)
    joints[:, 0] = np.linspace(100, 200, 16)
    joints[:, 1] = np.linspace(350, 50, 16)[[*range(0, 16, 2), *range(1, 16, 2)]]
    return joints


def edges(name: str) -> list[tuple[float, np.ndarray]]:
    """Where the picture ended on that side, and the boxes, over 300 seeds."""
    every = [picture_edge(somebody(), BOX, np.random.default_rng(seed)) for seed in range(300)]
    return [(found[0][2], found[1]) for found in every if found and found[0][:2] == ACROSS[name]]


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("top", 40 + 0.02 * 320, 40 + 0.22 * 320),
        ("left", 90 + 0.1 * 120, 90 + 0.5 * 120),
        ("right", -210 + 0.1 * 120, -210 + 0.5 * 120),
    ],
)
def test_picture_ends_in_the_upper_part_or_before_the_middle(
    name: str, first: float, last: float
) -> None:
    found = np.array([c for c, _ in edges(name)])
    assert len(found) > 70 and found.min() >= first - 0.01 and found.max() <= last + 0.01
    assert np.ptp(found) > 0.9 * (last - first)


@pytest.mark.parametrize("name", ACROSS)
def test_box_ends_at_the_edge_and_is_the_same_elsewhere(name: str) -> None:
    for c, box in edges(name):
        truth = BOX.copy()
        truth[INDEX[name]] = abs(c)
        np.testing.assert_allclose(box, truth, atol=1e-3)
        assert box.dtype == np.float32 and box is not BOX


@pytest.mark.parametrize("state", [0, -1])
def test_whose_few_joints_would_be_gone_stays_whole(state: int) -> None:
    joints, whole = somebody(), 0
    joints[3:12, 2] = state
    for seed in range(300):
        edge, box = picture_edge(somebody(), BOX, np.random.default_rng(seed)) or pytest.fail()
        kept = (joints[:, 2] > 0) & (joints[:, :2] @ edge[:2] >= edge[2])
        found = picture_edge(joints, BOX, np.random.default_rng(seed))
        assert (found is None) == (kept.sum() < KEPT)
        assert found is None or (found[0] == edge and np.array_equal(found[1], box))
        whole += found is None
    assert 30 < whole < 270
    joints[:, 2] = -1
    assert not any(picture_edge(joints, BOX, np.random.default_rng(seed)) for seed in range(30))


@pytest.mark.parametrize("edge", [(0, 1, 120.0), (1, 0, 130.0), (-1, 0, -170.0)])
@pytest.mark.parametrize(("angle", "mirrored"), [(0, False), (0, True), (30, False), (-70, True)])
def test_crop_is_as_of_a_picture_that_ends_there(
    edge: tuple[float, float, float], angle: float, mirrored: bool
) -> None:
    picture, matrix = coloured(), crop_matrix(np.array((150.0, 200.0)), 320, angle, mirrored, 128)
    joints = somebody()
    joints[3, 2], joints[4, 2] = 0, -1
    moved = joints.copy()
    moved[:, :2] = joints[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    crop, seen = end_beyond(warp(picture, matrix, 128, 320), moved, matrix, edge)
    assert_alike(crop, warp(ended(picture, edge), matrix, 128, 320))
    assert crop.dtype == np.uint8 and seen.dtype == np.float32
    np.testing.assert_array_equal(seen[:, 2], states(joints, edge))
    np.testing.assert_array_equal(seen[:, :2], moved[:, :2])


def coloured() -> np.ndarray:
    return np.full((400, 300, 3), (40, 160, 90), np.uint8)


def ended(picture: np.ndarray, edge: tuple[float, float, float]) -> np.ndarray:
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
    return picture * (edge[0] * x + edge[1] * y >= edge[2])[..., None].astype(np.uint8)


def states(joints: np.ndarray, edge: tuple[float, float, float]) -> np.ndarray:
    beyond = joints[:, :2] @ edge[:2] < edge[2]
    return np.where(beyond & (joints[:, 2] > 0), -1, joints[:, 2])


def assert_alike(crop: np.ndarray, truth: np.ndarray) -> None:
    """But for the edge's own row."""
    apart = (np.abs(crop.astype(int) - truth).max(axis=2) > 8).astype(np.uint8)
    assert apart.sum() < 400 and not cv2.erode(apart, np.ones((3, 3))).any()
    assert crop.any() and not crop.all()


def test_what_came_in_stays_as_it_is() -> None:
    crop, joints = np.full((128, 128, 3), 200, np.uint8), somebody()
    before, box = joints.copy(), BOX.copy()
    end_beyond(crop, joints, np.eye(2, 3), (0, 1, 100.0))
    picture_edge(joints, box, np.random.default_rng(0))
    assert (crop == 200).all() and np.array_equal(joints, before) and np.array_equal(box, BOX)


def fitted(given: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """The matrix [2, 3] that took one's joints to the other's, and in which order they are."""
    corners = np.column_stack((given[:, :2], np.ones(16)))
    for order in (list(range(16)), list(FLIP_ORDER)):
        matrix = np.linalg.lstsq(corners[order], seen[:, :2])[0].T
        if np.abs(corners[order] @ matrix.T - seen[:, :2]).max() < 1e-2:
            return matrix, order
    pytest.fail("the joints are not the ones that were given")


@pytest.mark.parametrize("edge", [(0, 1, 120.0), (1, 0, 130.0), (-1, 0, -170.0)])
def test_turned_and_mirrored_crops_end_where_the_picture_does(
    edge: tuple[float, float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    box, given = np.array((70, 60, 230, 340), np.float32), somebody()
    monkeypatch.setattr(augment, "picture_edge", lambda *_: (edge, box))
    given[[3, 12], 2] = 0, -1
    how, turned, mirrored = replace(NONE, edge=1.0, flip=0.5, rotate=0.5, rotation_deg=40.0), 0, 0
    for seed in range(40):
        crop, seen = random_crop(coloured(), given, BOX, 128, np.random.default_rng(seed), how)
        matrix, order = fitted(given, seen)
        side = 128 / np.sqrt(abs(np.linalg.det(matrix[:, :2])))
        assert side == pytest.approx(280 / FILL, rel=1e-3)
        np.testing.assert_allclose(matrix @ (150, 200, 1), 63.5, atol=0.01)  # the box's middle
        assert_alike(crop, warp(ended(coloured(), edge), matrix, 128, side))
        labelled = states(given, edge)[order]
        np.testing.assert_array_equal(seen[:, 2], np.where(labelled > 0, PAINTED, labelled))
        mirrored += order[0] != 0
        turned += abs(matrix[0, 1]) > 0.02
    assert 10 < mirrored < 30 and 10 < turned < 30


def upright_from_behind() -> tuple[np.ndarray, np.ndarray]:
    joints = np.zeros((16, 3), np.float32)
    for joint, x, y in (
        *((2, 24, 255), (3, -24, 255), (6, 0, 255), (7, 0, 144), (8, 0, 120), (9, 0, 60)),
        *((12, 42, 138), (13, -42, 138)),
    ):
        joints[joint] = (192 + x, y, 1)
    return joints, np.array((110, 40, 275, 270), np.float32)


def test_hair_of_a_head_that_is_gone_hangs_into_the_picture_only() -> None:
    picture = np.full((384, 384, 3), (0, 255, 0), np.uint8)
    given, box = upright_from_behind()
    hairy = 0
    for seed in range(60):
        how, rng = replace(NONE, edge=1.0, hair=1.0), np.random.default_rng(seed)
        crop, seen = random_crop(picture, given, box, 128, rng, how)
        if seen[9, 2] < 0 and seen[12, 2] > 0:
            first = np.flatnonzero(crop.any(axis=(1, 2)))[0]
            assert 0 < first < seen[12, 1] + 1
            hairy += (crop[first:] != (0, 255, 0)).any()
    assert hairy > 10


def test_who_is_crossed_out_beyond_an_edge_is_crossed_out_in_the_picture_only() -> None:
    """And nobody is there: no joint is brought back."""
    picture, given = np.full((400, 300, 3), 200, np.uint8), somebody()
    how = replace(NONE, edge=1.0, crossed=1.0)
    crossed = 0
    for seed in range(60):
        _, seen = random_crop(picture, given, BOX, 128, np.random.default_rng(seed), how)
        assert (seen[:, 2] < 0).any()
        crossed += (seen[:, 2] < 0).all()
    assert crossed > 10


def test_crops_end_as_often_as_asked_for() -> None:
    ends, how = 0, replace(NONE, edge=0.3)
    for seed in range(400):
        rng = np.random.default_rng(seed)
        _, seen = random_crop(coloured(), somebody(), BOX, 128, rng, how)
        ends += (seen[:, 2] < 0).any()
    assert 90 < ends < 145


def test_recipes_without_an_edge_draw_the_chances_they_always_drew() -> None:
    """So that their crops stay the same: as many as there are steps, counted here."""
    rng, old = np.random.default_rng(5), np.random.default_rng(5)
    random_crop(coloured(), somebody(), BOX, 128, rng, NONE)
    old.random(3), old.normal(), old.random(), old.uniform(-1, 1, 2), old.random(3), old.random(3)
    assert rng.random() == old.random()


def test_edge_is_of_the_half_of_a_body_that_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[np.ndarray, np.ndarray]] = []

    def nowhere(joints: np.ndarray, box: np.ndarray, _: np.random.Generator) -> None:
        asked.append((joints, box))

    monkeypatch.setattr(augment, "picture_edge", nowhere)
    given, how = somebody(), replace(NONE, edge=1.0, half_body=1.0)
    given[[3, 5], 2] = -1
    for seed in range(10):
        random_crop(coloured(), given, BOX, 128, np.random.default_rng(seed), how)
    for joints, box in asked:
        np.testing.assert_array_equal(joints, given)
        assert not np.array_equal(box, BOX)
    assert len(asked) == 10
