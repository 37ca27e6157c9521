"""Crops: the way to crop pixels and back, and what is in them."""

import cv2
import numpy as np
import pytest

from livepose import crops

rng = np.random.default_rng(0)


@pytest.mark.parametrize("size", [128, 256])
def test_round_trip(size: int) -> None:
    low = rng.uniform(-100, 500, (50, 2))
    boxes = np.hstack((low, low + rng.uniform(5, 400, (50, 2)))).astype(np.float32)
    squares = crops.squares_of(boxes)
    joints = rng.uniform(-50, 600, (50, 16, 2)).astype(np.float32)
    back = crops.to_frame(crops.to_crops(joints, squares, size), squares, size)
    assert np.abs(back - joints).max() < 1e-2


def test_the_box_is_in_the_middle_and_fills_its_share() -> None:
    (square,) = crops.squares_of(np.array([[100, 50, 140, 210]], np.float32))
    left, top, side = square
    assert side == 160 / crops.FILL
    assert abs(left + side / 2 - 120) <= 0.5
    assert abs(top + side / 2 - 130) <= 0.5


@pytest.mark.parametrize("side", [32, 64, 256])
def test_a_dot_is_found_where_the_transform_says(side: int) -> None:
    """Pixels and joints go the same way, shrinking and enlarging."""
    image = np.zeros((300, 300, 3), np.uint8)
    y, x = np.mgrid[:300, :300]
    image[...] = (255 * np.exp(-((x - 150.0) ** 2 + (y - 141.0) ** 2) / (2 * 8.0**2)))[..., None]
    squares = np.array([[150 - side // 2 + 3, 141 - side // 2 - 2, side]])
    crop = crops.cut(image, squares, 64)[0, ..., 0].astype(float)
    rows, columns = np.mgrid[:64, :64]
    where = np.array([(crop * columns).sum(), (crop * rows).sum()]) / crop.sum()
    if side == 256:  # the dot is whole inside the crop only here
        expected = crops.to_crops(np.array([[[150, 141]]], np.float32), squares, 64)[0, 0]
        assert np.abs(where - expected).max() < 0.1
    else:
        peak = np.array(np.unravel_index(crop.argmax(), crop.shape))[::-1]
        expected = crops.to_crops(np.array([[[150, 141]]], np.float32), squares, 64)[0, 0]
        assert np.abs(peak - expected).max() <= 1.5


@pytest.mark.parametrize("side", [150, 262, 480, 1300, 2600])
def test_a_large_square_is_halved_before_it_is_sampled_and_nothing_moves(side: int) -> None:
    (square,) = crops.squares_of(np.array([[40, 30, 60, 30 + side * crops.FILL]], np.float32))
    step = int(crops.halvings(side))
    assert (step > 1) == (side > 256)
    assert square[2] % step == 0
    assert abs(square[2] - side) <= step / 2
    assert not (square % step).any()
    side = int(square[2])
    picture = cv2.resize(rng.integers(0, 256, (9, 9, 3), np.uint8), (side, side))
    crop = crops.cut(picture, np.array([[0, 0, side]]), 128)[0, ..., ::-1].astype(int)
    expected = cv2.resize(picture, (128, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(crop - expected).mean() < 1
    assert np.abs(crop - expected).max() <= 8
    # Each halving rounds halves up: an eighth on average.
    assert abs((crop - expected).mean()) < 0.15 + 0.125 * np.log2(step)


@pytest.mark.parametrize("size_wh", [(640, 480), (1280, 720), (1919, 1079), (500, 333)])
@pytest.mark.parametrize("size", [128, 192])
def test_halving_the_frame_for_several_squares_changes_no_crop(
    size_wh: tuple[int, int], size: int
) -> None:
    frame = rng.integers(0, 256, (size_wh[1], size_wh[0], 3), np.uint8)
    shared = 0
    for _ in range(10):
        centre = rng.uniform(-0.1, 1.1, (5, 2)) * size_wh
        reach = rng.uniform(0.05, 0.7, (5, 1)) * size_wh[1]
        squares = crops.squares_of(np.hstack((centre - reach, centre + reach)).astype(np.float32))
        shared += any(image is not frame for image, _ in crops.halved(frame, squares, size))
        together = crops.cut(frame, squares, size)
        for crop, square in zip(together, squares, strict=True):
            assert np.array_equal(crop, crops.cut(frame, square[None], size)[0])
    assert (shared > 0) == (size_wh[0] % 2 == size_wh[1] % 2 == 0)


def test_fine_stripes_of_a_large_square_become_grey() -> None:
    """Sampled without halving they would vanish."""
    image = np.zeros((512, 512, 3), np.uint8)
    image[:, ::4] = 255
    crop = crops.cut(image, np.array([[0, 0, 512]]), 128)
    assert np.abs(crop.astype(int) - 64).max() <= 1


@pytest.mark.parametrize("size_wh", [(1920, 1080), (1919, 1079), (1366, 768), (1000, 999)])
def test_shrinking_averages_noise_away_for_odd_sides_too(size_wh: tuple[int, int]) -> None:
    noise = rng.integers(0, 256, (size_wh[1], size_wh[0], 3), np.uint8)
    small = 192, round(192 * size_wh[1] / size_wh[0])
    area = cv2.resize(noise, small, interpolation=cv2.INTER_AREA)
    assert crops.shrink(noise, small).std() < 1.6 * area.std()


def test_channels_become_rgb_and_outside_is_black() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[..., 0] = 200  # blue in BGR
    crop = crops.cut(image, np.array([[-20, -20, 40]]), 20)[0]
    assert crop[15, 15].tolist() == [0, 0, 200]
    assert crop[2, 2].tolist() == [0, 0, 0]


def test_a_square_outside_the_frame_is_black() -> None:
    image = np.full((40, 40, 3), 255, np.uint8)
    assert crops.cut(image, np.array([[100, 100, 50], [-90, 0, 50]]), 16).max() == 0


def test_who_is_crossed_out_is_grey_along_the_limbs_that_were_seen() -> None:
    image = np.full((200, 200, 3), 255, np.uint8)
    joints = np.zeros((16, 2), np.float32)
    joints[[12, 13, 2, 3]] = (80, 60), (120, 60), (80, 120), (120, 120)
    joints[[11, 10]] = (40, 60), (40, 20)
    seen = np.zeros(16, bool)
    seen[[12, 13, 2, 3, 11]] = True
    crops.cross_out(image, joints, seen, width=0.1)
    grey = (image == crops.NEITHER).all(axis=2)
    assert grey[60:121, 80:121].all()  # the trunk
    assert 5 <= grey[:, 60].sum() <= 7  # the upper arm: a tenth of the torso of 60
    assert not grey[:50].any() and not grey[130:].any()  # a wrist not seen, and the rest
    assert (image[~grey] == 255).all()


def test_nobody_crossed_out_is_nothing_and_far_away_is_no_error() -> None:
    image = np.full((20, 20, 3), 255, np.uint8)
    joints = np.linspace(-1e9, 1e9, 32, dtype=np.float32).reshape(16, 2)
    crops.cross_out(image, joints, np.zeros(16, bool))
    crops.cross_out(image, joints[::-1] + 2e9, np.ones(16, bool))
    assert (image == 255).all()
    crops.cross_out(image, joints, np.ones(16, bool))  # as large as can be: no error


def test_the_torso_is_the_longest_of_what_is_seen() -> None:
    joints = np.zeros((16, 2), np.float32)
    joints[[8, 9]] = (0, 20), (0, 0)
    joints[[12, 2]] = (0, 30), (0, 80)
    seen = np.zeros(16, bool)
    assert crops.torso_of(joints, seen) == 0
    seen[[8, 9]] = True
    assert crops.torso_of(joints, seen) == pytest.approx(40)
    seen[[12, 2]] = True
    assert crops.torso_of(joints, seen) == pytest.approx(50)
