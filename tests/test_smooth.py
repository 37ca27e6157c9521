"""Steadier joints: the filter on poses whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest

from livepose.pose import Pose
from livepose.smooth import Smoother

SHAPE = np.random.default_rng(0).uniform(0, 1, (16, 2)) * (80, 200)


def noisy(count: int, sigma_px: float, speed_px_s: float = 0.0) -> list[Pose]:
    rng = np.random.default_rng(1)
    box = np.array([0, 0, 200, 200], np.float32)
    at = [SHAPE + (speed_px_s * i / 30, 0) for i in range(count)]
    return [
        Pose(
            (a + rng.normal(0, sigma_px, (16, 2))).astype(np.float32),
            np.ones(16, np.float32),
            box,
            1.0,
            id=1,
        )
        for a in at
    ]


def test_smoothing_takes_most_of_the_jitter_at_rest() -> None:
    smooth = Smoother()
    raw = noisy(200, 1.5)
    out = [smooth([p], i / 30)[0] for i, p in enumerate(raw)]

    def jitter(poses: list[Pose]) -> tuple[float, float]:
        """How far joints stray from their mean, and step from one frame to the next."""
        at = np.array([p.joints_xy for p in poses[30:]])
        return float(at.std(axis=0).mean()), float(np.sqrt((np.diff(at, axis=0) ** 2).mean()))

    (strayed, stepped), (strays, steps) = jitter(raw), jitter(out)
    assert strays < strayed / 2
    assert steps < stepped / 4


def test_smoothing_lags_less_than_a_frame_in_motion() -> None:
    smooth = Smoother()
    raw = noisy(60, 0.0, speed_px_s=400.0)
    out = [smooth([p], i / 30)[0] for i, p in enumerate(raw)]
    behind = raw[-1].joints_xy[:, 0] - out[-1].joints_xy[:, 0]
    assert 0 <= behind.max() < 400 / 30


def test_two_frames_of_one_time_are_smoothed_too() -> None:
    """Pictures that arrived together."""
    smooth = Smoother()
    raw = noisy(200, 1.5)
    out = [smooth([p], i // 2 / 15)[0] for i, p in enumerate(raw)]
    steps = [np.diff([p.joints_xy for p in poses[30:]], axis=0).std() for poses in (raw, out)]
    assert steps[1] < steps[0] / 2


def test_smoothing_starts_anew_after_a_jump_and_a_gap() -> None:
    smooth = Smoother()
    (a, b, c) = noisy(3, 0.0, speed_px_s=30 * 150.0)
    smooth([a], 0.0)
    assert np.allclose(smooth([b], 1 / 30)[0].joints_xy, b.joints_xy, atol=1e-3)
    assert np.allclose(smooth([c], 9.0)[0].joints_xy, c.joints_xy)


def test_an_unsure_joint_is_moved_less_than_a_sure_one() -> None:
    smoother = Smoother()
    box = np.array([0, 0, 100, 200], np.float32)
    scores = np.full(16, 0.9, np.float32)
    scores[0] = 0.03
    smoother([Pose(np.zeros((16, 2), np.float32), scores, box, 0.9, 1)], 0.0)
    (pose,) = smoother([Pose(np.full((16, 2), 4, np.float32), scores, box, 0.9, 1)], 1 / 30)
    assert (pose.joints_xy[0] > 0).all() and (pose.joints_xy[0] < 0.5 * pose.joints_xy[1]).all()


def rising(scores: list[float]) -> list[float]:
    """What the smoother makes of the scores of one joint, frame by frame at 30 fps; the others keep
    theirs."""
    smoother = Smoother()
    (pose,) = noisy(1, 0.0)
    given = []
    for i, score in enumerate(scores):
        joints = pose.scores.copy()
        joints[1] = score
        given.append(smoother([replace(pose, scores=joints)], i / 30)[0].scores)
    assert all((np.delete(s, 1) == 1).all() for s in given)
    return [float(s[1]) for s in given]


def test_a_joint_that_shows_for_some_frames_is_not_believed() -> None:
    assert max(rising([0.02] * 10 + [0.55] * 5 + [0.02] * 10)) < 0.3


def test_a_joint_that_stays_is_drawn_soon_and_one_that_goes_is_not_any_more() -> None:
    given = rising([0.02] * 10 + [0.9] * 30 + [0.1])
    assert given[10] < 0.3 < given[13] and given[39] == pytest.approx(0.9, abs=0.02)
    assert given[40] == pytest.approx(0.1)


def test_whom_one_sees_for_the_first_time_is_believed_at_once() -> None:
    assert rising([0.9])[0] == pytest.approx(0.9)
