"""Engine files: what is noticed before TensorRT sees them, and how they are written."""

import dataclasses
import os
import threading
from pathlib import Path

import pytest

from livepose.errors import EngineError, OutputError
from livepose.runtime import engine_cache
from livepose.runtime.engine_cache import (
    EngineKey,
    StaleEngineError,
    check_trusted,
    engine_path,
    locked,
    read_engine,
    write_engine,
    write_whole,
)

KEY = EngineKey("ab" * 32, "10.13.3.9", "NVIDIA H200", "9.0", "13", "crops 1..8", "STRONGLY_TYPED")
PLAN = bytes(range(256)) * 4 + b"\n\n"


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(engine_cache, "user_cache_path", lambda name: tmp_path / "cache")
    monkeypatch.setattr(engine_cache, "engines_folder", lambda: tmp_path / "engines")
    return tmp_path


def test_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "small.engine"
    write_engine(path, KEY, PLAN)
    assert read_engine(path, KEY) == PLAN
    assert os.listdir(path.parent) == ["small.engine"]


def test_any_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "small.engine"
    write_engine(path, KEY, PLAN)
    good = path.read_bytes()
    header = len(good) - len(PLAN)
    for i in (*range(header), header, header + 500, len(good) - 1):
        path.write_bytes(good[:i] + bytes([good[i] ^ 0x10]) + good[i + 1 :])
        with pytest.raises(StaleEngineError):
            read_engine(path, KEY)


def test_any_cut_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "small.engine"
    write_engine(path, KEY, PLAN)
    good = path.read_bytes()
    for length in (0, 1, 30, 200, len(good) - len(PLAN) - 1, len(good) - len(PLAN), len(good) - 1):
        path.write_bytes(good[:length])
        with pytest.raises(StaleEngineError):
            read_engine(path, KEY)
    path.write_bytes(good + b"more")
    with pytest.raises(StaleEngineError):
        read_engine(path, KEY)
    path.unlink()
    with pytest.raises(StaleEngineError, match="cannot be read"):
        read_engine(path, KEY)


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(EngineKey)])
def test_every_part_of_the_key_counts_and_is_named(tmp_path: Path, field: str) -> None:
    path = tmp_path / "small.engine"
    write_engine(path, dataclasses.replace(KEY, **{field: "another"}), PLAN)
    words = "the model has changed" if field == "onnx_sha256" else f"{field} another"
    with pytest.raises(StaleEngineError, match=words):
        read_engine(path, KEY)


def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.engine"
    write_engine(path, KEY, PLAN)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(engine_cache.os, "fsync", full)
    with pytest.raises(OutputError, match=r"small\.engine: cannot be written \(No space left"):
        write_whole(path, b"half")
    assert read_engine(path, KEY) == PLAN
    assert os.listdir(tmp_path) == ["small.engine"]


def test_the_lock_lets_one_in_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "small.engine"
    entered, order = threading.Event(), []

    def other() -> None:
        entered.set()
        with locked(path):
            order.append("other")

    thread = threading.Thread(target=other)
    with locked(path):
        thread.start()
        assert entered.wait(5)
        thread.join(0.1)
        order.append("first")
    thread.join(5)
    assert order == ["first", "other"]
    assert not path.exists()


def test_a_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path / "a"):
        raise KeyError
    with locked(tmp_path / "a"):
        pass


def test_places(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_checkout = engine_path("small", "fp16", "NVIDIA GeForce RTX 4090")
    assert in_checkout == folders / "engines" / "small.fp16.nvidia-geforce-rtx-4090.engine"
    package = Path(engine_cache.__file__).parents[1]
    monkeypatch.setattr(engine_cache, "engines_folder", lambda: package / "engines")
    assert engine_path("a", "fp16", "G").parent == folders / "cache" / "engines"


def test_engines_from_elsewhere_are_refused(folders: Path) -> None:
    check_trusted(folders / "engines" / "small.engine")
    check_trusted(folders / "cache" / "engines" / "small.engine")
    for path in (folders / "small.engine", folders / "engines" / "deeper" / "small.engine"):
        with pytest.raises(EngineError, match="not run by itself"):
            check_trusted(path)
    (folders / "engines").mkdir()
    link = folders / "engines" / "link.engine"
    try:
        link.symlink_to(folders / "evil.engine")
    except OSError:
        pytest.skip("no symbolic links here")
    with pytest.raises(EngineError, match="not run by itself"):
        check_trusted(link)
