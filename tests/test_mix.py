"""The mean of several trainings of one network."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from livepose.errors import UsageError
from livepose.model.checkpoint import save_checkpoint
from livepose.model.export import export_onnx, write_card
from livepose.model.from_onnx import load_onnx, norms_of
from livepose.model.graph import PoseGraph
from livepose.model.hourglass import HourglassConfig, StackedHourglass
from livepose.model.mix import mixed
from livepose.models import find_model
from livepose.training.config import TrainConfig
from livepose.training.export_command import export

TINY = HourglassConfig(stacks=1, width=8, depth=1, stem=(4, 4, 8), size=32)


def a_network(seed: int, config: HourglassConfig = TINY) -> StackedHourglass:
    torch.manual_seed(seed)
    network = StackedHourglass(config)
    for norm in norms_of(network).values():  # exporting keeps one of several equal tensors
        torch.nn.init.normal_(norm.bias, std=0.1)
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.running_mean, std=0.1)
        torch.nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return network.eval()


def save(network: StackedHourglass, path: Path) -> str:
    values = TrainConfig(data=("x",), validate="x", network=network.config).as_dict()
    state = {"network": network.config.as_dict(), "config": json.dumps(values), "step": 1}
    save_checkpoint(path, state | {"ema": network.state_dict()})
    return str(path)


def released(network: StackedHourglass, path: Path) -> str:
    export_onnx(PoseGraph(network), path)
    write_card(network, path, {})
    return str(path)


@torch.inference_mode()
def test_the_same_network_put_differently_stays_what_it_is(tmp_path: Path) -> None:
    """A convolution twice as large before a norm that undoes it; a plain mean would not do."""
    network = a_network(1)
    other = copy.deepcopy(network)
    conv, norm = other.hourglasses[0].stay.body[0][2], other.hourglasses[0].stay.body[1][0]
    for tensor in (conv.weight, conv.bias, norm.running_mean):
        tensor.mul_(2)
    norm.running_var.copy_(4 * (norm.running_var + norm.eps) - norm.eps)
    crops = torch.rand(2, 3, 32, 32)
    expected = network(crops)[-1]
    assert torch.allclose(other(crops)[-1], expected, atol=1e-4)
    others = [save(other, tmp_path / "other.pt"), released(other, tmp_path / "other.onnx")]
    assert torch.allclose(mixed(network, "pose", others)(crops)[-1], expected, atol=1e-4)


def test_another_network_is_refused(tmp_path: Path) -> None:
    other = save(a_network(1, replace(TINY, depth=2)), tmp_path / "other.pt")
    with pytest.raises(UsageError, match=r"other\.pt: is of another network"):
        mixed(a_network(1), "pose", [other])


def test_weights_lie_in_the_middle_and_the_card_says_of_what(tmp_path: Path) -> None:
    networks = [a_network(seed) for seed in (1, 2)]
    one, other = (save(n, tmp_path / f"{i}.pt") for i, n in enumerate(networks))
    path = tmp_path / "mean.onnx"
    export([one, str(path), "--mix", other])
    model = find_model(str(path))
    assert model.card["mixed_with"] == [other]
    last = "hourglasses.0.stay.body.2.2.weight"
    expected = sum(n.state_dict()[last] for n in networks) / 2
    assert torch.allclose(load_onnx(model).state_dict()[last], expected, atol=1e-6)
