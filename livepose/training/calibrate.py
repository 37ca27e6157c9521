"""Scores that mean something: from the height of a peak to the chance that the joint is right.

One slope and one offset of the log odds for each kind of joint (Platt scaling, 1999), and what
its neighbours on the skeleton say about it: a knee whose hip and ankle are nowhere is hardly one.
Fitted on people that the network was not trained on; `model.graph.calibrated` applies it.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from livepose.model.graph import calibrated
from livepose.skeleton import FLIP_ORDER, LIMBS
from livepose.training.augment import cut_off
from livepose.training.datasets import Person
from livepose.training.evaluate import Runner, predict
from livepose.training.metrics import pck, torso_px
from livepose.training.readers_common import Image
from livepose.training.readers_synthetic import DrawnImage

KINDS = [min(joint, other) for joint, other in enumerate(FLIP_ORDER)]
"""Left and right joints of a kind share their numbers."""

PULL = 1e-4
"""Weight of the squared distance from what all joints share, and from neighbours without a say:
kinds with few joints lean on it."""


def calibrate(
    run: Runner, size: int, people: Sequence[Person], seed: int = 0
) -> npt.NDArray[np.float32]:
    """What `model.graph.calibrated` takes, float32 [16, 17].

    run gives heights of peaks as scores. Each person is looked at as they are and, where that
    can be, cut off at the waist as by a webcam: a joint that is not in the picture is wrong.
    """
    rng = np.random.default_rng(seed)
    cut = [(part, whole) for whole in people if (part := cut_person(whole, rng))]
    looked_at = [*people, *(part for part, _ in cut)]
    # A torso is as long as it was before its hips were cut off.
    torso = torso_px(np.stack([p.joints for p in (*people, *(whole for _, whole in cut))]))
    joints = predict(run, size, looked_at)
    right = rightness(joints, np.stack([p.joints for p in looked_at]), torso)
    return fit(joints[..., 2], right)


def rightness(
    joints: npt.NDArray[np.float32],
    truth: npt.NDArray[np.float32],
    torso: npt.NDArray[np.float64],
) -> npt.NDArray[np.float32]:
    """1 where within 0.2 of those torsos [N], 0 where not or where the joint is absent (state
    -1), else nan; float32 [N, 16]."""
    right = pck(joints[..., :2], truth, torso=torso)
    return np.where(truth[..., 2] < 0, np.float32(0), right)


def fit(
    heights: npt.NDArray[np.float32], right: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Maximum likelihood over what is counted (not nan): float32 [16, 17]."""
    height = torch.from_numpy(heights)
    counted = ~torch.from_numpy(np.isnan(right))
    target = torch.from_numpy(np.nan_to_num(right))
    shared = torch.tensor([1.0, 0.0], requires_grad=True)
    own = torch.zeros(16, 2, requires_grad=True)
    beside = torch.zeros(len(LIMBS), 2, requires_grad=True)
    a, b = torch.tensor(LIMBS).T
    optimiser = torch.optim.LBFGS(
        (shared, own, beside), max_iter=200, line_search_fn="strong_wolfe"
    )

    def calibration() -> Tensor:
        lines = shared + own[KINDS]
        said = torch.zeros(16, 16).index_put((a, b), beside[:, 0]).index_put((b, a), beside[:, 1])
        said = (said + said[FLIP_ORDER, :][:, FLIP_ORDER]) / 2
        return torch.cat((said + torch.diag(lines[:, 0]), lines[:, 1:]), dim=1)

    def loss() -> Tensor:
        optimiser.zero_grad()
        chance = calibrated(height, calibration())
        value = F.binary_cross_entropy(chance[counted], target[counted])
        value = value + PULL * (own.square().sum() + beside.square().sum())
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return calibration().detach().numpy().astype(np.float32)


def cut_person(person: Person, rng: np.random.Generator) -> Person | None:
    """That person in a picture that ends at the waist, or None where they do not stand so."""
    image: Image = person.image.load()
    cut, joints, box = cut_off(image, person.joints, person.box_xyxy, rng)
    if cut is image:
        return None
    return Person(
        image=DrawnImage(person.name, cut),
        joints=joints,
        box_xyxy=box,
        area_px2=person.area_px2,
        head_size_px=person.head_size_px,
        name=person.name,
    )
