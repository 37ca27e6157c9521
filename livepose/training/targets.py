"""What the network is trained towards: unbiased Gaussian heatmaps, and the loss on them."""

import torch
from torch import Tensor

from livepose.model.graph import STRIDE, to_heatmap

SIGMA = 1.0
"""Heatmap cells, as in the paper."""


def make_targets(joints: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """joints float32 [N, K, 3] (x, y in crop pixels, state) -> targets, weights.

    State 1, or `PAINTED`: labelled; a Gaussian of height 1 at the exact sub-pixel place, or, when
    that is outside the crop, an empty heatmap: "not in the picture" is learnt. State 0: not
    labelled, no loss. State -1: known to be absent, an empty heatmap.
    targets float32 [N, K, size/4, size/4]; weights float32 [N, K, 1, 1] in {0, 1}.
    """
    side = size // STRIDE
    cells = torch.arange(side, dtype=torch.float32, device=joints.device)
    centre = to_heatmap(joints[..., :2])  # [N, K, 2]
    gauss = torch.exp(-((cells - centre.unsqueeze(3)) ** 2) / (2 * SIGMA**2))  # [N, K, 2, side]
    inside = ((centre > -0.5) & (centre < side - 0.5)).all(dim=2) & (joints[..., 2] > 0)
    targets = gauss[:, :, 1, :, None] * gauss[:, :, 0, None, :]  # rows are y
    targets = targets * inside[:, :, None, None]
    weights = (joints[..., 2] != 0).to(torch.float32)[:, :, None, None]
    return targets, weights


def taught(targets: Tensor, said: Tensor, share: float, untaught: Tensor | None = None) -> Tensor:
    """Targets of `make_targets` with that share of a teacher's heatmaps `said` in them, both
    float32 [N, K, h, w]. Where a joint is not in the picture, or is `untaught`, bool [N, K], the
    label alone counts.
    """
    there = targets.amax(dim=(2, 3), keepdim=True) > 0
    if untaught is not None:
        there &= ~untaught[:, :, None, None]
    return torch.where(there, torch.lerp(targets, said.clamp(0, 1), share), targets)


def heatmap_loss(
    answers: list[Tensor], targets: Tensor, weights: Tensor, foreground: float
) -> Tensor:
    """Mean over cells of (1 + foreground * t)(h - t)^2, summed over stacks (intermediate
    supervision)."""
    weight = weights * (1 + foreground * targets)
    return torch.stack([(weight * (a.float() - targets) ** 2).mean() for a in answers]).sum()
