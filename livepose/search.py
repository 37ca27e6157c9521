"""Everybody in a picture of which nothing is known: the finder's boxes, and a pose for each.

Nothing here touches pixels: `Find` gives boxes of the picture, `Look` turns boxes into poses; both
belong to `estimator.py`. Who is who in a video is `people.py`'s.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from livepose.finder import SURELY_SAME
from livepose.finder import distinct as distinct_boxes
from livepose.pose import Pose
from livepose.skeleton import INDEX
from livepose.track import BEHIND, Boxes, alike, box_around, overlap

Find = Callable[[], Boxes]
"""Boxes of the people in the current frame, best first."""

Among = tuple[Pose, Sequence[Pose]]
"""Somebody where they are expected, and who else is expected there."""


class Look(Protocol):
    """What turns boxes of the current frame into poses: `PoseEstimator`."""

    def __call__(
        self,
        boxes: Boxes,
        without: Sequence[Sequence[Pose]] = (),
        among: Sequence[Among | None] = (),
    ) -> list[Pose]:
        """One pose for each box [N, 4].

        without: for each, if given, who stands before who is looked for, and is crossed out.
        among: for each, if given, who is looked for, and who is crossed out around them.
        """
        ...


FOUND = 0.53
"""A new person's `Pose.score`, at least: half of their best joints are right."""

SURELY = 0.65
"""The same behind somebody who is crossed out: who is answered again is seldom so sure."""

NEAR = 0.7
"""The mean score of head and shoulders, at least, of who shows no more."""

HEAD_AND_SHOULDERS = [
    INDEX[name] for name in ("thorax", "upper_neck", "head_top", "r_shoulder", "l_shoulder")
]

GLIMPSED = 0.25
"""At least, from the finder's box; from a tighter box the pose may well reach `FOUND`."""

SAME = 0.5
"""Two poses that are at least so alike (`alike`) are one body's."""

BESIDE = 0.65
"""The same for a pose behind somebody who was crossed out: they may be answered once more, a little
beside themselves, but who stands behind somebody often stands alike."""


def is_somebody(pose: Pose, least: float) -> bool:
    """Whether the pose has that score, or if not the whole then head and shoulders: who sits near
    the camera shows no more.
    """
    near = float(pose.scores[HEAD_AND_SHOULDERS].mean())
    return pose.score >= least or near >= max(least, NEAR)


def distinct(poses: list[Pose], least: float, most: int) -> list[Pose]:
    """The best-scored poses of at least that score, of different bodies."""
    chosen: list[Pose] = []
    for pose in sorted(poses, key=lambda p: -p.score):
        if pose.score < least or box_around(pose) is None or len(chosen) == most:
            continue
        if all(alike(pose, other) < SAME for other in chosen):
            chosen.append(pose)
    return chosen


def search(look: Look, find: Find, max_people: int, least: float = FOUND) -> list[Pose]:
    """Everybody the finder sees, best first, each looked at again up close; for `least` see
    `is_somebody`.
    """
    boxes = find()
    if not len(boxes):
        return []
    poses = distinct(look(boxes), GLIMPSED, max_people)
    closer = [box for pose in poses if (box := box_around(pose)) is not None]
    if not closer:
        return []
    sure = [pose for pose in look(np.stack(closer)) if is_somebody(pose, least)]
    return distinct(sure, GLIMPSED, max_people)


def search_closely(look: Look, find: Find, max_people: int) -> list[Pose]:
    """As `search`; then the boxes that overlap somebody found are looked at once more, with all of
    those crossed out, and who is seen there is added, last: two people may stand in one box.
    `find` may give several boxes of one person.
    """
    found = find()
    bodies = search(look, lambda: distinct_boxes(found), max_people)
    shown = [box for pose in bodies if (box := box_around(pose)) is not None]
    shared = [
        box
        for box in distinct_boxes(found, SURELY_SAME)
        if any(overlap(box, other) > BEHIND for other in shown)
    ]
    if not shared or len(bodies) == max_people:
        return bodies
    beside = [
        pose
        for pose in look(np.stack(shared), [bodies] * len(shared))
        if all(alike(pose, body) < BESIDE for body in bodies)
    ]
    return bodies + distinct(beside, SURELY, max_people - len(bodies))
