"""PCK, PCKh, OKS, group means and reliability against numbers worked out by hand."""

import json
import math

import numpy as np
import numpy.typing as npt
import pytest

from livepose.skeleton import GROUPS, INDEX
from livepose.training.evaluate import Scores
from livepose.training.metrics import (
    group_means,
    mean_of_joints,
    oks,
    pck,
    pckh,
    reliability,
    torso_px,
)

Joints = npt.NDArray[np.float32]


def person(**joints: tuple[float, float]) -> Joints:
    """One person, float32 [1, 16, 3], with only these joints labelled."""
    truth = np.zeros((1, 16, 3), np.float32)
    for name, xy in joints.items():
        truth[0, INDEX[name]] = (*xy, 1)
    return truth


def moved(truth: Joints, joint: str, dx: float, dy: float = 0.0) -> Joints:
    """The true joints as a prediction [1, 16, 2], one of them moved."""
    predicted = truth[..., :2].copy()
    predicted[0, INDEX[joint]] += (dx, dy)
    return predicted


# The diagonals are 50 (3-4-5 times ten) and 100 (60-80-100): the torso is 75, a fifth is 15.
SQUARE = {
    "r_shoulder": (0.0, 0.0),
    "l_hip": (30.0, 40.0),
    "l_shoulder": (60.0, 0.0),
    "r_hip": (0.0, 80.0),
    "l_wrist": (100.0, 100.0),
}


def test_torso_is_the_mean_of_both_diagonals() -> None:
    assert torso_px(person(**SQUARE))[0] == pytest.approx(75)


@pytest.mark.parametrize(
    ("missing", "expected"), [("r_shoulder", 100), ("l_hip", 100), ("r_hip", 50)]
)
def test_torso_is_the_diagonal_that_is_labelled(missing: str, expected: float) -> None:
    joints = {name: xy for name, xy in SQUARE.items() if name != missing}
    assert torso_px(person(**joints))[0] == pytest.approx(expected)


def test_torso_without_diagonals_is_thorax_to_pelvis() -> None:
    truth = person(r_hip=(0, 80), r_shoulder=(5, 5), thorax=(10, 0), pelvis=(10, 40))
    assert torso_px(truth)[0] == pytest.approx(40)


def test_diagonals_come_before_thorax_and_pelvis() -> None:
    truth = person(**SQUARE, thorax=(0, 0), pelvis=(0, 7))
    assert torso_px(truth)[0] == pytest.approx(75)


@pytest.mark.parametrize(("dx", "expected"), [(14.9, 1.0), (15.0, 1.0), (15.1, 0.0)])
def test_pck_counts_a_fifth_of_the_torso(dx: float, expected: float) -> None:
    truth = person(**SQUARE)
    correct = pck(moved(truth, "l_wrist", dx), truth)
    assert correct.shape == (1, 16) and correct.dtype == np.float32
    assert correct[0, INDEX["l_wrist"]] == expected
    assert correct[0, INDEX["r_hip"]] == 1
    assert np.isnan(correct).sum() == 16 - len(SQUARE)


def test_pck_uses_the_distance_in_both_axes_and_the_fraction() -> None:
    truth = person(**SQUARE)
    predicted = moved(truth, "l_wrist", 9, 12)  # 15 px away
    assert pck(predicted, truth)[0, INDEX["l_wrist"]] == 1
    assert pck(predicted, truth, fraction=0.19)[0, INDEX["l_wrist"]] == 0


@pytest.mark.parametrize(
    "truth",
    [
        person(r_wrist=(1, 2), l_wrist=(3, 4)),
        person(r_shoulder=(5, 5), l_hip=(5, 5), r_wrist=(1, 2)),
    ],
    ids=["no torso joints", "torso of length 0"],
)
def test_people_without_a_torso_are_not_counted(truth: Joints) -> None:
    assert np.isnan(pck(truth[..., :2], truth)).all()


def test_people_do_not_mix() -> None:
    truth = np.concatenate((person(**SQUARE), person(r_wrist=(1, 2)), person(**SQUARE)))
    predicted = truth[..., :2].copy()
    predicted[2, INDEX["l_wrist"]] += 50
    assert pck(predicted, truth)[:, INDEX["l_wrist"]] == pytest.approx([1, np.nan, 0], nan_ok=True)


@pytest.mark.parametrize(("dx", "expected"), [(10.0, 1.0), (10.1, 0.0)])
def test_pckh_counts_half_the_head(dx: float, expected: float) -> None:
    truth = person(r_knee=(10, 10), r_ankle=(30, 30))
    correct = pckh(moved(truth, "r_knee", dx), truth, np.array([20.0]))
    assert correct[0, INDEX["r_knee"]] == expected
    assert correct[0, INDEX["r_ankle"]] == 1


def test_pckh_of_an_unknown_head_is_not_counted() -> None:
    truth = person(r_knee=(10, 10))
    assert np.isnan(pckh(truth[..., :2], truth, np.array([np.nan]))).all()


def test_oks_of_one_joint() -> None:
    # area 10000, wrist: 2 sigma = 0.124, so 2 · 10000 · 0.124² = 307.52; d² = 12.4² = 153.76.
    truth = person(r_wrist=(50, 50))
    similarity = oks(moved(truth, "r_wrist", 12.4), truth, np.array([10_000.0]))
    assert similarity[0] == pytest.approx(math.exp(-0.5), rel=1e-5)


@pytest.mark.parametrize(
    ("joint", "sigma"),
    [
        ("shoulder", 0.079),
        ("elbow", 0.072),
        ("wrist", 0.062),
        ("hip", 0.107),
        ("knee", 0.087),
        ("ankle", 0.089),
    ],
)
@pytest.mark.parametrize("side", ["r", "l"])
def test_oks_uses_the_constant_of_each_joint(side: str, joint: str, sigma: float) -> None:
    # d = 2 sigma · sqrt(area): one standard deviation.
    truth = person(**{f"{side}_{joint}": (500.0, 500.0)})
    predicted = moved(truth, f"{side}_{joint}", 2 * sigma * 100)
    assert oks(predicted, truth, np.array([100.0**2]))[0] == pytest.approx(math.exp(-0.5), rel=1e-4)


def test_oks_is_the_mean_over_labelled_limb_joints() -> None:
    # A perfect ankle and a wrist out of the world: (1 + 0) / 2. The head does not count.
    truth = person(l_ankle=(5, 5), l_wrist=(9, 9), head_top=(3, 3), thorax=(4, 4))
    predicted = moved(truth, "l_wrist", 1e4)
    predicted[0, INDEX["head_top"]] += 1e4
    assert oks(predicted, truth, np.array([400.0]))[0] == pytest.approx(0.5)


def test_oks_without_limb_joints_is_nan() -> None:
    truth = np.concatenate((person(head_top=(3, 3)), person(l_knee=(3, 3))))
    similarity = oks(truth[..., :2], truth, np.array([100.0, 100.0]))
    assert similarity == pytest.approx([np.nan, 1], nan_ok=True)


def test_group_means_pool_the_joints_of_a_group() -> None:
    correct = np.full((4, 16), np.nan, np.float32)
    correct[:, INDEX["r_wrist"]] = (1, 1, 1, 0)
    correct[0, INDEX["l_wrist"]] = 0
    correct[:2, INDEX["r_knee"]] = (1, 1)
    correct[:, INDEX["pelvis"]] = 0  # in no group
    means = group_means(correct)
    assert set(means) == set(GROUPS)
    assert means["wrists"] == pytest.approx(3 / 5)
    assert means["knees"] == 1
    assert means["limbs"] == means["all14"] == pytest.approx(5 / 7)
    assert means["upper"] == pytest.approx(3 / 5)
    assert math.isnan(means["head"])
    # Joint by joint: 3/4 for the right wrist, 0 for the left one, 1 for the right knee.
    assert mean_of_joints(correct) == pytest.approx((0.75 + 0 + 1) / 3)


def test_group_means_of_nobody_are_nan() -> None:
    assert all(math.isnan(mean) for mean in group_means(np.zeros((0, 16))).values())


def test_reliability_bins_scores() -> None:
    scores = np.array([[0.05, 0.15, 0.19, 1.0], [0.5, 0.12, 0.95, 0.9]])
    correct = np.array([[0, 1, 0, 1], [np.nan, 1, 1, 0]])
    result = reliability(scores, correct)
    assert result.joints.tolist() == [1, 3, 0, 0, 0, 0, 0, 0, 0, 3]
    assert result.mean_score[[0, 1, 9]] == pytest.approx([0.05, 0.46 / 3, 0.95])
    assert result.share_correct[[0, 1, 9]] == pytest.approx([0, 2 / 3, 2 / 3])
    assert np.isnan(result.mean_score[2:9]).all() and np.isnan(result.share_correct[2:9]).all()


def test_reliability_of_nothing_is_nan() -> None:
    result = reliability(np.zeros(0), np.zeros(0), bins=4)
    assert result.joints.tolist() == [0, 0, 0, 0]
    assert np.isnan(result.share_correct).all()


def test_what_is_not_counted_is_none_in_json() -> None:
    nan = float("nan")
    scores = Scores(1, {"head": nan, "limbs": 0.5}, {"head": 1.0}, nan, [[0.1, 0.2, 3.0]])
    assert json.loads(json.dumps(scores.as_dict(), allow_nan=False)) == {
        "people": 1,
        "pck": {"head": None, "limbs": 0.5},
        "pckh": {"head": 1.0},
        "oks": None,
        "reliability": [[0.1, 0.2, 3.0]],
    }
