"""The TensorRT engine over a test double, and the double and the code against the real API."""

import inspect
import json
import logging
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from livepose.errors import EngineError, ModelError
from livepose.model.export_half import export_half
from livepose.models import Model, find_model, is_made_from, variant_path
from livepose.runtime import build, engine_cache
from livepose.runtime.base import DEVICE_STAGES, device_ms
from livepose.runtime.tensorrt import TensorRTEngine
from tests import tensorrt_double
from tests.tensorrt_double import STRONGLY_TYPED, World

onnx = pytest.importorskip("onnx")

ROOT = Path(__file__).parents[1]
REAL = ROOT.parent / "shared" / "tensorrt"
LISTINGS = {version: REAL / f"api-{version}.json" for version in STRONGLY_TYPED}
SIZE = 32
needs_listings = pytest.mark.skipif(
    not REAL.is_dir(), reason=f"the listings of the real API are not in {REAL}"
)


def write_model(path: Path, seed: int = 0) -> Model:
    """A pose model in name only: two convolutions, and joints that depend on all of the crop."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(seed)
    weights = {
        "scale": np.float32(255),
        "w0": rng.normal(size=(8, 3, 4, 4)).astype(np.float32),
        "gamma": rng.uniform(0.5, 2, 8).astype(np.float32),
        "beta": rng.normal(size=8).astype(np.float32),
        "mean": rng.normal(size=8).astype(np.float32),
        # Too small for float16: folded before it is rounded, it does no harm.
        "variance": rng.uniform(1e-9, 2, 8).astype(np.float32),
        "w1": rng.normal(size=(48, 8, 1, 1)).astype(np.float32) / 8,
        "shape": np.array([-1, 16, 3], np.int64),
    }
    nodes = [
        helper.make_node("Transpose", ["crops"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["t"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["c", "scale"], ["x"]),
        helper.make_node("Conv", ["x", "w0"], ["a"], strides=[4, 4]),
        helper.make_node("BatchNormalization", ["a", "gamma", "beta", "mean", "variance"], ["b"]),
        helper.make_node("Relu", ["b"], ["r"]),
        helper.make_node("Conv", ["r", "w1"], ["h"]),
        helper.make_node("GlobalAveragePool", ["h"], ["g"]),
        helper.make_node("Sigmoid", ["g"], ["s"]),
        helper.make_node("Reshape", ["s", "shape"], ["joints"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("joints", TensorProto.FLOAT, ["N", 16, 3])],
        [numpy_helper.from_array(np.asarray(w), name) for name, w in weights.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return Model(path.stem, path, SIZE, {"size": SIZE})


def some_crops(count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(count).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def reference(path: Path, crops: np.ndarray[Any, Any]) -> Any:
    session = ort.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"crops": crops})[0]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A tiny model, and the caches in a temporary folder."""
    monkeypatch.setattr(engine_cache, "user_cache_path", lambda name: tmp_path / "cache")
    monkeypatch.setattr(engine_cache, "engines_folder", lambda: tmp_path / "engines")
    return write_model(tmp_path / "tiny.onnx")


@pytest.fixture(params=list(STRONGLY_TYPED))
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The doubles of both versions; whatever a test did, nothing may be left of it."""
    world = tensorrt_double.install(monkeypatch, request.param)
    yield world
    assert world.faults == []
    assert world.stack == []
    assert (world.live, world.memory, world.graphs) == (0, {}, {})


def test_joints_for_any_number_of_crops(model: Model, world: World) -> None:
    engine = TensorRTEngine(model, precision="fp32")
    engine.warm_up()
    launches = world.launches
    for count in (1, 2, 3, 4, 5, 8, 9, 19):
        crops = some_crops(count)
        joints = engine.run(crops)
        assert joints.dtype == np.float32
        np.testing.assert_allclose(joints, reference(model.path, crops), atol=1e-5)
        slices = -(-count // 8)
        assert device_ms(engine) == dict.fromkeys(DEVICE_STAGES, 0.25 * slices)
    assert world.launches - launches == 6 + 2 + 3
    engine.close()
    engine.close()
    assert world.stack == []


def test_half_precision_is_taken_by_itself(model: Model, world: World) -> None:
    engine = TensorRTEngine(model)
    assert engine.info.precision == "fp16"
    assert str(engine.info).endswith("fp16 on Double GPU 100")
    crops = some_crops(3)
    assert np.abs(engine.run(crops) - reference(model.path, crops)).max() < 0.01
    engine.close()


def test_half_variant_beside_the_model_is_taken_if_it_is_of_this_model(
    model: Model, world: World, tmp_path: Path
) -> None:
    half = variant_path(model.path, "fp16")
    export_half(model.path, half)
    assert build.graph_for(model, "auto") == (half, "fp16")
    write_model(model.path, seed=1)
    graph, precision = build.graph_for(model, "auto")
    assert (graph.parent, precision) == (tmp_path / "cache", "fp16")
    assert is_made_from(graph, model.path)


def test_without_half_precision_it_says_so_and_takes_fp32(
    model: Model, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with caplog.at_level(logging.WARNING):
        assert build.graph_for(model, "auto") == (model.path, "fp32")
    assert "onnx is not installed" in caplog.text
    with pytest.raises(EngineError, match="onnx is not installed"):
        build.graph_for(model, "fp16")


def test_freed_in_order(model: Model, world: World) -> None:
    engine = TensorRTEngine(model)
    engine.run(some_crops(1))
    world.freed.clear()
    engine.close()
    memory = ["DeviceAllocation"] * 2 + ["PagelockedHostAllocation"] * 2
    assert world.freed[:6] == ["GraphExec", "IExecutionContext", *memory]
    assert world.freed[6:8] == ["ICudaEngine", "Runtime"]
    assert sorted(world.freed[8:13]) == ["Event"] * 4 + ["Stream"]
    assert world.freed[13:] == ["Context"]
    with pytest.raises(EngineError, match="closed"):
        engine.run(some_crops(1))


OPENING = {
    "init": "no NVIDIA GPU",
    "Builder": "starting its builder",
    "create_network": "making a network: it gave nothing",
    "create_builder_config": "making a configuration",
    "profile": "refuses crops",
    "build": "no kernel for this$",
    "deserialize": "the plan wants another driver",
}
RUNNING = {
    "create_execution_context": "making a context",
    "shape": "setting the batch size",
    "address": "binding crops",
    "execute": "the enqueue failed",
    "htod": "an illegal memory access",
    "begin_capture": "CUDA_ERROR_201",
    "end_capture": "CUDA_ERROR_901",
    "instantiate": "CUDA_ERROR_801",
    "launch": "CUDA_ERROR_719",
    "synchronize": "unspecified launch failure$",
}


@pytest.mark.parametrize("fault", OPENING)
def test_failing_to_open_is_one_line_and_leaves_nothing(
    model: Model, world: World, fault: str
) -> None:
    world.fail.add(fault)
    with pytest.raises(EngineError, match=OPENING[fault]) as caught:
        TensorRTEngine(model)
    assert "\n" not in str(caught.value)
    del caught


@pytest.mark.parametrize("fault", RUNNING)
def test_failing_to_run_is_one_line_and_the_engine_still_closes(
    model: Model, world: World, fault: str
) -> None:
    engine = TensorRTEngine(model)
    world.fail_once.add(fault)
    with pytest.raises(EngineError, match=RUNNING[fault]) as caught:
        engine.run(some_crops(2))
    assert "\n" not in str(caught.value)
    del caught
    assert world.stack == []
    crops = some_crops(2)
    assert np.abs(engine.run(crops) - reference(model.path, crops)).max() < 0.01
    engine.close()


def test_an_engine_that_is_not_pose(model: Model, world: World) -> None:
    broken = Model("tiny", model.path, 64, {})
    with pytest.raises(EngineError, match="not an engine of a livepose model"):
        TensorRTEngine(broken, precision="fp32")
    engine = TensorRTEngine(model, precision="fp32")
    for crops in (np.zeros((1, 64, 64, 3), np.uint8), np.zeros((1, SIZE, SIZE, 3), np.float32)):
        with pytest.raises(EngineError, match="crops are uint8"):
            engine.run(crops)  # type: ignore[arg-type]
    engine.close()


def test_a_graph_that_tensorrt_cannot_read(model: Model, world: World) -> None:
    model.path.write_bytes(b"no graph")
    with pytest.raises(EngineError, match=r"cannot read it \(no importer for this"):
        TensorRTEngine(model, precision="fp32")


@pytest.mark.parametrize("device", ["cpu", "cuda:x", "cuda:1", "gpu"])
def test_a_device_that_is_not_there(model: Model, world: World, device: str) -> None:
    with pytest.raises(EngineError, match=re.escape(device)):
        TensorRTEngine(model, device=device)


def test_a_precision_that_is_not_there(model: Model, world: World) -> None:
    with pytest.raises(EngineError, match="'int8'"):
        TensorRTEngine(model, precision="int8")


def test_each_thread_that_runs_an_engine_ends_without_a_context(model: Model, world: World) -> None:
    left: list[list[int]] = []

    def work(fail: bool) -> None:
        engine = TensorRTEngine(model)
        left.append(list(world.stack))
        if fail:
            world.fail_once.add("launch")
            with pytest.raises(EngineError):
                engine.run(some_crops(1))
        else:
            engine.run(some_crops(1))
        left.append(list(world.stack))
        engine.close()
        left.append(list(world.stack))

    for fail in (False, True):
        thread = threading.Thread(target=work, args=(fail,))
        thread.start()
        thread.join(20)
    assert left == [[]] * 6


@pytest.mark.parametrize("error", [ImportError, OSError, RuntimeError, KeyError])
@pytest.mark.parametrize("name", ["tensorrt", "pycuda"])
def test_a_broken_package_is_one_line(
    model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, error: type
) -> None:
    tensorrt_double.install(monkeypatch, "11.4.0.106")
    for module in ("tensorrt", "pycuda", "pycuda.driver"):
        if module.startswith(name):
            monkeypatch.delitem(sys.modules, module)
    (tmp_path / f"{name}.py").write_text(f"raise {error.__name__}('libnvinfer.so.11: gone\\nmore')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EngineError, match=r"gone.*pip install 'livepose\[tensorrt\]'") as caught:
        TensorRTEngine(model)
    assert "\n" not in str(caught.value)
    with pytest.raises(EngineError):
        build.why_not_ready(model)


def spoil_flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


def spoil_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def spoil_version(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(re.sub(rb'"tensorrt": "[^"]*"', b'"tensorrt": "9.9.9"', data, count=1))


SPOILT = {"flip": "its checksum is wrong", "cut": "its checksum is wrong", "version": "9.9.9"}


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_engine_is_built_again_once_with_the_reason(
    model: Model, world: World, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert build.why_not_ready(model)
    TensorRTEngine(model).close()
    assert not build.why_not_ready(model)
    TensorRTEngine(model).close()
    assert world.builds == 1
    (path,) = engine_cache.cache_folder().glob("*.engine")
    {"flip": spoil_flip, "cut": spoil_cut, "version": spoil_version}[how](path)
    assert build.why_not_ready(model)
    with caplog.at_level(logging.WARNING):
        TensorRTEngine(model).close()
        TensorRTEngine(model).close()
    assert world.builds == 2
    (line,) = caplog.messages
    assert SPOILT[how] in line
    assert line.endswith("building it again")


def test_an_engine_that_tensorrt_refuses_is_built_again_once(
    model: Model, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    TensorRTEngine(model).close()
    world.fail_once.add("deserialize")
    with caplog.at_level(logging.WARNING):
        engine = TensorRTEngine(model)
    engine.run(some_crops(1))
    engine.close()
    assert "the plan wants another driver" in caplog.text
    assert world.builds == 2


def test_another_model_of_that_name_is_built_again(model: Model, world: World) -> None:
    TensorRTEngine(model).close()
    write_model(model.path, seed=1)
    engine = TensorRTEngine(model)
    crops = some_crops(1)
    assert np.abs(engine.run(crops) - reference(model.path, crops)).max() < 0.01
    engine.close()
    assert world.builds == 2


def test_an_engine_from_elsewhere_only_by_name(model: Model, world: World, tmp_path: Path) -> None:
    own = build.build_engine(model).path
    elsewhere = tmp_path / "given.engine"
    own.rename(elsewhere)
    engine = TensorRTEngine(model, engine_path=elsewhere)
    engine.run(some_crops(1))
    engine.close()
    own.symlink_to(elsewhere)
    with pytest.raises(EngineError, match="not run by itself"):
        TensorRTEngine(model)
    spoil_flip(elsewhere)
    with pytest.raises(EngineError, match="checksum is wrong; `livepose build`"):
        TensorRTEngine(model, engine_path=elsewhere)
    assert world.builds == 1


def test_timings_are_kept_and_broken_ones_do_no_harm(
    model: Model, world: World, tmp_path: Path
) -> None:
    build.build_engine(model)
    (timings,) = (tmp_path / "cache").glob("timings-*.cache")
    build.build_engine(model, force=True)
    assert timings.read_bytes() == b"timingstimings"
    timings.write_bytes(b"nonsense")
    build.build_engine(model, force=True)
    assert timings.read_bytes() == b"timings"
    world.fail.add("timings")
    build.build_engine(model, force=True)
    assert world.builds == 4


def test_the_command(model: Model, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    card = model.path.with_suffix(".json")
    card.write_text(json.dumps(model.card))
    build.main([str(model.path)])
    assert re.search(
        r"tiny\.fp16\.double-gpu-100\.engine: fp16 .* \d+\.\d s", capsys.readouterr()[0]
    )
    build.main([str(model.path)])
    assert world.builds == 1
    build.main([str(model.path), "--force"])
    assert world.builds == 2
    world.fail.add("htod")
    build.main([str(model.path), "--precision", "fp32"])
    assert world.builds == 3


def test_half_variant_of_the_released_model(tmp_path: Path) -> None:
    path, half = find_model().path, tmp_path / "small.fp16.onnx"
    export_half(path, half)
    assert is_made_from(half, path)
    assert half.stat().st_size < 0.7 * path.stat().st_size
    graph = onnx.load(half).graph
    # TensorRT takes uint8 into a cast and nothing else.
    assert graph.node[0].op_type == "Cast"
    # The decoder's tables of cells are no weights.
    large = [w for w in graph.initializer if np.prod(w.dims) > 16 and "network" in w.name]
    assert {w.data_type for w in large} == {onnx.TensorProto.FLOAT16}
    assert [o.type.tensor_type.elem_type for o in graph.output] == [onnx.TensorProto.FLOAT]


def test_half_variant_that_loses_too_much_is_not_written(tmp_path: Path) -> None:
    model = write_model(tmp_path / "tiny.onnx")
    graph = onnx.load(model.path)
    for weight in graph.graph.initializer:
        factor = {"gamma": 1e6, "beta": 1e6, "w1": 1e-6}.get(weight.name)
        if factor:
            values = onnx.numpy_helper.to_array(weight) * np.float32(factor)
            weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(graph, model.path)
    with pytest.raises(ModelError, match="loses too much"):
        export_half(model.path, tmp_path / "half.onnx")
    assert os.listdir(tmp_path) == ["tiny.onnx"]


def test_half_variant_of_something_else(tmp_path: Path) -> None:
    model = write_model(tmp_path / "tiny.onnx")
    graph = onnx.load(model.path)
    graph.graph.node[5].op_type = "Softmax"
    onnx.save(graph, tmp_path / "soft.onnx")
    (tmp_path / "text.onnx").write_bytes(b"no graph")
    outside = onnx.load(model.path)
    weight = outside.graph.initializer[1]
    weight.data_location = onnx.TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    weight.ClearField("raw_data")
    (tmp_path / "outside.onnx").write_bytes(outside.SerializeToString())
    for name in ("soft", "text", "outside"):
        with pytest.raises(ModelError, match=name) as caught:
            export_half(tmp_path / f"{name}.onnx", tmp_path / "half.onnx")
        assert "\n" not in str(caught.value)


def overloads(entry: Any) -> list[list[tuple[str, bool]]]:
    """Of each overload of a method in the listings: names of parameters, and if they must be."""
    found = []
    for text in entry if isinstance(entry, list) else []:
        inside = text[text.index("(") + 1 : text.rindex(") ->")]
        flat = re.sub(r"\[[^\[\]]*\]|<[^<>]*>", "", re.sub(r"\[[^\[\]]*\]", "", inside))
        parts = [part.strip() for part in flat.split(",") if part.strip()]
        found.append([(part.split(":")[0], "=" not in part) for part in parts])
    return found


def fits(names: list[str], overload: list[tuple[str, bool]]) -> bool:
    """Whether parameters so named are the overload's first, and the others may be left out."""
    rest = overload[len(names) :]
    return names == [name for name, _ in overload[: len(names)]] and not any(m for _, m in rest)


@needs_listings
@pytest.mark.parametrize("version", STRONGLY_TYPED)
def test_the_double_is_a_part_of_the_real_api(version: str) -> None:
    listing = json.loads(LISTINGS[version].read_text())
    assert listing["__version__"] == version
    module = tensorrt_double.tensorrt_module(version)
    compared = 0
    for name in (*tensorrt_double.TENSORRT, "NetworkDefinitionCreationFlag"):
        double = getattr(module, name)
        if issubclass(double, tensorrt_double.Numbered):
            real = listing["enums"][name]
            assert {m.name: int(m) for m in double}.items() <= real.items()
            compared += 1
            continue
        real = listing["classes"][name]
        for member, value in vars(double).items():
            if isinstance(value, property):
                assert member in real["properties"], f"{name}.{member}"
            elif inspect.isfunction(value) and not member.startswith("_"):
                names = list(inspect.signature(value).parameters)
                known = overloads(real["methods"][member])
                assert any(fits(names, overload) for overload in known), f"{name}.{member}{names}"
                compared += 1
    severities = listing["enums"]["ILogger.Severity"]
    assert {m.name: int(m) for m in module.ILogger.Severity}.items() <= severities.items()
    for name in ("Builder", "Runtime", "OnnxParser"):
        names = list(inspect.signature(getattr(module, name).__init__).parameters)
        known = overloads(listing["classes"][name]["methods"]["__init__"])
        assert any(fits(names, overload) for overload in known), name
    assert compared > 25


@needs_listings
def test_the_names_of_pycuda_are_in_its_wheel() -> None:
    (wheel,) = (REAL / "wheels-cp312-x86_64").glob("pycuda-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.startswith("pycuda/_driver"))
        binary = archive.read(name)
    for name, double in tensorrt_double.DRIVER.items():
        members = vars(double) if inspect.isclass(double) else {}
        for word in (name, *(m for m in members if not m.startswith("_"))):
            assert word.encode() in binary, f"{name}: {word}"


@needs_listings
@pytest.mark.parametrize("stubs", ["stubs-10", "stubs-11"])
def test_types_against_the_real_stubs(stubs: str, tmp_path: Path) -> None:
    """No call that this version does not have; errors inside the stubs themselves do not count."""
    pytest.importorskip("mypy")
    canary = tmp_path / "canary.py"
    canary.write_text("import tensorrt\n\nprint(tensorrt.BuilderFlag.NO_SUCH_FLAG)\n")
    files = [f"livepose/runtime/{name}.py" for name in ("tensorrt", "build")]
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", "--no-error-summary"]
    result = subprocess.run(
        [*command, "--cache-dir", f".mypy_cache/{stubs}", *files, canary],
        cwd=ROOT,
        env=os.environ | {"MYPYPATH": os.fspath(REAL / stubs)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert result.stderr == ""
    told = [line for line in result.stdout.splitlines() if "error:" in line]
    assert [line for line in told if line.startswith("livepose")] == []
    assert any("NO_SUCH_FLAG" in line for line in told), "the stubs were not read"
