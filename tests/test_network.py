"""The network's shapes and published sizes."""

import pytest
import torch

from livepose.model.hourglass import (
    Hourglass,
    HourglassConfig,
    StackedHourglass,
    count_macs,
    count_parameters,
)

SMALL = HourglassConfig(stacks=2, width=16, depth=3, stem=(8, 8, 16), size=64)


@pytest.mark.parametrize(("stacks", "parameters_m", "gmac"), [(2, 6.57, 8.33), (8, 25.43, 27.44)])
def test_papers_network_has_the_published_size(
    stacks: int, parameters_m: float, gmac: float
) -> None:
    config = HourglassConfig(stacks=stacks)
    with torch.device("meta"):
        network = StackedHourglass(config)
    assert round(count_parameters(network) / 1e6, 2) == parameters_m
    assert round(count_macs(config) / 1e9, 2) == gmac


def test_macs_grow_with_the_area() -> None:
    wide = count_macs(HourglassConfig(stacks=1, width=16, depth=2, stem=(8, 8, 16), size=64))
    double = count_macs(HourglassConfig(stacks=1, width=16, depth=2, stem=(8, 8, 16), size=128))
    assert double == 4 * wide


def test_every_stack_gives_heatmaps_at_a_quarter_of_the_size() -> None:
    answers = StackedHourglass(SMALL).eval()(torch.zeros(3, 3, 64, 64))
    assert [tuple(a.shape) for a in answers] == [(3, 16, 16, 16)] * 2


def test_other_joint_counts() -> None:
    config = HourglassConfig(stacks=1, width=16, depth=2, stem=(8, 8, 16), joints=5, size=32)
    assert StackedHourglass(config).eval()(torch.zeros(1, 3, 32, 32))[0].shape == (1, 5, 8, 8)


def test_depth_4_goes_down_to_4x4() -> None:
    sizes: list[int] = []
    hourglass = Hourglass(4, 8).eval()
    for module in hourglass.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda m, i, o: sizes.append(o.shape[-1]))
    assert hourglass(torch.zeros(1, 8, 64, 64)).shape == (1, 8, 64, 64)
    assert sorted(set(sizes)) == [4, 8, 16, 32, 64]


def test_size_must_fit_the_depth() -> None:
    with pytest.raises(ValueError, match="not a multiple of 64"):
        HourglassConfig(size=96)


def test_every_stack_is_supervised_and_feeds_the_next() -> None:
    network = StackedHourglass(SMALL)
    _, second = network(torch.randn(2, 3, 64, 64))
    second.square().mean().backward()
    head = network.heads[0]
    assert head.heatmaps.weight.grad.abs().sum() > 0  # through the remapped heatmaps
    assert head.from_heatmaps.weight.grad.abs().sum() > 0
    assert head.from_features.weight.grad.abs().sum() > 0


def test_config_survives_its_dict() -> None:
    assert HourglassConfig.from_dict(SMALL.as_dict()) == SMALL
