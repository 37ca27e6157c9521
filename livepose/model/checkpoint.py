"""Training checkpoints on disk. The only file that calls `torch.load`, and only safely."""

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from livepose.errors import ModelError, OutputError, UsageError, first_line
from livepose.model.hourglass import HourglassConfig, StackedHourglass

UNREADABLE = (
    *(pickle.UnpicklingError, RuntimeError, EOFError, OSError),
    *(KeyError, IndexError, ValueError, TypeError, AttributeError),
)
"""What torch's safe unpickler raises on files that are no pickles: whatever it stumbles over."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write by temporary file and rename, so that a cut run leaves the last good one."""
    partial = path.with_name(path.name + ".part")
    try:
        torch.save(state, partial)
        os.replace(partial, path)
    except (OSError, RuntimeError) as e:  # the latter is what torch makes of a full disk
        partial.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written ({first_line(e)})") from e


def read(path: Path) -> Any:
    """Tensors and plain values only: code inside a pickle is refused, never run."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such checkpoint") from None
    except UNREADABLE as e:
        reason = first_line(e)
        raise ModelError(f"{path}: not a checkpoint that can be read safely ({reason})") from e


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What `livepose train` saved."""
    state = read(path)
    if not isinstance(state, dict) or "network" not in state or "ema" not in state:
        raise ModelError(f"{path}: not a livepose checkpoint; `livepose train` makes one")
    return state


def load_network(path: Path) -> StackedHourglass:
    """The averaged (EMA) weights of a checkpoint as a network in evaluation mode."""
    state = load_checkpoint(path)
    network = StackedHourglass(HourglassConfig.from_dict(state["network"]))
    network.load_state_dict(state["ema"])
    return network.eval()


def first_stacks(network: StackedHourglass, stacks: int) -> StackedHourglass:
    """The network that ends after its first `stacks` hourglasses: intermediate supervision has
    trained their heatmaps too. In evaluation mode, with weights of its own.
    """
    if not 1 <= stacks <= network.config.stacks:
        raise UsageError(f"--stacks {stacks}: the network has {network.config.stacks}")
    shorter = StackedHourglass(replace(network.config, stacks=stacks))
    weights = network.state_dict()
    shorter.load_state_dict({name: weights[name] for name in shorter.state_dict()})
    return shorter.eval()


def load_state_dict(path: Path) -> dict[str, Tensor]:
    """The named tensors of anybody's checkpoint: under `state_dict`, or the file itself."""
    state = read(path)
    if isinstance(state, dict) and "state_dict" in state:
        state = state["state_dict"]
    if not isinstance(state, dict) or not state:
        raise ModelError(f"{path}: holds no named weights")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ModelError(f"{path}: {str(name)[:80]!r} is not a tensor of a state dict")
    return dict(state)
