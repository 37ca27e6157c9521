"""From a released `NAME.onnx` back to a network that can be trained on.

Exporting folds a BatchNorm into the convolution before it. Such a norm comes back as one that
changes nothing, `restore_norms` then gives it the statistics of real crops.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from livepose.model.checkpoint import load_network
from livepose.model.hourglass import StackedHourglass
from livepose.models import Model, find_model
from livepose.runtime.torch import load_weights


def load_onnx(model: Model) -> StackedHourglass:
    """The network of an exported model, in evaluation mode; gives what the file gives."""
    network = load_weights(model)
    for name, norm in norms_of(StackedHourglass(network.config)).items():
        if isinstance(network.get_submodule(name), nn.Identity):
            norm.load_state_dict(unchanging(norm))
            network.set_submodule(name, norm)
    return network.eval()


def open_network(name: str) -> StackedHourglass:
    """Of a released model's name, an .onnx or a checkpoint .pt, in evaluation mode."""
    return load_network(Path(name)) if name.endswith(".pt") else load_onnx(find_model(name))


def norms_of(network: nn.Module) -> dict[str, nn.BatchNorm2d]:
    return {n: m for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)}


def unchanging(norm: nn.BatchNorm2d) -> dict[str, Tensor]:
    """Values with which it gives back what it gets."""
    zeros, ones = torch.zeros(norm.num_features), torch.ones(norm.num_features)
    return {"weight": ones, "bias": zeros, "running_mean": zeros, "running_var": ones - norm.eps}


def idle_norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    """Those that change nothing: exporting folded them into the convolutions before them."""
    return [
        norm
        for norm in norms_of(network).values()
        if all(torch.equal(norm.state_dict()[k].cpu(), v) for k, v in unchanging(norm).items())
    ]


@torch.no_grad()
def restore_norms(network: StackedHourglass, crops: Tensor) -> None:
    """Give each unchanging norm the mean and variance of what it gets from those crops, and the
    scale and offset that undo them: the network's answers stay, and it can be trained.

    crops: float32 [N, 3, S, S], normalised as in `graph.normalise`.
    """
    handles = [norm.register_forward_pre_hook(take_statistics) for norm in idle_norms(network)]
    network.eval()(crops)
    for handle in handles:
        handle.remove()


def take_statistics(norm: nn.Module, inputs: tuple[Tensor]) -> None:
    assert isinstance(norm, nn.BatchNorm2d)
    variance, mean = torch.var_mean(inputs[0].float(), dim=(0, 2, 3))
    norm.running_mean, norm.running_var = mean, variance
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.copy_(mean)
