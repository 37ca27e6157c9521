"""The INT8 variant of an exported graph: `NAME.int8.onnx` beside `NAME.onnx`.

Post-training quantisation by ONNX Runtime (QDQ), for CPUs: convolutions multiply int8 weights,
a scale each output channel, with uint8 activations. The first and the last convolution,
normalising and decoding stay in float32. Needs the `onnx` package, and crops to calibrate on.
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from livepose.errors import EngineError, ModelError, OutputError, first_line
from livepose.model.export_half import network_nodes
from livepose.models import MARK, Model, source_mark, variant_path
from livepose.runtime.onnx import import_onnxruntime

TOLERANCE_PX = 0.5
"""How far half of the joints that score may be from float32's; where two peaks are as high, a
joint may jump from one to the other."""

COUNTED_SCORE = 0.3

SCHEME = {
    # The mean of each crop's extremes: the extremes of all crops waste levels on a few pixels.
    "CalibMovingAverage": True,
    # Inputs of convolutions only: sums along the skips lose the most, and gain no time.
    "OpTypesToExcludeOutputQuantization": ["Conv"],
    "QuantizeBias": False,
}


def export_int8(model: Model, crops: npt.NDArray[np.uint8]) -> tuple[Path, float]:
    """Write the INT8 variant of `model` beside it; gives its path and how far it is off.

    crops: uint8 [N, S, S, 3] RGB of real people, to calibrate on. The distance is the median
    over their joints, in crop pixels. An older file stays unless the new one passes.
    """
    if model.card.get("task", "pose") != "pose":
        raise ModelError(f"{model.path}: only pose models have INT8 variants")
    ort = import_onnxruntime()
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]
    except ImportError as e:
        raise EngineError("onnx is not installed: pip install 'livepose[train]'") from e
    try:
        graph = onnx.load(model.path)
    except (ValueError, DecodeError, onnx.checker.ValidationError) as e:
        raise ModelError(
            f"{model.path}: not an ONNX model that can be read ({first_line(e)})"
        ) from e
    entry = graph.metadata_props.add()
    entry.key, entry.value = MARK, source_mark(model.path).decode()
    path = variant_path(model.path, "int8")
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        quantise(graph, partial, network_nodes(graph.graph, model.path), crops)
        onnx.checker.check_model(os.fspath(partial), full_check=True)
        apart_px = distance_px(ort, model.path, partial, crops)
        # Written so that NaN fails too.
        if not apart_px <= TOLERANCE_PX:
            raise ModelError(
                f"{model.path}: INT8 loses too much: half its joints {apart_px:.2f} px"
            )
        os.replace(partial, path)
    except OSError as e:
        raise OutputError(f"{path}: cannot be written ({e.strerror})") from e
    finally:
        partial.unlink(missing_ok=True)
    return path, apart_px


def quantise(graph: Any, path: Path, network: list[Any], crops: npt.NDArray[np.uint8]) -> None:
    """Write the quantised graph; `network` is its nodes from the first convolution to the last."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Crops(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._each: Iterator[npt.NDArray[np.uint8]] = iter(crops[:, None])

        def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
            crop = next(self._each, None)
            return None if crop is None else {"crops": crop}

    inner = [node.name for node in network[1:-1] if node.op_type == "Conv"]
    level = logging.root.manager.disable
    # It asks for a step before it that changes nothing in these graphs.
    logging.disable(logging.WARNING)
    try:
        quantize_static(
            graph,
            os.fspath(path),
            Crops(),
            op_types_to_quantize=["Conv"],
            nodes_to_quantize=inner,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options=SCHEME,
        )
    finally:
        logging.disable(level)


def distance_px(ort: Any, path: Path, int8: Path, crops: npt.NDArray[np.uint8]) -> float:
    """The median distance between both files' joints, of those that score in float32."""

    def run(file: Path) -> npt.NDArray[np.float32]:
        session = ort.InferenceSession(os.fspath(file), providers=["CPUExecutionProvider"])
        return np.concatenate([session.run(None, {"crops": crop})[0] for crop in crops[:, None]])

    expected, joints = run(path), run(int8)
    apart = np.linalg.norm(joints[..., :2] - expected[..., :2], axis=2)
    counted = apart[expected[..., 2] >= COUNTED_SCORE]
    return float(np.median(counted)) if len(counted) else 0.0
