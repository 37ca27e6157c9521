"""From a checkpoint to `NAME.onnx` and its card: the one graph that every engine runs."""

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from livepose.errors import ModelError, OutputError
from livepose.model.finder import FinderGraph
from livepose.model.graph import PoseGraph
from livepose.model.hourglass import StackedHourglass, count_macs, count_parameters
from livepose.models import read_card
from livepose.runtime.onnx import import_onnxruntime
from livepose.synthetic import random_figure

OPSET = 18
TOLERANCE_PX = 0.1


GRAPHS: dict[str, Callable[[StackedHourglass], PoseGraph | FinderGraph]] = {
    "pose": PoseGraph,
    "finder": FinderGraph,
}
"""By `TrainConfig.task`: the graph around the network."""


def export_onnx(graph: PoseGraph | FinderGraph, path: Path) -> None:
    """Write the graph, uint8 crops [N, S, S, 3] to joints [N, K, 3] or boxes, and check it.

    The example has two crops: a batch of one would be taken for a constant. The new file must
    give torch's joints, or ModelError is raised and an older file of that name stays.
    """
    size = graph.network.config.size
    graph.eval()
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    partial = path.with_name(path.name + ".part")
    with warnings.catch_warnings():
        # Deprecations inside the exporter are not the user's to mend.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["crops"],
            output_names=["joints" if isinstance(graph, PoseGraph) else "boxes"],
            dynamic_shapes=({0: torch.export.Dim("N", min=1, max=1024)},),
            verbose=False,
        )
        assert program is not None
        try:
            program.save(os.fspath(partial), external_data=False)
        except OSError as e:
            raise OutputError(f"{path}: cannot be written ({e.strerror})") from e
    try:
        check_export(graph, partial, size)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def check_export(graph: nn.Module, path: Path, size: int) -> None:
    """The ONNX checker, and the same answer from ONNX Runtime as from torch."""
    import onnx

    ort = import_onnxruntime()

    onnx.checker.check_model(os.fspath(path), full_check=True)
    session = ort.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    crops = np.stack([random_figure(rng, (size, size))[0][..., ::-1] for _ in range(3)])
    with torch.inference_mode():
        expected = graph(torch.from_numpy(crops)).numpy()
    (answer,) = session.run(None, {"crops": crops})
    apart = np.abs(answer - expected)
    # A flat heatmap's peak may be anywhere.
    places = apart[..., :-1][expected[..., -1] > 0.1]
    if apart[..., -1].max() > 1e-3 or (places.size and places.max() > TOLERANCE_PX):
        raise ModelError(f"{path}: the exported graph gives another answer than torch")


def write_card(network: StackedHourglass, onnx_path: Path, about: dict[str, Any]) -> Path:
    """`NAME.json` beside the model: its size, hash and what `about` says of training and scores."""
    config = network.config
    card: dict[str, Any] = {
        "name": onnx_path.stem,
        "size": config.size,
        "network": config.as_dict(),
        "parameters": count_parameters(network),
        "gmac": round(count_macs(config) / 1e9, 3),
        "sha256": hashlib.sha256(onnx_path.read_bytes()).hexdigest(),
    }
    return write_json(onnx_path.with_suffix(".json"), card | about)


def add_to_card(onnx_path: Path, about: dict[str, Any]) -> Path:
    """Write more on the card that the model has."""
    path = onnx_path.with_suffix(".json")
    return write_json(path, read_card(path) | about)


def write_json(path: Path, values: dict[str, Any]) -> Path:
    """Whole, or the old one stays."""
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_text(json.dumps(values, indent=2) + "\n")
        os.replace(partial, path)
    except OSError as e:
        partial.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written ({e.strerror})") from e
    return path
