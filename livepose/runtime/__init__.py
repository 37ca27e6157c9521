"""Engines that run an exported model, one file each, and the choice between them."""

from livepose.errors import EngineError
from livepose.models import Model
from livepose.runtime.base import Engine, EngineInfo

__all__ = ["ENGINES", "Engine", "EngineInfo", "open_engine"]

ENGINES = ("auto", "onnx")
"""Names that `--engine` takes."""


def open_engine(
    model: Model, engine: str = "auto", device: str = "auto", precision: str = "auto"
) -> Engine:
    """The engine of that name with the model loaded; `auto` takes the fastest that runs here."""
    if engine in ("auto", "onnx"):
        from livepose.runtime.onnx import OnnxEngine

        return OnnxEngine(model)
    raise EngineError(f"no engine {engine!r}: give one of {', '.join(ENGINES)}")
