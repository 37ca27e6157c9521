"""Which released model `--model auto` is, on machines as they may be."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from livepose import models
from livepose.errors import ModelError
from livepose.models import engines_folder
from livepose.runtime import choice
from livepose.runtime.choice import suited_model

AMX = frozenset({"avx2", "amx_bf16"})


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CPU with AMX, OpenVINO and no GPU; answers the folder of its models."""
    for name in ("small", "base", "large"):
        for suffix in (".onnx", ".json"):
            shutil.copy(engines_folder() / f"small{suffix}", tmp_path / f"{name}{suffix}")
    monkeypatch.setattr(models, "engines_folder", lambda: tmp_path)
    monkeypatch.setattr(choice, "cpu_features", lambda: AMX)
    monkeypatch.setattr(choice, "why_not_openvino", lambda *words: "")
    monkeypatch.setattr(choice, "why_not_torch", lambda *words: "no NVIDIA GPU")
    monkeypatch.setattr(choice, "why_no_tensorrt", lambda *words: "no NVIDIA GPU")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ({}, "base"),
        ({"engine": "openvino", "device": "cpu", "precision": "bf16"}, "base"),
        ({"engine": "onnx"}, "small"),
        ({"engine": "torch"}, "small"),
        ({"precision": "fp32"}, "small"),
        ({"precision": "int8"}, "small"),
        ({"device": "cuda"}, "small"),
        ({"name": "small"}, "small"),
    ],
)
def test_amx_runs_base_in_bf16_alone(machine: Path, words: dict[str, str], name: str) -> None:
    assert suited_model(**words).name == name


@pytest.mark.parametrize("lacking", ["cpu_features", "why_not_openvino", "base"])
def test_without_amx_or_openvino_or_base_it_is_small(
    machine: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    if lacking == "base":
        (machine / "base.onnx").unlink()
    elif lacking == "cpu_features":
        monkeypatch.setattr(choice, "cpu_features", lambda: AMX - {"amx_bf16"})
    else:
        monkeypatch.setattr(choice, lacking, lambda *words: "not installed")
    assert suited_model().name == "small"


@pytest.mark.parametrize("there", ["why_not_torch", "why_no_tensorrt"])
def test_a_gpu_runs_large(machine: Path, monkeypatch: pytest.MonkeyPatch, there: str) -> None:
    monkeypatch.setattr(choice, "cpu_features", frozenset)
    assert suited_model().name == "small"
    monkeypatch.setattr(choice, there, lambda *words: "")
    monkeypatch.setattr(choice, "starts_tensorrt", lambda device: True)
    engine, other = ("torch", "tensorrt") if there == "why_not_torch" else ("tensorrt", "torch")
    assert suited_model().name == suited_model(engine=engine, precision="fp16").name == "large"
    assert suited_model(engine=other).name == suited_model(engine="openvino").name == "small"
    assert suited_model(precision="int8").name == "small"
    (machine / "large.onnx").unlink()
    assert suited_model().name == "small"


def test_a_gpu_whose_tensorrt_does_not_start_does_not_bring_large_to_the_cpu(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "cpu_features", frozenset)
    monkeypatch.setattr(choice, "why_no_tensorrt", lambda *words: "")
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # as a broken one: importing it fails
    assert suited_model().name == suited_model(engine="tensorrt").name == "small"


def test_an_unknown_name_is_said(machine: Path) -> None:
    with pytest.raises(ModelError, match="give one of base, large, small"):
        suited_model("nosuch")


def test_eval_scores_the_model_that_would_run(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = pytest.importorskip("livepose.training.eval_command")
    opened = []

    def open_engine(model: models.Model, *words: str) -> SimpleNamespace:
        opened.append(model.name)
        return SimpleNamespace(run=None)

    monkeypatch.setattr(commands, "open_engine", open_engine)
    commands.score_model("auto", "auto", [])
    commands.score_model("auto", "auto", [], "fp32")
    assert opened == ["base", "small"]


@pytest.mark.parametrize("name", ["large", "base", "small", "finder"])
def test_released_cards_are_strict_json(name: str) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    card = json.loads((engines_folder() / f"{name}.json").read_text(), parse_constant=refuse)
    assert card["scores"]
