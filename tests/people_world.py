"""A made-up network that knows where the people are, for the tests of who is who."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from livepose.clothes import Colours
from livepose.people import Wear
from livepose.pose import Pose
from livepose.search import Among
from livepose.track import Boxes, Track, distances

Without = Sequence[Sequence[Pose]]
Near = Sequence[Among | None]

SHAPE = np.random.default_rng(0).uniform(0, 1, (16, 2)) * (80, 200)


@dataclass
class World:
    """Answers like a pose network: a person is seen in a box that holds them and fits them."""

    people: list[tuple[float, float]]
    looks: list[int] = field(default_factory=list)
    finds: int = 0

    def find(self) -> Boxes:
        self.finds += 1
        boxes = [(x - 8, y - 20, x + 88, y + 220) for x, y in self.people]
        return np.array(boxes, np.float32).reshape(-1, 4)

    def __call__(
        self,
        boxes: Boxes,
        without: Without = (),
        among: Near = (),
    ) -> list[Pose]:
        return self.look(boxes, without, among, self.people)

    def look(
        self,
        boxes: Boxes,
        without: Without,
        among: Near,
        plain: list[tuple[float, float]],
    ) -> list[Pose]:
        """As a call; where nobody stands before who is asked for, `plain` are all who can be
        seen."""
        self.looks.append(len(boxes))
        answers = []
        for i, box in enumerate(boxes):
            people = plain
            if i < len(among) and (near := among[i]) is not None:
                people = [p for p in people if at(p, [near[0]]) or not at(p, near[1])]
            if i < len(without) and without[i]:
                people = [p for p in self.people if not at(p, without[i])]
            answers.append(self.pose(box, people))
        return answers

    def pose(self, box: Boxes, people: list[tuple[float, float]] | None = None) -> Pose:
        people = self.people if people is None else people
        centre = (box[:2] + box[2:]) / 2
        side = float((box[2:] - box[:2]).max())
        scores = np.full(16, 0.05, np.float32)
        joints = np.tile(centre, (16, 1))
        if people:
            nearest = min(people, key=lambda p: float(np.hypot(*(centre - middle(p)))))
            apart = float(np.hypot(*(centre - middle(nearest))))
            fit = min(side / 200, 200 / side)
            scores[:] = max(0.05, fit - apart / 300)
            joints = SHAPE + nearest
        return Pose(joints.astype(np.float32), scores, box, float(scores[0]))


def at(person: tuple[float, float], poses: Sequence[Pose]) -> bool:
    """Whether one of the poses is that person's, seen or expected."""
    places = [pose.joints_xy[0] - SHAPE[0] for pose in poses]
    return any(np.hypot(*(person - place)) <= 4 for place in places)


GREY = np.full((3, 3), 50, np.float32)


def in_grey(poses: Sequence[Pose], before: object = ()) -> list[Colours]:
    """Nobody can be told by their clothes."""
    return [GREY for _ in poses]


def dressed(light: float) -> Wear:
    """All of one lightness."""
    return dressed_in(np.full((3, 3), light, np.float32))


def dressed_in(colours: Colours) -> Wear:
    return lambda poses, before=(): [colours] * len(poses)


def cost_of(track: Track, pose: Pose, colours: Colours) -> float:
    return track.cost(pose, colours, float(distances([track], [pose])[0, 0]))


def middle(corner: tuple[float, float]) -> np.ndarray:
    return np.array(corner) + (40, 100)
