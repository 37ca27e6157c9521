"""Begin a wider network with the weights, and the answers, of a narrower one."""

import torch
from torch import nn


@torch.no_grad()
def widen(narrow: nn.Module, wide: nn.Module) -> None:
    """Take `narrow`'s weights over into `wide`, which has the same layers with at least as many
    channels each. Its first channels become the narrow ones, and none of them hears a new one
    yet; the new ones keep their random weights, and hear all. ValueError for other layers.

    Idea: Net2Net (Chen, Goodfellow, Shlens, ICLR 2016, https://arxiv.org/abs/1511.05641), which
    copies channels where this draws them anew.
    """
    ours, theirs = wide.state_dict(), narrow.state_dict()
    if ours.keys() != theirs.keys():
        raise ValueError("other layers")
    for name, old in theirs.items():
        new = ours[name]
        if new.ndim != old.ndim or any(n < o for n, o in zip(new.shape, old.shape, strict=True)):
            raise ValueError(f"{name} is {tuple(old.shape)}, not {tuple(new.shape)} or less")
        if new.ndim == 4:
            new[: old.shape[0], old.shape[1] :] = 0
        new[tuple(slice(n) for n in old.shape)] = old
