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


@pytest.mark.parametrize("side", [586, 1300, 2600])
def test_a_large_square_is_averaged_in_two_steps_and_nothing_moves(side: int) -> None:
    (square,) = crops.squares_of(np.array([[40, 30, 60, 30 + side * crops.FILL]], np.float32))
    step = int(crops.halvings(side))
    assert step > 1
    assert square[2] % step == 0
    assert abs(square[2] - side) <= step / 2
    side = int(square[2])
    picture = cv2.resize(rng.integers(0, 256, (9, 9, 3), np.uint8), (side, side))
    crop = crops.cut(picture, np.array([[0, 0, side]]), 128)[0, ..., ::-1].astype(int)
    expected = cv2.resize(picture, (128, 128), interpolation=cv2.INTER_AREA)
    # Averages are rounded twice, and a pixel on the line between two of the crop's counts for
    # both by half.
    assert np.abs(crop - expected).mean() < 1
    assert np.abs(crop - expected).max() <= 4
    assert abs((crop - expected).mean()) < 0.5


def test_channels_become_rgb_and_outside_is_black() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[..., 0] = 200  # blue in BGR
    crop = crops.cut(image, np.array([[-20, -20, 40]]), 20)[0]
    assert crop[15, 15].tolist() == [0, 0, 200]
    assert crop[2, 2].tolist() == [0, 0, 0]


def test_a_square_outside_the_frame_is_black() -> None:
    image = np.full((40, 40, 3), 255, np.uint8)
    assert crops.cut(image, np.array([[100, 100, 50], [-90, 0, 50]]), 16).max() == 0
