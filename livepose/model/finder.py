"""The finder's graph: a picture in, boxes of people out.

The network is the hourglass of `hourglass.py` with one stack and five maps: where the middle of
a person is, and how far it is from there to the four sides of the person's box, as in
"Objects as Points" (Zhou, Wang, Krähenbühl, 2019, https://arxiv.org/abs/1904.07850) and FCOS
(Tian et al., ICCV 2019).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from livepose.model.graph import normalise, to_crop
from livepose.model.hourglass import StackedHourglass

MAPS = 5
"""Centre, left, top, right, bottom."""

MOST_PEOPLE = 16

UNIT_PX = 32.0
"""A distance of exp(0); the four maps hold logarithms."""


def distances_px(maps: Tensor) -> Tensor:
    """Maps float32 [N, 4, h, w] -> distances to the box's sides in pixels, float32."""
    return UNIT_PX * maps.clamp(-4, 3).exp()


def decode_boxes(maps: Tensor) -> Tensor:
    """Maps float32 [N, 5, h, w] -> boxes float32 [N, 16, 5]: x0, y0, x1, y1 in pixels of the
    picture, score in 0..1; best first. Scores that are no local maximum are 0.
    """
    w = maps.shape[3]
    heat = maps[:, :1].sigmoid()  # [N, 1, h, w]
    highest = F.max_pool2d(heat, 3, 1, 1)
    peaks = torch.where(heat >= highest, heat, torch.zeros_like(heat))
    score, place = peaks.flatten(1).topk(MOST_PEOPLE, dim=1)  # [N, 16]
    x, y = place % w, torch.div(place, w, rounding_mode="floor")
    sides = distances_px(maps[:, 1:]).flatten(2)  # [N, 4, h*w]
    left, top, right, bottom = sides.gather(2, place[:, None].expand(-1, 4, -1)).unbind(1)
    cx, cy = to_crop(x.to(torch.float32)), to_crop(y.to(torch.float32))
    return torch.stack((cx - left, cy - top, cx + right, cy + bottom, score), dim=2)


class FinderGraph(nn.Module):
    """uint8 [N, S, S, 3] RGB -> float32 [N, 16, 5]: x0, y0, x1, y1 in its pixels, score."""

    def __init__(self, network: StackedHourglass) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor) -> Tensor:
        crops = normalise(crops, self.network.config.mean)
        return decode_boxes(self.network(crops)[-1].float())


def box_loss(maps: Tensor, wanted: Tensor) -> Tensor:
    """Penalty-reduced focal loss on the centres plus GIoU loss on the boxes.

    maps: float [N, 5, h, w]. wanted: float32 [N, 7, h, w], as `training.finder.draw_targets`
    makes it: centre 0..1, weight of the centre's loss, four distances in pixels, weight of the
    box's loss.
    """
    maps = maps.float()
    heat, weight = wanted[:, :1], wanted[:, 1:2]
    sides, box_weight = wanted[:, 2:6], wanted[:, 6:]
    logits = maps[:, :1]
    p = logits.sigmoid()
    peak = (heat >= 0.999).float()
    found = -F.logsigmoid(logits) * (1 - p) ** 2 * peak
    missed = -F.logsigmoid(-logits) * p**2 * (1 - heat) ** 4 * (1 - peak) * weight
    people = peak.sum().clamp(min=1)
    boxes = (box_weight * (1 - giou(distances_px(maps[:, 1:]), sides))).sum()
    out: Tensor = (found + missed).sum() / people + 2 * boxes / box_weight.sum().clamp(min=1)
    return out


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU of boxes around the same points: distances [N, 4, h, w] -> [N, 1, h, w]."""
    shared = torch.minimum(a, b)
    hull = torch.maximum(a, b)

    def area(sides: Tensor) -> Tensor:
        left, top, right, bottom = sides.unbind(1)
        return ((left + right) * (top + bottom)).unsqueeze(1)

    both = area(shared)
    union = area(a) + area(b) - both
    out: Tensor = both / union.clamp(min=1e-6) - 1 + union / area(hull).clamp(min=1e-6)
    return out
