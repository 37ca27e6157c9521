"""The exported graph around the network: uint8 crops in, joints in crop pixels out.

Normalising and decoding are here and nowhere else, so that torch, ONNX and every engine run
the very same arithmetic. Targets for training use the same pixel convention (`to_heatmap`).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d

from livepose.model.hourglass import MEAN, StackedHourglass

STRIDE = 4
"""Crop pixels per heatmap cell."""

TARGET_MEAN = (1 + 2 * math.exp(-0.5)) / 3
"""Of the three cells about the middle of a target, a Gaussian of 1 cell and height 1."""

SCALE = 0.25
"""About the standard deviation of pixels in 0..1; one number for the three channels."""


def normalise(crops: Tensor, mean: tuple[float, float, float] = MEAN) -> Tensor:
    """uint8 [N, S, S, 3] RGB -> float32 [N, 3, S, S], about zero mean and unit variance.

    mean: RGB in 0..1, of the network's configuration.
    """
    # Cast first: TensorRT's Shuffle, which a permutation becomes, takes no uint8.
    x = crops.to(torch.float32).permute(0, 3, 1, 2) / 255
    return (x - torch.tensor(mean, device=x.device).view(1, 3, 1, 1)) / SCALE


def to_heatmap(crop_px: Tensor) -> Tensor:
    """Crop pixels to heatmap cells; both have sample centres at whole numbers."""
    return (crop_px + 0.5) / STRIDE - 0.5


def to_crop(heatmap_px: Tensor) -> Tensor:
    """Heatmap cells to crop pixels, the inverse of `to_heatmap`."""
    return (heatmap_px + 0.5) * STRIDE - 0.5


def neighbourhoods(heatmaps: Tensor) -> Tensor:
    """The mean of 3x3 cells about each cell, as a share of what it is in a target's middle.

    float32 [N, K, h, w] -> the same. A border's cells have no neighbour beyond it: there the mean
    is along the border only, so that peaks stay where they are.
    """
    rows = avg_pool2d(heatmaps, (1, 3), stride=1) / TARGET_MEAN
    rows = torch.cat((heatmaps[..., :1], rows, heatmaps[..., -1:]), dim=3)
    columns = avg_pool2d(rows, (3, 1), stride=1) / TARGET_MEAN
    return torch.cat((rows[..., :1, :], columns, rows[..., -1:, :]), dim=2)


def highest(rows: Tensor) -> Tensor:
    """Index of the highest (the first of equals) of each row, [N, 16, cells] -> [N, 16].

    Two reductions: an engine's own search for an index is ten times as slow (OpenVINO's TopK).
    """
    count = rows.shape[2]
    cells = torch.arange(count, device=rows.device, dtype=torch.float32)
    first = torch.where(rows >= rows.amax(dim=2, keepdim=True), cells, float(count)).amin(dim=2)
    return first.clamp(max=count - 1).to(torch.int64)


def decode(heatmaps: Tensor) -> Tensor:
    """Heatmaps float32 [N, 16, h, w] -> joints float32 [N, 16, 3]: x, y in crop pixels, score.

    Where most of the map is within a cell, not where its one highest cell is: a joint within
    reach is right, and a broad hill holds it more often than a lone spike. The peak of
    `neighbourhoods` is refined by a parabola through the logarithms of it and its two
    neighbours on each axis: nearly exact for a Gaussian, as in DARK (Zhang et al., CVPR 2020)
    with a diagonal Hessian. At the border the parabola through the three outermost cells is
    used, up to a third of a cell off. The score is the highest cell of the nine, in 0..1.
    """
    h, w = heatmaps.shape[2:]
    hills = neighbourhoods(heatmaps)
    flat = hills.flatten(2)  # [N, 16, h*w]
    peak = highest(flat)  # [N, 16]
    tops = max_pool2d(heatmaps, 3, stride=1, padding=1).flatten(2)
    score = tops.gather(2, peak.unsqueeze(2)).squeeze(2)
    x, y = peak % w, torch.div(peak, w, rounding_mode="floor")
    cx, cy = x.clamp(1, w - 2), y.clamp(1, h - 2)
    logs = flat.clamp(min=1e-4).log()

    def at(column: Tensor, row: Tensor) -> Tensor:
        return logs.gather(2, (row * w + column).unsqueeze(2)).squeeze(2)

    def refined(before: Tensor, middle: Tensor, after: Tensor) -> Tensor:
        bend = (2 * middle - before - after).clamp(min=1e-3)
        return ((after - before) / (2 * bend)).clamp(-1.5, 1.5)

    dx = refined(at(cx - 1, y), at(cx, y), at(cx + 1, y))
    dy = refined(at(x, cy - 1), at(x, cy), at(x, cy + 1))
    # A parabola that runs off more than a cell from the peak is no peak: stay near it.
    xs = torch.minimum(torch.maximum(cx + dx, x - 1.0), x + 1.0)
    ys = torch.minimum(torch.maximum(cy + dy, y - 1.0), y + 1.0)
    return torch.stack((to_crop(xs), to_crop(ys), score.clamp(0, 1)), dim=2)


def calibrated(heights: Tensor, calibration: Tensor) -> Tensor:
    """Heights of peaks float32 [N, K] in 0..1 -> the chance that the joint is right, 0..1.

    calibration: float32 [K, K + 1]: what the log odds of each joint's height say about this one,
    and an offset (Platt scaling, 1999, with its neighbours as witnesses).
    """
    height = heights.clamp(1e-3, 1 - 1e-3)
    odds = height.log() - (1 - height).log()
    # Summed over the middle axis: over the last one OpenVINO 2026.4 gives another sum, and a
    # product of matrices is made in bf16 where it may be.
    said = (odds.unsqueeze(2) * calibration[:, :-1].T).sum(1)
    return (said + calibration[:, -1]).sigmoid()


def decode_calibrated(heatmaps: Tensor, calibration: Tensor | None) -> Tensor:
    """As `decode`, with the calibrated score where there is a calibration, float32 [K, K + 1]."""
    joints = decode(heatmaps)
    if calibration is None:
        return joints
    score = calibrated(joints[..., 2], calibration)
    return torch.cat((joints[..., :2], score.unsqueeze(2)), dim=2)


class PoseGraph(nn.Module):
    """uint8 [N, S, S, 3] RGB -> float32 [N, 16, 3]: x, y in crop pixels, score in 0..1.

    Without a calibration (`training.calibrate`) the score is the highest cell at the peak.
    """

    calibration: Tensor | None

    def __init__(self, network: StackedHourglass, calibration: Tensor | None = None) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("calibration", calibration)

    def forward(self, crops: Tensor) -> Tensor:
        crops = normalise(crops, self.network.config.mean)
        return decode_calibrated(self.network(crops)[-1].float(), self.calibration)
