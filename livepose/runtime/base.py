"""What an engine is: something that runs one exported model on one device."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from livepose.crops import Squares, cut
from livepose.errors import EngineError

RunSquares = Callable[
    [npt.NDArray[np.uint8], Squares, npt.NDArray[np.uint8] | None],
    npt.NDArray[np.float32] | None,
]
"""An engine's own `run_squares`: frame, squares, grey -> joints; None to be given crops."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """One line for people: which engine, on what, in which precision.

    choice: where the engine was chosen by itself, why not the ones before it; else empty.
    """

    name: str
    device: str
    precision: str
    choice: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.precision} on {self.device}"


DEVICE_STAGES = ("upload", "compute", "download")
"""The parts of a run on a device with memory of its own."""


class Engine(Protocol):
    """Runs an exported graph: `crops` in, one output of any name and shape out. Opened by its
    constructor; used from one thread at a time. One with a device of its own may have the times
    of its last run as well, see `device_ms`, and cut crops there, see `run_squares`.
    """

    info: EngineInfo

    def warm_up(self) -> None:
        """Do now what would make the first `run` slow."""

    def run(self, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """crops uint8 [N, S, S, 3] RGB, any N >= 1 -> the graph's output, float32 [N, ...].

        Of a pose model that is joints [N, 16, 3]: x, y in crop pixels, score in 0..1; of a
        finder boxes [N, 16, 5]: x0, y0, x1, y1, score. Raises EngineError when it fails.
        """

    def close(self) -> None:
        """Free everything. Safe to call twice; `run` must not follow."""


def device_ms(engine: Engine) -> dict[str, float]:
    """The `DEVICE_STAGES` of the engine's last run in ms, from events on the device.

    Empty where crops need no upload: the engine computes in the memory that they are in.
    """
    times: dict[str, float] = getattr(engine, "device_ms", {})
    return times


def run_squares(
    engine: Engine,
    frame_bgr: npt.NDArray[np.uint8],
    squares: Squares,
    size: int,
    grey: npt.NDArray[np.uint8] | None = None,
) -> npt.NDArray[np.float32]:
    """Frame uint8 [H, W, 3] -> what `run` answers to the crops of its squares, int64 [N, 3] with
    N >= 1. grey: where crops are painted over, see `crops.cut`.

    They are cut by the engine where it has a `run_squares(frame_bgr, squares, grey)` of its own
    that does not answer None: on its device, and as `crops.cut` would but for the last grey level.
    """
    own: RunSquares | None = getattr(engine, "run_squares", None)
    joints = None if own is None else own(frame_bgr, squares, grey)
    return engine.run(cut(frame_bgr, squares, size, grey)) if joints is None else joints


def check_crops(crops: npt.NDArray[np.uint8], size: int) -> None:
    """Raise EngineError for anything but uint8 [N, size, size, 3] with N >= 1."""
    if crops.dtype != np.uint8 or crops.shape[1:] != (size, size, 3) or not len(crops):
        raise EngineError(
            f"crops are uint8 [N, {size}, {size}, 3], not {crops.dtype} {list(crops.shape)}"
        )
