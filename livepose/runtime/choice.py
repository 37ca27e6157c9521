"""Which released model `--model auto` is: the largest that this machine is thought fit for."""

from livepose.errors import EngineError
from livepose.models import Model, find_model, released_models
from livepose.runtime import why_no_tensorrt, why_not_openvino, why_not_torch
from livepose.runtime.hardware import cpu_features

ON_GPU = "large"
"""The model for GPUs."""

ON_AMX = "base"
"""The model for CPUs with AMX: there it takes less time than `small` elsewhere."""


def suited_model(
    name: str = "auto", engine: str = "auto", device: str = "auto", precision: str = "auto"
) -> Model:
    """The model of that name or path; `auto` is the one that suits the engine that
    `open_engine` will take for the same words. Raises ModelError as `find_model` does.
    """
    released = released_models()
    for better, suits in ((ON_GPU, on_gpu), (ON_AMX, on_amx)):
        if name == "auto" and better in released:
            model = find_model(better)
            if suits(model, engine, device, precision):
                return model
    return find_model(name)


def on_gpu(model: Model, engine: str, device: str, precision: str) -> bool:
    """Whether there is a GPU for it, and what runs there is whole."""
    if precision == "int8":
        return False
    by_tensorrt = engine in ("auto", "tensorrt") and not why_no_tensorrt(model, device)
    if by_tensorrt and starts_tensorrt(device):
        return True
    return engine in ("auto", "torch") and not why_not_torch(model, device, precision)


def starts_tensorrt(device: str) -> bool:
    """Whether TensorRT, PyCUDA and CUDA, which are there, work: a broken one is not seen before."""
    from livepose.runtime.build import find_gpu

    try:
        find_gpu(device)
    except EngineError:
        return False
    return True


def on_amx(model: Model, engine: str, device: str, precision: str) -> bool:
    """Whether it is for a CPU that multiplies bf16 in tiles, and may."""
    return (
        engine in ("auto", "openvino")
        and device in ("auto", "cpu")
        and precision in ("auto", "bf16")
        and "amx_bf16" in cpu_features()
        and not why_not_openvino(model, device, precision)
    )
