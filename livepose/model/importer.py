"""Public PyTorch checkpoints of the stacked hourglass, read as livepose networks.

Three implementations in two layouts of weight names; what differs beside the names is how
pixels are normalised. Their modules are otherwise ours, so heatmaps come out the same. Joints
are decoded our way, not theirs. Reading the file is in `checkpoint.py`, writing the graph in
`export.py`, the command in `import_command.py`.

Each keeps a pixel's scale at 1/255 where ours divides by SCALE once more; that is folded into
the first convolution, and exactly, SCALE being a power of two. The mean cannot be folded in as
well: the convolution pads with zeros, which are the mean in one network and black in another, so
a shifted bias would be wrong at the border. It stays with the network, as `config.mean`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from livepose.errors import ModelError
from livepose.model.checkpoint import load_state_dict
from livepose.model.graph import SCALE
from livepose.model.hourglass import MEAN, HourglassConfig, StackedHourglass
from livepose.skeleton import JOINTS

State = dict[str, Tensor]
SHOWN = 3
"""Keys that an error names before it only counts."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How one implementation names the modules of the network.

    source: where it is published.
    mark: how the names of its hourglasses start, which tells the layouts apart.
    configure: state -> the network's shape; the crops' size is not in it.
    names: configuration -> {our module: their module}, for every convolution and BatchNorm.
    """

    source: str
    mark: str
    configure: Callable[[State], HourglassConfig]
    names: Callable[[HourglassConfig], dict[str, str]]


@dataclass(frozen=True, slots=True)
class Key:
    """One weight: its name there and here, and both shapes (None: it is not there).

    `unused` is a weight their forward pass does not touch, `unknown` one that has no place here.
    """

    theirs: str
    ours: str | None
    found: tuple[int, ...] | None
    expected: tuple[int, ...] | None

    @property
    def status(self) -> Literal["mapped", "unused", "missing", "shape", "unknown"]:
        if self.ours is None:
            return "unused" if ".skip_layer." in self.theirs else "unknown"
        if self.found is None:
            return "missing"
        return "mapped" if self.found == self.expected else "shape"

    def __str__(self) -> str:
        shapes = f"found {self.found}, expected {self.expected}"
        if self.status in ("mapped", "unused", "unknown"):
            shapes = str(self.found)
        return f"{self.status:8}{self.theirs} -> {self.ours or '-'}: {shapes}"


@dataclass(frozen=True, slots=True)
class PublicCheckpoint:
    """A checkpoint that was recognised; `keys` says of every weight whether it fits."""

    path: Path
    layout: Layout
    config: HourglassConfig
    state: State
    keys: list[Key]


def read_public(path: Path, size: int = 256) -> PublicCheckpoint:
    """Recognise the layout and compare every key; raises ModelError if it is none of them.

    size: side of the square crops in pixels, which a checkpoint does not say.
    """
    state = {without_wrappers(key): value for key, value in load_state_dict(path).items()}
    layout = next((x for x in LAYOUTS if any(k.startswith(x.mark) for k in state)), None)
    if layout is None:
        known = ", ".join(x.source for x in LAYOUTS)
        raise ModelError(
            f"{path}: starts with {', '.join(list(state)[:SHOWN])}: a layout that is not known; "
            f"known are {known}"
        )
    try:
        values = layout.configure(state).as_dict() | {"size": size}
        config = HourglassConfig.from_dict(values)
    except KeyError as e:
        raise ModelError(f"{path}: {e.args[0]} is missing, of a {layout.source} network") from e
    except ValueError as e:
        raise ModelError(f"{path}: {e}") from e
    return PublicCheckpoint(path, layout, config, state, compare(layout, config, state))


def without_wrappers(key: str) -> str:
    """Without what DataParallel and a trainer put before the name of a weight."""
    while key.startswith(("module.", "model.")):
        key = key.partition(".")[2]
    return key


def compare(layout: Layout, config: HourglassConfig, state: State) -> list[Key]:
    """Every weight that the network wants, then those in `state` that it does not want."""
    with torch.device("meta"):
        wanted = StackedHourglass(config).state_dict()
    names = layout.names(config)
    keys = []
    for ours, tensor in wanted.items():
        module, _, leaf = ours.rpartition(".")
        theirs = f"{names[module]}.{leaf}"
        found = tuple(state[theirs].shape) if theirs in state else None
        # PyTorch before 0.4.1 did not save this counter, which evaluation never reads.
        if found is not None or leaf != "num_batches_tracked":
            keys.append(Key(theirs, ours, found, tuple(tensor.shape)))
    used = {key.theirs for key in keys}
    rest = (Key(k, None, tuple(v.shape), None) for k, v in state.items() if k not in used)
    return keys + list(rest)


def convert(checkpoint: PublicCheckpoint) -> StackedHourglass:
    """The network with these weights, in evaluation mode.

    Raises ModelError, naming the first keys, if any is missing, unknown or of another shape.
    """
    refuse(checkpoint)
    with torch.device("meta"):
        network = StackedHourglass(checkpoint.config)
    counters = (name for name in network.state_dict() if name.endswith("num_batches_tracked"))
    weights = {name: torch.zeros((), dtype=torch.int64) for name in counters}
    for key in checkpoint.keys:
        if key.ours is not None and key.ours not in weights:
            weights[key.ours] = checkpoint.state[key.theirs].to(torch.float32)
    weights["stem.0.weight"] = weights["stem.0.weight"] * SCALE
    network.load_state_dict(weights, assign=True)
    return network.eval()


def refuse(checkpoint: PublicCheckpoint) -> None:
    """Raise what keeps the checkpoint from being converted."""
    path, config = checkpoint.path, checkpoint.config
    bad = [key for key in checkpoint.keys if key.status in ("missing", "shape", "unknown")]
    if bad:
        first = "; ".join(describe(key) for key in bad[:SHOWN])
        more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise ModelError(f"{path}: not a {checkpoint.layout.source} network: {first}{more}")
    if config.joints != len(JOINTS):
        raise ModelError(
            f"{path}: gives {config.joints} joints; livepose needs MPII's {len(JOINTS)}"
        )
    for key in checkpoint.keys:
        if key.ours is not None and not torch.isfinite(checkpoint.state[key.theirs]).all():
            raise ModelError(f"{path}: {key.theirs} holds values that are no finite numbers")


def describe(key: Key) -> str:
    if key.status == "missing":
        return f"{key.theirs} is missing, expected {key.expected}"
    if key.status == "shape":
        return f"{key.theirs} is {key.found}, expected {key.expected}"
    return f"{key.theirs} {key.found} has no place"


def how_many(state: State, prefix: str) -> int:
    """How many of `prefix.format(0)`, `prefix.format(1)`, ... begin a key, but at least one: a
    first one that is not there is reported as missing later.
    """

    def there(i: int) -> bool:
        return any(key.startswith(prefix.format(i)) for key in state)

    return max(1, len(list(takewhile(there, count()))))


def channels(state: State, name: str, axis: int = 0) -> int:
    """Outputs (axis 0) or inputs (1) of a convolution."""
    weight = state[f"{name}.weight"]
    if weight.ndim != 4:
        raise ValueError(f"{name}.weight is {tuple(weight.shape)}, not a convolution")
    return weight.shape[axis]


def each_block(ours: str, theirs: str, blocks: int) -> dict[str, str]:
    """Residuals in a row, where theirs are numbered even if there is but one."""
    if blocks == 1:
        return {ours: f"{theirs}.0"}
    return {f"{ours}.{i}": f"{theirs}.{i}" for i in range(blocks)}


def inside(residuals: dict[str, str], conv: str, skip: str) -> dict[str, str]:
    """Modules of the residuals; `conv` and `skip` are formats for the names of convolutions."""
    names = {}
    for ours, theirs in residuals.items():
        for i in range(3):
            names[f"{ours}.body.{i}.0"] = f"{theirs}.bn{i + 1}"
            names[f"{ours}.body.{i}.2"] = f"{theirs}.{conv.format(i + 1)}"
        names[f"{ours}.skip"] = f"{theirs}.{skip}"
    return names


def princeton_config(state: State) -> HourglassConfig:
    stem = tuple(channels(state, f"pre.{x}.conv") for x in ("0", "1.conv3", "3.conv3"))
    depth = 1
    while f"hgs.0.0{'.low2' * depth}.up1.bn1.weight" in state:
        depth += 1
    return HourglassConfig(
        stacks=how_many(state, "outs.{}."),
        width=channels(state, "outs.0.conv", axis=1),
        depth=depth,
        stem=(stem[0], stem[1], stem[2]),
        joints=channels(state, "outs.0.conv"),
        mean=(0.0, 0.0, 0.0),
    )


def princeton_names(config: HourglassConfig) -> dict[str, str]:
    names = {"stem.0": "pre.0.conv", "stem.1": "pre.0.bn"}
    residuals = {"stem.3": "pre.1", "stem.5": "pre.3", "stem.6": "pre.4"}
    for i in range(config.stacks):
        ours, theirs = f"hourglasses.{i}", f"hgs.{i}.0"
        for _ in range(config.depth):
            residuals[f"{ours}.stay"] = f"{theirs}.up1"
            residuals[f"{ours}.down"] = f"{theirs}.low1"
            residuals[f"{ours}.up"] = f"{theirs}.low3"
            ours, theirs = f"{ours}.inner", f"{theirs}.low2"
        residuals[ours] = theirs
        residuals[f"heads.{i}.features.0"] = f"features.{i}.0"
        names[f"heads.{i}.features.1"] = f"features.{i}.1.conv"
        names[f"heads.{i}.features.2"] = f"features.{i}.1.bn"
        names[f"heads.{i}.heatmaps"] = f"outs.{i}.conv"
        names[f"heads.{i}.from_features"] = f"merge_features.{i}.conv.conv"
        names[f"heads.{i}.from_heatmaps"] = f"merge_preds.{i}.conv.conv"
    return names | inside(residuals, "conv{}.conv", "skip_layer.conv")


def bearpaw_config(state: State) -> HourglassConfig:
    stem = tuple(channels(state, x) for x in ("conv1", "layer1.0.conv3", "layer2.0.conv3"))
    return HourglassConfig(
        stacks=how_many(state, "score.{}."),
        width=channels(state, "score.0", axis=1),
        depth=how_many(state, "hg.0.hg.{}."),
        stem=(stem[0], stem[1], stem[2]),
        joints=channels(state, "score.0"),
        blocks=how_many(state, "res.0.{}."),
        mean=MEAN,
    )


def bearpaw_names(config: HourglassConfig) -> dict[str, str]:
    names = {"stem.0": "conv1", "stem.1": "bn1"}
    residuals = {"stem.3": "layer1.0", "stem.5": "layer2.0", "stem.6": "layer3.0"}
    for i in range(config.stacks):
        ours = f"hourglasses.{i}"
        for level in reversed(range(config.depth)):
            theirs = f"hg.{i}.hg.{level}"
            for number, branch in enumerate(("stay", "down", "up")):
                residuals |= each_block(f"{ours}.{branch}", f"{theirs}.{number}", config.blocks)
            ours += ".inner"
        residuals |= each_block(ours, f"hg.{i}.hg.0.3", config.blocks)
        residuals |= each_block(f"heads.{i}.features.0", f"res.{i}", config.blocks)
        names[f"heads.{i}.features.1"] = f"fc.{i}.0"
        names[f"heads.{i}.features.2"] = f"fc.{i}.1"
        names[f"heads.{i}.heatmaps"] = f"score.{i}"
        names[f"heads.{i}.from_features"] = f"fc_.{i}"
        names[f"heads.{i}.from_heatmaps"] = f"score_.{i}"
    return names | inside(residuals, "conv{}", "downsample.0")


LAYOUTS = (
    Layout("princeton-vl/pytorch_stacked_hourglass", "hgs.", princeton_config, princeton_names),
    Layout(
        "bearpaw/pytorch-pose or anibali/pytorch-stacked-hourglass",
        "hg.",
        bearpaw_config,
        bearpaw_names,
    ),
)
