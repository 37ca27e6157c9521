"""The INT8 variant: how it is made, that its joints are float32's, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from livepose import PoseEstimator
from livepose.errors import EngineError, LivePoseError, ModelError, UsageError
from livepose.model import export_int8 as int8
from livepose.models import Model, find_model, is_made_from, released_models, variant_path
from livepose.runtime import open_engine
from livepose.synthetic.chance import random_figure
from livepose.training import export_command
from livepose.training.datasets import Person
from livepose.training.export_command import export


@pytest.fixture(scope="module")
def crops() -> npt.NDArray[np.uint8]:
    """uint8 [16, 128, 128, 3] RGB: drawn people."""
    rng = np.random.default_rng(7)
    return np.stack([random_figure(rng, (128, 128))[0][..., ::-1] for _ in range(16)])


@pytest.fixture(scope="module")
def made(crops: npt.NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A copy of the released model, with an INT8 variant calibrated on half of the crops."""
    model = copy_of_released(tmp_path_factory.mktemp("int8"))
    path, apart_px = int8.export_int8(model, crops[:8])
    assert path == variant_path(model.path, "int8")
    assert 0 < apart_px <= 0.5
    return model


def copy_of_released(folder: Path) -> Model:
    released = find_model()
    for path in (released.path, released.path.with_suffix(".json")):
        shutil.copy(path, folder)
    return find_model(str(folder / released.path.name))


@pytest.mark.parametrize("engine", ["onnx", "openvino", "auto"])
def test_joints_are_those_of_float32(
    engine: str, made: Model, crops: npt.NDArray[np.uint8]
) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    plain = open_engine(made, "onnx", "cpu", "fp32")
    fast = open_engine(made, engine, "cpu", "int8")
    assert fast.info.precision == "int8"
    expected, joints = plain.run(crops[8:]), fast.run(crops[8:])
    counted = expected[..., 2] >= 0.3
    apart_px = np.linalg.norm(joints[..., :2] - expected[..., :2], axis=2)[counted]
    assert counted.sum() > 60
    assert np.median(apart_px) <= 0.5
    assert 0 < np.abs(joints[..., 2] - expected[..., 2]).mean() <= 0.05
    plain.close()
    fast.close()


def test_what_is_quantised(made: Model) -> None:
    path = variant_path(made.path, "int8")
    assert path.stat().st_size < 0.5 * made.path.stat().st_size
    graph = onnx.load(path).graph
    makers = {output: node.op_type for node in graph.node for output in node.output}
    fed = [makers.get(n.input[1], "float") for n in graph.node if n.op_type == "Conv"]
    assert (fed[0], fed[-1]) == ("float", "float")
    assert set(fed[1:-1]) == {"DequantizeLinear"}


def test_a_variant_of_another_model_is_refused(made: Model, tmp_path: Path) -> None:
    model = copy_of_released(tmp_path)
    with pytest.raises(EngineError, match=r"small\.int8\.onnx is not there; `livepose export"):
        open_engine(model, "onnx", "cpu", "int8")
    shutil.copy(variant_path(made.path, "int8"), tmp_path)
    open_engine(model, "onnx", "cpu", "int8").close()
    other = onnx.load(model.path)
    other.producer_name = "another"
    onnx.save(other, model.path)
    for engine in ("onnx", "openvino", "auto"):
        with pytest.raises(EngineError, match=r"small\.int8\.onnx is made from another") as caught:
            open_engine(model, engine, "cpu", "int8")
        assert "\n" not in str(caught.value)


def test_a_loss_too_large_keeps_the_older_file(
    made: Model, crops: npt.NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = variant_path(made.path, "int8")
    before = path.read_bytes()
    monkeypatch.setattr(int8, "TOLERANCE_PX", 0.0)
    with pytest.raises(ModelError, match="loses too much"):
        int8.export_int8(made, crops[:2])
    assert path.read_bytes() == before
    assert not list(path.parent.glob("*.part"))


def test_a_finder_and_a_file_that_is_no_model(
    made: Model, crops: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="only pose models"):
        int8.export_int8(find_model("finder"), crops[:2])
    text = tmp_path / "text.onnx"
    text.write_bytes(b"no graph")
    with pytest.raises(ModelError, match=r"text\.onnx: not an ONNX model"):
        int8.export_int8(replace(made, path=text), crops[:2])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = copy_of_released(tmp_path)
    export([str(model.path), "--int8", "synthetic:6", "--score", "synthetic:6"])
    assert "small.int8.onnx" in capsys.readouterr().out
    card = json.loads(model.path.with_suffix(".json").read_text())
    assert card["selftest"] == model.card["selftest"]
    assert card["int8"]["file"] == "small.int8.onnx"
    assert card["int8"]["calibrated_on"] == {"data": ["synthetic:6"], "people": 6}
    assert card["int8"]["scores"]["synthetic:6"]["people"] == 6
    with pytest.raises(UsageError, match="exported already"):
        export([str(model.path)])
    with pytest.raises(LivePoseError, match="is not KIND:PATH"):
        export([str(model.path), "--int8", "nothing"])


def test_an_exported_model_is_scored_again(tmp_path: Path) -> None:
    model = copy_of_released(tmp_path)
    before = model.card["scores"]
    export([str(model.path), "--score", "synthetic:4"])
    card = json.loads(model.path.with_suffix(".json").read_text())
    assert card["scores"].pop("synthetic:4")["people"] == 4
    assert card["scores"] == before and card["selftest"] == model.card["selftest"]


def test_every_data_set_is_calibrated_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they are few more than are wanted."""
    model = copy_of_released(tmp_path)
    chosen: list[str] = []

    def crops_of(people: list[Person], size: int) -> npt.NDArray[np.uint8]:
        chosen.extend(person.name for person in people)
        raise UsageError("enough")

    monkeypatch.setattr(export_command, "CALIBRATION", 4)
    monkeypatch.setattr(export_command, "true_crops", crops_of)
    with pytest.raises(UsageError, match="enough"):
        export([str(model.path), "--int8", "synthetic:3", "--int8", "speaker:3"])
    assert chosen == [f"{kind} figure {i}" for kind in ("synthetic", "speaker") for i in (0, 2)]


def test_the_released_variant_is_of_the_released_model() -> None:
    model = find_model()
    assert is_made_from(variant_path(model.path, "int8"), model.path)
    assert not [name for name in released_models() if "int8" in name]


def test_an_estimator_in_int8_finds_people() -> None:
    frame, _ = random_figure(np.random.default_rng(3), (320, 240))
    with PoseEstimator(precision="int8") as estimator:
        assert estimator.engine.info.precision == "int8"
        (pose,) = estimator.estimate(frame)
    assert pose.score > 0.6
