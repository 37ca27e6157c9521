"""Targets, decoding and the exported graph: one heatmap, one way."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from livepose.errors import ModelError, UsageError
from livepose.model.checkpoint import (
    first_stacks,
    load_checkpoint,
    load_network,
    save_checkpoint,
)
from livepose.model.export import export_onnx, write_card
from livepose.model.graph import (
    PoseGraph,
    decode,
    normalise,
    to_crop,
    to_heatmap,
)
from livepose.model.hourglass import HourglassConfig, StackedHourglass
from livepose.models import find_model
from livepose.runtime import open_engine
from livepose.skeleton import FLIP_ORDER
from livepose.training.targets import heatmap_loss, make_targets, taught

SMALL = HourglassConfig(stacks=2, width=16, depth=3, stem=(8, 8, 16), size=64)


def random_joints(count: int, size: int, margin_px: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    xy = torch.rand(count, 16, 2, generator=generator) * (size - 1 - 2 * margin_px) + margin_px
    return torch.cat((xy, torch.ones(count, 16, 1)), dim=2)


@pytest.mark.parametrize("size", [128, 256])
def test_targets_and_decoding_agree(size: int) -> None:
    joints = random_joints(200, size, margin_px=0.0)
    targets, _ = make_targets(joints, size)
    decoded = decode(targets)
    apart_px = (decoded[..., :2] - joints[..., :2]).abs().amax(dim=2)
    assert apart_px.max() < 1.5, "at the border the mean is of fewer cells"
    x, y = joints[..., 0], joints[..., 1]
    inner = (torch.minimum(x, y) > 8) & (torch.maximum(x, y) < size - 9)
    assert apart_px[inner].max() < 0.15
    assert decoded[..., 2].min() > 0.7


HILL = torch.tensor([[0.2, 0.3, 0.2], [0.3, 0.5, 0.3], [0.2, 0.3, 0.2]])


def test_decoding_is_where_the_hill_is() -> None:
    heatmaps = torch.zeros(1, 16, 8, 8)
    heatmaps[0, 6, 4:7, 1:4] = HILL
    # Cell (2, 5) covers crop pixels 8..11 and 20..23; its centre is between them.
    x, y, score = decode(heatmaps)[0, 6].tolist()
    assert (x, y) == pytest.approx((9.5, 21.5))
    assert score == 0.5
    heatmaps[0, 6, 1, 6] = 0.7
    assert decode(heatmaps)[0, 6, :2].tolist() == pytest.approx([x, y]), "a lone spike is less"


class NoTables(TorchDispatchMode):
    """Refuses what copies numbers of Python's to a device: no CUDA graph can hold it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert "lift_fresh" not in str(func), func
        return func(*args, **(kwargs or {}))


def test_decoding_can_be_captured_on_a_gpu() -> None:
    heatmaps = torch.rand(2, 16, 32, 32)
    with NoTables():
        decode(heatmaps)
        with pytest.raises(AssertionError, match="lift_fresh"):
            torch.tensor([1, 2])


def test_decoding_survives_flat_and_negative_heatmaps() -> None:
    for heatmaps in (torch.zeros(1, 16, 8, 8), torch.full((1, 16, 8, 8), -3.0)):
        joints = decode(heatmaps)
        assert torch.isfinite(joints).all()
        assert (joints[..., 2] == 0).all()


def test_heatmap_and_crop_pixels_are_inverse() -> None:
    x = torch.linspace(-5, 300, 50)
    assert torch.allclose(to_crop(to_heatmap(x)), x, atol=1e-4)
    assert to_heatmap(torch.tensor(1.5)).item() == 0  # the middle of pixels 0..3


def test_states_of_joints() -> None:
    joints = random_joints(1, 64, margin_px=8)
    joints[0, 0, 0] = 200.0  # labelled, outside the crop: "not there" is learnt
    joints[0, 1, 2] = 0  # not labelled: nothing is learnt
    joints[0, 2, 2] = -1  # known to be absent
    targets, weights = make_targets(joints, 64)
    assert weights.flatten().tolist() == [1, 0] + [1] * 14
    assert targets[0, 0].max() == 0
    assert targets[0, 2].max() == 0
    assert targets[0, 3].max() > 0.7


def test_a_teacher_has_its_share_of_what_is_in_the_picture() -> None:
    joints = random_joints(1, 64, margin_px=8)
    joints[0, 1, 0] = 200.0  # labelled, outside the crop
    joints[0, 2, 2] = -1
    said = torch.rand(1, 16, 16, 16) * 1.5 - 0.25
    before, _ = make_targets(joints, 64)
    targets = taught(before, said, 0.25)
    assert torch.allclose(targets[0, 0], 0.75 * before[0, 0] + 0.25 * said[0, 0].clamp(0, 1))
    assert targets[0, 1:3].max() == 0


def test_unlabelled_joints_cost_nothing() -> None:
    joints = random_joints(1, 64, margin_px=8)
    targets, weights = make_targets(joints, 64)
    answer = targets.clone()
    assert heatmap_loss([answer, answer], targets, weights, 30.0) == 0
    answer[0, 3] += 1
    assert heatmap_loss([answer], targets, weights, 30.0) > 0
    weights[0, 3] = 0
    assert heatmap_loss([answer], targets, weights, 30.0) == 0


def test_loss_sums_stacks_and_weighs_the_foreground_by_hand() -> None:
    targets = torch.tensor([[[[1.0, 0.0]]]])
    answer = torch.tensor([[[[0.0, 2.0]]]])
    weights = torch.ones(1, 1, 1, 1)
    # ((1 + 30) * 1 + 1 * 4) / 2 cells, two stacks
    assert heatmap_loss([answer, answer], targets, weights, 30.0).item() == pytest.approx(35.0)


@pytest.mark.parametrize("foreground", [30.0, 1.0])
def test_a_low_weight_of_the_peak_tells_chances_apart(foreground: float) -> None:
    """The best height of a place that is right by chance p, as `TrainConfig.foreground` says."""
    heights = torch.linspace(0, 1, 1001)
    there, weights = torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1)

    def best(p: float) -> float:
        costs = [
            p * heatmap_loss([h.view(1, 1, 1, 1)], there, weights, foreground)
            + (1 - p) * heatmap_loss([h.view(1, 1, 1, 1)], 0 * there, weights, foreground)
            for h in heights
        ]
        return float(heights[torch.stack(costs).argmin()])

    for p in (0.2, 0.5, 0.6):
        expected = (1 + foreground) * p / (1 + foreground * p)
        assert best(p) == pytest.approx(expected, abs=2e-3)


def test_flipping_the_picture_flips_targets_and_joints() -> None:
    size = 64
    joints = random_joints(5, size, margin_px=0)
    mirrored = joints[:, list(FLIP_ORDER)].clone()
    mirrored[..., 0] = size - 1 - mirrored[..., 0]
    targets, _ = make_targets(joints, size)
    flipped, _ = make_targets(mirrored, size)
    assert torch.allclose(targets[:, list(FLIP_ORDER)].flip(3), flipped, atol=1e-6)
    decoded = decode(targets)[:, list(FLIP_ORDER)]
    expected = decode(flipped)
    assert torch.allclose(size - 1 - decoded[..., 0], expected[..., 0], atol=0.01)
    assert torch.allclose(decoded[..., 1], expected[..., 1], atol=0.01)


def test_normalise_takes_rgb_last_and_gives_it_first() -> None:
    crops = torch.zeros(1, 4, 4, 3, dtype=torch.uint8)
    crops[..., 0] = 255
    red, green, blue = normalise(crops)[0, :, 0, 0].tolist()
    assert red == pytest.approx((1 - 0.4404) / 0.25, abs=1e-4)
    assert (green, blue) == pytest.approx((-0.4440 / 0.25, -0.4327 / 0.25), abs=1e-4)


@pytest.fixture(scope="module")
def network() -> StackedHourglass:
    torch.manual_seed(3)
    network = StackedHourglass(SMALL)
    network.train()
    for _ in range(3):  # statistics of BatchNorm that are not the initial ones
        network(torch.randn(8, 3, 64, 64))
    return network.eval()


def test_torch_and_onnx_give_the_same_joints(network: StackedHourglass, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    export_onnx(PoseGraph(network), path)
    write_card(network, path, {})
    engine = open_engine(find_model(str(path)), "onnx")
    crops = np.random.default_rng(1).integers(0, 256, (5, 64, 64, 3), np.uint8)
    with torch.inference_mode():
        expected = PoseGraph(network)(torch.from_numpy(crops)).numpy()
    for part in (crops, crops[:1], crops[1:3]):  # any number of crops
        joints = engine.run(part)
        first = 0 if part is crops or len(part) == 1 else 1
        wanted = expected[first : first + len(part)]
        assert np.abs(joints[..., :2] - wanted[..., :2]).max() < 0.1
        assert np.abs(joints[..., 2] - wanted[..., 2]).max() < 1e-3
    engine.close()
    engine.close()


def test_checkpoint_round_trip(network: StackedHourglass, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"network": SMALL.as_dict(), "ema": network.state_dict()})
    loaded = load_network(path)
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(loaded(x)[-1], network(x)[-1])


def test_the_first_stacks_answer_as_they_do_inside_the_whole(network: StackedHourglass) -> None:
    x = torch.randn(1, 3, 64, 64)
    (heatmaps,) = first_stacks(network, 1)(x)
    assert torch.equal(heatmaps, network(x)[0])
    with pytest.raises(UsageError, match="has 2"):
        first_stacks(network, 3)


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("pwned"),))  # type: ignore[return-value]


def test_a_checkpoint_with_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"network": {}, "ema": Payload()}, "evil.pt")
    with pytest.raises(ModelError, match="can be read safely"):
        load_checkpoint(Path("evil.pt"))
    assert not Path("pwned").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 broken"])
def test_a_file_that_is_no_checkpoint(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError):
        load_checkpoint(path)
