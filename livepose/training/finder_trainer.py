"""Training and scoring the finder: `loop.Trainer` with other batches, loss and scores."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from livepose.finder import Finder, distinct, iou
from livepose.model.finder import FinderGraph, box_loss
from livepose.runtime.base import EngineInfo
from livepose.training.datasets import PoseSet
from livepose.training.evaluate import Runner, torch_runner
from livepose.training.finder import FinderLoader, pictures_of
from livepose.training.loop import Trainer

Find = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class FinderScores:
    """recall: share of the labelled people who are in a box of IoU >= 0.5 with theirs.
    boxes_per_person: how many boxes there are for each labelled person.
    """

    people: int
    recall: float
    boxes_per_person: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"recall {self.recall:.3f} with {self.boxes_per_person:.2f} boxes a person"


def score_finder(
    find: Find, pictures: Iterable[tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]]
) -> FinderScores:
    """Over pictures uint8 [H, W, 3] BGR with their people's boxes float32 [N, 4]."""
    people = found = boxes = 0
    for image_bgr, labelled in pictures:
        answer = distinct(find(image_bgr))
        people += len(labelled)
        boxes += len(answer)
        found += sum(any(iou(box, one) >= 0.5 for one in answer) for box in labelled)
    return FinderScores(people, found / max(people, 1), boxes / max(people, 1))


class RunnerEngine:
    """A runner where an engine is wanted; see `runtime.Engine`."""

    info = EngineInfo("torch", "any", "fp32")

    def __init__(self, run: Runner) -> None:
        self.run = run

    def warm_up(self) -> None:
        pass

    def close(self) -> None:
        pass


class FinderTrainer(Trainer):
    """Trains a finder: `config.network` has five maps and one stack."""

    batches = FinderLoader

    def loss(self, answers: list[Tensor], labels: Tensor, x: Tensor) -> Tensor:
        return torch.stack([box_loss(maps, labels) for maps in answers]).sum()

    def validate(self, held_out: PoseSet, people: int | None) -> FinderScores:  # type: ignore[override]
        stride = 1 if people is None else max(1, len(held_out.people) // people)
        part = PoseSet(held_out.name, held_out.people[::stride])
        run = torch_runner(FinderGraph(self.average), self.device)
        finder = Finder(RunnerEngine(run), self.config.network.size)
        return score_finder(finder.find, pictures_of(part))
