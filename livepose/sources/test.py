"""The built-in camera: a drawn figure that moves, with its true joints known.

What the figure looks like and how it moves is in `livepose.synthetic`.
"""

import re
import time
from typing import Literal, cast

import numpy as np
import numpy.typing as npt

from livepose.capture import Frame, SourceInfo
from livepose.errors import UsageError
from livepose.sources.common import SourceOptions, check_size, rate
from livepose.synthetic import SyntheticScene

SIZE_WH = (640, 480)
FPS = 30.0
Motion = Literal["live", "wave", "still"]
_FORM = "test:[WIDTHxHEIGHT][@FPS][,people=N][,seed=N][,motion=live|wave|still]"
_SPEC = re.compile(
    r"test:?((?P<width>\d+)x(?P<height>\d+))?(@(?P<fps>\d+(\.\d+)?))?"
    r"(,?(people=(?P<people>\d+)|seed=(?P<seed>\d+)|motion=(?P<motion>live|wave|still)))*"
)


class SyntheticSource:
    """A `SyntheticScene` as a source; see `Source`.

    Paced, it is a camera: frame n is drawn beforehand and handed out at start + n / fps. Where the
    reader comes late, or drawing takes too long, the frame that is due now is the next, and the
    indexes of those between are left out, as of a camera's that nobody fetched. Not paced, it is an
    endless file of every n / fps.
    """

    def __init__(
        self,
        *,
        size_wh: tuple[int, int] = SIZE_WH,
        fps: float = FPS,
        people: int = 1,
        seed: int = 0,
        motion: Motion = "live",
        paced: bool = True,
    ) -> None:
        check_size(size_wh, "test")
        if not 1 <= fps <= 1000:
            raise UsageError(f"test: {fps:g} fps cannot be; give a rate from 1 to 1000")
        self.live = paced
        self.info = SourceInfo(
            f"test camera, {size_wh[0]}x{size_wh[1]}{rate(fps)}", size_wh, fps=fps
        )
        self._scene = SyntheticScene(size_wh=size_wh, people=people, seed=seed, motion=motion)
        self._fps = fps
        self._tick = 0
        self._start_s: float | None = None
        self._closed = False

    @classmethod
    def from_spec(cls, spec: str, options: SourceOptions) -> "SyntheticSource":
        """From the text of `--source`; size and rate in it win over the options."""
        match = _SPEC.fullmatch(spec)
        if match is None:
            raise UsageError(f"{spec}: cannot be understood; the form is {_FORM}")
        width, height, fps = match["width"], match["height"], match["fps"]
        return cls(
            size_wh=(int(width), int(height)) if width else options.size_wh or SIZE_WH,
            fps=float(fps) if fps else options.fps or FPS,
            people=int(match["people"] or 1),
            seed=int(match["seed"] or 0),
            motion=cast(Motion, match["motion"] or "live"),
            paced=options.paced,
        )

    def read(self) -> Frame | None:
        """The frame that is due next, waiting for it if paced."""
        if self._closed:
            return None
        now_s = time.monotonic()
        if self._start_s is None:
            self._start_s = now_s
        if self.live:
            self._tick = max(self._tick, int((now_s - self._start_s) * self._fps))
        time_s = self._tick / self._fps
        image, _ = self._scene.render(time_s)
        if self.live:
            time.sleep(max(0.0, self._start_s + time_s - time.monotonic()))
        frame = Frame(image, self._tick, time_s, time.monotonic())
        self._tick += 1
        return frame

    def truth_at(self, time_s: float) -> npt.NDArray[np.float32]:
        """The true joints at a frame's `time_s`, float32 [people, 16, 3]: x, y, 1 if in view."""
        return self._scene.render(time_s)[1]

    def close(self) -> None:
        """Give no more frames."""
        self._closed = True
