"""Engines that run an exported model, one file each, and the choice between them."""

import logging
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from platform import machine

from livepose.errors import EngineError, LivePoseError, ModelError, OutputError, first_line
from livepose.models import Model, released_models
from livepose.runtime.base import Engine, EngineInfo
from livepose.runtime.hardware import has_nvidia_gpu
from livepose.runtime.selftest import check

__all__ = ["ENGINES", "Engine", "EngineInfo", "open_engine"]

ENGINES = ("auto", "tensorrt", "torch", "openvino", "onnx")
"""Names that `--engine` takes; `auto` tries the others in this order."""

PRECISIONS = ("auto", "fp32", "fp16", "bf16", "int8")
"""Names that `--precision` takes; no engine has all of them."""

log = logging.getLogger(__name__)


def open_engine(
    model: Model, engine: str = "auto", device: str = "auto", precision: str = "auto"
) -> Engine:
    """The engine of that name with the model loaded and its self-test passed.

    `auto` takes the fastest that runs here, and says why not the ones before it in
    `info.choice`. Raises EngineError where the engine cannot run here or fails its self-test,
    ModelError where the model cannot be loaded.
    """
    if engine not in ENGINES:
        raise EngineError(f"no engine {engine!r}: give one of {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise EngineError(f"no precision {precision!r}: give one of {', '.join(PRECISIONS)}")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise EngineError(f"no device {device!r}: give auto, cpu, cuda or cuda:N")
    if engine != "auto":
        return open_checked(engine, model, device, precision)
    reasons = []
    for name in ENGINES[1:]:
        try:
            why_not = WHY_NOT[name](model, device, precision)
            if why_not:
                raise EngineError(why_not)
            found = open_checked(name, model, device, precision)
        except (ModelError, OutputError) as e:  # the latter: a cache that cannot be written
            if name == ENGINES[-1] and not isinstance(e, EngineError):
                # The portable engine cannot load it: this is about the model, not this machine.
                raise
            reasons.append(f"not {name}: {e}")
            continue
        found.info = replace(found.info, choice="; ".join(reasons))
        log.info("engine %s (%s)", found.info, found.info.choice)
        return found
    raise EngineError(f"no engine can run {model.name} here: {'; '.join(reasons)}")


def open_checked(name: str, model: Model, device: str, precision: str) -> Engine:
    """That engine, its self-test passed. One that was compiled earlier, and fails it, is compiled
    once more."""
    engine = OPENERS[name](model, device, precision)
    try:
        if not check(engine, model):
            log.info("%s: its card has no self-test", model.path)
    except EngineError as e:
        forget: Callable[[], bool] = getattr(engine, "forget", lambda: False)
        earlier = forget()
        engine.close()
        if not earlier:
            raise
        log.info("compiled once more: %s", e)
        return open_checked(name, model, device, precision)
    except BaseException:
        engine.close()
        raise
    return engine


def open_tensorrt(model: Model, device: str, precision: str) -> Engine:
    from livepose.runtime.tensorrt import TensorRTEngine

    return TensorRTEngine(model, device, precision)


def open_torch(model: Model, device: str, precision: str) -> Engine:
    try:
        from livepose.runtime.torch import TorchEngine

        return TorchEngine(model, device, precision)
    except (RuntimeError, OSError, ImportError) as e:
        # A broken installation, a GPU this build is not for, or one whose memory is full.
        raise EngineError(f"torch cannot be used: {first_line(e)}") from e


def open_openvino(model: Model, device: str, precision: str) -> Engine:
    from livepose.runtime.openvino import OpenVinoEngine

    return OpenVinoEngine(model, device, precision)


def open_onnx(model: Model, device: str, precision: str) -> Engine:
    from livepose.runtime.onnx import OnnxEngine

    return OnnxEngine(model, device, precision)


OPENERS: dict[str, Callable[[Model, str, str], Engine]] = {
    "tensorrt": open_tensorrt,
    "torch": open_torch,
    "openvino": open_openvino,
    "onnx": open_onnx,
}


def why_not_tensorrt(model: Model, device: str, precision: str) -> str:
    lacking = why_no_tensorrt(model, device)
    if lacking:
        return lacking
    from livepose.runtime.build import why_not_ready

    # Building takes minutes; somebody who starts a camera does not wait for that.
    why = why_not_ready(model, device, precision)
    words = [model.name if model.name in released_models() else str(model.path)]
    for option, value in (("--device", device), ("--precision", precision)):
        words += [option, value] if value != "auto" else []
    return f"{why}: `livepose build {shlex.join(words)}`" if why else ""


def lacks_only_a_build(model: Model, device: str, precision: str) -> bool:
    """Whether TensorRT could run the model here if its engine were built."""
    try:
        return not why_no_tensorrt(model, device) and bool(
            why_not_tensorrt(model, device, precision)
        )
    except LivePoseError:
        return False


def why_no_tensorrt(model: Model, device: str) -> str:
    """Why TensorRT is of no use here, built engine or not; as far as is told without it."""
    if model.card.get("task", "pose") != "pose":
        return "it is for pose models"
    if device == "cpu":
        return "it needs a GPU"
    if not has_nvidia_gpu():
        return "no NVIDIA GPU"
    if not (find_spec("tensorrt") and find_spec("pycuda")):
        return "not installed: pip install 'livepose[tensorrt]'"
    return ""


def why_not_torch(model: Model, device: str, precision: str) -> str:
    if device == "cpu":
        return "slower on the CPU than the others"
    if not has_nvidia_gpu():
        return "no NVIDIA GPU"
    from importlib import metadata

    try:
        build = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return "not installed: pip install 'livepose[train]'"
    if "+cpu" in build:
        return f"torch {build} is a build for the CPU"
    if not find_spec("onnx"):
        return "it needs onnx: pip install 'livepose[train]'"
    try:
        import torch

        # Without a GPU that works torch would take the CPU, where the others are faster.
        return "" if torch.cuda.is_available() else "torch finds no GPU that works"
    except (RuntimeError, OSError, ImportError) as e:
        return f"torch cannot be imported: {first_line(e)}"


def why_not_openvino(model: Model, device: str, precision: str) -> str:
    if machine() not in ("x86_64", "AMD64"):
        return "measured faster than onnx on x86-64 only"
    return "" if find_spec("openvino") else "not installed: pip install openvino"


def why_not_onnx(model: Model, device: str, precision: str) -> str:
    return ""


WHY_NOT: dict[str, Callable[[Model, str, str], str]] = {
    "tensorrt": why_not_tensorrt,
    "torch": why_not_torch,
    "openvino": why_not_openvino,
    "onnx": why_not_onnx,
}
"""Why `auto` does not even try an engine, or nothing: asked before anything is imported."""
