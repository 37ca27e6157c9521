"""CUDA graphs for PyCUDA, which has none: the driver's own calls, through ctypes.

Also which context is current, which PyCUDA does not restore when it lets a primary one go.
Memory, streams, events and contexts themselves are PyCUDA's.
"""

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

from livepose.errors import EngineError

THREAD_LOCAL = 1
"""CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may go on using CUDA meanwhile."""


@cache
def driver() -> Any:
    """The CUDA driver's library, with the argument types of the calls used here."""
    try:
        library = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError as e:
        raise EngineError(f"no NVIDIA driver here ({e}); install it, or use --engine onnx") from e
    pointer = ctypes.c_void_p
    for name, types in {
        "cuStreamBeginCapture_v2": (pointer, ctypes.c_int),
        "cuStreamEndCapture": (pointer, ctypes.POINTER(pointer)),
        "cuGraphInstantiateWithFlags": (ctypes.POINTER(pointer), pointer, ctypes.c_ulonglong),
        "cuGraphLaunch": (pointer, pointer),
        "cuGraphExecDestroy": (pointer,),
        "cuGraphDestroy": (pointer,),
        "cuGetErrorName": (ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)),
        "cuCtxGetCurrent": (ctypes.POINTER(pointer),),
        "cuCtxPopCurrent_v2": (ctypes.POINTER(pointer),),
    }.items():
        function = getattr(library, name)
        function.argtypes, function.restype = types, ctypes.c_int
    return library


def call(name: str, *arguments: Any) -> None:
    """Call the driver; EngineError with the driver's name for what went wrong."""
    status = getattr(driver(), name)(*arguments)
    if status:
        text = ctypes.c_char_p()
        driver().cuGetErrorName(status, ctypes.byref(text))
        reason = text.value.decode() if text.value else f"CUDA error {status}"
        raise EngineError(f"{name} failed: {reason}")


class CudaGraph:
    """Work recorded on a stream once, to be launched as one call. `close` within the context."""

    def __init__(self, graph: ctypes.c_void_p) -> None:
        self._exec = ctypes.c_void_p()
        try:
            call("cuGraphInstantiateWithFlags", ctypes.byref(self._exec), graph, 0)
        finally:
            call("cuGraphDestroy", graph)

    def launch(self, stream: int) -> None:
        """Queue the work on the stream of this handle."""
        call("cuGraphLaunch", self._exec, stream)

    def close(self) -> None:
        """Free it. Safe to call twice; nothing of it may be running."""
        if self._exec:
            graph, self._exec = self._exec, ctypes.c_void_p()
            call("cuGraphExecDestroy", graph)


def capture(stream: int, work: Callable[[], None]) -> CudaGraph:
    """The graph of what `work` queues on the stream of this handle; none of it runs now.

    The capture is ended on every path: a stream left capturing cannot be used again.
    """
    graph = ctypes.c_void_p()
    call("cuStreamBeginCapture_v2", stream, THREAD_LOCAL)
    try:
        work()
    except BaseException:
        # The reason is the error in `work`; an invalidated capture would only report itself.
        driver().cuStreamEndCapture(stream, ctypes.byref(graph))
        if graph:
            driver().cuGraphDestroy(graph)
        raise
    call("cuStreamEndCapture", stream, ctypes.byref(graph))
    return CudaGraph(graph)


def current_context() -> int | None:
    """The handle of the calling thread's current context."""
    context = ctypes.c_void_p()
    call("cuCtxGetCurrent", ctypes.byref(context))
    return context.value


def restore_context(handle: int | None) -> None:
    """Pop the context that PyCUDA pushes to release a primary one, and leaves there."""
    if current_context() != handle:
        call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))
