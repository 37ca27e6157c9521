"""The half-precision variant of an exported graph: `NAME.fp16.onnx` beside `NAME.onnx`.

TensorRT's networks are strongly typed: the precision is the file's. Here the network's weights
and arithmetic become float16; normalising and decoding stay in float32, crops uint8 and joints
float32. Made from the ONNX file alone, so that a released model needs neither its checkpoint
nor torch; only the `onnx` package.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from livepose.errors import EngineError, ModelError, OutputError, first_line
from livepose.models import MARK, source_mark

TOLERANCE_PX = 0.5
"""How far joints may be from float32's, on average, over the joints that score."""

TOLERANCE_SCORE = 0.05

NETWORK_OPS = frozenset({"Conv", "BatchNormalization", "Relu", "Add", "MaxPool", "Resize"})


def export_half(path: Path, half: Path) -> None:
    """Write the half variant of the float32 graph `path` as `half`, and check its joints.

    An older file of that name stays unless the new one passes. Raises ModelError for a graph
    that is not one of ours or loses too much, EngineError where `onnx` is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]
    except ImportError as e:
        raise EngineError("onnx is not installed: pip install 'livepose[tensorrt]'") from e
    try:
        model = onnx.load(path)
    except (ValueError, DecodeError, onnx.checker.ValidationError) as e:
        # External data outside of the model's folder ends here too.
        raise ModelError(f"{path}: not an ONNX model that can be read ({first_line(e)})") from e
    network = network_nodes(model.graph, path)
    halve(model.graph, network)
    cast_before_transpose(model.graph)
    del model.graph.value_info[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = MARK, source_mark(path).decode()
    partial = half.with_name(f"{half.name}.{os.getpid()}.part")
    try:
        onnx.save(model, os.fspath(partial))
        onnx.checker.check_model(os.fspath(partial), full_check=True)
        check_joints(path, partial)
        os.replace(partial, half)
    except OSError as e:
        raise OutputError(f"{half}: cannot be written ({e.strerror})") from e
    finally:
        partial.unlink(missing_ok=True)


def network_nodes(graph: Any, path: Path) -> list[Any]:
    """The nodes between normalising and decoding: from the first convolution to the last."""
    convolutions = [i for i, node in enumerate(graph.node) if node.op_type == "Conv"]
    if not convolutions:
        raise ModelError(f"{path}: no convolution in it; `livepose export` makes models")
    nodes = list(graph.node)[convolutions[0] : convolutions[-1] + 1]
    other = {node.op_type for node in nodes} - NETWORK_OPS
    if other:
        raise ModelError(f"{path}: {', '.join(sorted(other))} inside the network, not an hourglass")
    return nodes


def halve(graph: Any, network: list[Any]) -> None:
    """Turn the network's weights to float16, with a cast at its entrance and at its exit."""
    from onnx import TensorProto, helper, numpy_helper

    weights = {w.name: w for w in graph.initializer}
    made = {output for node in network for output in node.output}
    entrance, exit_ = network[0].input[0], network[-1].output[0]
    for node in network:
        if node.op_type == "BatchNormalization":
            fold_statistics(graph, weights, node)
        for i, name in enumerate(node.input):
            # The scales of Resize are float32 by definition.
            if node.op_type == "Resize" and i > 0:
                continue
            if name in weights:
                node.input[i] = f"{name}_half"
                if node.input[i] not in weights:
                    with np.errstate(over="ignore"):  # the joints will tell
                        values = numpy_helper.to_array(weights[name]).astype(np.float16)
                    weights[node.input[i]] = numpy_helper.from_array(values, node.input[i])
                    graph.initializer.append(weights[node.input[i]])
            elif name == entrance:
                node.input[i] = "network_in"
            elif name and name not in made:
                raise ModelError(f"the network reads {name}, which is made outside of it")
    network[-1].output[0] = "network_out"
    at = list(graph.node).index(network[0])
    graph.node.insert(
        at, helper.make_node("Cast", [entrance], ["network_in"], to=TensorProto.FLOAT16)
    )
    graph.node.insert(
        at + len(network) + 1,
        helper.make_node("Cast", ["network_out"], [exit_], to=TensorProto.FLOAT),
    )
    used = {name for node in graph.node for name in node.input}
    kept = [w for w in graph.initializer if w.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def fold_statistics(graph: Any, weights: dict[str, Any], node: Any) -> None:
    """Rewrite a BatchNormalization to mean 0 and variance 1, with scale and bias to match.

    In float32, before rounding: a running variance can be too small or too large for float16.
    """
    from onnx import numpy_helper

    gamma, beta, mean, variance = (numpy_helper.to_array(weights[n]) for n in node.input[1:])
    (epsilon,) = [a.f for a in node.attribute if a.name == "epsilon"] or [1e-5]
    scale = gamma / np.sqrt(variance + epsilon)
    folded = (scale, beta - mean * scale, np.zeros_like(mean), np.ones_like(variance) - epsilon)
    for i, values in enumerate(folded, start=1):
        name = f"{node.input[i]}_folded"
        weights[name] = numpy_helper.from_array(values.astype(np.float32), name)
        node.input[i] = name


def cast_before_transpose(graph: Any) -> None:
    """Cast the uint8 crops before they are transposed: TensorRT takes uint8 into a cast only."""
    first, second = graph.node[0], graph.node[1]
    if (first.op_type, second.op_type) != ("Transpose", "Cast"):
        return
    first.op_type, second.op_type = second.op_type, first.op_type
    moved = list(first.attribute)
    del first.attribute[:]
    first.attribute.extend(second.attribute)
    del second.attribute[:]
    second.attribute.extend(moved)


def check_joints(path: Path, half: Path) -> None:
    """Both files must give the same joints on the CPU, TOLERANCE_PX apart on average."""
    from livepose.runtime.onnx import import_onnxruntime

    ort = import_onnxruntime()

    def run(file: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
        session = ort.InferenceSession(os.fspath(file), providers=["CPUExecutionProvider"])
        size = session.get_inputs()[0].shape[1]
        crops = np.random.default_rng(0).integers(0, 256, (4, size // 8, size // 8, 3), np.uint8)
        return np.asarray(session.run(None, {"crops": crops.repeat(8, 1).repeat(8, 2)})[0])

    expected, joints = run(path), run(half)
    apart = np.abs(expected - joints)
    # Of a joint that is not there, the place is chance and only the score counts.
    there = expected[..., -1] > 0.1
    px = float(apart[there][:, :-1].mean()) if there.any() else 0.0
    score = float(apart[..., -1].max())
    # Written so that NaN, which an overflow of float16 ends in, fails too.
    if not (px <= TOLERANCE_PX and score <= TOLERANCE_SCORE):
        raise ModelError(f"{path}: half precision loses too much: {px:.2f} px, score {score:.3f}")
