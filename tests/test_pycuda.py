"""The TensorRT engine over the real PyCUDA and driver on a GPU; only TensorRT is doubled.

The double's work is real and runs on the engine's stream: joints are the first bytes of the crops.
Nothing of `tensorrt_double.py` is used: it needs ONNX Runtime, which a GPU machine may not have.
"""

import ctypes
import enum
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from livepose.errors import EngineError
from livepose.models import Model
from livepose.runtime import build
from livepose.runtime.base import DEVICE_STAGES
from livepose.runtime.cuda_graph import call, capture, current_context, driver
from livepose.runtime.engine_cache import write_engine
from livepose.runtime.tensorrt import JOINTS, NON_BLOCKING, TensorRTEngine

cuda = pytest.importorskip("pycuda.driver", exc_type=ImportError)
try:
    cuda.init()
    cuda.Device(0)
except cuda.Error as e:
    pytest.skip(f"no NVIDIA GPU here: {e}", allow_module_level=True)

SIZE = 256
ROW = JOINTS * 3 * 4
"""Bytes of one crop's joints."""

Open = Callable[[], TensorRTEngine]


def copy(target: int, source: int, size: int, stream: int) -> None:
    """Queue a copy within the GPU's memory."""
    address = ctypes.c_ulonglong
    arguments = (address, address, ctypes.c_size_t, ctypes.c_void_p)
    driver().cuMemcpyDtoDAsync_v2.argtypes = arguments
    call("cuMemcpyDtoDAsync_v2", target, source, size, stream)


class DataType(enum.Enum):
    FLOAT = 0
    UINT8 = 5


class ILogger:
    class Severity(enum.Enum):
        INTERNAL_ERROR = 0
        ERROR = 1

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError


class IExecutionContext:
    fails_at = 0
    """Which call of `execute_async_v3` fails: the second is the one that is captured."""

    def __init__(self, logger: ILogger) -> None:
        self._logger = logger
        self._count = self._calls = 0
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._count = shape[0]
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        crops, joints = self._addresses["crops"], self._addresses["joints"]
        for i in range(self._count):
            copy(joints + i * ROW, crops + i * SIZE * SIZE * 3, ROW, stream_handle)
        self._calls += 1
        if self._calls == self.fails_at:
            self._logger.log(ILogger.Severity.ERROR, "the enqueue failed")
        return self._calls != self.fails_at


class ICudaEngine:
    num_io_tensors = 2

    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def get_tensor_name(self, index: int) -> str:
        return ("crops", "joints")[index]

    def get_tensor_dtype(self, name: str) -> DataType:
        return {"crops": DataType.UINT8, "joints": DataType.FLOAT}[name]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return {"crops": (-1, SIZE, SIZE, 3), "joints": (-1, JOINTS, 3)}[name]

    def create_execution_context(self) -> IExecutionContext:
        return IExecutionContext(self._logger)


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine:
        return ICudaEngine(self._logger)


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    """Whatever a test did, its thread's current context is the one from before."""
    before = current_context()
    yield
    assert current_context() == before


@pytest.fixture
def context() -> Iterator[build.PrimaryContext]:
    """The GPU's primary context, kept alive for the whole test."""
    context = build.PrimaryContext(0)
    yield context
    context.release()


@pytest.fixture
def open_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens engines of the double, from a file that is right for this GPU."""
    tensorrt: Any = types.ModuleType("tensorrt")
    tensorrt.__version__ = "11.4.0.106"
    tensorrt.ILogger, tensorrt.Runtime = ILogger, Runtime
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt)
    model = Model("tiny", tmp_path / "tiny.onnx", SIZE, {})
    model.path.write_bytes(b"no graph: nothing is built of it")
    path = tmp_path / "tiny.engine"
    write_engine(path, build.find_target(model, build.find_gpu("auto"), "fp32").key, b"a plan")
    return lambda: TensorRTEngine(model, precision="fp32", engine_path=path)


def check_run(engine: TensorRTEngine, count: int, seed: int = 0) -> None:
    """Run fresh random crops; compared as bytes, for some are no numbers."""
    rng = np.random.default_rng((count, seed))
    crops = rng.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    joints = engine.run(crops)
    assert joints.shape == (count, JOINTS, 3)
    assert joints.dtype == np.float32
    found = joints.reshape(count, -1).view(np.uint8)
    np.testing.assert_array_equal(found, crops.reshape(count, -1)[:, :ROW])


def test_joints_and_times_for_any_number_of_crops(open_engine: Open) -> None:
    engine = open_engine()
    for count in (1, 2, 3, 4, 5, 8, 9, 19):
        for seed in range(3):
            began_s = time.perf_counter()
            check_run(engine, count, seed)
            wall_ms = (time.perf_counter() - began_s) * 1000
            assert list(engine.device_ms) == list(DEVICE_STAGES)
            assert min(engine.device_ms.values()) > 0
            assert sum(engine.device_ms.values()) < wall_ms
    engine.close()


def test_in_another_thread_no_context_is_left_current(open_engine: Open) -> None:
    left = []

    def work() -> None:
        left.append(current_context())
        engine = open_engine()
        left.append(current_context())
        check_run(engine, 3)
        left.append(current_context())
        engine.close()
        left.append(current_context())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert left == [None] * 4


@pytest.mark.parametrize("same", [False, True], ids=["beside", "same thread"])
def test_torch_goes_on_with_its_tensors(open_engine: Open, same: bool) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two:
        beside = one if same else two
        held = beside.submit(torch.arange, 1000, device="cuda").result()

        def check_torch() -> None:
            assert int((held + torch.ones_like(held)).sum()) == 500500

        beside.submit(check_torch).result()
        before = one.submit(current_context).result()
        engine = one.submit(open_engine).result()
        for seed in range(3):
            one.submit(check_run, engine, 5, seed).result()
            beside.submit(check_torch).result()
        one.submit(engine.close).result()
        assert one.submit(current_context).result() == before
        beside.submit(check_torch).result()


def test_closing_frees_the_memory(open_engine: Open, context: build.PrimaryContext) -> None:
    free = []
    for _ in range(22):
        engine = open_engine()
        engine.warm_up()
        check_run(engine, 19)
        engine.close()
        engine.close()
        with context.active():
            free.append(cuda.mem_get_info()[0])
    # Crops of the four batch sizes alone are 2.8 MiB in each round.
    assert free[1] - free[-1] < 8 << 20
    with pytest.raises(EngineError, match="closed"):
        check_run(engine, 1)


def test_failing_in_a_capture(open_engine: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine()
    with monkeypatch.context() as patched:
        patched.setattr(IExecutionContext, "fails_at", 2)
        with pytest.raises(EngineError, match="the enqueue failed"):
            check_run(engine, 2)
    check_run(engine, 2)
    engine.close()
    fresh = open_engine()
    check_run(fresh, 2)
    fresh.close()


def launch_thrice(graph: Any, stream: Any, source: Any, target: Any) -> None:
    """Each launch copies what `source` holds by then."""
    for value in (1, 2, 3):
        sent, got = np.full(ROW, value, np.uint8), np.zeros(ROW, np.uint8)
        cuda.memcpy_htod_async(source, sent, stream)
        graph.launch(stream.handle)
        cuda.memcpy_dtoh_async(got, target, stream)
        stream.synchronize()
        np.testing.assert_array_equal(got, sent)


def test_a_graph_does_its_work_at_each_launch(context: build.PrimaryContext) -> None:
    with context.active():
        stream, source, target = cuda.Stream(NON_BLOCKING), cuda.mem_alloc(ROW), cuda.mem_alloc(ROW)
        before: npt.NDArray[np.uint8] = np.full(ROW, 9, np.uint8)
        cuda.memcpy_htod_async(target, before, stream)
        graph = capture(stream.handle, lambda: copy(int(target), int(source), ROW, stream.handle))
        found = np.zeros(ROW, np.uint8)
        cuda.memcpy_dtoh_async(found, target, stream)
        stream.synchronize()
        np.testing.assert_array_equal(found, before)
        launch_thrice(graph, stream, source, target)
        graph.close()
        graph.close()


@pytest.mark.parametrize("invalid", [False, True], ids=["raised", "invalidated"])
def test_an_error_ends_the_capture(context: build.PrimaryContext, invalid: bool) -> None:
    with context.active():
        stream, source, target = cuda.Stream(NON_BLOCKING), cuda.mem_alloc(ROW), cuda.mem_alloc(ROW)

        def work() -> None:
            copy(int(target), int(source), ROW, stream.handle)

        def fail() -> None:
            work()
            if invalid:
                # Not allowed in a capture, and ends it for the driver as well.
                stream.synchronize()
            raise ValueError("of the test")

        with pytest.raises(cuda.Error if invalid else ValueError):
            capture(stream.handle, fail)
        graph = capture(stream.handle, work)
        launch_thrice(graph, stream, source, target)
        graph.close()
