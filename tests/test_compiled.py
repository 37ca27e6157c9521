"""What OpenVINO compiled is read back from the user's cache, and whatever is wrong with it costs
no more than compiling anew."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from livepose.errors import EngineError, ModelError
from livepose.models import FINDER, Model, find_model
from livepose.runtime import compiled, open_engine
from livepose.runtime.compiled import KEPT, Compiled

pytest.importorskip("openvino", reason="OpenVINO is for x86-64")

MODEL = find_model(FINDER)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(compiled, "user_cache_path", lambda name: tmp_path / "cache")
    return tmp_path / "cache" / "openvino"


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """One entry for each time that a graph was compiled."""
    from openvino import Core

    calls: list[object] = []
    compile_model = Core.compile_model

    def counted(self: Core, *arguments: object) -> object:
        calls.append(arguments)
        return compile_model(self, *arguments)

    monkeypatch.setattr(Core, "compile_model", counted)
    return calls


def answer(model: Model = MODEL, precision: str = "fp32") -> np.ndarray:
    """What an engine says that is opened for it, to a picture of noise, and closed again."""
    engine = open_engine(model, "openvino", precision=precision)
    crops = np.random.default_rng(0).integers(0, 256, (2, model.size, model.size, 3), np.uint8)
    try:
        return engine.run(crops)
    finally:
        engine.close()


def test_the_second_engine_is_read_back_and_answers_the_same(
    folder: Path, compilations: list[object]
) -> None:
    first = answer()
    (path,) = folder.iterdir()
    written = path.read_bytes()
    assert np.array_equal(answer(), first)
    assert len(compilations) == 1
    assert path.read_bytes() == written


def test_another_graph_configuration_or_version_is_another_file(
    folder: Path, compilations: list[object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answer()
    other = tmp_path / "finder.onnx"
    other.write_bytes(MODEL.path.read_bytes() + b"\x72\x00")  # one more, empty, field of metadata
    answer(replace(MODEL, path=other))
    monkeypatch.setattr(compiled, "cpu_features", lambda: frozenset({"more"}))
    answer()
    assert len(compilations) == len(list(folder.iterdir())) == 3
    made = [Compiled(MODEL.path, version, {"A": n}) for version in "12" for n in (1, 2)]
    for each in made:
        assert each.read() is None
        each.write(lambda: b"graph")
    assert len(list(folder.iterdir())) == 7


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "a graph of nothing"])
def test_a_damaged_file_is_compiled_anew_and_mended(
    folder: Path, compilations: list[object], damage: str
) -> None:
    first = answer()
    (path,) = folder.iterdir()
    good = path.read_bytes()
    bad = {
        "cut": good[:-1000],
        "flipped": good[:-9] + bytes([good[-9] ^ 1]) + good[-8:],
        "emptied": b"",
    }
    if damage in bad:
        path.write_bytes(bad[damage])
    else:
        from openvino import __version__

        config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        Compiled(MODEL.path, __version__, config | {"ENABLE_CPU_PINNING": False}).write(
            lambda: b"no graph at all"
        )
        assert [p.name for p in folder.iterdir()] == [path.name]
    assert np.array_equal(answer(), first)
    assert len(compilations) == 2
    assert np.array_equal(answer(), first)
    assert len(compilations) == 2


def test_one_that_fails_its_self_test_is_compiled_once_more(
    folder: Path, compilations: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if what was read back were wrong, and what is compiled now right."""
    from livepose.runtime.openvino import OpenVinoEngine

    first = answer()
    run = OpenVinoEngine.run

    def wrong(self: OpenVinoEngine, crops: np.ndarray) -> np.ndarray:
        return run(self, crops) + (0 if len(compilations) == 2 else 50)

    monkeypatch.setattr(OpenVinoEngine, "run", wrong)
    assert np.array_equal(answer(), first)
    assert len(compilations) == 2
    monkeypatch.setattr(OpenVinoEngine, "run", run)
    assert np.array_equal(answer(), first) and len(compilations) == 2


def test_one_that_fails_it_when_compiled_is_not_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from livepose.runtime.openvino import OpenVinoEngine

    monkeypatch.setattr(OpenVinoEngine, "run", lambda self, crops: np.zeros((2, 16, 5), np.float32))
    with pytest.raises(EngineError, match="failed its self-test"):
        answer()
    assert not folder.exists()


def test_a_cache_that_cannot_be_written_is_none(
    folder: Path, compilations: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.parent.write_text("in the way")
    first = answer()
    assert folder.parent.read_text() == "in the way"
    folder.parent.unlink()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert np.array_equal(answer(), first)
    assert list(folder.iterdir()) == []
    assert len(compilations) == 2


def test_a_folder_that_may_not_be_searched_is_no_cache(
    compilations: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for who is not root: neither read, nor asked whether it is there, nor deleted."""
    first = answer()

    def denied(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    real = Path.read_bytes
    in_cache = compiled.user_cache_path("livepose")
    monkeypatch.setattr(
        Path, "read_bytes", lambda p: denied(p) if in_cache in p.parents else real(p)
    )
    for name in ("unlink", "is_file", "exists", "mkdir"):
        monkeypatch.setattr(Path, name, denied)
    assert np.array_equal(answer(), first)
    assert len(compilations) == 2


def test_a_bad_one_that_cannot_be_deleted_ends_the_attempt(
    compilations: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    from livepose.runtime.openvino import OpenVinoEngine

    answer()
    opened: list[object] = []

    def wrong(self: OpenVinoEngine, crops: np.ndarray) -> np.ndarray:
        opened.append(self)
        return np.zeros((2, 16, 5), np.float32)

    def read_only(self: Path, missing_ok: bool = False) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(OpenVinoEngine, "run", wrong)
    monkeypatch.setattr(Path, "unlink", read_only)
    with pytest.raises(EngineError, match="failed its self-test"):
        answer()
    assert len(opened) == len(compilations) == 1


def test_a_graph_that_cannot_be_exported_is_not_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(compiled_model: object) -> bytes:
        raise RuntimeError("not supported")

    monkeypatch.setattr("livepose.runtime.openvino.exported", refused)
    answer()
    assert not folder.exists()


def test_a_model_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    gone = replace(MODEL, path=tmp_path / "gone.onnx")
    with pytest.raises(ModelError, match=r"gone\.onnx: the model cannot be read"):
        open_engine(gone, "openvino")


def test_only_so_many_are_kept(folder: Path, tmp_path: Path) -> None:
    """Those that were used last: the first is used every day."""
    for i in range(KEPT + 3):
        onnx = tmp_path / f"{i}.onnx"
        onnx.write_bytes(bytes([i]))
        Compiled(onnx, "1", {}).write(lambda: b"graph")
        (path,) = folder.glob(f"{i}.*")
        os.utime(path, (i, i))
        assert Compiled(tmp_path / "0.onnx", "1", {}).read() == b"graph"
    kept = {int(p.name.split(".")[0]) for p in folder.iterdir()}
    assert kept == {0, *range(4, KEPT + 3)}
