"""How many people livepose finds and poses by itself: whole pictures, no boxes given."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from livepose.pose import Pose
from livepose.training.datasets import Person, PoseSet
from livepose.training.metrics import oks

Estimate = Callable[[npt.NDArray[np.uint8]], list[Pose]]
"""A picture uint8 [H, W, 3] BGR -> everybody in it, as `PoseEstimator.estimate`."""

LEAST_HEIGHT = 0.2
"""Of a counted person, as a share of the picture's."""

LEAST_JOINTS = 8
"""Labelled joints of a counted person, of 16."""

WELL_LABELLED = 14
"""From so many on a person is well labelled."""

RIGHT_OKS = 0.5


@dataclass(frozen=True)
class FoundScores:
    """Of `people` counted people, the share posed at OKS >= 0.5, and of the `well_labelled`
    ones; `reported` poses over all `pictures`, right or not.
    """

    people: int
    recall: float
    well_labelled: int
    recall_well_labelled: float
    pictures: int
    reported: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"found {self.recall:.3f} of {self.people} people "
            f"({self.recall_well_labelled:.3f} of the {self.well_labelled} well labelled), "
            f"{self.reported / max(self.pictures, 1):.2f} reported a picture"
        )


def score_found(estimate: Estimate, people: PoseSet) -> FoundScores:
    """Over the set's pictures, each looked at once with all of its people."""
    groups: dict[str, list[Person]] = {}
    for person in people.people:
        groups.setdefault(person.name, []).append(person)
    right: list[bool] = []
    well: list[bool] = []
    reported = 0
    for group in groups.values():
        image = group[0].image.load()
        poses = estimate(image)
        reported += len(poses)
        for person in group:
            labelled = int((person.joints[:, 2] > 0).sum())
            height = person.box_xyxy[3] - person.box_xyxy[1]
            if labelled >= LEAST_JOINTS and height >= LEAST_HEIGHT * image.shape[0]:
                right.append(best_oks(poses, person) >= RIGHT_OKS)
                well.append(labelled >= WELL_LABELLED)
    chosen = np.array(right, bool)[np.array(well, bool)]
    return FoundScores(
        people=len(right),
        recall=float(np.mean(right)) if right else float("nan"),
        well_labelled=len(chosen),
        recall_well_labelled=float(chosen.mean()) if len(chosen) else float("nan"),
        pictures=len(groups),
        reported=reported,
    )


def best_oks(poses: list[Pose], person: Person) -> float:
    """Of the pose that is most like the person; 0 where there is none."""
    if not poses:
        return 0.0
    joints = np.stack([pose.joints_xy for pose in poses])
    truth = np.repeat(person.joints[None], len(poses), axis=0)
    return float(oks(joints, truth, np.full(len(poses), person.area_px2)).max())
