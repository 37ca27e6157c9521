"""The Stacked Hourglass network (Newell, Yang, Deng, ECCV 2016, https://arxiv.org/abs/1603.06937).

Read top to bottom: residual, hourglass, the whole network. Shapes stand at line ends for the
paper's numbers: crops of 256x256, 256 channels, 16 joints. Normalising pixels and decoding
heatmaps are in `graph.py`, loading weights in `checkpoint.py`.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN = (0.4404, 0.4440, 0.4327)
"""RGB means of MPII in 0..1, as published with the PyTorch versions of the hourglass."""


@dataclass(frozen=True, slots=True)
class HourglassConfig:
    """Shape of a network. The defaults are the paper's module, two of them stacked.

    stacks: hourglasses one after the other, each with its own heatmaps.
    width: channels inside the hourglasses.
    depth: poolings inside one; 4 takes 64x64 features to 4x4.
    stem: channels after the 7x7 convolution, after the first and after the second residual.
    joints: heatmaps.
    size: side of the square crop in pixels; a multiple of 4 * 2**depth.
    blocks: residuals one after the other at each place of an hourglass and behind it.
    mean: RGB in 0..1, what `graph.normalise` takes off the pixels.
    """

    stacks: int = 2
    width: int = 256
    depth: int = 4
    stem: tuple[int, int, int] = (64, 128, 128)
    joints: int = 16
    size: int = 256
    blocks: int = 1
    mean: tuple[float, float, float] = MEAN

    def __post_init__(self) -> None:
        numbers = (self.stacks, self.width, self.depth, *self.stem, self.joints, self.blocks)
        if any(type(n) is not int or n < 1 for n in (*numbers, self.size)):
            raise ValueError(
                "stacks, width, depth, stem, joints, blocks and size are whole numbers from 1 on"
            )
        if self.size % (4 * 2**self.depth):
            raise ValueError(f"size {self.size} is not a multiple of {4 * 2**self.depth}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values. `blocks` and `mean` are there only when they are not the defaults:
        checkpoints without them must still equal their run's configuration.
        """
        values = asdict(self) | {"stem": list(self.stem), "mean": list(self.mean)}
        usual = {"blocks": 1, "mean": list(MEAN)}
        return {name: v for name, v in values.items() if name not in usual or v != usual[name]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "HourglassConfig":
        names = {"stem", "mean"} & set(values)
        return cls(**(values | {name: tuple(values[name]) for name in names}))


def preactivated(channels_in: int, channels_out: int, kernel: int) -> nn.Sequential:
    """BatchNorm, ReLU, convolution: the order of pre-activation residuals."""
    conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2)
    return nn.Sequential(nn.BatchNorm2d(channels_in), nn.ReLU(), conv)


class Residual(nn.Module):
    """Pre-activation bottleneck: 1x1 to half the channels, 3x3, 1x1 back, added to the input."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        half = channels_out // 2
        self.body = nn.Sequential(
            preactivated(channels_in, half, 1),
            preactivated(half, half, 3),
            preactivated(half, channels_out, 1),
        )
        self.skip: nn.Module = nn.Identity()
        if channels_in != channels_out:
            self.skip = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x) + self.skip(x)
        return out


def residuals(width: int, blocks: int) -> nn.Module:
    """One residual, or several in a row."""
    if blocks == 1:
        return Residual(width, width)
    return nn.Sequential(*(Residual(width, width) for _ in range(blocks)))


class Hourglass(nn.Module):
    """Pool down, recurse, upsample, and add the branch that stayed at this scale."""

    def __init__(self, depth: int, width: int, blocks: int = 1) -> None:
        super().__init__()
        deepest = depth == 1
        self.stay = residuals(width, blocks)
        self.down = residuals(width, blocks)
        self.inner = residuals(width, blocks) if deepest else Hourglass(depth - 1, width, blocks)
        self.up = residuals(width, blocks)

    def forward(self, x: Tensor) -> Tensor:
        low = F.max_pool2d(x, 2)
        low = self.up(self.inner(self.down(low)))
        out: Tensor = self.stay(x) + F.interpolate(low, scale_factor=2.0, mode="nearest")
        return out


class Head(nn.Module):
    """What follows one hourglass: features, heatmaps, and both remapped for the next stack."""

    def __init__(self, width: int, joints: int, last: bool, blocks: int = 1) -> None:
        super().__init__()
        self.features = nn.Sequential(
            residuals(width, blocks),
            nn.Conv2d(width, width, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.heatmaps = nn.Conv2d(width, joints, 1)
        self.from_features = None if last else nn.Conv2d(width, width, 1)
        self.from_heatmaps = None if last else nn.Conv2d(joints, width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        features = self.features(x)
        heatmaps = self.heatmaps(features)
        if self.from_features is None or self.from_heatmaps is None:
            return heatmaps, None
        return heatmaps, self.from_features(features) + self.from_heatmaps(heatmaps)


class StackedHourglass(nn.Module):
    """Crops to heatmaps, one set per stack.

    forward(x): float [N, 3, size, size], RGB, normalised as in `graph.normalise`
    -> list of `stacks` tensors [N, joints, size/4, size/4]; the last is the answer, the others
    are there for intermediate supervision. A heatmap is trained towards a Gaussian of height 1.
    """

    def __init__(self, config: HourglassConfig) -> None:
        super().__init__()
        self.config = config
        c1, c2, c3 = config.stem
        self.stem = nn.Sequential(
            nn.Conv2d(3, c1, 7, stride=2, padding=3),  # [N, 64, 128, 128]
            nn.BatchNorm2d(c1),
            nn.ReLU(),
            Residual(c1, c2),  # [N, 128, 128, 128]
            nn.MaxPool2d(2),  # [N, 128, 64, 64]
            Residual(c2, c3),  # [N, 128, 64, 64]
            Residual(c3, config.width),  # [N, 256, 64, 64]
        )
        self.hourglasses = nn.ModuleList(
            Hourglass(config.depth, config.width, config.blocks) for _ in range(config.stacks)
        )
        self.heads = nn.ModuleList(
            Head(config.width, config.joints, i == config.stacks - 1, config.blocks)
            for i in range(config.stacks)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)  # [N, 256, 64, 64]
        answers = []
        for hourglass, head in zip(self.hourglasses, self.heads, strict=True):
            heatmaps, back = head(hourglass(x))  # [N, 16, 64, 64]
            answers.append(heatmaps)
            if back is not None:
                x = x + back
        return answers


def count_parameters(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def count_macs(config: HourglassConfig) -> int:
    """Multiply-accumulates of the convolutions for one crop, counted on torch's meta device."""
    macs = 0

    def add(module: nn.Module, _: Any, out: Tensor) -> None:
        nonlocal macs
        assert isinstance(module, nn.Conv2d)
        kernel = module.kernel_size[0] * module.kernel_size[1]
        macs += out.numel() * module.in_channels // module.groups * kernel

    with torch.device("meta"):
        model = StackedHourglass(config).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(add)
    model(torch.empty(1, 3, config.size, config.size, device="meta"))
    return macs
