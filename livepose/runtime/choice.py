"""Which released model `--model auto` is: the better one where it keeps up with a camera."""

from livepose.models import Model, find_model, released_models
from livepose.runtime import why_no_tensorrt, why_not_openvino, why_not_torch
from livepose.runtime.hardware import cpu_features

LARGE = "base"
"""The model for GPUs, and for CPUs with AMX: there it takes less time than `small` elsewhere."""


def suited_model(
    name: str = "auto", engine: str = "auto", device: str = "auto", precision: str = "auto"
) -> Model:
    """The model of that name or path; `auto` is `base` or `small`, whichever suits the engine
    that `open_engine` will take for the same words. Raises ModelError as `find_model` does.
    """
    if name == "auto" and LARGE in released_models():
        large = find_model(LARGE)
        if keeps_up(large, engine, device, precision):
            return large
    return find_model(name)


def keeps_up(large: Model, engine: str, device: str, precision: str) -> bool:
    """Whether there is a GPU for it, or a CPU that multiplies bf16 in tiles."""
    if precision == "int8":
        return False
    if engine in ("auto", "tensorrt") and not why_no_tensorrt(large, device):
        return True
    if engine in ("auto", "torch") and not why_not_torch(large, device, precision):
        return True
    return (
        engine in ("auto", "openvino")
        and device in ("auto", "cpu")
        and precision in ("auto", "bf16")
        and "amx_bf16" in cpu_features()
        and not why_not_openvino(large, device, precision)
    )
