"""PyTorch: on an NVIDIA GPU in half precision with CUDA graphs, or plainly on the CPU.

On a GPU it cuts the crops as well, by `cut.py`. The network is rebuilt from the model's card, and
its weights are read from the ONNX file.
"""

import importlib.util
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from livepose.crops import Squares
from livepose.errors import EngineError, ModelError, first_line
from livepose.models import Model
from livepose.runtime.base import DEVICE_STAGES, EngineInfo, RunSquares, check_crops
from livepose.runtime.cut import MOST_PIXELS, Cutter, Levels, worth_it

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from livepose.model.hourglass import StackedHourglass

BUCKETS = (1, 2, 4, 8)
"""Batch sizes on CUDA: each has a CUDA graph; in between, crops of nobody are added."""

LASTING = 3
"""Looks in a row at frames of one shape, at several people, until graphs are made to cut them:
while pictures of many shapes come by, that would take longer than it saves."""

KEPT = 4
"""Shapes whose graphs are kept, the last ones used."""

log = logging.getLogger(__name__)

INSTALL = "pip install 'livepose[train]'"


class TorchEngine:
    """See `base.Engine`. device: auto (CUDA where there is a GPU), cpu, cuda or cuda:N.
    precision: auto, fp32, or fp16 on CUDA. device_ms: see `base.device_ms`; empty on the CPU.
    run_squares: see `base.run_squares`; None on the CPU.
    """

    def __init__(self, model: Model, device: str = "auto", precision: str = "auto") -> None:
        for name in ("torch", "onnx"):
            if importlib.util.find_spec(name) is None:
                raise EngineError(f"the torch engine needs {name}: {INSTALL}")
        import torch

        self._device = find_device(device)
        on_cuda = self._device.type == "cuda"
        if precision not in (("auto", "fp16", "fp32") if on_cuda else ("auto", "fp32")):
            raise EngineError(f"the torch engine has no precision {precision} on {device}")
        half = on_cuda and precision != "fp32"
        dtype = torch.float16 if half else torch.float32
        network = load_weights(model)
        if half:
            fold_norms(network)
        network = network.to(self._device, dtype)
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._size = model.size
        self._decode = decoder(model, self._device)
        self._pixels = pixel_table(network.config.mean).to(self._device, dtype)
        self._channels = torch.arange(3, device=self._device).view(1, 3, 1, 1)
        self._buckets: dict[int, Bucket] = {}
        self._cutters: dict[tuple[int, int], Cutter | None] = {}
        self._last_hw, self._in_a_row = (0, 0), 0
        self._stream: torch.cuda.Stream | None = None
        # At the beginning and behind each stage.
        self._events: list[torch.cuda.Event] = []
        self.device_ms: dict[str, float] = {}
        if on_cuda:
            self._events = [
                torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
                for _ in range(len(DEVICE_STAGES) + 1)
            ]
            self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        name = torch.cuda.get_device_name(self._device) if on_cuda else "cpu"
        self.info = EngineInfo(f"torch {torch.__version__}", name, "fp16" if half else "fp32")

    def warm_up(self) -> None:
        """On CUDA make every bucket, and run each once."""
        for count in BUCKETS if self._stream else (1,):
            self.run(np.zeros((count, self._size, self._size, 3), np.uint8))

    def run(self, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        import torch

        with self._failing():
            check_crops(crops, self._size)
            if self._stream is None:
                # A copy, for torch wants memory that it may write to, in order.
                joints = self._forward(torch.from_numpy(crops.copy()))
                answer: npt.NDArray[np.float32] = joints.numpy()
                return answer
            self.device_ms = dict.fromkeys(DEVICE_STAGES, 0.0)
            return np.concatenate([self._run_on_cuda(crops[part]) for part in parts(len(crops))])

    @property
    def run_squares(self) -> RunSquares | None:
        return None if self._stream is None else self._run_squares

    def _run_squares(
        self,
        frame_bgr: npt.NDArray[np.uint8],
        squares: Squares,
        grey: npt.NDArray[np.uint8] | None,
    ) -> npt.NDArray[np.float32] | None:
        """See `base.run_squares`. None where it is not `worth_it`, for frames whose shape has not
        lasted, and for what `Levels.plan` leaves to the CPU.
        """
        with self._failing():
            if not worth_it(squares, frame_bgr.shape[:2]):
                return None
            cutter = self._cutter(frame_bgr.shape[:2])
            plan = None if cutter is None else cutter.levels.plan(squares)
            if cutter is None or plan is None:
                return None
            self.device_ms = dict.fromkeys(DEVICE_STAGES, 0.0)
            cutter.load_frame(frame_bgr, squares)
            joints = []
            for part in parts(len(squares)):
                cutter.load(plan[part], None if grey is None else grey[part])
                joints.append(self._replay(len(plan[part]), cutter))
            return np.concatenate(joints)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """For a run: without gradients, and with its errors as EngineError."""
        import torch

        if not hasattr(self, "_network"):
            raise EngineError("this torch engine is closed; open another")
        try:
            with torch.inference_mode():
                yield
        except RuntimeError as e:
            # CUDA's errors and lack of memory are RuntimeErrors too.
            raise EngineError(f"torch failed: {first_line(e)}") from e

    def close(self) -> None:
        if self._stream is not None and self._buckets:
            self._stream.synchronize()
        self._buckets, self._cutters = {}, {}
        self.__dict__.pop("_network", None)

    def _forward(self, crops: "Tensor") -> "Tensor":
        """uint8 [N, S, S, 3] -> float32 [N, 16, 3] or [N, 16, 5], with nothing that a CUDA graph
        cannot hold.
        """
        import torch

        pixels = self._pixels[self._channels, crops.permute(0, 3, 1, 2).int()]
        pixels = pixels.contiguous(memory_format=torch.channels_last)  # [N, 3, S, S]
        return self._decode(self._network(pixels)[-1].float())

    def _run_on_cuda(self, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """At most BUCKETS[-1] crops, through the graph of the next larger bucket."""
        self._bucket(len(crops)).pinned_crops.numpy()[: len(crops)] = crops
        return self._replay(len(crops))

    def _replay(self, count: int, cutter: Cutter | None = None) -> npt.NDArray[np.float32]:
        """So many joints, of the bucket's pinned crops or of what the cutter is loaded with."""
        import torch

        bucket = self._bucket(count)
        begun, uploaded, computed, downloaded = self._events
        assert self._stream is not None
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            begun.record()
            if cutter is None:
                bucket.crops.copy_(bucket.pinned_crops, non_blocking=True)
                uploaded.record()
            else:
                cutter.upload()
                uploaded.record()
                cutter.replay(len(bucket.crops))
            bucket.graph.replay()
            computed.record()
            bucket.pinned_joints.copy_(bucket.joints, non_blocking=True)
            downloaded.record()
        self._stream.synchronize()
        for stage, (before, after) in zip(DEVICE_STAGES, pairwise(self._events), strict=True):
            self.device_ms[stage] += before.elapsed_time(after)
        # A copy: the next run writes over the pinned memory.
        answer: npt.NDArray[np.float32] = bucket.pinned_joints.numpy()[:count].copy()
        return answer

    def _bucket(self, count: int) -> "Bucket":
        """The smallest for so many crops, captured when first asked for."""
        import torch

        size = next(n for n in BUCKETS if n >= count)
        if size not in self._buckets:
            with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
                self._buckets[size] = self._capture(size)
        return self._buckets[size]

    def _cutter(self, frame_hw: tuple[int, int]) -> Cutter | None:
        """What cuts frames of that height and width, made when as many as `LASTING` had them; None
        before that, and where there is no memory for it.
        """
        self._in_a_row = self._in_a_row + 1 if frame_hw == self._last_hw else 1
        self._last_hw = frame_hw
        if frame_hw not in self._cutters:
            if self._in_a_row < LASTING or math.prod(frame_hw) > MOST_PIXELS:
                return None
            while len(self._cutters) >= KEPT:
                del self._cutters[next(iter(self._cutters))]
            self._cutters[frame_hw] = self._make_cutter(frame_hw)
        # The last one used is the last one here.
        self._cutters[frame_hw] = self._cutters.pop(frame_hw)
        return self._cutters[frame_hw]

    def _make_cutter(self, frame_hw: tuple[int, int]) -> Cutter | None:
        import torch

        crops = {n: self._bucket(n).crops for n in BUCKETS}
        try:
            with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
                return Cutter(Levels(*frame_hw, self._size), crops)
        except torch.OutOfMemoryError as e:
            log.warning("crops are cut on the CPU: %s", first_line(e))
            return None

    def _capture(self, count: int) -> "Bucket":
        """A batch size's memory and CUDA graph; the engine's stream is the current one."""
        import torch

        shape = (count, self._size, self._size, 3)
        crops = torch.zeros(shape, dtype=torch.uint8, device=self._device)
        # Chosen algorithms stay in the graph; TF32 would not be what fp32 promises.
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            for _ in range(3):
                joints = self._forward(crops)
            torch.cuda.synchronize(self._device)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                joints = self._forward(crops)
        return Bucket(
            graph,
            crops,
            joints,
            torch.zeros(shape, dtype=torch.uint8, pin_memory=True),
            torch.zeros(joints.shape, dtype=torch.float32, pin_memory=True),
        )


@dataclass(slots=True, eq=False)
class Bucket:
    """One batch size: the captured work, and memory on the GPU and pinned on the host.

    crops uint8 [n, S, S, 3] RGB, joints float32 [n, 16, 3].
    """

    graph: "torch.cuda.CUDAGraph"
    crops: "Tensor"
    joints: "Tensor"
    pinned_crops: "Tensor"
    pinned_joints: "Tensor"


def parts(count: int) -> list[slice]:
    """Of so many crops, one for each run of the largest bucket."""
    return [slice(i, i + BUCKETS[-1]) for i in range(0, count, BUCKETS[-1])]


def decoder(model: Model, device: "torch.device") -> "Callable[[Tensor], Tensor]":
    """What makes joints, with the calibration on the card, or a finder's boxes of the maps."""
    import torch

    from livepose.model.finder import decode_boxes
    from livepose.model.graph import decode_calibrated

    if model.card.get("task") == "finder":
        return decode_boxes
    stored = model.card.get("calibration")
    calibration = None if stored is None else torch.tensor(stored, device=device)
    if calibration is not None and calibration.shape != (16, 17):
        raise ModelError(f"{model.path}: calibrated by an older livepose; export it again")
    return partial(decode_calibrated, calibration=calibration)


def find_device(device: str) -> "torch.device":
    """The device that `auto`, `cpu`, `cuda` or `cuda:N` names."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if device != "cpu" and (kind != "cuda" or (number and not number.isdecimal())):
        raise EngineError(f"torch has no device {device!r}: give auto, cpu, cuda or cuda:N")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        build = "" if torch.version.cuda else "; this torch is a build for the CPU"
        raise EngineError(f"torch finds no GPU for {device!r}{build}: see `livepose doctor`")
    return torch.device(device)


def pixel_table(mean: tuple[float, float, float]) -> "Tensor":
    """What `graph.normalise` makes of each value of each channel: float32 [3, 256]."""
    import torch

    from livepose.model.graph import normalise

    values = torch.arange(256, dtype=torch.uint8).view(1, 256, 1, 1).expand(1, 256, 1, 3)
    return normalise(values, mean)[0, :, :, 0]


def load_weights(model: Model) -> "StackedHourglass":
    """The network of the card with the weights of the ONNX file, in evaluation mode.

    The exporter keeps the names of weights, and folds BatchNorm into the convolution before it
    where there is one: there the network gets none.
    """
    import torch
    from torch import nn

    from livepose.model.hourglass import HourglassConfig, StackedHourglass

    weights = {name: torch.from_numpy(array) for name, array in read_weights(model).items()}
    try:
        network = StackedHourglass(HourglassConfig.from_dict(model.card["network"]))
        for name, module in list(network.named_modules()):
            if isinstance(module, nn.BatchNorm2d) and f"{name}.running_mean" not in weights:
                network.set_submodule(name, nn.Identity())
        network.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as e:
        raise ModelError(
            f"{model.path}: its weights are not of the `network` on its card "
            f"({first_line(e)}); use --engine onnx"
        ) from e
    return network.eval()


def fold_norms(network: "StackedHourglass") -> None:
    """Rewrite each norm to mean 0 and variance 1, with scale and bias to match: a variance may be
    larger than a float16 can be, and such a channel would answer the same to everything.
    """
    import torch
    from torch import nn

    with torch.no_grad():
        for norm in network.modules():
            if isinstance(norm, nn.BatchNorm2d):
                assert norm.running_mean is not None and norm.running_var is not None
                norm.weight.div_((norm.running_var + norm.eps).sqrt())
                norm.bias.sub_(norm.running_mean * norm.weight)
                norm.running_mean.zero_()
                norm.running_var.fill_(1 - norm.eps)


def read_weights(model: Model) -> dict[str, npt.NDArray[np.float32]]:
    """The named weights inside an exported model; weights in other files are refused."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx import numpy_helper

    prefix = "network."
    try:
        graph = onnx.load(model.path, load_external_data=False).graph
    except (DecodeError, OSError) as e:
        raise ModelError(f"{model.path}: not an ONNX file ({e})") from e
    tensors = [t for t in graph.initializer if t.name.startswith(prefix)]
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in tensors):
        raise ModelError(f"{model.path}: its weights are in another file; export it as one file")
    # A copy, for torch wants memory that it may write to.
    return {t.name.removeprefix(prefix): numpy_helper.to_array(t).copy() for t in tensors}
