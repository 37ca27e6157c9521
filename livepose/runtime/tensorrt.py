"""TensorRT on an NVIDIA GPU, through PyCUDA: one CUDA graph per batch bucket.

Building engines and keeping them is in `build.py` and `engine_cache.py`.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from livepose.errors import EngineError, first_line
from livepose.models import Model
from livepose.runtime.base import DEVICE_STAGES, EngineInfo
from livepose.runtime.build import (
    BUCKETS,
    PrimaryContext,
    Target,
    find_gpu,
    find_target,
    load_or_build,
    make,
    make_logger,
    reason,
)
from livepose.runtime.cuda_graph import CudaGraph, capture
from livepose.runtime.engine_cache import StaleEngineError, read_engine

if TYPE_CHECKING:
    import tensorrt as trt

log = logging.getLogger(__name__)

JOINTS = 16
NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING: no waiting for the null stream, which others may use."""


@dataclass(slots=True, eq=False)
class Bucket:
    """One batch size: its execution context, memory on both sides, and the graph of its work.

    crops uint8 [n, S, S, 3] RGB and joints float32 [n, 16, 3] are pinned host memory.
    """

    crops: npt.NDArray[np.uint8]
    joints: npt.NDArray[np.float32]
    device_crops: Any
    device_joints: Any
    context: "trt.IExecutionContext | None" = None
    graph: CudaGraph | None = None

    def free(self) -> None:
        """Free all of it, the graph first; within the active context, and nothing running."""
        if self.graph is not None:
            self.graph.close()
        self.context = None
        self.device_crops.free()
        self.device_joints.free()
        for pinned in (self.crops, self.joints):
            # PyCUDA's owner of the memory, which frees it now instead of some time later.
            pinned.base.free()  # type: ignore[union-attr]


class TensorRTEngine:
    """See `base.Engine`. Opened, used and closed in one thread; builds the engine if need be.

    device: auto, cuda or cuda:N. precision: auto (fp16 where it can be had), fp16 or fp32.
    engine_path: an engine file from elsewhere, which is trusted and never built again.
    device_ms: see `base.device_ms`.
    """

    def __init__(
        self,
        model: Model,
        device: str = "auto",
        precision: str = "auto",
        engine_path: Path | None = None,
    ) -> None:
        gpu = find_gpu(device)
        target = find_target(model, gpu, precision)
        import tensorrt as trt

        self.device_ms = dict.fromkeys(DEVICE_STAGES, 0.0)
        self.info = EngineInfo(f"tensorrt {trt.__version__}", gpu.name, target.precision)
        self._size = model.size
        self._logger = make_logger()
        self._context: PrimaryContext | None = None
        self._runtime: trt.Runtime | None = None
        self._engine: trt.ICudaEngine | None = None
        self._stream: Any = None
        self._events: Any = None
        self._buckets: dict[int, Bucket] = {}
        try:
            with self._cuda_errors("opening the engine"):
                self._context = PrimaryContext(gpu.index)
                with self._context.active():
                    self._open(target, engine_path)
        except BaseException:
            self.close()
            raise

    def warm_up(self) -> None:
        """Make every bucket, and run each once."""
        for count in BUCKETS:
            self.run(np.zeros((count, self._size, self._size, 3), np.uint8))

    def run(self, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        if self._context is None:
            raise EngineError("this TensorRT engine is closed; open another")
        if crops.dtype != np.uint8 or crops.shape[1:] != (self._size, self._size, 3):
            raise EngineError(
                f"crops are uint8 [N, {self._size}, {self._size}, 3], "
                f"not {crops.dtype} {list(crops.shape)}"
            )
        joints = np.empty((len(crops), JOINTS, 3), np.float32)
        self.device_ms = dict.fromkeys(DEVICE_STAGES, 0.0)
        with self._cuda_errors("running the engine"), self._context.active():
            for start in range(0, len(crops), BUCKETS[-1]):
                part = slice(start, start + BUCKETS[-1])
                self._run_part(crops[part], joints[part])
        return joints

    def close(self) -> None:
        context, self._context = self._context, None
        if context is None:
            return
        try:
            with self._cuda_errors("closing the engine"):
                try:
                    with context.active():
                        self._free()
                finally:
                    context.release()
        except EngineError as e:
            # A GPU that has failed frees nothing any more; what failed first is what matters.
            log.warning("%s", e)

    @contextmanager
    def _cuda_errors(self, doing: str) -> Iterator[None]:
        """Turn PyCUDA's errors to EngineError."""
        import pycuda.driver as cuda

        try:
            yield
        except cuda.Error as e:
            raise EngineError(f"CUDA failed while {doing}: {first_line(e)}") from e

    def _open(self, target: Target, engine_path: Path | None) -> None:
        """Load the engine and make the stream; within the active context."""
        import pycuda.driver as cuda
        import tensorrt as trt

        self._runtime = make(
            "starting its runtime", self._logger, lambda: trt.Runtime(self._logger)
        )
        if engine_path is not None:
            self._engine = self._deserialize(read_named(engine_path, target), engine_path)
        else:
            if not target.path.exists():
                log.warning("building %s, which takes minutes", target.path.name)
            try:
                self._engine = self._deserialize(load_or_build(target), target.path)
            except EngineRefusedError as e:
                plan = load_or_build(target, broken=str(e))
                self._engine = self._deserialize(plan, target.path)
        tensors = tensors_of(self._engine)
        if tensors != expected_tensors(target.size):
            raise EngineError(f"{target.path.name}: not an engine of a livepose model: {tensors}")
        self._stream = cuda.Stream(NON_BLOCKING)
        # At the beginning and behind each stage.
        self._events = [cuda.Event() for _ in range(len(DEVICE_STAGES) + 1)]

    def _deserialize(self, plan: bytes, path: Path) -> "trt.ICudaEngine":
        assert self._runtime is not None
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            why = reason(self._logger, "it gives no reason")
            raise EngineRefusedError(f"{path.name}: TensorRT does not load it ({why})")
        return engine

    def _run_part(self, crops: npt.NDArray[np.uint8], joints: npt.NDArray[np.float32]) -> None:
        """Fill `joints` for at most a full bucket of crops, and add to `device_ms`."""
        import pycuda.driver as cuda

        count = next(n for n in BUCKETS if n >= len(crops))
        if count not in self._buckets:
            self._make_bucket(count)
        bucket = self._buckets[count]
        begun, uploaded, computed, downloaded = self._events
        # Rows beyond the crops keep what they held: their joints are not looked at.
        bucket.crops[: len(crops)] = crops
        begun.record(self._stream)
        cuda.memcpy_htod_async(bucket.device_crops, bucket.crops, self._stream)
        uploaded.record(self._stream)
        assert bucket.graph is not None
        bucket.graph.launch(self._stream.handle)
        computed.record(self._stream)
        cuda.memcpy_dtoh_async(bucket.joints, bucket.device_joints, self._stream)
        downloaded.record(self._stream)
        downloaded.synchronize()
        joints[:] = bucket.joints[: len(crops)]
        for stage, (before, after) in zip(DEVICE_STAGES, pairwise(self._events), strict=True):
            self.device_ms[stage] += before.time_till(after)

    def _make_bucket(self, count: int) -> None:
        """Memory and an execution context for one batch size, and its work as a CUDA graph.

        Every size has its own context: a graph is bound to its context's shapes and memory.
        """
        import pycuda.driver as cuda

        crops = cuda.pagelocked_empty((count, self._size, self._size, 3), np.uint8)
        joints = cuda.pagelocked_empty((count, JOINTS, 3), np.float32)
        bucket = Bucket(crops, joints, cuda.mem_alloc(crops.nbytes), cuda.mem_alloc(joints.nbytes))
        try:
            self._prepare(bucket)
        except BaseException:
            with suppress(cuda.Error):
                self._stream.synchronize()
            bucket.free()
            raise
        self._buckets[count] = bucket

    def _prepare(self, bucket: Bucket) -> None:
        """Make its context, bind the memory, run once, and record the graph."""
        import pycuda.driver as cuda

        def make_context() -> "trt.IExecutionContext | None":
            assert self._engine is not None
            return self._engine.create_execution_context()

        # No variable for it or the engine: a traceback would keep them past the GPU's context.
        bucket.context = make("making a context", self._logger, make_context)
        bucket.crops[:] = 0
        self._check(
            bucket.context.set_input_shape("crops", bucket.crops.shape), "setting the batch size"
        )
        for name, memory in (("crops", bucket.device_crops), ("joints", bucket.device_joints)):
            self._check(bucket.context.set_tensor_address(name, int(memory)), f"binding {name}")

        def enqueue() -> None:
            assert bucket.context is not None
            self._check(bucket.context.execute_async_v3(self._stream.handle), "running the engine")

        # A copy inside the graph could not be told from the rest by events.
        cuda.memcpy_htod_async(bucket.device_crops, bucket.crops, self._stream)
        # TensorRT allocates on the first run for a shape, which must not be captured.
        enqueue()
        self._stream.synchronize()
        bucket.graph = capture(self._stream.handle, enqueue)

    def _check(self, done: bool, doing: str) -> None:
        if not done:
            raise EngineError(f"TensorRT failed at {doing}: {reason(self._logger, 'no reason')}")

    def _free(self) -> None:
        """Graphs, contexts and their memory, then engine, runtime and stream."""
        buckets = list(self._buckets.values())
        self._buckets.clear()
        try:
            if self._stream is not None:
                self._stream.synchronize()
            for bucket in buckets:
                bucket.free()
        finally:
            self._engine = None
            self._runtime = None
            self._events = None
            self._stream = None


class EngineRefusedError(EngineError):
    """TensorRT does not load an engine whose header and checksum are right."""


def read_named(path: Path, target: Target) -> bytes:
    """An engine that the user named: not built again, whatever is wrong with it."""
    try:
        return read_engine(path, target.key)
    except StaleEngineError as e:
        raise EngineError(f"{path}: {e}; `livepose build` makes one that fits") from e


def tensors_of(engine: "trt.ICudaEngine") -> dict[str, tuple[str, tuple[int, ...]]]:
    """The engine's inputs and outputs: type and shape by name."""
    found = {}
    for name in (engine.get_tensor_name(i) for i in range(engine.num_io_tensors)):
        dims = engine.get_tensor_shape(name)
        shape = tuple(dims[i] for i in range(len(dims)))
        found[name] = (engine.get_tensor_dtype(name).name, shape)
    return found


def expected_tensors(size: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """What `tensors_of` gives for a pose model with crops of that size."""
    return {"crops": ("UINT8", (-1, size, size, 3)), "joints": ("FLOAT", (-1, JOINTS, 3))}
