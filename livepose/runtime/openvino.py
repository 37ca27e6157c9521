"""OpenVINO on the CPU: the fastest on x86-64, the more so where that multiplies bf16."""

import io
import logging
import sys
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from livepose.errors import EngineError, ModelError, first_line
from livepose.models import Model, int8_file
from livepose.runtime.base import EngineInfo, check_crops
from livepose.runtime.compiled import Compiled

log = logging.getLogger(__name__)

NAMES = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""Precisions, and OpenVINO's name for what is not quantised in them."""


class OpenVinoEngine:
    """See `base.Engine`. device: auto or cpu. precision: fp32, bf16, int8, or auto, which is
    bf16 where the CPU has it in hardware, else fp32.

    What was compiled is kept by `close` and read back by the next that opens the same graph.
    """

    def __init__(self, model: Model, device: str = "auto", precision: str = "auto") -> None:
        if device not in ("auto", "cpu") or precision not in ("auto", *NAMES):
            raise EngineError(
                f"the openvino engine runs on cpu in fp32, bf16 or int8, "
                f"not {device} in {precision}"
            )
        path = int8_file(model) if precision == "int8" else model.path
        ov = import_openvino()
        core = ov.Core()
        native = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "auto":
            precision = "bf16" if native else "fp32"
        elif precision == "bf16" and not native:
            raise EngineError("this CPU has no bf16 arithmetic: give --precision fp32")
        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": NAMES[precision],
            # A pinned thread waits behind whatever else runs on its core.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            self._kept: Compiled | None = Compiled(path, ov.__version__, config)
        except OSError as e:
            raise ModelError(f"{path}: the model cannot be read ({e.strerror})") from e
        compiled = read_back(core, self._kept, config)
        self.read_back = compiled is not None
        if compiled is None:
            try:
                # Its own choice of a reader would try TensorFlow's, which writes to stderr.
                reader = ov.frontend.FrontEndManager().load_by_framework("onnx")
                compiled = core.compile_model(reader.convert(reader.load(path)), "CPU", config)
            except Exception as e:
                # Its readers' errors have no base class below Exception.
                raise ModelError(f"{path}: OpenVINO cannot load it ({last_line(e)})") from e
        check_signature(model, compiled)
        self._request = compiled.create_infer_request()
        self._size = model.size
        self.info = EngineInfo(f"openvino {ov.__version__.split('-')[0]}", "cpu", precision)

    def warm_up(self) -> None:
        self.run(np.zeros((1, self._size, self._size, 3), np.uint8))

    def run(self, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        if not hasattr(self, "_request"):
            raise EngineError("this OpenVINO engine is closed; open another")
        check_crops(crops, self._size)
        try:
            answer = self._request.infer({0: np.ascontiguousarray(crops)})
        except (RuntimeError, ValueError, TypeError) as e:
            raise EngineError(f"OpenVINO failed: {last_line(e)}") from e
        # The request's own memory, which the next run writes over.
        return np.array(answer[0], np.float32)

    def forget(self) -> bool:
        """What was compiled is wrong: keep none of it. Whether it was read back from the disk, so
        that another engine may be right.
        """
        kept, self._kept = self._kept, None
        gone = kept is not None and kept.delete()
        return gone and self.read_back

    def close(self) -> None:
        request = self.__dict__.pop("_request", None)
        if request is not None and self._kept is not None and not self.read_back:
            self._kept.write(lambda: exported(request.get_compiled_model()))


def read_back(core: Any, kept: Compiled, config: dict[str, Any]) -> Any:
    """The compiled graph that was kept, or None."""
    data = kept.read()
    if data is None:
        return None
    try:
        return core.import_model(io.BytesIO(data), "CPU", config)
    except (RuntimeError, ValueError, TypeError) as e:
        log.info("what OpenVINO compiled before cannot be read: %s", last_line(e))
        return None


def exported(compiled: Any) -> bytes:
    data = compiled.export_model()
    return data.getvalue() if isinstance(data, io.BytesIO) else bytes(data)


def import_openvino() -> Any:
    """The package without its telemetry: importing it would write an id to the user's home and
    report the import. It does without when its telemetry package is missing, as it seems here.
    """
    name = "openvino_telemetry"
    absent: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    hide = name not in sys.modules
    if hide:
        absent[name] = None
    try:
        import openvino
    except Exception as e:
        # Its libraries raise RuntimeError or OSError when they do not fit the system.
        reason = first_line(e)
        raise EngineError(f"openvino cannot be imported ({reason}): pip install openvino") from e
    finally:
        if hide:
            # Another thread, which imports it as well, may have done so.
            absent.pop(name, None)
    return openvino


def check_signature(model: Model, compiled: Any) -> None:
    """A model takes uint8 crops [N, S, S, 3] and gives one float output [N, ...]."""

    def told(ports: Any) -> list[str]:
        return [f"{p.any_name} {p.element_type.to_string()}{p.partial_shape}" for p in ports]

    size = model.size
    types = [p.element_type.to_string() for p in compiled.outputs]
    if told(compiled.inputs) != [f"crops u8[?,{size},{size},3]"] or types != ["f32"]:
        raise ModelError(
            f"{model.path}: not a livepose model of size {size} (from "
            f"{', '.join(told(compiled.inputs))} to {', '.join(told(compiled.outputs))}); "
            f"`livepose export` makes one"
        )


def last_line(error: BaseException) -> str:
    """What OpenVINO means: its messages begin with where in its source they come from."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
