"""Scores of what is found without boxes: who counts, who is found, how many are reported."""

import json
from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("torch")

from livepose.cli import main
from livepose.pose import Pose
from livepose.training.datasets import Person, PoseSet
from livepose.training.found import filmed, score_found
from livepose.training.readers_synthetic import DrawnImage


def person(name: str, left_px: float, labelled: int = 16, size_px: float = 100.0) -> Person:
    """Somebody whose joints stand in a 4 x 4 grid, in a picture of 200 x 200."""
    grid = np.stack(np.meshgrid(np.arange(4), np.arange(4)), -1).reshape(16, 2) / 3
    joints = np.ones((16, 3), np.float32)
    joints[:, :2] = grid * size_px + (left_px, 20)
    joints[labelled:, 2] = 0
    box = np.array([left_px, 20, left_px + size_px, 20 + size_px], np.float32)
    picture = DrawnImage(name, np.zeros((200, 200, 3), np.uint8))
    return Person(picture, joints, box, size_px**2, 20.0, name)


def pose_of(person: Person, off_px: float = 0.0) -> Pose:
    return Pose(
        joints_xy=person.joints[:, :2] + np.float32(off_px),
        scores=np.ones(16, np.float32),
        box_xyxy=person.box_xyxy,
        score=1.0,
    )


def test_counts_who_is_found_and_how_many_are_reported() -> None:
    near, far = person("a", 10), person("a", 90, labelled=9)
    alone = person("b", 40)
    answers = {
        "a": [pose_of(near, off_px=2), pose_of(near, off_px=90)],
        "b": [],
    }
    pictures = iter(["a", "b"])
    scores = score_found(lambda image: answers[next(pictures)], PoseSet("test", [near, far, alone]))
    assert (scores.people, scores.well_labelled) == (3, 2)
    assert scores.recall == pytest.approx(1 / 3)
    assert scores.recall_well_labelled == pytest.approx(1 / 2)
    assert (scores.pictures, scores.reported) == (2, 2)
    assert "found 0.333 of 3 people (0.500 of the 2 well labelled), 1.00" in str(scores)


def test_small_and_hardly_labelled_people_do_not_count() -> None:
    small, hidden = person("a", 10, size_px=30), person("b", 10, labelled=7)
    scores = score_found(lambda image: [], PoseSet("test", [small, hidden]))
    assert scores.people == 0
    assert scores.recall is None and scores.recall_well_labelled is None
    assert str(scores) == "nobody who counts, 0.00 reported a picture"


def test_one_pose_is_one_persons() -> None:
    left, right = person("a", 50), person("a", 52)
    answers = [[pose_of(left)], [pose_of(left), pose_of(right)]]
    recalls = [
        score_found(lambda image, answer=answer: answer, PoseSet("test", [left, right])).recall
        for answer in answers
    ]
    assert recalls == [0.5, 1.0]


def test_drawn_people_are_found_by_the_released_models(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["eval", "--find", "scene:4", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scene:4"]
    assert scores["pictures"] == 4
    assert scores["recall"] >= 0.5


def test_a_filmed_picture_is_followed_for_so_many_noisy_frames() -> None:
    frames: list[np.ndarray] = []
    times_s: list[float] = []

    def track(frame: np.ndarray, time_s: float) -> list[Pose]:
        frames.append(frame.astype(int))
        times_s.append(time_s)
        return [pose_of(person("a", 50))] * len(frames)

    image = np.full((40, 60, 3), 254, np.uint8)
    estimate = filmed(track, 5)
    assert len(estimate(image)) == 5 and len(estimate(image)) == 10
    assert np.allclose(np.diff(times_s[:5]), 1 / 30) and times_s[5] - times_s[4] > 1000
    for frame, next_one in pairwise(frames):
        assert 2 < frame.std() * 2 < 4 and frame.min() == 251 and frame.max() == 255
        assert (frame != next_one).any()


def test_people_who_are_filmed_are_followed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--find", "scene:4", "--frames", "8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scene:4"]["recall"] >= 0.5
    for words in (["--frames", "8"], ["--find", "--frames", "0"]):
        assert main(["eval", "scene:1", *words]) == 2
        assert "--frames" in capsys.readouterr().err


def test_a_checkpoint_has_to_be_exported_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--find", "scene:1", "--model", "runs/mine/checkpoint.pt"]) == 2
    assert "export it first" in capsys.readouterr().err


def test_what_cannot_go_with_find_is_said_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["eval", "--find", "scene:1", "--plot", "a.png"]) == 2
    assert "--plot" in capsys.readouterr().err
    assert main(["eval", "--find", "scene:1", "--model", "finder"]) == 4
    assert "finder" in capsys.readouterr().err
