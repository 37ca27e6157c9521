"""A test double of TensorRT, PyCUDA and the driver's graph calls, as far as livepose uses them.

Its engines are ONNX files run by ONNX Runtime, so that joints are real. It is strict where the
real ones crash: work needs a current context, memory an address, a capture a run before it.
Classes and methods are named as in the real API; `test_tensorrt.py` compares them with it.
"""

import enum
import sys
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from livepose.runtime import cuda_graph

PLAN = b"a plan of the double\n"


class World:
    """What the doubles share. `fail` names what is to fail; `faults` is what must stay empty."""

    def __init__(self) -> None:
        self.fail: set[str] = set()
        self.fail_once: set[str] = set()
        self.faults: list[str] = []
        self.freed: list[str] = []
        self.live = 0
        self.builds = 0
        self.launches = 0
        self.memory: dict[int, np.ndarray[Any, Any]] = {}
        self.streams: weakref.WeakValueDictionary[int, Stream] = weakref.WeakValueDictionary()
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.next_handle = 0x1000
        self.threads = threading.local()

    @property
    def stack(self) -> list[int]:
        """The driver's stack of contexts of this thread."""
        if not hasattr(self.threads, "stack"):
            self.threads.stack = []
        stack: list[int] = self.threads.stack
        return stack

    def handle(self) -> int:
        self.next_handle += 0x1000
        return self.next_handle

    def fails(self, what: str) -> bool:
        if what in self.fail_once:
            self.fail_once.remove(what)
            return True
        return what in self.fail

    def need_context(self, what: str) -> None:
        if not self.stack:
            self.faults.append(f"{what} without a context")
            raise LogicError(f"{what} failed: invalid device context")


world = World()


class Counted:
    """Counts what is alive, and minds that it is freed within a context."""

    def __init__(self) -> None:
        world.need_context(type(self).__name__)
        self._world = world
        world.live += 1

    def __del__(self) -> None:
        if hasattr(self, "_world"):
            self._world.live -= 1
            self._world.freed.append(type(self).__name__)
            if self._world is world and not world.stack:
                world.faults.append(f"{type(self).__name__} freed without a context")


# pycuda.driver


class Error(Exception):
    pass


class LogicError(Error):
    pass


class LaunchError(Error):
    pass


class Context:
    def __init__(self) -> None:
        self._handle = world.handle()
        self._valid = True
        world.live += 1

    def push(self) -> None:
        world.stack.append(self._handle)

    @staticmethod
    def pop() -> None:
        if not world.stack:
            raise LogicError("cuCtxPopCurrent failed: invalid device context")
        world.stack.pop()

    def detach(self) -> None:
        if not self._valid:
            raise LogicError("context::detach failed: invalid device context")
        # As the real one does for a primary context that is not current.
        world.stack.append(self._handle)
        self._valid = False
        world.live -= 1
        world.freed.append("Context")


class Device:
    def __init__(self, index: int) -> None:
        if index > 0:
            raise LogicError("cuDeviceGet failed: invalid device ordinal")

    def name(self) -> str:
        return "Double GPU 100"

    def compute_capability(self) -> tuple[int, int]:
        return 9, 0

    def retain_primary_context(self) -> Context:
        return Context()


class Stream(Counted):
    def __init__(self, flags: int = 0) -> None:
        super().__init__()
        assert flags == 1
        self.handle = world.handle()
        self.pending: list[Callable[[], None]] = []
        self.captured: list[Callable[[], None]] | None = None
        self.queued = 0
        world.streams[self.handle] = self

    def _queue(self, work: Callable[[], None]) -> None:
        if self.captured is not None:
            self.captured.append(work)
            return
        self.pending.append(work)
        self.queued += 1

    def synchronize(self) -> None:
        world.need_context("cuStreamSynchronize")
        if self.captured is not None:
            raise LogicError("cuStreamSynchronize failed: operation not permitted when capturing")
        pending, self.pending = self.pending, []
        for work in pending:
            work()


class Event(Counted):
    def __init__(self, flags: int = 0) -> None:
        super().__init__()
        self._stream: Stream | None = None
        self._queued = 0

    def record(self, stream: Stream) -> "Event":
        world.need_context("cuEventRecord")
        self._stream, self._queued = stream, stream.queued
        return self

    def synchronize(self) -> "Event":
        if world.fails("synchronize"):
            raise LaunchError("cuEventSynchronize failed: unspecified launch failure\nmore")
        assert self._stream is not None
        self._stream.synchronize()
        return self

    def time_till(self, other: "Event") -> float:
        assert other._stream is self._stream is not None and not self._stream.pending
        return 0.25 * (other._queued - self._queued)


class DeviceAllocation:
    def __init__(self, size: int) -> None:
        self._address = world.handle()
        world.memory[self._address] = np.full(size, 0xAA, np.uint8)
        world.live += 1

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        world.need_context("cuMemFree")
        del world.memory[self._address]
        world.live -= 1
        world.freed.append("DeviceAllocation")


class PagelockedHostAllocation:
    def __init__(self, shape: tuple[int, ...], dtype: type) -> None:
        self._memory = np.empty(shape, dtype)
        self.__array_interface__ = self._memory.__array_interface__
        world.live += 1

    def free(self) -> None:
        world.need_context("cuMemFreeHost")
        world.live -= 1
        world.freed.append("PagelockedHostAllocation")


def init(flags: int = 0) -> None:
    if world.fails("init"):
        raise Error("cuInit failed: no CUDA-capable device is detected")


def get_driver_version() -> int:
    return 13010


def mem_alloc(size: int) -> DeviceAllocation:
    world.need_context("cuMemAlloc")
    return DeviceAllocation(size)


def pagelocked_empty(
    shape: tuple[int, ...], dtype: type, order: str = "C", mem_flags: int = 0
) -> Any:
    world.need_context("cuMemHostAlloc")
    return np.asarray(PagelockedHostAllocation(shape, dtype))


def memcpy_htod_async(dest: DeviceAllocation, src: Any, stream: Stream) -> None:
    world.need_context("cuMemcpyHtoDAsync")
    if world.fails("htod"):
        raise LaunchError("cuMemcpyHtoDAsync failed: an illegal memory access was encountered")
    assert isinstance(src.base, PagelockedHostAllocation)
    stream._queue(lambda: np.copyto(world.memory[int(dest)], src.reshape(-1).view(np.uint8)))


def memcpy_dtoh_async(dest: Any, src: DeviceAllocation, stream: Stream) -> None:
    world.need_context("cuMemcpyDtoHAsync")
    assert isinstance(dest.base, PagelockedHostAllocation)
    stream._queue(lambda: np.copyto(dest.reshape(-1).view(np.uint8), world.memory[int(src)]))


DRIVER = {
    thing.__name__: thing
    for thing in (
        *(Error, Context, Device, Stream, Event, init, get_driver_version, mem_alloc),
        *(pagelocked_empty, memcpy_htod_async, memcpy_dtoh_async),
    )
}


# libcuda, by ctypes


class LibCuda:
    """Calls get what `cuda_graph` gives them: integers, c_void_p, or byref of one."""

    def cuStreamBeginCapture_v2(self, stream: int, mode: int) -> int:
        assert mode == 1
        if not world.stack or world.fails("begin_capture"):
            return 201
        world.streams[stream].captured = []
        return 0

    def cuStreamEndCapture(self, stream: int, graph: Any) -> int:
        work, world.streams[stream].captured = world.streams[stream].captured, None
        assert work is not None
        if world.fails("end_capture"):
            return 901
        graph._obj.value = world.handle()
        world.graphs[graph._obj.value] = work
        return 0

    def cuGraphInstantiateWithFlags(self, exec_: Any, graph: Any, flags: int) -> int:
        if world.fails("instantiate"):
            return 801
        exec_._obj.value = world.handle()
        world.graphs[exec_._obj.value] = world.graphs[graph.value]
        return 0

    def cuGraphLaunch(self, exec_: Any, stream: int) -> int:
        if not world.stack or world.fails("launch"):
            return 719
        world.launches += 1
        world.streams[stream].pending += world.graphs[exec_.value]
        world.streams[stream].queued += 1
        return 0

    def cuGraphExecDestroy(self, exec_: Any) -> int:
        world.freed.append("GraphExec")
        del world.graphs[exec_.value]
        return 0

    def cuGraphDestroy(self, graph: Any) -> int:
        del world.graphs[graph.value]
        return 0

    def cuGetErrorName(self, status: int, text: Any) -> int:
        text._obj.value = f"CUDA_ERROR_{status}".encode()
        return 0

    def cuCtxGetCurrent(self, context: Any) -> int:
        context._obj.value = world.stack[-1] if world.stack else None
        return 0

    def cuCtxPopCurrent_v2(self, context: Any) -> int:
        context._obj.value = world.stack.pop()
        return 0


# tensorrt


class Numbered(enum.Enum):
    """As pybind's enums: numbers only through int()."""

    def __int__(self) -> int:
        return int(self.value)


class BuilderFlag(Numbered):
    TF32 = 6


class DataType(Numbered):
    FLOAT = 0
    UINT8 = 5


class ILogger:
    class Severity(Numbered):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2

    def __init__(self) -> None:
        pass

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError


class IHostMemory(bytes):
    pass


class ITimingCache:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def serialize(self) -> IHostMemory:
        return IHostMemory(b"timings" + self._data[:7])


class IOptimizationProfile:
    shapes: tuple[Any, ...] = ()

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        assert input == "crops"
        self.shapes = (min, opt, max)


class IBuilderConfig:
    def __init__(self) -> None:
        self._cache: ITimingCache | None = None
        self._profiles: list[IOptimizationProfile] = []

    def clear_flag(self, flag: BuilderFlag) -> None:
        assert flag is BuilderFlag.TF32

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        least, best, most = profile.shapes
        assert (least[0], best[0], most[0]) == (1, 1, 8)
        if world.fails("profile"):
            return -1
        self._profiles.append(profile)
        return 0

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        known = not serialized_timing_cache or serialized_timing_cache.startswith(b"timings")
        return ITimingCache(serialized_timing_cache) if known else None

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if world.fails("timings") and cache._data:
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._cache


class ITensor:
    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def name(self) -> str:
        return self._name


class INetworkDefinition:
    def __init__(self) -> None:
        self.onnx = b""
        self._inputs: list[str] = []
        self._outputs: list[str] = []

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    @property
    def num_outputs(self) -> int:
        return len(self._outputs)

    def get_input(self, index: int) -> ITensor:
        return ITensor(self._inputs[index])

    def get_output(self, index: int) -> ITensor:
        return ITensor(self._outputs[index])


class Builder(Counted):
    def __init__(self, logger: ILogger) -> None:
        if world.fails("Builder"):
            raise TypeError("pybind11::init(): factory function returned nullptr")
        super().__init__()
        self._logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition | None:
        assert flags == 1 << MODULE.NetworkDefinitionCreationFlag.STRONGLY_TYPED.value
        return None if world.fails("create_network") else INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig | None:
        return None if world.fails("create_builder_config") else IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> IHostMemory | None:
        world.need_context("build_serialized_network")
        assert config._profiles
        if world.fails("build"):
            self._logger.log(ILogger.Severity.ERROR, "no kernel for this\nand more")
            return None
        world.builds += 1
        return IHostMemory(PLAN + network.onnx)


class ParserError:
    def desc(self) -> str:
        return "no importer for this operator"


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network = network
        self._errors: list[ParserError] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def parse(self, model: bytes, path: str | None = None) -> bool:
        assert path is None
        try:
            session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        except Exception:
            self._errors.append(ParserError())
            return False
        self._network.onnx = model
        self._network._inputs = [i.name for i in session.get_inputs()]
        self._network._outputs = [o.name for o in session.get_outputs()]
        return True


class Runtime(Counted):
    def __init__(self, logger: ILogger) -> None:
        super().__init__()
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> "ICudaEngine | None":
        assert serialized_engine.startswith(PLAN), "a broken engine, which crashes the real one"
        if world.fails("deserialize"):
            self._logger.log(ILogger.Severity.ERROR, "the plan wants another driver")
            return None
        return ICudaEngine(self, serialized_engine[len(PLAN) :])


class ICudaEngine(Counted):
    def __init__(self, runtime: Runtime, onnx: bytes) -> None:
        super().__init__()
        self._logger = runtime._logger
        self.session = ort.InferenceSession(onnx, providers=["CPUExecutionProvider"])

    @property
    def num_io_tensors(self) -> int:
        return 2

    def get_tensor_name(self, index: int) -> str:
        return ("crops", "joints")[index]

    def get_tensor_dtype(self, name: str) -> DataType:
        return {"crops": DataType.UINT8, "joints": DataType.FLOAT}[name]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, *self.session.get_inputs()[0].shape[1:]) if name == "crops" else (-1, 16, 3)

    def create_execution_context(self) -> "IExecutionContext | None":
        return None if world.fails("create_execution_context") else IExecutionContext(self)


class IExecutionContext(Counted):
    def __init__(self, engine: ICudaEngine) -> None:
        super().__init__()
        self._engine = engine
        self._shape: tuple[int, ...] = ()
        self._addresses: dict[str, int] = {}
        self._ready = False

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == "crops"
        self._shape = shape
        return 1 <= shape[0] <= 8 and not world.fails("shape")

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return memory in world.memory and not world.fails("address")

    def execute_async_v3(self, stream_handle: int) -> bool:
        world.need_context("execute_async_v3")
        stream = world.streams[stream_handle]
        if world.fails("execute") or (stream.captured is not None and not self._ready):
            self._engine._logger.log(ILogger.Severity.ERROR, "the enqueue failed")
            return False
        self._ready = True
        session, shape, addresses = self._engine.session, self._shape, dict(self._addresses)

        def work() -> None:
            crops = world.memory[addresses["crops"]].reshape(shape)
            (joints,) = session.run(None, {"crops": crops})
            world.memory[addresses["joints"]][:] = joints.reshape(-1).view(np.uint8)

        stream._queue(work)
        return True


TENSORRT = {
    thing.__name__: thing
    for thing in (
        *(Builder, BuilderFlag, DataType, ILogger, IHostMemory, ITimingCache, ITensor),
        *(IOptimizationProfile, IBuilderConfig, INetworkDefinition, ParserError, OnnxParser),
        *(Runtime, ICudaEngine, IExecutionContext),
    )
}

MODULE: Any = types.ModuleType("tensorrt")

STRONGLY_TYPED = {"10.13.3.9": 1, "11.4.0.106": 0}
"""The flag's number in the two versions; with the other one's, another network is made."""


def tensorrt_module(version: str) -> Any:
    """The double of the `tensorrt` module of that version."""
    module: Any = types.ModuleType("tensorrt")
    module.__dict__.update(TENSORRT)
    module.__version__ = version
    module.NetworkDefinitionCreationFlag = Numbered(
        "NetworkDefinitionCreationFlag", {"STRONGLY_TYPED": STRONGLY_TYPED[version]}
    )
    return module


def install(monkeypatch: pytest.MonkeyPatch, version: str) -> World:
    """Put the doubles in place of the real modules; gives their new world."""
    global world, MODULE
    world = World()
    MODULE = tensorrt_module(version)
    pycuda: Any = types.ModuleType("pycuda")
    pycuda.driver = types.ModuleType("pycuda.driver")
    pycuda.driver.__dict__.update(DRIVER)
    monkeypatch.setitem(sys.modules, "tensorrt", MODULE)
    monkeypatch.setitem(sys.modules, "pycuda", pycuda)
    monkeypatch.setitem(sys.modules, "pycuda.driver", pycuda.driver)
    library = LibCuda()
    monkeypatch.setattr(cuda_graph, "driver", lambda: library)
    return world
