"""The scores: PCK, PCKh, OKS, and how far a joint's score can be trusted.

Plain numpy on joints in picture pixels; nothing here knows a network or a data set. Joints are
[N, 16, ...] in the order of `skeleton.JOINTS`. What is not counted is nan, never wrong.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from livepose.skeleton import GROUPS, INDEX

Floats = npt.NDArray[np.floating]

PCKH_MEAN = "PCKh mean"

OKS_SIGMA = {
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
}
"""COCO's per-joint constants (https://cocodataset.org/#keypoints-eval): the annotators' own
spread, as a share of the square root of the person's area."""


class Reliability(NamedTuple):
    """Joints in bins of equal width by their score 0..1; nan where a bin is empty.

    mean_score, share_correct: float64 [bins]; joints: int64 [bins], how many there are.
    """

    mean_score: npt.NDArray[np.float64]
    share_correct: npt.NDArray[np.float64]
    joints: npt.NDArray[np.int64]


def pck(
    joints_xy: Floats,
    truth: Floats,
    fraction: float = 0.2,
    torso: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.float32]:
    """1 where a joint is within `fraction` of the torso length, 0 where not; float32 [N, 16].

    joints_xy: [N, 16, 2] predicted; truth: [N, 16, 3] = x, y, labelled. nan where the joint is
    not labelled or the person has no torso. The torso is shoulder to opposite hip, the mean of
    both diagonals if both are labelled; without any, thorax to pelvis. `torso` [N] is its length
    where that is known better than from `truth`.
    """
    return _within(joints_xy, truth, fraction * (torso_px(truth) if torso is None else torso))


def pckh(
    joints_xy: Floats, truth: Floats, head_size_px: Floats, fraction: float = 0.5
) -> npt.NDArray[np.float32]:
    """As `pck`, measured with `head_size_px` [N]: 0.6 of the head box's diagonal in MPII."""
    return _within(joints_xy, truth, fraction * np.asarray(head_size_px, np.float64))


def oks(joints_xy: Floats, truth: Floats, area_px2: Floats) -> npt.NDArray[np.float64]:
    """COCO's object keypoint similarity over the 12 limb joints, float64 [N] in 0..1.

    Mean over the labelled ones of exp(-d² / (2 · area · (2 · sigma)²)), d in pixels; nan where
    none is labelled. From https://cocodataset.org/#keypoints-eval, whose k is 2 · sigma.
    joints_xy: [N, 16, 2]; truth: [N, 16, 3]; area_px2: [N].
    """
    limbs = list(GROUPS["limbs"])
    sigma = np.array([OKS_SIGMA[name[2:]] for name, i in INDEX.items() if i in limbs])
    area = np.maximum(np.asarray(area_px2, np.float64), 1.0)[:, None]
    squared = _distance(joints_xy, truth)[:, limbs] ** 2
    similarity = np.exp(-squared / (2 * area * (2 * sigma) ** 2))
    labelled = truth[:, limbs, 2] > 0
    total = np.where(labelled, similarity, 0.0).sum(axis=1)
    return _ratio(total, labelled.sum(axis=1))


def torso_px(truth: Floats) -> npt.NDArray[np.float64]:
    """Torso length of each person of `truth` [N, 16, 3]; nan where it is unknown or zero."""
    right, right_known = _segment(truth, "r_shoulder", "l_hip")
    left, left_known = _segment(truth, "l_shoulder", "r_hip")
    middle, _ = _segment(truth, "thorax", "pelvis")
    diagonals = right_known.astype(np.int64) + left_known
    length = np.where(diagonals > 0, (right + left) / np.maximum(diagonals, 1), middle)
    return np.where(length > 0, length, np.nan)


def group_means(correct: Floats) -> dict[str, float]:
    """Shares 0..1 of what `pck` or `pckh` gave, [N, 16]; nan where nothing is counted.

    For each of `skeleton.GROUPS`: right ones among all counted joints of the group.
    """
    right, count = _counts(correct)
    return {
        name: _share(float(right[list(joints)].sum()), int(count[list(joints)].sum()))
        for name, joints in GROUPS.items()
    }


def mean_of_joints(correct: Floats) -> float:
    """MPII's mean: the unweighted one of the 14 joints' own shares (no pelvis, no thorax)."""
    right, count = _counts(correct)
    shares = [_share(float(right[j]), int(count[j])) for j in GROUPS["all14"] if count[j]]
    return _share(sum(shares), len(shares))


def reliability(scores: Floats, correct: Floats, bins: int = 10) -> Reliability:
    """How often joints of a given score are right: for honest scores the two are equal.

    scores: 0..1, same shape as `correct`, whose nan entries are left out.
    """
    counted = ~np.isnan(correct)
    score = np.asarray(scores, np.float64)[counted]
    right = np.asarray(correct, np.float64)[counted]
    index = np.clip((score * bins).astype(np.int64), 0, bins - 1)
    count = np.bincount(index, minlength=bins).astype(np.int64)
    return Reliability(
        _ratio(np.bincount(index, weights=score, minlength=bins), count),
        _ratio(np.bincount(index, weights=right, minlength=bins), count),
        count,
    )


def _counts(correct: Floats) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Right ones and counted ones of each joint, [16]."""
    correct = np.asarray(correct, np.float64)
    counted = ~np.isnan(correct)
    return np.where(counted, correct, 0.0).sum(axis=0), counted.sum(axis=0)


def _within(
    joints_xy: Floats, truth: Floats, limit_px: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    right = _distance(joints_xy, truth) <= limit_px[:, None]
    counted = (truth[..., 2] > 0) & ~np.isnan(limit_px)[:, None]
    return np.where(counted, right, np.nan).astype(np.float32)


def _distance(joints_xy: Floats, truth: Floats) -> npt.NDArray[np.float64]:
    offset = np.asarray(joints_xy, np.float64) - np.asarray(truth, np.float64)[..., :2]
    return np.hypot(offset[..., 0], offset[..., 1])


def _segment(
    truth: Floats, start: str, end: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Length [N] between two joints, 0 where not both are labelled, and where they are."""
    a, b = truth[:, INDEX[start]], truth[:, INDEX[end]]
    known = (a[:, 2] > 0) & (b[:, 2] > 0)
    offset = np.asarray(a[:, :2], np.float64) - b[:, :2]
    return np.where(known, np.hypot(offset[:, 0], offset[:, 1]), 0.0), known


def _ratio(total: npt.NDArray[Any], count: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _share(total: float, count: int) -> float:
    return total / count if count else float("nan")
