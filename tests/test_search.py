"""Who is in one picture, and who stands beside them in a box that looks like theirs."""

from dataclasses import replace

import numpy as np
import pytest

from livepose import PoseEstimator
from livepose.finder import SURELY_SAME, distinct, iou
from livepose.pose import Pose
from livepose.search import FOUND, is_somebody, search, search_closely
from livepose.synthetic import SyntheticScene
from livepose.track import Boxes
from tests.people_world import SHAPE, Near, Without, World


def places(poses: list[Pose]) -> list[tuple[float, float]]:
    return [
        (round(float(x)), round(float(y))) for x, y in (p.joints_xy[0] - SHAPE[0] for p in poses)
    ]


FRONT, BEHIND, FAR = (200.0, 150.0), (224.0, 150.0), (480.0, 150.0)


class Pair(World):
    """Who is in front is seen in the boxes of both; only without them the other."""

    def __call__(self, boxes: Boxes, without: Without = (), among: Near = ()) -> list[Pose]:
        return self.look(boxes, without, among, [p for p in self.people if p != BEHIND])


def test_two_boxes_that_share_much_may_be_of_two_people() -> None:
    world = Pair([FRONT, BEHIND, FAR])
    assert len(distinct(world.find())) == 2
    poses = search_closely(world, world.find, 8)
    assert sorted(places(poses[:2])) == [FRONT, FAR] and places(poses[2:]) == [BEHIND]
    assert world.looks == [2, 2, 3]
    world.looks.clear()
    assert sorted(places(search(world, lambda: distinct(world.find()), 8))) == [FRONT, FAR]
    assert world.looks == [2, 2]


def test_one_box_may_be_of_two_people() -> None:
    world = Pair([FRONT, BEHIND])
    (first, *_) = world.find()
    assert places(search_closely(world, lambda: first[None], 8)) == [FRONT, BEHIND]
    assert world.looks == [1, 1, 1]


@pytest.mark.parametrize(("score", "seen"), [(0.6, 1), (0.7, 2)])
def test_who_is_beside_somebody_has_to_be_surer(score: float, seen: int) -> None:
    """Than who is in full view: a network that is asked so may make somebody up."""
    world = Pair([FRONT, BEHIND])

    def look(boxes: Boxes, without: Without = (), among: Near = ()) -> list[Pose]:
        poses = world(boxes, without, among)
        return [replace(pose, score=score) for pose in poses] if without else poses

    assert len(search_closely(look, world.find, 8)) == seen


def test_somebody_answered_again_hides_nobody_and_takes_no_place() -> None:
    """The best box left over is of who was found; asked about it, the network answers them again,
    a little aside and surely."""
    world = Pair([FRONT, BEHIND])
    first, second = world.find()
    boxes = np.stack((first, first + 16, second))
    assert len(distinct(boxes)) == 1 and len(distinct(boxes, SURELY_SAME)) == 3

    def look(asked: Boxes, without: Without = (), among: Near = ()) -> list[Pose]:
        poses = world(asked, without, among)
        aside = replace(world.pose(first, [(FRONT[0] + 8, FRONT[1])]), score=0.95)
        return [
            aside if len(without) and box[0] == boxes[1][0] else pose
            for box, pose in zip(asked, poses, strict=True)
        ]

    for most in (2, 8):
        assert places(search_closely(look, lambda: boxes, most)) == [FRONT, BEHIND]


def test_all_boxes_are_looked_at_that_search_would_look_at() -> None:
    """Of three in a row the middle one is dropped for the first, and drops none itself."""
    row = np.array([[x, 0, x + 100, 100] for x in (0, 25, 35)], np.float32)
    assert iou(row[1], row[2]) > SURELY_SAME and len(distinct(row)) == 2
    world = World([])
    search_closely(world, lambda: row, 8)
    assert world.looks == [2]


def test_nobody_is_looked_for_beyond_the_limit() -> None:
    world = Pair([FRONT, BEHIND, FAR])
    assert len(search_closely(world, world.find, 2)) == 2
    assert world.looks == [2, 2]


def test_the_second_box_of_one_person_is_nobody() -> None:
    """The network answers nobody there once that person is crossed out, or the same again."""
    world = World([FRONT])
    twice = np.concatenate((world.find(), world.find() + 15))
    assert places(search_closely(world, lambda: twice, 8)) == [FRONT]
    assert world.looks == [1, 1, 2]

    def again(boxes: Boxes, without: Without = (), among: Near = ()) -> list[Pose]:
        return [replace(world.pose(box), score=0.9) for box in boxes]

    assert places(search_closely(again, lambda: twice, 8)) == [FRONT]


def test_a_box_beside_nobody_is_not_looked_at_again() -> None:
    """What the first look refused is not asked about with others crossed out."""
    world = World([FRONT])
    wrong = np.array([[500, 10, 560, 80]], np.float32)
    found = np.concatenate((world.find(), wrong))
    assert places(search_closely(world, lambda: found, 8)) == [FRONT]
    assert world.looks == [2, 1, 1]


@pytest.mark.parametrize(
    ("shoulders", "others", "seen"),
    [(0.75, 0.1, True), (0.65, 0.1, False), (0.5, 0.6, True), (0.5, 0.5, False)],
)
def test_head_and_shoulders_alone_are_somebody(shoulders: float, others: float, seen: bool) -> None:
    """Near a camera no half of the body is to be seen."""
    world = World([FRONT])

    def look(boxes: Boxes, without: Without = (), among: Near = ()) -> list[Pose]:
        scores = np.full(16, others, np.float32)
        scores[[7, 8, 9, 12, 13]] = shoulders
        mean = float(np.sort(scores)[-8:].mean())
        return [replace(pose, score=mean, scores=scores) for pose in world(boxes, without, among)]

    (pose,) = look(world.find())
    assert is_somebody(pose, FOUND) == seen
    assert is_somebody(pose, 0.8) == (shoulders >= 0.8)
    assert len(search(look, world.find, 8)) == seen


def test_nobody_in_the_picture_is_asked_about_once_at_most() -> None:
    world = World([])
    assert search_closely(world, world.find, 8) == []
    assert world.looks == []
    wrong = np.array([[500, 10, 560, 80], [510, 10, 570, 80]], np.float32)
    assert search_closely(world, lambda: wrong, 8) == []
    assert world.looks == [1]


@pytest.mark.parametrize("seed", [6, 47, 50])
def test_drawn_people_who_pass_each_other_are_found(seed: int) -> None:
    """Of two who overlap the finder's best box holds one, and the network answers but one."""
    pytest.importorskip("onnxruntime")
    scene = SyntheticScene((640, 480), people=4, seed=seed)
    image, joints, _ = scene.render_crowd(5 + 7.0 * seed)
    with PoseEstimator("small", engine="onnx") as estimator:
        poses = estimator.estimate(image)
    ways = [[np.hypot(*(pose.joints_xy - xy).T) for pose in poses] for xy in joints[..., :2]]
    assert [min(float(np.median(way)) for way in each) < 20 for each in ways].count(True) >= 3
