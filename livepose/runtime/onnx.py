"""ONNX Runtime on the CPU: the portable engine."""

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from livepose.errors import EngineError, ModelError, first_line
from livepose.models import Model, int8_file
from livepose.runtime.base import EngineInfo, check_crops
from livepose.runtime.hardware import physical_cores


class OnnxEngine:
    """See `base.Engine`. device: auto or cpu. precision: auto (fp32), fp32 or int8. `threads` 0
    takes one per physical core.
    """

    def __init__(
        self, model: Model, device: str = "auto", precision: str = "auto", threads: int = 0
    ) -> None:
        if device not in ("auto", "cpu") or precision not in ("auto", "fp32", "int8"):
            raise EngineError(
                f"the onnx engine runs on cpu in fp32 or int8, not {device} in {precision}"
            )
        path = int8_file(model) if precision == "int8" else model.path
        ort = import_onnxruntime()
        options = ort.SessionOptions()
        # With a number of its own ONNX Runtime pins its threads to cores, and they wait there
        # behind whatever else runs: with two busy cores a run took 1.5 times as long.
        options.intra_op_num_threads = threads or physical_cores()
        options.log_severity_level = 4
        # Spinning threads would keep every core busy between two frames of a camera.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(
                os.fspath(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as e:
            # ONNX Runtime has no base class of its own below Exception.
            reason = str(e).strip().splitlines()[-1]
            raise ModelError(f"{path}: ONNX Runtime cannot load it ({reason})") from e
        check_signature(model, self._session)
        self._size = model.size
        errors = ort.capi.onnxruntime_pybind11_state
        self._failures = (RuntimeError, ValueError, errors.Fail, errors.InvalidArgument)
        precision = "int8" if precision == "int8" else "fp32"
        self.info = EngineInfo(f"onnxruntime {ort.__version__}", "cpu", precision)

    def warm_up(self) -> None:
        self.run(np.zeros((1, self._size, self._size, 3), np.uint8))

    def run(self, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        if not hasattr(self, "_session"):
            raise EngineError("this ONNX Runtime engine is closed; open another")
        check_crops(crops, self._size)
        try:
            (answer,) = self._session.run(None, {"crops": crops})
        except self._failures as e:
            raise EngineError(f"ONNX Runtime failed: {first_line(e)}") from e
        return np.asarray(answer)

    def close(self) -> None:
        self.__dict__.pop("_session", None)


def import_onnxruntime() -> Any:
    """The package without its telemetry. From 1.32 on importing it would leave an id in the
    user's home and report the program's start and sessions, unless it is told before.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except Exception as e:
        # Its library raises what it likes when it does not fit the system.
        reason = first_line(e)
        raise EngineError(
            f"onnxruntime cannot be imported ({reason}): pip install --force-reinstall onnxruntime"
        ) from e
    onnxruntime.disable_telemetry_events()
    return onnxruntime


def check_signature(model: Model, session: object) -> None:
    """A model takes uint8 crops [N, S, S, 3] and gives one float output [N, ...]."""
    inputs = session.get_inputs()  # type: ignore[attr-defined]
    outputs = session.get_outputs()  # type: ignore[attr-defined]
    if [(i.name, i.type, i.shape[1:]) for i in inputs] != [
        ("crops", "tensor(uint8)", [model.size, model.size, 3])
    ] or [o.type for o in outputs] != ["tensor(float)"]:
        raise ModelError(
            f"{model.path}: not a livepose model of size {model.size} (from "
            f"{[(i.name, i.type, i.shape) for i in inputs]} to "
            f"{[(o.name, o.type, o.shape) for o in outputs]}); `livepose export` makes one"
        )
