"""Scores as chances: the fit against chances that are known, and the same in the exported graph."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from livepose.errors import ModelError
from livepose.model.export import export_onnx, write_card
from livepose.model.from_onnx import load_onnx, norms_of, restore_norms
from livepose.model.graph import PoseGraph, calibrated, normalise
from livepose.model.hourglass import HourglassConfig, StackedHourglass
from livepose.models import find_model
from livepose.runtime import open_engine
from livepose.runtime.torch import decoder
from livepose.synthetic import SyntheticScene
from livepose.training import calibrate as calibration
from livepose.training.calibrate import KINDS, cut_person, fit, rightness
from livepose.training.metrics import torso_px
from livepose.training.readers_common import make_person
from livepose.training.readers_synthetic import DrawnImage

TINY = HourglassConfig(stacks=2, width=16, depth=2, stem=(8, 8, 16), size=32)


@pytest.fixture(scope="module")
def network() -> StackedHourglass:
    torch.manual_seed(5)
    network = StackedHourglass(TINY)
    network.train()
    for _ in range(3):  # statistics of BatchNorm that are not the initial ones
        network(torch.randn(8, 3, 32, 32))
    for norm in norms_of(network).values():  # exporting keeps one of several equal tensors
        torch.nn.init.normal_(norm.bias, std=0.1)
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    return network.eval()


def test_known_chances_come_back() -> None:
    rng = np.random.default_rng(0)
    heights = rng.uniform(0.05, 0.95, (4000, 16)).astype(np.float32)
    own = [(1.5, -0.7) if k in (0, 1, 10) else (0.8, 0.4) for k in KINDS]
    truth = np.zeros((16, 17), np.float32)
    truth[range(16), range(16)], truth[:, 16] = zip(*own, strict=True)
    truth[0, 1] = truth[5, 4] = 0.9  # knees speak for ankles
    chance = calibrated(torch.from_numpy(heights), torch.from_numpy(truth)).numpy()
    right = (rng.random(chance.shape) < chance).astype(np.float32)
    right[rng.random(chance.shape) < 0.3] = np.nan  # not labelled
    found = fit(heights, right)
    assert found == pytest.approx(truth, abs=0.15)
    assert (found[0, [0, 1, 16]] == found[5, [5, 4, 16]]).all()  # both ankles
    assert not found[0, 2:16].any()  # hips are no neighbours of ankles


def test_absent_joints_are_wrong_and_unlabelled_ones_do_not_count() -> None:
    truth = np.zeros((1, 16, 3), np.float32)
    truth[0, :, :2] = np.arange(16)[:, None] * 10
    truth[0, :, 2] = 1
    answer = truth.copy()
    truth[0, 0, 2], truth[0, 1, 2] = -1, 0
    answer[0, 2, :2] += 500
    right = rightness(answer, truth, torso_px(truth))
    assert right[0, 0] == 0 and np.isnan(right[0, 1]) and right[0, 2] == 0
    assert (right[0, 3:] == 1).all()


def test_who_is_cut_off_above_the_hips_is_measured_by_their_whole_torso() -> None:
    """Their visible joints are right ones that count, not only the absent ones wrong."""
    image, joints = SyntheticScene((640, 480)).render(0.0)
    person = make_person(DrawnImage("drawn", image), joints[0])
    assert person is not None
    cut = replace(person, joints=person.joints.copy())
    cut.joints[[0, 1, 2, 3, 4, 5, 6], 2] = -1
    truth = cut.joints[None]
    assert np.isnan(torso_px(truth)).all()
    right = rightness(truth.copy(), truth, torso_px(person.joints[None]))
    assert (right[0, :7] == 0).all() and (right[0, 7:] == 1).all()


def test_who_is_cut_off_is_calibrated_with_the_torso_of_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image, joints = SyntheticScene((640, 480)).render(0.0)
    person = make_person(DrawnImage("drawn", image), joints[0])
    assert person is not None
    joints_out = np.stack([person.joints] * 9)
    asked = []

    def cut_off(whole: object, rng: object) -> object:
        cut = replace(person, joints=person.joints.copy())
        cut.joints[:7, 2] = -1
        return cut

    def noted(answer: np.ndarray, truth: np.ndarray, torso: np.ndarray) -> np.ndarray:
        asked.append(torso)
        return rightness(answer, truth, torso)

    monkeypatch.setattr(calibration, "cut_person", cut_off)
    monkeypatch.setattr(calibration, "rightness", noted)
    monkeypatch.setattr(calibration, "predict", lambda run, size, people: joints_out[: len(people)])
    calibration.calibrate(lambda crops: crops, 64, [person] * 3)
    assert asked[0] == pytest.approx(np.full(6, torso_px(person.joints[None])[0]))


def test_a_person_cut_at_the_waist_has_no_legs() -> None:
    image, joints = SyntheticScene((640, 480)).render(0.0)
    person = make_person(DrawnImage("drawn", image), joints[0])
    assert person is not None
    cut = cut_person(person, np.random.default_rng(0))
    assert cut is not None
    assert cut.image.load().shape[0] < 480
    assert (cut.joints[[0, 5], 2] == -1).all()
    assert cut.box_xyxy[3] < person.box_xyxy[3]


def test_the_exported_graph_gives_calibrated_scores(
    network: StackedHourglass, tmp_path: Path
) -> None:
    calibration = torch.cat((1.4 * torch.eye(16), torch.full((16, 1), -0.9)), dim=1)
    calibration[1, 2] = 0.5
    path = tmp_path / "net.onnx"
    export_onnx(PoseGraph(network, calibration), path)
    write_card(network, path, {})
    crops = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    with torch.inference_mode():
        plain = PoseGraph(network)(torch.from_numpy(crops)).numpy()
    engine = open_engine(find_model(str(path)), "onnx")
    joints = engine.run(crops)
    engine.close()
    height = plain[..., 2].clip(1e-3, 1 - 1e-3)
    against = 1 / height - 1
    expected = 1 / (1 + np.exp(0.9) * against**1.4)
    expected[:, 1] = 1 / (1 + np.exp(0.9) * against[:, 1] ** 1.4 * against[:, 2] ** 0.5)
    assert joints[..., 2] == pytest.approx(expected, abs=1e-3)
    assert joints[..., :2] == pytest.approx(plain[..., :2], abs=0.1)


def test_a_calibration_of_an_older_livepose_asks_for_an_export() -> None:
    model = find_model("small")
    older = replace(model, card=model.card | {"calibration": [[1.0, 0.0]] * 16})
    with pytest.raises(ModelError, match="export it again"):
        decoder(older, torch.device("cpu"))


def test_an_exported_model_can_be_trained_on(network: StackedHourglass, tmp_path: Path) -> None:
    """Folded norms come back, with real statistics, and the answers stay the same."""
    path = tmp_path / "net.onnx"
    export_onnx(PoseGraph(network), path)
    write_card(network, path, {})
    crops = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (8, 32, 32, 3), np.uint8))
    loaded = load_onnx(find_model(str(path)))
    x = normalise(crops)
    with torch.inference_mode():
        expected = network(x)[-1]
        assert torch.allclose(loaded(x)[-1], expected, atol=1e-4)
    restore_norms(loaded, x)
    with torch.inference_mode():
        assert torch.allclose(loaded(x)[-1], expected, atol=1e-4)
    assert all(bool((norm.running_mean != 0).any()) for norm in norms_of(loaded).values())
    # On these crops training's own statistics are the restored ones.
    first = loaded.hourglasses[0].stay.body[1][0]
    taken = []
    first.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))
    with torch.inference_mode():
        loaded(x)
    assert torch.allclose(taken[0].mean((0, 2, 3)), first.running_mean, atol=1e-4)
