"""From an exported graph to a TensorRT engine for this GPU: `livepose build`.

Also what building and running share: the check that the packages work, the GPU, its context.
Running an engine is in `tensorrt.py`, the files in `engine_cache.py`.
"""

import hashlib
import importlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from livepose.errors import EngineError, ModelError, OutputError, first_line
from livepose.model.export_half import export_half
from livepose.models import Model, is_made_from, variant_path
from livepose.runtime.choice import suited_model
from livepose.runtime.cuda_graph import current_context, restore_context
from livepose.runtime.engine_cache import (
    EngineKey,
    StaleEngineError,
    check_trusted,
    engine_path,
    locked,
    read_engine,
    scratch_folder,
    write_engine,
    write_whole,
)

if TYPE_CHECKING:
    import tensorrt as trt

log = logging.getLogger(__name__)

T = TypeVar("T")

BUCKETS = (1, 2, 4, 8)
"""Batch sizes that are run; crops in between are padded up, more are run in turns."""

FLAGS = {"fp16": "STRONGLY_TYPED", "fp32": "STRONGLY_TYPED, no TF32"}
"""Precisions, and how each is built; the words are part of the key."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A CUDA device: its number, name, compute capability and the driver's CUDA version."""

    index: int
    name: str
    capability: str
    cuda: str


@dataclass(frozen=True, slots=True)
class Target:
    """An engine to be had: the graph it comes from, its size, key and place."""

    graph: Path
    size: int
    precision: str
    key: EngineKey
    path: Path


class PrimaryContext:
    """A GPU's primary context, the one that torch shares; current only within `active`.

    To be made, used and released in one thread. PyCUDA aborts the process when a thread ends
    with a context pushed, so that none is between two calls.
    """

    def __init__(self, index: int) -> None:
        import pycuda.driver as cuda

        self._context = cuda.Device(index).retain_primary_context()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Push the context; pop it on every path."""
        self._context.push()
        try:
            yield
        finally:
            self._context.pop()

    def release(self) -> None:
        """Let the context go, leaving current what was; nothing made in it may be alive."""
        before = current_context()
        self._context.detach()
        restore_context(before)


def check_modules() -> None:
    """Raise EngineError unless TensorRT and PyCUDA can be imported."""
    for name in ("tensorrt", "pycuda.driver"):
        try:
            importlib.import_module(name)
        except Exception as e:
            # Broken installations raise anything: ImportError, OSError, RuntimeError, KeyError.
            raise EngineError(
                f"{name} cannot be imported ({first_line(e)}): pip install 'livepose[tensorrt]'"
            ) from e


def find_gpu(device: str) -> Gpu:
    """The GPU that `auto`, `cuda` or `cuda:N` names."""
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cuda") or (number and not number.isdecimal()):
        raise EngineError(f"TensorRT has no device {device!r}: give auto, cuda or cuda:N")
    check_modules()
    import pycuda.driver as cuda

    try:
        cuda.init()
        gpu = cuda.Device(int(number or 0))
        major, minor = gpu.compute_capability()
        return Gpu(
            int(number or 0), gpu.name(), f"{major}.{minor}", str(cuda.get_driver_version() // 1000)
        )
    except cuda.Error as e:
        raise EngineError(f"no NVIDIA GPU for {device!r} ({first_line(e)}); see --engine") from e


def find_target(model: Model, gpu: Gpu, precision: str) -> Target:
    """What engine this model has on this GPU; `auto` is fp16 where that graph can be had."""
    import tensorrt as trt

    graph, precision = graph_for(model, precision)
    crop = f"{model.size}x{model.size}x3"
    key = EngineKey(
        onnx_sha256=hashlib.sha256(graph.read_bytes()).hexdigest(),
        tensorrt=str(trt.__version__),
        gpu=gpu.name,
        capability=gpu.capability,
        cuda=gpu.cuda,
        shapes=f"crops {BUCKETS[0]}..{BUCKETS[-1]}x{crop}, best {BUCKETS[0]}",
        flags=FLAGS[precision],
    )
    return Target(graph, model.size, precision, key, engine_path(model.name, precision, gpu.name))


def graph_for(model: Model, precision: str) -> tuple[Path, str]:
    """The ONNX file of that precision; a half variant that is not there is made."""
    if precision not in ("auto", *FLAGS):
        raise EngineError(f"TensorRT has no precision {precision!r}: give auto, fp16 or fp32")
    if precision == "fp32":
        return model.path, precision
    beside = variant_path(model.path, "fp16")
    if is_made_from(beside, model.path):
        return beside, "fp16"
    sha = hashlib.sha256(model.path.read_bytes()).hexdigest()
    made_here = scratch_folder() / f"{model.name}-{sha[:12]}.fp16.onnx"
    try:
        if not is_made_from(made_here, model.path):
            export_half(model.path, made_here)
    except ModelError as e:
        if precision == "fp16":
            raise
        log.warning("no half precision of %s (%s); taking fp32", model.name, first_line(e))
        return model.path, "fp32"
    return made_here, "fp16"


def load_or_build(target: Target, broken: str = "") -> bytes:
    """The engine's bytes from the cache, or built now; within the GPU's active context.

    An engine that cannot be used, or is `broken` for the reason given, is built again, once;
    the reason is shown.
    """
    with locked(target.path):
        if target.path.exists():
            check_trusted(target.path)
            try:
                if not broken:
                    return read_engine(target.path, target.key)
            except StaleEngineError as e:
                broken = str(e)
            log.warning("%s: %s; building it again", target.path.name, broken)
        try:
            plan = build_plan(target)
        except EngineError as e:
            failure = str(e)
        else:
            write_engine(target.path, target.key, plan)
            return plan
    # Not from the one before, whose traceback keeps TensorRT's objects past the GPU's context.
    raise EngineError(failure)


def why_not_ready(model: Model, device: str = "auto", precision: str = "auto") -> str:
    """Why the engine has to be built first, or nothing; EngineError where none can run."""
    target = find_target(model, find_gpu(device), precision)
    try:
        read_engine(target.path, target.key)
    except StaleEngineError as e:
        there = target.path.exists()
        return f"{target.path.name} cannot be used: {e}" if there else "no engine built yet"
    return ""


def make_logger() -> Any:
    """A TensorRT logger that prints nothing and keeps its errors in `errors`."""
    import tensorrt as trt

    class Log(trt.ILogger):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(msg)

    return Log()


def make(what: str, logger: Any, factory: Callable[[], T | None]) -> T:
    """What the factory makes; EngineError with TensorRT's own reason where it makes nothing."""
    try:
        thing = factory()
    except (TypeError, RuntimeError) as e:
        # What a constructor of the bindings raises when TensorRT gives it a null pointer.
        raise EngineError(f"TensorRT failed at {what}: {reason(logger, first_line(e))}") from e
    if thing is None:
        raise EngineError(f"TensorRT failed at {what}: {reason(logger, 'it gave nothing')}")
    return thing


def reason(logger: Any, otherwise: str) -> str:
    """TensorRT's first error since it was last asked, which is the cause of the others."""
    errors, logger.errors = logger.errors, []
    return errors[0].strip().splitlines()[0] if errors else otherwise


def build_plan(target: Target) -> bytes:
    """Build the engine, which takes a minute or more; within the GPU's active context."""
    import tensorrt as trt

    logger = make_logger()
    builder = make("starting its builder", logger, lambda: trt.Builder(logger))
    # The only kind of network that 10.13 and 11 share; the enum's numbers differ between them.
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = make("making a network", logger, lambda: builder.create_network(typed))
    parse(target, network, logger)
    config = make("making a configuration", logger, builder.create_builder_config)
    if target.precision == "fp32":
        config.clear_flag(trt.BuilderFlag.TF32)
    profile = make("making a profile", logger, builder.create_optimization_profile)
    crop = (target.size, target.size, 3)
    profile.set_shape("crops", (BUCKETS[0], *crop), (BUCKETS[0], *crop), (BUCKETS[-1], *crop))
    if config.add_optimization_profile(profile) < 0:
        raise EngineError(f"{target.graph}: TensorRT refuses crops of {crop}")
    timings = scratch_folder() / f"timings-{target.key.tensorrt}-{target.path.stem}.cache"
    use_timings(config, timings)
    plan: Any = make(
        f"building {target.graph.name}",
        logger,
        lambda: builder.build_serialized_network(network, config),
    )
    cache = config.get_timing_cache()
    if cache is not None:
        serialized: Any = cache.serialize()
        # Only the next build is slower without it.
        with suppress(OutputError):
            write_whole(timings, bytes(serialized))
    return bytes(plan)


def parse(target: Target, network: "trt.INetworkDefinition", logger: Any) -> None:
    """Read the ONNX file into the network; its external data, if it names any, is not read."""
    import tensorrt as trt

    parser = make("starting its ONNX parser", logger, lambda: trt.OnnxParser(network, logger))
    if not parser.parse(target.graph.read_bytes()):
        errors = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        raise EngineError(f"{target.graph}: TensorRT cannot read it ({'; '.join(errors)})")
    inputs = [network.get_input(i).name for i in range(network.num_inputs)]
    outputs = [network.get_output(i).name for i in range(network.num_outputs)]
    if (inputs, outputs) != (["crops"], ["joints"]):
        raise EngineError(f"{target.graph}: not a livepose model ({inputs} to {outputs})")


def use_timings(config: "trt.IBuilderConfig", path: Path) -> None:
    """Give the builder the timings of earlier builds, or an empty cache to fill."""
    for data in ([path.read_bytes()] if path.is_file() else []) + [b""]:
        cache = config.create_timing_cache(data)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return


def build_engine(
    model: Model, device: str = "auto", precision: str = "auto", force: bool = False
) -> Target:
    """See that the cache holds this model's engine; `force` builds it anew."""
    gpu = find_gpu(device)
    target = find_target(model, gpu, precision)
    import pycuda.driver as cuda

    try:
        context = PrimaryContext(gpu.index)
        try:
            with context.active():
                load_or_build(target, broken="asked for anew" if force else "")
        finally:
            context.release()
    except cuda.Error as e:
        raise EngineError(f"CUDA failed while building {target.path.name}: {first_line(e)}") from e
    return target


def main(words: list[str]) -> None:
    """`livepose build [MODEL]`."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from livepose.app import terminated_as_interrupted
    from livepose.cli import Parser

    parser = Parser(
        prog="livepose build",
        description="Builds a model's TensorRT engine for this machine's NVIDIA GPU.",
    )
    parser.add_argument("model", nargs="?", default="auto", help="a released model or an .onnx")
    parser.add_argument("--device", default="auto", help="auto, cuda or cuda:N")
    parser.add_argument("--precision", default="auto", help="auto, fp16 or fp32")
    parser.add_argument("--force", action="store_true", help="build even where one is there")
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    arguments = parser.parse_args(words)
    model = suited_model(arguments.model, "tensorrt", arguments.device)
    started_s = time.monotonic()
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    # SIGTERM as Ctrl-C: no unfinished file stays.
    with (
        terminated_as_interrupted(),
        Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        ) as progress,
    ):
        progress.add_task(f"TensorRT engine of {model.name}", total=None)
        target = build_engine(model, arguments.device, arguments.precision, arguments.force)
    print(
        f"{target.path}: {target.precision} for {target.key.gpu} by TensorRT "
        f"{target.key.tensorrt}, {time.monotonic() - started_s:.1f} s"
    )
