"""One contract for every engine that can run here, their self-test, and the choice between them."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from livepose import runtime
from livepose.errors import EngineError, ModelError, OutputError
from livepose.model.export import export_onnx, write_card
from livepose.model.graph import PoseGraph
from livepose.model.hourglass import HourglassConfig, StackedHourglass
from livepose.models import Model, find_model
from livepose.runtime import EngineInfo, open_engine
from livepose.runtime.base import DEVICE_STAGES, device_ms
from livepose.runtime.hardware import BF16_FEATURES, cpu_features
from livepose.runtime.selftest import check, make_selftest, read_selftest
from livepose.runtime.torch import fold_norms, load_weights
from livepose.synthetic.chance import random_figure

SIZE = 64
TINY = HourglassConfig(stacks=2, width=16, depth=1, stem=(8, 8, 16), size=SIZE)

EXACT = [("onnx", "cpu", "fp32"), ("openvino", "cpu", "fp32"), ("torch", "cpu", "fp32")]
EXACT += [("torch", "cuda", "fp32"), ("tensorrt", "cuda", "fp32")]
HALF = [("openvino", "cpu", "bf16"), ("torch", "cuda", "fp16"), ("tensorrt", "cuda", "fp16")]
HALF += [("openvino", "cpu", "int8"), ("onnx", "cpu", "int8")]

Contender = tuple[str, str, str]
"""Engine, device, precision."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads of torch that wait for each other take seconds where cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network() -> StackedHourglass:
    """Untrained, with statistics of its own and heatmaps that reach from below 0 to about 1."""
    torch.manual_seed(5)
    network = StackedHourglass(TINY)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.2)
    network.train()
    for _ in range(3):
        network(torch.randn(8, 3, SIZE, SIZE))
    network.eval()
    with torch.inference_mode():
        highest = network(torch.randn(8, 3, SIZE, SIZE))[-1].max()
    with torch.no_grad():
        network.heads[-1].heatmaps.weight /= highest  # type: ignore[union-attr,operator]
    return network


@pytest.fixture(scope="module")
def exported(network: StackedHourglass, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    export_onnx(PoseGraph(network), path)
    write_card(network, path, {"selftest": make_selftest(SIZE, reference(network))})
    return path


@pytest.fixture
def model(exported: Path) -> Model:
    return find_model(str(exported))


@pytest.fixture(scope="module")
def crops() -> npt.NDArray[np.uint8]:
    """uint8 [11, SIZE, SIZE, 3] RGB: people; more than the largest batch bucket."""
    rng = np.random.default_rng(1)
    return np.stack([random_figure(rng, (SIZE, SIZE))[0][..., ::-1] for _ in range(11)])


def reference(network: StackedHourglass) -> runtime.selftest.Run:
    """The network in fp32 torch on the CPU, not rebuilt from any file."""

    def run(crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            joints: npt.NDArray[np.float32] = PoseGraph(network)(torch.tensor(crops)).numpy()
        return joints

    return run


def skip_unless_possible(contender: Contender) -> None:
    name, device, precision = contender
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here")
    if name == "openvino" and importlib.util.find_spec(name) is None:
        pytest.skip("openvino is not installed")
    if name == "tensorrt" and importlib.util.find_spec(name) is None:
        pytest.skip("tensorrt is not installed")
    if precision == "bf16" and not cpu_features() & BF16_FEATURES:
        pytest.skip("no bf16 in this CPU")


@pytest.mark.parametrize("contender", EXACT, ids="-".join)
def test_contract(
    contender: Contender,
    model: Model,
    network: StackedHourglass,
    crops: npt.NDArray[np.uint8],
) -> None:
    skip_unless_possible(contender)
    expected = reference(network)(crops)
    engine = open_engine(model, *contender)
    engine.warm_up()
    answers = []
    for count in (1, 2, 3, 8, 11):
        joints = engine.run(crops[:count])
        assert joints.shape == (count, 16, 3)
        assert joints.dtype == np.float32
        answers.append(joints)
        stages = device_ms(engine)
        assert list(stages) == (list(DEVICE_STAGES) if contender[1] == "cuda" else [])
        assert all(ms > 0 for ms in stages.values())
    for joints in answers:  # and no run wrote over what an earlier one gave
        apart = np.abs(joints - expected[: len(joints)])
        assert apart[..., :2].max() <= 0.1
        assert apart[..., 2].max() <= 1e-3
    mirrored = engine.run(crops[:2, :, ::-1])  # not contiguous
    assert np.abs(mirrored - reference(network)(crops[:2, :, ::-1].copy())).max() <= 0.1
    for wrong in (crops[:1, :32], crops[:1].astype(np.float32), crops[:0]):
        with pytest.raises(EngineError):
            engine.run(wrong)
    assert str(engine.info) and engine.info.precision == contender[2]
    engine.close()
    engine.close()
    with pytest.raises(EngineError):
        engine.run(crops[:1])


@pytest.mark.parametrize("contender", [*EXACT, *HALF], ids="-".join)
def test_the_released_model_passes_its_self_test(contender: Contender) -> None:
    skip_unless_possible(contender)
    try:
        released = find_model()
    except ModelError as e:
        pytest.skip(str(e))
    torch_engine = open_engine(released, "torch", "cpu")
    stored = make_selftest(released.size, torch_engine.run)
    checked = replace(released, card=released.card | {"selftest": stored})
    engine = open_engine(checked, *contender)
    assert check(engine, checked)
    test = read_selftest(checked)
    assert test is not None
    assert (test.joints[..., 2] >= 0.3).sum() > 16
    engine.close()


def write_other_inputs(good: bytes) -> bytes:
    """A sound ONNX that is no pose model."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])
    y = helper.make_tensor_value_info("joints", TensorProto.FLOAT, [1, 3])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["joints"])], "g", [x], [y])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return made.SerializeToString()


def write_external(good: bytes) -> bytes:
    """The model with a weight in a file outside its folder."""
    made = onnx.load_from_string(good)
    weight = next(t for t in made.graph.initializer if t.name == "network.stem.0.weight")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../outside.bin")
    return made.SerializeToString()


BAD_FILES = {
    "empty": lambda good: b"",
    "no ONNX": lambda good: b"hello, world " * 20,
    "truncated": lambda good: good[: len(good) // 2],
    "other inputs": write_other_inputs,
    "weights outside": write_external,
}


@pytest.mark.parametrize("kind", BAD_FILES)
@pytest.mark.parametrize("engine", ["auto", "onnx", "openvino", "torch"])
def test_bad_model_files(
    engine: str, kind: str, exported: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    skip_unless_possible((engine, "cpu", "fp32"))
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / "outside.bin").write_bytes(bytes(8 * 3 * 7 * 7 * 4))
    path = folder / "bad.onnx"
    path.write_bytes(BAD_FILES[kind](exported.read_bytes()))
    path.with_suffix(".json").write_text(exported.with_suffix(".json").read_text())
    with pytest.raises(ModelError, match=r"bad\.onnx: .{10}"):
        open_engine(find_model(str(path)), engine, "cpu")
    out, err = capfd.readouterr()
    assert out == err == ""


def test_a_card_of_another_network(model: Model) -> None:
    card = model.card | {"network": model.card["network"] | {"width": 32}}
    with pytest.raises(ModelError, match="not of the `network` on its card"):
        open_engine(replace(model, card=card), "torch", "cpu")


@pytest.mark.parametrize(
    ("engine", "device", "precision"),
    [
        ("onnx", "cuda", "auto"),
        ("onnx", "cpu", "fp16"),
        ("openvino", "cuda", "auto"),
        ("openvino", "cpu", "int4"),
        ("torch", "cpu", "fp16"),
        ("torch", "cuda:99", "auto"),
        ("torch", "toaster", "auto"),
        ("auto", "toaster", "auto"),
        ("coffee", "auto", "auto"),
    ],
)
def test_what_an_engine_cannot_do(model: Model, engine: str, device: str, precision: str) -> None:
    with pytest.raises(EngineError) as e:
        open_engine(model, engine, device, precision)
    assert "\n" not in str(e.value)


def test_a_missing_package_is_named(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineError, match="pip install openvino"):
        open_engine(model, "openvino")


class Wrong:
    """An engine that is fast and draws wrong skeletons."""

    info = EngineInfo("wrong", "cpu", "fp32")

    def __init__(self, model: Model, device: str, precision: str) -> None:
        self._right = runtime.OPENERS["onnx"](model, device, precision)
        self.closed = False

    def warm_up(self) -> None: ...

    def run(self, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        joints = self._right.run(crops)
        joints[..., 0] += 3
        return joints

    def close(self) -> None:
        self.closed = True


def test_an_engine_that_fails_its_self_test_is_not_used(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def open_wrong(model: Model, device: str, precision: str) -> Wrong:
        opened.append(Wrong(model, device, precision))
        return opened[-1]

    monkeypatch.setitem(runtime.OPENERS, "openvino", open_wrong)
    monkeypatch.setitem(runtime.WHY_NOT, "openvino", lambda *_: "")
    engine = open_engine(model, "auto", "cpu")
    assert engine.info.name.startswith("onnxruntime")
    assert "not openvino: wrong fp32 on cpu failed its self-test" in engine.info.choice
    assert "3.00 px at most" in engine.info.choice
    with pytest.raises(EngineError, match="failed its self-test"):
        open_engine(model, "openvino")
    assert [wrong.closed for wrong in opened] == [True, True]


def test_auto_goes_past_whatever_is_broken(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that cannot be written, and a torch for another GPU."""

    def no_cache(*words: object) -> str:
        raise OutputError("/.cache: the cache folder cannot be made")

    def no_kernel(*words: object) -> None:
        raise RuntimeError("CUDA error: no kernel image is available\nand more lines")

    monkeypatch.setitem(runtime.WHY_NOT, "tensorrt", no_cache)
    monkeypatch.setitem(runtime.WHY_NOT, "torch", lambda *_: "")
    monkeypatch.setattr("livepose.runtime.torch.TorchEngine", no_kernel)
    choice = open_engine(model, "auto", "cpu").info.choice
    assert "not tensorrt: /.cache: the cache folder cannot be made" in choice
    assert "not torch: torch cannot be used: CUDA error: no kernel image is available" in choice
    assert "more lines" not in choice


def test_a_torch_that_cannot_be_imported_is_a_reason(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "has_nvidia_gpu", lambda: True)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "2.13.0")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "torch cannot be imported" in runtime.why_not_torch(model, "auto", "auto")


def test_the_command_that_builds_is_that_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "why_no_tensorrt", lambda *_: "")
    monkeypatch.setattr("livepose.runtime.build.why_not_ready", lambda *_: "no engine built yet")
    said = runtime.why_not_tensorrt(find_model("small"), "auto", "auto")
    assert said.endswith("`livepose build small`")
    own = replace(find_model("small"), name="mine", path=Path("runs/mine.onnx"))
    said = runtime.why_not_tensorrt(own, "cuda:1", "fp32")
    assert said.endswith("`livepose build runs/mine.onnx --device cuda:1 --precision fp32`")


def test_self_test_tells_no_joints_and_broken_cards(model: Model) -> None:
    class Empty(Wrong):
        def run(self, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            return np.full((len(crops), 16, 3), np.nan, np.float32)

    with pytest.raises(EngineError, match="no joints"):
        check(Empty(model, "cpu", "auto"), model)
    without = {k: v for k, v in model.card.items() if k != "selftest"}
    assert not check(Wrong(model, "cpu", "auto"), replace(model, card=without))
    for broken in (
        7,
        {},
        model.card["selftest"] | {"crops_jpeg": ["AAAA"]},
        model.card["selftest"] | {"joints_float32": "AAAAAAAA"},
    ):
        with pytest.raises(ModelError, match=r"tiny\.json: the card's self-test"):
            open_engine(replace(model, card=model.card | {"selftest": broken}), "onnx")


def test_opening_leaves_no_trace_and_no_torch(exported: Path, tmp_path: Path) -> None:
    """Neither runtime reports home or writes an id, and no engine on the CPU needs torch."""
    code = (
        "import sys\n"
        "from livepose.errors import EngineError\n"
        "from livepose.models import find_model\n"
        "from livepose.runtime import open_engine\n"
        "for name in ('auto', 'onnx', 'openvino'):\n"
        "    try:\n"
        "        open_engine(find_model(sys.argv[1]), name, 'cpu').warm_up()\n"
        "    except EngineError as e:\n"
        "        assert name == 'openvino', e\n"
        "print(sorted({'torch', 'scipy', 'matplotlib'} & set(sys.modules)))\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ORT_") and k != "CI"}
    environment |= {"HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(exported)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize("name", ["large", "base", "small"])
def test_no_number_of_a_released_network_is_beyond_half_precision(name: str) -> None:
    """Variances of some norms are, unless they are folded first; the answers stay."""
    network = load_weights(find_model(name))
    size = network.config.size
    x = torch.randn((1, 3, size, size), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(x)[-1]
        fold_norms(network)
        assert torch.allclose(network(x)[-1], expected, atol=1e-4)
    assert all(torch.isfinite(v.half()).all() for v in network.state_dict().values())
