"""The drawn data sets: figures, people behind and among others, and who a tracker asks for."""

from typing import Any

import numpy as np
import pytest

from livepose.crops import NEITHER, cut, squares_of, to_crops, torso_of
from livepose.errors import LivePoseError
from livepose.estimator import PoseEstimator, paint_grey
from livepose.pose import Pose
from livepose.training import readers_common, readers_followed, readers_synthetic
from livepose.training.datasets import Person, load_set


@pytest.mark.parametrize("kind", ["synthetic", "speaker", "scene", "behind", "among"])
def test_all_processors_draw_the_same_pictures(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = load_set(f"{kind}:6").people
    monkeypatch.setattr(readers_synthetic, "FEW", 6)
    together = load_set(f"{kind}:6").people
    assert [p.name for p in together] == [p.name for p in alone]
    for one, other in zip(together, alone, strict=True):
        assert np.array_equal(one.image.load(), other.image.load())
        assert np.array_equal(one.joints, other.joints)


def test_who_is_behind_others_is_there_with_those_crossed_out() -> None:
    def grey(person: Person) -> float:
        return float((person.image.load() == NEITHER).all(axis=2).mean())

    scenes, behind = load_set("scene:12").people, load_set("behind:12").people
    alone = [p for p in behind if (p.joints[:, 2] == -1).all()]
    assert len(alone) == 3  # every fourth scene is of one person, who is crossed out and nobody
    assert len(behind) > len(alone)
    for person in behind:
        assert grey(person) > 0.005 > max(grey(p) for p in scenes)
        if person not in alone:
            (same,) = [p for p in scenes if np.array_equal(p.joints, person.joints)]
            assert (person.joints[:, 2] == 0).any()  # what others cover is not labelled
            assert (same.image.load() != person.image.load()).any()
    again = load_set("behind:12").people
    assert all(
        np.array_equal(a.image.load(), b.image.load()) for a, b in zip(behind, again, strict=True)
    )


def test_who_is_among_others_is_there_with_those_crossed_out_around_them() -> None:
    """All but the grey is as it was, and the joints that nobody covers are not under it."""
    scenes, among = load_set("scene:24").people, load_set("among:24").people
    assert len(among) > 6
    shown, under, crossed = 0, 0, 0
    for person in among:
        (same,) = [p for p in scenes if np.array_equal(p.joints, person.joints)]
        image, before = person.image.load(), same.image.load()
        grey = (image == NEITHER).all(axis=2) & (before != NEITHER).any(axis=2)
        assert grey.mean() < 0.5
        crossed += bool(grey.mean() > 0.005)  # of who shows no torso nothing is crossed out
        assert np.array_equal(image[~grey], before[~grey])
        seen = person.joints[person.joints[:, 2] > 0, :2].round().astype(int)
        shown += len(seen)
        under += int(grey[seen[:, 1], seen[:, 0]].sum())
    assert under < 0.1 * shown and crossed > 0.8 * len(among)


def test_who_is_followed_among_others_is_what_the_network_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Colours and places are those of the crop that it gets; who is asked for is seen in it, and
    where everybody is crossed out it is nobody."""
    labelled, off, turned, away = readers_followed._labelled, [], [], []

    def watched(*asked: Any) -> Person | None:
        _, frame, box, without, near, who, size = asked
        person = labelled(*asked)
        if person is not None:
            square = squares_of(box[None])
            grey = paint_grey(square, size, [without], [near])
            shown = cut(frame, square, size, grey)[0].astype(int)
            kept = cut(person.image.load(), np.array([[32, 32, 128]]), size)[0].astype(int)
            off.append(np.abs(kept - shown).mean())
            turned.append(np.abs(kept[..., ::-1] - shown).mean())
            if who is not None:
                xy = to_crops(who[0][None, :, :2], square, size)[0] + 32
                away.append(np.abs(xy - person.joints[:, :2])[person.joints[:, 2] > 0].max())
        return person

    monkeypatch.setattr(readers_followed, "FRAMES", 70)
    monkeypatch.setattr(readers_followed, "_labelled", watched)
    people = load_set("followed:1:small").people
    asked = [p for p in people if (p.joints[:, 2] > 0).any()]
    assert len(asked) > 20 and 0 < len(people) - len(asked) < len(asked)
    assert all((p.joints[:, 2] == -1).all() for p in people if p not in asked)
    assert max(off) < 4 < min(turned)
    assert len(away) == len(asked) and max(away) < 0.5
    right = 0
    with PoseEstimator("small") as estimator:
        for person in asked:
            (pose,) = estimator.estimate(person.image.load(), person.box_xyxy[None])
            there = person.joints[:, 2] > 0
            apart = np.linalg.norm(pose.joints_xy - person.joints[:, :2], axis=1)[there]
            right += bool(np.median(apart) < 0.25 * torso_of(person.joints[:, :2], there))
    assert right > 0.8 * len(asked)


def test_whose_track_is_anothers_too_is_not_labelled() -> None:
    """Of two tracks on one body the body is both asked for and crossed out."""
    joints = np.zeros((2, 16, 3), np.float32)
    joints[:, :, 0] = np.arange(16) % 4 * 10 + np.array([[100], [115]])
    joints[:, :, 1], joints[:, :, 2] = np.arange(16) * 6 + 50, 1
    shown = joints[..., 2] > 0
    one, other = (
        Pose(j[:, :2], np.full(16, 0.9, np.float32), np.zeros(4, np.float32), 0.9) for j in joints
    )
    box = readers_common.tight_box(joints[0])
    asked_for = readers_followed._asked_for
    assert asked_for(box, (), (one, [other]), joints, shown) == 0
    assert asked_for(box, [one], None, joints, shown) == 1
    assert asked_for(box, [one, other], None, joints, shown) == -1
    assert asked_for(box, (), (one, [one]), joints, shown) is None
    unseen = shown.copy()
    unseen[1, 2:] = False  # who shows two joints is neither asked for nor nobody
    assert asked_for(box, [one], None, joints, unseen) is None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("followed:2", "how many scenes and which model"),
        ("followed:some:small", "how many scenes and which model"),
        ("followed:0:small", "give how many"),
        ("followed:9:nosuch", "nosuch"),
        ("followed:9:runs/nosuch.onnx", r"runs/nosuch\.onnx"),
    ],
)
def test_what_is_followed_needs_a_number_and_a_model(spec: str, message: str) -> None:
    with pytest.raises(LivePoseError, match=message):
        load_set(spec)
