"""Scores of a model on labelled people: true boxes, one crop each, no flip."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from livepose import crops
from livepose.training.datasets import Person
from livepose.training.metrics import (
    PCKH_MEAN,
    group_means,
    mean_of_joints,
    oks,
    pck,
    pckh,
    reliability,
)

Runner = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""crops uint8 [N, S, S, 3] RGB -> joints float32 [N, 16, 3]: x, y in crop pixels, score."""


@dataclass(frozen=True)
class Scores:
    """Shares in 0..1. `pck` and `pckh` by group of joints (`skeleton.GROUPS`); mean OKS.

    reliability: of joints in ten bins by their score, [mean score, share that is right at
    PCK@0.2, number of joints], without empty bins.
    """

    people: int
    pck: dict[str, float]
    pckh: dict[str, float]
    oks: float
    reliability: list[list[float]]

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON: what is not counted, nan here, is None."""
        values = asdict(self)
        for name in ("pck", "pckh"):
            values[name] = {group: counted(share) for group, share in values[name].items()}
        return values | {"oks": counted(self.oks)}


def counted(share: float) -> float | None:
    return None if np.isnan(share) else share


def predict(
    run: Runner, size: int, people: Sequence[Person], batch: int = 32
) -> npt.NDArray[np.float32]:
    """Joints float32 [N, 16, 3] of each person in picture pixels, from the true boxes."""
    out = np.zeros((len(people), 16, 3), np.float32)
    for start in range(0, len(people), batch):
        part = people[start : start + batch]
        squares = crops.squares_of(np.stack([p.box_xyxy for p in part]))
        joints = run(true_crops(part, size))
        out[start : start + len(part), :, :2] = crops.to_frame(joints[..., :2], squares, size)
        out[start : start + len(part), :, 2] = joints[..., 2]
    return out


def true_crops(people: Sequence[Person], size: int) -> npt.NDArray[np.uint8]:
    """The crops uint8 [N, size, size, 3] RGB of people's true boxes."""
    squares = crops.squares_of(np.stack([p.box_xyxy for p in people]))
    each = zip(people, squares, strict=True)
    return np.concatenate([crops.cut(p.image.load(), square[None], size) for p, square in each])


def evaluate(run: Runner, size: int, people: Sequence[Person]) -> Scores:
    """PCK@0.2 of the torso, PCKh@0.5 and mean OKS of the limbs over those people."""
    answer = predict(run, size, people)
    joints = answer[..., :2]
    truth = np.stack([p.joints for p in people])
    head_size_px = np.array([p.head_size_px for p in people], np.float32)
    area_px2 = np.array([p.area_px2 for p in people], np.float32)
    similarity = oks(joints, truth, area_px2)
    known = similarity[np.isfinite(similarity)]
    right = pck(joints, truth)
    within_head = pckh(joints, truth, head_size_px)
    bins = np.stack(reliability(answer[..., 2], right), axis=1)
    return Scores(
        people=len(people),
        pck=group_means(right),
        pckh=group_means(within_head) | {PCKH_MEAN: mean_of_joints(within_head)},
        oks=float(known.mean()) if len(known) else float("nan"),
        reliability=[[round(v, 4) for v in row] for row in bins[bins[:, 2] > 0].tolist()],
    )


def torch_runner(graph: Any, device: Any) -> Runner:
    """A `PoseGraph` on a device as a runner."""
    import torch

    graph = graph.to(device).eval()

    def run(batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            answer = graph(torch.from_numpy(batch).to(device))
        return np.asarray(answer.float().cpu().numpy())

    return run
