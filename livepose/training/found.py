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

Track = Callable[[npt.NDArray[np.uint8], float], list[Pose]]
"""A frame uint8 [H, W, 3] BGR and its time in seconds -> everybody, as `PoseEstimator.track`."""

NOISE = 3
"""Grey levels up and down by which the pixels of a filmed picture differ from frame to frame."""

LEAST_HEIGHT = 0.2
"""Of a counted person, as a share of the picture's."""

LEAST_JOINTS = 8
"""Labelled joints of a counted person, of 16: pelvis and thorax among them, where the joints
around them are labelled."""

WELL_LABELLED = 14
"""From so many on a person is well labelled: in COCO, whose heads are not, all limbs are."""

RIGHT_OKS = 0.5


@dataclass(frozen=True)
class FoundScores:
    """Of `people` counted people, the share posed at OKS >= 0.5, and of the `well_labelled`
    ones, None where there are none; `reported` poses over all `pictures`, right or not.
    """

    people: int
    recall: float | None
    well_labelled: int
    recall_well_labelled: float | None
    pictures: int
    reported: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        each = f"{self.reported / max(self.pictures, 1):.2f} reported a picture"
        if self.recall is None:
            return f"nobody who counts, {each}"
        found = f"found {self.recall:.3f} of {self.people} people"
        if self.recall_well_labelled is not None:
            share = f"{self.recall_well_labelled:.3f}"
            found += f" ({share} of the {self.well_labelled} well labelled)"
        return f"{found}, {each}"


def score_found(estimate: Estimate, people: PoseSet) -> FoundScores:
    """Over the set's pictures, each looked at once with all of its people. A pose is one
    person's: whom it is most like.
    """
    groups = people.by_picture()
    right: list[bool] = []
    well: list[bool] = []
    reported = 0
    for group in groups:
        image = group[0].image.load()
        poses = estimate(image)
        reported += len(poses)
        found = found_of(poses, group)
        for i, person in enumerate(group):
            labelled = int((person.joints[:, 2] > 0).sum())
            height = person.box_xyxy[3] - person.box_xyxy[1]
            if labelled >= LEAST_JOINTS and height >= LEAST_HEIGHT * image.shape[0]:
                right.append(i in found)
                well.append(labelled >= WELL_LABELLED)
    chosen = np.array(right, bool)[np.array(well, bool)]
    return FoundScores(
        people=len(right),
        recall=float(np.mean(right)) if right else None,
        well_labelled=len(chosen),
        recall_well_labelled=float(chosen.mean()) if len(chosen) else None,
        pictures=len(groups),
        reported=reported,
    )


def filmed(track: Track, frames: int) -> Estimate:
    """What is followed in the last of so many frames of a camera that looks at one picture, at 30
    frames a second, with a sensor's noise. Pictures are hours apart.
    """
    rng = np.random.default_rng(0)
    start_s = 0.0

    def estimate(image_bgr: npt.NDArray[np.uint8]) -> list[Pose]:
        nonlocal start_s
        start_s += 3600
        for i in range(frames):
            noise = rng.integers(-NOISE, NOISE + 1, image_bgr.shape, np.int16)
            frame = np.clip(image_bgr + noise, 0, 255).astype(np.uint8)
            poses = track(frame, start_s + i / 30)
        return poses

    return estimate


def found_of(poses: list[Pose], people: list[Person]) -> set[int]:
    """Which people (their indices) have a pose of their own at OKS >= 0.5; the surest first."""
    pairs = []
    for i, person in enumerate(people):
        for j, pose in enumerate(poses):
            similarity = oks(pose.joints_xy[None], person.joints[None], np.array([person.area_px2]))
            # Written so that nan, of people without any limb labelled, is left out.
            if similarity[0] >= RIGHT_OKS:
                pairs.append((float(similarity[0]), i, j))
    found: set[int] = set()
    used: set[int] = set()
    for _, i, j in sorted(pairs, reverse=True):
        if i not in found and j not in used:
            found.add(i)
            used.add(j)
    return found
