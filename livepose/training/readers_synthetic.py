"""The synthetic figure as a data set: people that were never photographed, truly labelled."""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from livepose.crops import STOUT, cross_out, torso_of
from livepose.errors import DataError
from livepose.synthetic import SyntheticScene, random_figure, random_speaker
from livepose.track import BEHIND, overlap
from livepose.training.augment import CROSSED_WIDTHS, STRAY
from livepose.training.readers_common import Floats, Image, Person, PoseSet, make_person

SIZE_WH = (256, 256)

FEW = 100
"""Pictures that are drawn before other processes would have started."""


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
    return draw_all(kind, path, selection, partial(_figure, kind), FEW)


def _figure(kind: str, i: int) -> list[Person]:
    draw = random_speaker if kind == "speaker" else random_figure
    image, joints = draw(np.random.default_rng((7, i)), SIZE_WH)
    person = make_person(DrawnImage(f"{kind} figure {i}", image), joints)
    # Nothing is unlabelled here: state 0 says that a joint is out of the picture.
    joints[joints[:, 2] == 0, 2] = -1
    return [] if person is None else [person]


SCENE_WH = (320, 240)
SHOWN = 4
"""Joints of somebody behind others that must be seen for a training crop of them."""


def read_scenes(kind: str, path: Path, selection: str | None) -> PoseSet:
    """That many pictures of one to four people who walk about in a room, always the same.

    What somebody nearer covers is not labelled, and who shows fewer than SHOWN joints is no
    person here, nor anything to be found.
    """
    return draw_all(kind, path, selection, _scene, FEW)


def _scene(i: int) -> list[Person]:
    drawn, all_joints, covered = _crowd(i)
    picture = DrawnImage(f"scene picture {i}", drawn)
    people = (
        _person_of_scene(picture, joints, hidden)
        for joints, hidden in zip(all_joints, covered, strict=True)
    )
    return [person for person in people if person is not None]


def read_behind(kind: str, path: Path, selection: str | None) -> PoseSet:
    """Of that many such pictures those who are behind others, a picture for each, in which who is
    covered less is crossed out (`crops.cross_out`); and who is alone, crossed out, as nobody.
    """
    return draw_all(kind, path, selection, _behind, FEW)


def _behind(i: int) -> list[Person]:
    drawn, all_joints, covered = _crowd(i)
    rng = np.random.default_rng((8, i))
    people = []
    for k, (joints, hidden) in enumerate(zip(all_joints, covered, strict=True)):
        alone = len(all_joints) == 1
        out = covered.sum(axis=1) < hidden.sum() + alone
        if not out.any():
            continue
        crossed = _without(drawn, all_joints[out], covered[out], rng)
        picture = DrawnImage(f"behind picture {i}, person {k}", crossed)
        person = _person_of_scene(picture, joints, hidden)
        if person is not None:
            nobody = np.full_like(joints, -1)
            people.append(replace(person, joints=nobody) if alone else person)
    return people


def read_among(kind: str, path: Path, selection: str | None) -> PoseSet:
    """Of that many such pictures those whose boxes overlap others', a picture for each, in which
    the others are crossed out but for where the person's own silhouette is, as a tracker does it
    for each of two who overlap (`search.Among`).
    """
    return draw_all(kind, path, selection, _among, FEW)


def _among(i: int) -> list[Person]:
    drawn, all_joints, covered = _crowd(i)
    rng = np.random.default_rng((9, i))
    picture = DrawnImage(f"among picture {i}", drawn)
    people = [
        _person_of_scene(picture, joints, hidden)
        for joints, hidden in zip(all_joints, covered, strict=True)
    ]
    answer = []
    for k, person in enumerate(people):
        others = [
            j
            for j, other in enumerate(people)
            if j != k and person and other and overlap(person.box_xyxy, other.box_xyxy) > BEHIND
        ]
        if person is None or not others:
            continue
        crossed = _without(drawn, all_joints[others], covered[others], rng)
        body = np.zeros_like(drawn)
        cross_out(body, *_thought(all_joints[k], covered[k], rng), STOUT)
        np.copyto(crossed, drawn, where=body > 0)
        answer.append(replace(person, image=DrawnImage(f"{picture.name}, person {k}", crossed)))
    return answer


def _crowd(i: int) -> tuple[Image, Floats, npt.NDArray[np.bool_]]:
    """A picture, joints [N, 16, 3] and which somebody nearer covers [N, 16]."""
    # The synthetic camera's own seeds are small numbers: these rooms are others.
    scene = SyntheticScene(SCENE_WH, people=1 + i % 4, seed=1000 + i)
    return scene.render_crowd(7.3 * i)


def draw_all(
    kind: str, path: Path, selection: str | None, draw: Callable[[int], list[Person]], few: int
) -> PoseSet:
    """The people of so many pictures; from `few` on drawn by all processors, in parts of a sixth of
    `few`, for which a script of one's own wants its `if __name__ == "__main__"`.
    """
    if selection is not None or not path.name.isdecimal() or int(path.name) < 1:
        raise DataError(f"{kind}:{path}: give how many pictures to draw, as in {kind}:300")
    count = int(path.name)
    if count < few:
        return PoseSet(kind, list(chain.from_iterable(map(draw, range(count)))))
    workers = max(1, (os.cpu_count() or 1) // int(os.environ.get("WORLD_SIZE", "1")))
    with ProcessPoolExecutor(workers, get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        parts = pool.map(draw, range(count), chunksize=max(1, few // 6))
        return PoseSet(kind, list(chain.from_iterable(parts)))


def _person_of_scene(
    picture: DrawnImage, joints: Floats, hidden: npt.NDArray[np.bool_]
) -> Person | None:
    """What is out of the picture is absent, what is hidden not labelled; None for who shows
    fewer than SHOWN joints. joints: float32 [16, 3]; hidden: bool [16].
    """
    person = make_person(picture, joints)
    if person is None or ((joints[:, 2] > 0) & ~hidden).sum() < SHOWN:
        return None
    states = np.where(hidden, 0, np.where(joints[:, 2] == 0, -1, joints[:, 2]))
    return replace(person, joints=np.column_stack((joints[:, :2], states)).astype(np.float32))


def _without(
    image: Image, joints: Floats, covered: npt.NDArray[np.bool_], rng: np.random.Generator
) -> Image:
    """The picture with these people [N, 16, 3] crossed out. covered: bool [N, 16]."""
    image = image.copy()
    for person, hidden in zip(joints, covered, strict=True):
        cross_out(image, *_thought(person, hidden, rng), rng.uniform(*CROSSED_WIDTHS))
    return image


def _thought(
    joints: Floats, covered: npt.NDArray[np.bool_], rng: np.random.Generator
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Where a tracker may think the joints [16, 3] of somebody, float32 [16, 2], and which of
    them it sees, bool [16]: a little off, one or another not seen. covered: bool [16].
    """
    seen = (joints[:, 2] > 0) & ~covered & (rng.random(16) > 0.05)
    off = rng.normal(0, STRAY * torso_of(joints[:, :2], seen), (16, 2))
    return (joints[:, :2] + off).astype(np.float32), seen
