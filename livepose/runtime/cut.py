"""Crops cut on an NVIDIA GPU: as `crops.cut` cuts them, by torch operations in CUDA graphs.

The frame's halves are one tensor behind the frame. What is worth a graph, and what becomes of
the crops, is `torch.py`'s.
"""

import math
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from livepose.crops import GREY, MOST_FRAMES, Squares

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Plan = npt.NDArray[np.int64]
"""int64 [N, 6]: left, top, side of each square on its level; of the level columns, rows, first
pixel."""

MOST_PIXELS = 1 << 23
"""Of a frame: the larger ones are cut on the CPU. One takes some 25 bytes a pixel on the GPU."""


def rows_of(squares: Squares, height: int) -> tuple[int, int]:
    """The first of a frame's rows that the squares are in, and the one behind the last."""
    top = int(squares[:, 1].min().clip(0, height))
    return top, int((squares[:, 1] + squares[:, 2]).max().clip(top, height))


def worth_it(squares: Squares, frame_hw: tuple[int, int]) -> bool:
    """Whether the squares show more pixels than have to be copied and uploaded for them, the
    frame's rows that they are in. For fewer, as of most people who are alone, the CPU is as quick.
    """
    height, width = frame_hw
    low, high = squares[:, :2], squares[:, :2] + squares[:, 2:]
    shown = high.clip(0, (width, height)) - low.clip(0, (width, height))
    top, bottom = rows_of(squares, height)
    return bool(shown.prod(axis=1).sum() > (bottom - top) * width)


class Levels:
    """Where frames of one shape and their halves, down to what the largest square needs, are in
    one tensor `pixels` [P, 3]. The frame has black columns and rows behind it, up to whole blocks.
    """

    def __init__(self, height: int, width: int, size: int) -> None:
        self.size = size
        self.frame_hw = height, width
        depth = max(0, math.ceil(math.log2(MOST_FRAMES * max(height, width) / (2 * size))))
        block = 1 << depth
        rows, columns = math.ceil(height / block) * block, math.ceil(width / block) * block
        self.shapes = [(rows >> level, columns >> level) for level in range(depth + 1)]
        self.starts = list(accumulate((h * w for h, w in self.shapes), initial=0))

    def plan(self, squares: Squares) -> Plan | None:
        """How to cut them; None where one has no whole block of a level at its corner, or is odd
        while it is to be halved: `crops.shrink` would halve it from its own corner, or average.
        """
        height, width = self.frame_hw
        rows = []
        for left, top, side in squares.tolist():
            level = 0
            outside = left >= width or top >= height or left + side <= 0 or top + side <= 0
            if outside or side > MOST_FRAMES * max(width, height):
                left = top = -self.size
                side = self.size
            # Twice as large: bilinear samples are the averages.
            while side > 2 * self.size:
                if (left | top | side) & 1:
                    return None
                left, top, side, level = left // 2, top // 2, side // 2, level + 1
            rows.append((left, top, side, *self.shapes[level][::-1], self.starts[level]))
        return np.array(rows, np.int64)


def cut(levels: Levels, pixels: "Tensor", plan: "Tensor", grey: "Tensor") -> "Tensor":
    """pixels: uint8 [P, 3] BGR, the frame first; its halves are written behind it. plan: int64
    [N, 6]; grey: bool [N, S, S], where crops are painted -> crops uint8 [N, S, S, 3] RGB.

    Nothing here waits for the GPU or hangs on values, so that a CUDA graph can hold it.
    """
    import torch

    halve(levels, pixels)
    size, device = levels.size, pixels.device
    corner, side, limit = plan[:, :2, None, None], plan[:, 2, None], plan[:, 3:5, None, None]
    columns, start = plan[:, 3, None, None], plan[:, 5, None, None]
    centres = (torch.arange(size, device=device) + 0.5) * (side / size) - 0.5  # [N, S]
    first = centres.floor()
    share = centres - first
    near = first[:, None] + torch.arange(2, device=device)[:, None]  # [N, 2, S]
    # The square's own edge is repeated, and what is outside the frame is black.
    near = torch.minimum(near.clamp(min=0), side[:, None] - 1)
    place = near[:, None] + corner  # [N, 2, 2, S]: x and y, before and behind
    inside = torch.minimum(place.clamp(min=0), limit - 1)
    weight = torch.stack((1 - share, share), 1)[:, None] * (inside == place)
    x, y = inside.long().unbind(1)  # [N, 2, S]
    index = (y * columns + start)[:, :, None, :, None] + x[:, None, :, None]
    weights = weight[:, 1, :, None, :, None] * weight[:, 0, None, :, None]  # [N, 2, 2, S, S]
    crops = (pixels[index] * weights[..., None]).sum((1, 2)) + 0.5
    return crops.to(torch.uint8).flip(-1).masked_fill_(grey[..., None], GREY)


def halve(levels: Levels, pixels: "Tensor") -> None:
    """Each level behind the first from the one before it: 2x2 averages, halves rounded up."""
    import torch

    views = [
        pixels[start : start + height * width].view(height, width, 3)
        for (height, width), start in zip(levels.shapes, levels.starts, strict=False)
    ]
    for i in range(1, len(views)):
        # To uint8 it is rounded down.
        above = (views[i - 1] + 0.5).permute(2, 0, 1)[None]
        half = torch.nn.functional.avg_pool2d(above, 2)
        views[i].copy_(half[0].permute(1, 2, 0))


class Cutter:
    """The CUDA graphs that cut crops from frames of one shape, and what they read, on the host and
    on the GPU. Made and used with the engine's stream the current one.

    crops: by batch size, where crops are wanted: uint8 [n, S, S, 3] on the GPU.
    """

    def __init__(self, levels: Levels, crops: "dict[int, Tensor]") -> None:
        import torch

        self.levels = levels
        most, size, device = max(crops), levels.size, crops[max(crops)].device
        rows, columns = levels.shapes[0]
        frame = torch.zeros((rows * columns, 3), dtype=torch.uint8)
        plan = torch.tensor([[-size, -size, size, columns, rows, 0]]).repeat(most, 1)
        grey = torch.zeros((most, size, size), dtype=torch.bool)
        self._pinned = [tensor.pin_memory() for tensor in (frame, plan, grey)]
        self._frame = self._pinned[0].numpy().reshape(rows, columns, 3)
        self._pixels = torch.zeros((levels.starts[-1], 3), dtype=torch.uint8, device=device)
        self._plan, self._grey = plan.to(device), grey.to(device)
        self._new_pixels = slice(0)
        self._painted = False
        pool = torch.cuda.graph_pool_handle()
        self._graphs = {n: self._capture(there, pool) for n, there in crops.items()}

    def _capture(self, crops: "Tensor", pool: "torch.cuda._POOL_HANDLE") -> "torch.cuda.CUDAGraph":
        import torch

        inputs = self._pixels, self._plan[: len(crops)], self._grey[: len(crops)]
        crops.copy_(cut(self.levels, *inputs))
        stream = torch.cuda.current_stream(crops.device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool, stream, capture_error_mode="thread_local"):
            crops.copy_(cut(self.levels, *inputs))
        return graph

    def load_frame(self, frame_bgr: npt.NDArray[np.uint8], squares: Squares) -> None:
        """The rows that the squares have of a frame uint8 [H, W, 3], for the next `upload`."""
        height, width = self.levels.frame_hw
        top, bottom = rows_of(squares, height)
        self._frame[top:bottom, :width] = frame_bgr[top:bottom]
        columns = self._frame.shape[1]
        self._new_pixels = slice(top * columns, bottom * columns)

    def load(self, plan: Plan, grey: npt.NDArray[np.uint8] | None) -> None:
        """What to cut, for the next `upload`: at most the largest batch."""
        self._pinned[1].numpy()[: len(plan)] = plan
        self._painted = grey is not None
        if grey is not None:
            np.not_equal(grey, 0, out=self._pinned[2].numpy()[: len(plan)])

    def upload(self) -> None:
        frame, plan, grey = self._pinned
        pixels = self._new_pixels
        self._pixels[pixels].copy_(frame[pixels], non_blocking=True)
        self._new_pixels = slice(0)
        self._plan.copy_(plan, non_blocking=True)
        if self._painted:
            self._grey.copy_(grey, non_blocking=True)
        else:
            self._grey.zero_()

    def replay(self, count: int) -> None:
        """Cut the crops of that batch size."""
        self._graphs[count].replay()
