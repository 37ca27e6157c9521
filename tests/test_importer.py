"""Public checkpoints: random weights in their layouts give the same heatmaps here as there.

The forward passes of the public implementations are written down here as plain functions over
named weights; run with no weights at hand they make them, which is how the tests get state dicts.
"""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from livepose.errors import ModelError, UsageError
from livepose.model import import_command
from livepose.model.checkpoint import load_state_dict
from livepose.model.graph import decode, normalise
from livepose.model.hourglass import HourglassConfig
from livepose.model.importer import PublicCheckpoint, convert, read_public
from livepose.models import find_model
from livepose.runtime import open_engine

WIDTH = 16
SIZE = 64
MPII_MEAN = torch.tensor((0.4404, 0.4440, 0.4327)).view(1, 3, 1, 1)
Forward = Callable[["Weights", Tensor], list[Tensor]]


class Weights:
    """Named weights; those that are asked for and not there are drawn at random."""

    def __init__(self) -> None:
        self.state: dict[str, Tensor] = {}
        self.generator = torch.Generator().manual_seed(5)

    def get(self, name: str, shape: tuple[int, ...], scale: float, shift: float = 0) -> Tensor:
        if name not in self.state:
            noise = torch.rand(shape, generator=self.generator) * 2 - 1
            self.state[name] = noise * scale + shift
        return self.state[name]

    def conv(self, name: str, x: Tensor, out: int, kernel: int = 1, stride: int = 1) -> Tensor:
        fan_in = x.shape[1] * kernel**2
        weight = self.get(f"{name}.weight", (out, x.shape[1], kernel, kernel), fan_in**-0.5)
        bias = self.get(f"{name}.bias", (out,), 0.3)
        return F.conv2d(x, weight, bias, stride=stride, padding=kernel // 2)

    def norm_relu(self, name: str, x: Tensor) -> Tensor:
        shape = (x.shape[1],)
        mean, var = self.get(f"{name}.running_mean", shape, 0.3), (0.5, 1.0)
        var = self.get(f"{name}.running_var", shape, *var)
        weight = self.get(f"{name}.weight", shape, 0.5, 1.0)
        bias = self.get(f"{name}.bias", shape, 0.3)
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(7)
        return F.batch_norm(x, mean, var, weight, bias).relu()


def residual(
    w: Weights, name: str, x: Tensor, out: int, conv: str, skip: str, always_skip: bool
) -> Tensor:
    y = w.conv(f"{name}.conv1{conv}", w.norm_relu(f"{name}.bn1", x), out // 2)
    y = w.conv(f"{name}.conv2{conv}", w.norm_relu(f"{name}.bn2", y), out // 2, 3)
    y = w.conv(f"{name}.conv3{conv}", w.norm_relu(f"{name}.bn3", y), out)
    differs = x.shape[1] != out
    skipped = w.conv(f"{name}.{skip}", x, out) if differs or always_skip else x
    return y + (skipped if differs else x)


def princeton(stacks: int = 2, depth: int = 4, joints: int = 16) -> Forward:
    def res(w: Weights, name: str, x: Tensor, out: int = WIDTH) -> Tensor:
        return residual(w, name, x, out, ".conv", "skip_layer.conv", always_skip=True)

    def hourglass(w: Weights, name: str, x: Tensor, n: int) -> Tensor:
        low = res(w, f"{name}.low1", F.max_pool2d(x, 2))
        inner = hourglass if n > 1 else lambda w, name, x, n: res(w, name, x)
        low = res(w, f"{name}.low3", inner(w, f"{name}.low2", low, n - 1))
        return res(w, f"{name}.up1", x) + F.interpolate(low, scale_factor=2)

    def forward(w: Weights, pixels: Tensor) -> list[Tensor]:
        x = w.norm_relu("pre.0.bn", w.conv("pre.0.conv", pixels, 8, 7, 2))
        x = F.max_pool2d(res(w, "pre.1", x, 12), 2)
        x = res(w, "pre.4", res(w, "pre.3", x, 12))
        answers = []
        for i in range(stacks):
            y = res(w, f"features.{i}.0", hourglass(w, f"hgs.{i}.0", x, depth))
            y = w.norm_relu(f"features.{i}.1.bn", w.conv(f"features.{i}.1.conv", y, WIDTH))
            answers.append(w.conv(f"outs.{i}.conv", y, joints))
            if i < stacks - 1:
                x = x + w.conv(f"merge_preds.{i}.conv.conv", answers[-1], WIDTH)
                x = x + w.conv(f"merge_features.{i}.conv.conv", y, WIDTH)
        return answers

    return forward


def bearpaw(stacks: int = 2, blocks: int = 1, depth: int = 4) -> Forward:
    def res(w: Weights, name: str, x: Tensor, out: int = WIDTH, times: int = blocks) -> Tensor:
        for i in range(times):
            x = residual(w, f"{name}.{i}", x, out, "", "downsample.0", always_skip=False)
        return x

    def hourglass(w: Weights, name: str, x: Tensor, n: int) -> Tensor:
        level = f"{name}.hg.{n - 1}"
        low = res(w, f"{level}.1", F.max_pool2d(x, 2))
        low = hourglass(w, name, low, n - 1) if n > 1 else res(w, f"{level}.3", low)
        low = res(w, f"{level}.2", low)
        return res(w, f"{level}.0", x) + F.interpolate(low, scale_factor=2)

    def forward(w: Weights, pixels: Tensor) -> list[Tensor]:
        x = w.norm_relu("bn1", w.conv("conv1", pixels - MPII_MEAN, 4, 7, 2))
        x = F.max_pool2d(res(w, "layer1", x, 8, 1), 2)
        x = res(w, "layer3", res(w, "layer2", x, WIDTH, 1), WIDTH, 1)
        answers = []
        for i in range(stacks):
            y = res(w, f"res.{i}", hourglass(w, f"hg.{i}", x, depth))
            y = w.norm_relu(f"fc.{i}.1", w.conv(f"fc.{i}.0", y, WIDTH))
            answers.append(w.conv(f"score.{i}", y, 16))
            if i < stacks - 1:
                x = x + w.conv(f"fc_.{i}", y, WIDTH) + w.conv(f"score_.{i}", answers[-1], WIDTH)
        return answers

    return forward


def crops() -> Tensor:
    """uint8 [2, SIZE, SIZE, 3] RGB."""
    values = np.random.default_rng(2).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
    return torch.from_numpy(values)


@torch.inference_mode()
def run(forward: Forward, weights: Weights) -> list[Tensor]:
    """Their heatmaps of `crops()`, from RGB in 0..1."""
    return forward(weights, crops().permute(0, 3, 1, 2).float() / 255)


def fresh(forward: Forward) -> dict[str, Tensor]:
    weights = Weights()
    run(forward, weights)
    return {name: value.clone() for name, value in weights.state.items()}


def save(path: Path, state: dict[str, Any], prefix: str = "", wrapped: bool = True) -> Path:
    state = {prefix + name: value for name, value in state.items()}
    extra = {"epoch": 3, "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3}]}}
    torch.save(extra | {"state_dict": state} if wrapped else state, path)
    return path


@pytest.mark.parametrize(
    ("forward", "prefix", "wrapped", "expected"),
    [
        (princeton(), "model.module.", True, {"stacks": 2, "depth": 4, "stem": [8, 12, 12]}),
        (princeton(3, depth=2), "model.", True, {"stacks": 3, "depth": 2}),
        (bearpaw(), "module.", True, {"stacks": 2, "depth": 4, "stem": [4, 8, 16]}),
        (bearpaw(1), "", False, {"stacks": 1}),
        (bearpaw(2, blocks=3, depth=3), "module.", True, {"blocks": 3, "depth": 3}),
    ],
    ids=["princeton", "princeton-shallow", "bearpaw", "anibali", "bearpaw-3-blocks"],
)
def test_heatmaps_are_theirs(
    forward: Forward, prefix: str, wrapped: bool, expected: dict[str, Any], tmp_path: Path
) -> None:
    weights = Weights()
    theirs = run(forward, weights)
    network = convert(read_public(save(tmp_path / "x.pth", weights.state, prefix, wrapped), SIZE))
    assert expected.items() <= network.config.as_dict().items()
    with torch.inference_mode():
        ours = network(normalise(crops(), network.config.mean))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert b.std() > 0.1  # the comparison sees something
        assert (a - b).abs().max() < 1e-4


def test_every_key_of_the_file_is_in_the_report(tmp_path: Path) -> None:
    state = fresh(princeton(1, depth=2))
    checkpoint = read_public(save(tmp_path / "x.pth", state), SIZE)
    assert sorted(key.theirs for key in checkpoint.keys) == sorted(state)
    status = {key.theirs: key.status for key in checkpoint.keys}
    assert status["pre.1.skip_layer.conv.weight"] == "mapped"  # 8 to 12 channels
    assert status["pre.3.skip_layer.conv.weight"] == "unused"  # 12 to 12
    assert set(status.values()) == {"mapped", "unused"}
    # 7 residuals of the hourglass, 1 behind it, 1 of the stem: weight and bias each
    assert Counter(status.values())["unused"] == 2 * 9


def test_files_from_before_batch_counters(tmp_path: Path) -> None:
    state = fresh(bearpaw(1))
    old = {name: v for name, v in state.items() if not name.endswith("num_batches_tracked")}
    assert len(old) < len(state)
    convert(read_public(save(tmp_path / "x.pth", old), SIZE))


def load(path: Path, state: dict[str, Any]) -> PublicCheckpoint:
    return read_public(save(path, state, "module."), SIZE)


@pytest.mark.parametrize(
    ("forward", "name"),
    [
        (princeton(1), "hgs.0.0.low2.low2.up1.conv2.conv.weight"),
        (princeton(1), "outs.0.conv.weight"),
        (bearpaw(1), "hg.0.hg.0.3.0.conv1.bias"),
        (bearpaw(1), "layer2.0.conv3.weight"),
        (bearpaw(1), "res.0.0.bn1.running_var"),
    ],
)
def test_a_missing_key_is_named(forward: Forward, name: str, tmp_path: Path) -> None:
    state = fresh(forward)
    del state[name]
    with pytest.raises(ModelError, match=f"x.pth: .*{name} is missing"):
        convert(load(tmp_path / "x.pth", state))


def test_missing_hourglasses_are_named(tmp_path: Path) -> None:
    state = fresh(bearpaw(1))
    state = {k: v for k, v in state.items() if not k.startswith(("hg.0.hg", "res."))}
    state["hg.0.odd"] = torch.zeros(1)
    with pytest.raises(ModelError, match=r"hg\.0\.hg\.0\.0\.0\.bn1\.weight is missing.* more$"):
        convert(load(tmp_path / "x.pth", state))


def test_a_wrong_shape_is_named_with_both_shapes(tmp_path: Path) -> None:
    state = fresh(bearpaw(1))
    state["fc.0.0.weight"] = torch.zeros(16, 8, 1, 1)
    message = r"fc\.0\.0\.weight is \(16, 8, 1, 1\), expected \(16, 16, 1, 1\)$"
    with pytest.raises(ModelError, match=message):
        convert(load(tmp_path / "x.pth", state))
    state["score.0.weight"] = torch.zeros(16)
    with pytest.raises(ModelError, match="not a convolution"):
        load(tmp_path / "x.pth", state)


def test_weights_with_no_place_are_refused(tmp_path: Path) -> None:
    state = fresh(bearpaw(1)) | {"attention.weight": torch.zeros(2, 3)}
    with pytest.raises(ModelError, match=r"attention\.weight \(2, 3\) has no place"):
        convert(load(tmp_path / "x.pth", state))


def test_grey_pictures_other_joints_and_broken_numbers_are_refused(tmp_path: Path) -> None:
    state = fresh(princeton(1, depth=2))
    grey = state | {"pre.0.conv.weight": state["pre.0.conv.weight"][:, :1]}
    with pytest.raises(ModelError, match=r"\(8, 1, 7, 7\), expected \(8, 3, 7, 7\)"):
        convert(load(tmp_path / "x.pth", grey))
    with pytest.raises(ModelError, match="gives 12 joints"):
        convert(load(tmp_path / "x.pth", fresh(princeton(1, depth=2, joints=12))))
    state["outs.0.conv.bias"][3] = torch.nan
    with pytest.raises(ModelError, match=r"outs\.0\.conv\.bias .* no finite"):
        convert(load(tmp_path / "x.pth", state))


def test_crops_must_fit_the_depth(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pth", fresh(bearpaw(1)))
    with pytest.raises(ModelError, match="96 is not a multiple of 64"):
        read_public(path, 96)


class Payload:
    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (Path("pwned"),))


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = save(Path("evil.pth"), fresh(bearpaw(1)) | {"extra": Payload()})
    with pytest.raises(ModelError, match="can be read safely"):
        read_public(path)
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "no named weights"),
        ([torch.zeros(1)], "no named weights"),
        ({"state_dict": {"a": 3}}, "'a' is not a tensor"),
        ({"network": {}, "ema": {}}, "'network' is not a tensor"),
        ({"layer1.weight": torch.zeros(1)}, "starts with layer1.weight: a layout .* princeton"),
    ],
)
def test_other_files(content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ModelError, match=rf"x\.pth.*{message}"):
        read_public(tmp_path / "x.pth")


def test_no_pickle_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(b"<html>not found</html>")
    with pytest.raises(ModelError, match="can be read safely"):
        load_state_dict(tmp_path / "x.pth")
    with pytest.raises(ModelError, match="no such checkpoint"):
        load_state_dict(tmp_path / "y.pth")


def test_configurations_from_before_stay_equal() -> None:
    assert set(HourglassConfig().as_dict()) == {
        *("stacks", "width", "depth", "stem", "joints", "size"),
    }
    other = HourglassConfig(blocks=2, mean=(0.0, 0.0, 0.0))
    assert HourglassConfig.from_dict(json.loads(json.dumps(other.as_dict()))) == other


def test_the_command_writes_a_model_that_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forward, weights = princeton(1, depth=1), Weights()
    expected = decode(run(forward, weights)[-1]).numpy()
    source = save(tmp_path / "checkpoint.pth.tar", weights.state, "model.module.")
    output = tmp_path / "public.onnx"
    import_command.main(
        [str(source), str(output), "--size", str(SIZE), "--name", "hg2", "--note", "n", "--keys"]
    )
    printed = capsys.readouterr().out
    assert "unused  pre.3.skip_layer.conv.weight -> -: (12, 12, 1, 1)" in printed
    assert "none missing" in printed
    model = find_model(str(output))
    assert (model.size, model.card["name"], model.card["note"]) == (SIZE, "hg2", "n")
    assert model.card["imported_from"]["file"] == "checkpoint.pth.tar"
    engine = open_engine(model, "onnx")
    joints = engine.run(crops().numpy())
    engine.close()
    np.testing.assert_allclose(joints, expected, atol=0.05)


def test_the_output_is_an_onnx_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.onnx"):
        import_command.main([str(tmp_path / "x.pth"), str(tmp_path / "out.pt")])
