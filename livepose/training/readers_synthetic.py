"""The synthetic figure as a data set: people that were never photographed, truly labelled."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from livepose.errors import DataError
from livepose.synthetic import SyntheticScene, random_figure, random_speaker
from livepose.training.readers_common import Image, PoseSet, make_person

SIZE_WH = (256, 256)


@dataclass(frozen=True, eq=False, slots=True)
class DrawnImage:
    """A picture that is kept in memory."""

    name: str
    image: Image

    def load(self) -> Image:
        """The picture, uint8 [H, W, 3] BGR."""
        return self.image


def read_synthetic(kind: str, path: Path, selection: str | None) -> PoseSet:
    """That many random figures, always the same ones; joints out of the picture are absent.

    Of kind `speaker` they are before a webcam, of another in any stance.
    """
    if selection is not None or not path.name.isdecimal() or int(path.name) < 1:
        raise DataError(f"{kind}:{path}: give how many figures to draw, as in {kind}:1000")
    draw = random_speaker if kind == "speaker" else random_figure
    people = []
    for i in range(int(path.name)):
        image, joints = draw(np.random.default_rng((7, i)), SIZE_WH)
        name = f"{kind} figure {i}"
        person = make_person(DrawnImage(name, image), joints)
        if person is not None:
            # Nothing is unlabelled here: state 0 says that a joint is out of the picture.
            joints[joints[:, 2] == 0, 2] = -1
            people.append(person)
    return PoseSet(kind, people)


SCENE_WH = (320, 240)
SHOWN = 4
"""Joints of somebody behind others that must be seen for a training crop of them."""


def read_scenes(kind: str, path: Path, selection: str | None) -> PoseSet:
    """That many pictures of one to four people who walk about in a room, always the same.

    What somebody nearer covers is not labelled, and who shows fewer than SHOWN joints is no
    person here, nor anything to be found.
    """
    if selection is not None or not path.name.isdecimal() or int(path.name) < 1:
        raise DataError(f"{kind}:{path}: give how many pictures to draw, as in scene:300")
    people = []
    for i in range(int(path.name)):
        # The synthetic camera's own seeds are small numbers: these rooms are others.
        scene = SyntheticScene(SCENE_WH, people=1 + i % 4, seed=1000 + i)
        image, all_joints, covered = scene.render_crowd(7.3 * i)
        name = f"{kind} picture {i}"
        drawn = DrawnImage(name, image)
        for joints, hidden in zip(all_joints, covered, strict=True):
            shown = (joints[:, 2] > 0) & ~hidden
            person = make_person(drawn, joints)
            if person is not None and shown.sum() >= SHOWN:
                joints[joints[:, 2] == 0, 2] = -1
                joints[hidden, 2] = 0
                people.append(person)
    return PoseSet(kind, people)
