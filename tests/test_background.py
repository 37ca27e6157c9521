"""TensorRT's engine built by another process, and the change to it between two frames.

The process is real; it and this one run the test double of TensorRT.
"""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from livepose import runtime
from livepose.capture import CaptureThread, Frame, SourceInfo
from livepose.errors import EngineError
from livepose.estimator import PoseEstimator
from livepose.inference import InferenceThread, Result
from livepose.models import Model, find_model
from livepose.runtime import background, build, engine_cache
from livepose.runtime.background import BackgroundBuild, kill_builds
from livepose.runtime.choice import suited_model
from livepose.synthetic.chance import random_figure
from tests import tensorrt_double
from tests.tensorrt_double import World

VERSION = "11.4.0.106"

FAKE_TENSORRT = f"""
import os, signal, time
from tests import tensorrt_double as double
module = double.MODULE = double.tensorrt_module("{VERSION}")
globals().update({{k: v for k, v in vars(module).items() if not k.startswith("__")}})
__version__ = module.__version__
build = double.Builder.build_serialized_network

def counted(self, network, config):
    with open(os.environ["TEST_FOLDER"] + "/builds.txt", "a") as file:
        file.write("built\\n")
    how = os.environ.get("TEST_BUILD")
    if how == "fails":
        double.world.fail.add("build")
    if how == "takes long":  # as in the middle of TensorRT, where Python sees no signal
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
        time.sleep(60)
    if how == "takes a second":
        time.sleep(1)
    if how == "writes long":
        os.fsync = lambda handle: time.sleep(60)
    return build(self, network, config)

double.Builder.build_serialized_network = counted
"""
FAKE_PYCUDA = """
import os
from pathlib import Path
from livepose.runtime import cuda_graph, engine_cache
from tests import tensorrt_double as double
folder = Path(os.environ["TEST_FOLDER"])
engine_cache.user_cache_path = lambda name: folder / "cache"
engine_cache.engines_folder = lambda: folder / "engines"
library = double.LibCuda()
cuda_graph.driver = lambda: library
"""
FAKE_DRIVER = "from tests.tensorrt_double import DRIVER; globals().update(DRIVER)"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages for processes, which all keep their caches in this folder."""
    for name, text in {
        "tensorrt/__init__.py": FAKE_TENSORRT,
        "pycuda/__init__.py": FAKE_PYCUDA,
        "pycuda/driver.py": FAKE_DRIVER,
    }.items():
        (tmp_path / "fake" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fake" / name).write_text(text)
    monkeypatch.setenv("PYTHONPATH", os.fspath(tmp_path / "fake"))
    monkeypatch.setenv("TEST_FOLDER", os.fspath(tmp_path))
    monkeypatch.setattr(engine_cache, "user_cache_path", lambda name: tmp_path / "cache")
    monkeypatch.setattr(engine_cache, "engines_folder", lambda: tmp_path / "engines")
    return tmp_path


@pytest.fixture
def world(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A machine with a GPU, TensorRT and PyCUDA; whatever a test did, nothing may be left."""
    world = tensorrt_double.install(monkeypatch, VERSION)
    monkeypatch.setattr(runtime, "has_nvidia_gpu", lambda: True)
    monkeypatch.setattr(runtime, "find_spec", lambda name: name != "torch")
    yield world
    assert world.faults == []
    assert world.stack == []
    assert (world.live, world.memory, world.graphs) == (0, {}, {})


class Standing:
    """A file of one person who stands still; it ends some frames after `said` is long enough."""

    live = False
    info = SourceInfo("standing", (320, 240), 30.0)

    def __init__(self, said: list[str], lines: int) -> None:
        self._said, self._lines = said, lines
        self._image, _ = random_figure(np.random.default_rng(9), (320, 240))
        self._index, self._more = 0, 15
        self._until_s = time.monotonic() + 60

    def read(self) -> Frame | None:
        if len(self._said) >= self._lines or time.monotonic() > self._until_s:
            self._more -= 1
        if self._more < 0:
            return None
        frame = Frame(self._image.copy(), self._index, self._index / 30, time.monotonic())
        self._index += 1
        return frame

    def close(self) -> None:
        pass


def run(lines: int = 2) -> tuple[list[Result], list[str], list[str]]:
    """Results of the inference thread, what was said, and the engine of each frame."""
    said: list[str] = []
    engines: list[str] = []

    class Watched(PoseEstimator):
        def track(self, frame_bgr, time_s):  # type: ignore[no-untyped-def]
            poses = super().track(frame_bgr, time_s)
            engines.append(self.engine.info.name.split()[0])
            return poses

    def make() -> PoseEstimator:
        estimator = Watched()
        estimator.build_in_background(said.append)
        return estimator

    capture = CaptureThread(lambda: Standing(said, lines))
    inference = InferenceThread(capture, make)
    results = []
    capture.start()
    inference.start()
    try:
        while not inference.ended:
            result = inference.get(0.05)
            if result is not None:
                results.append(result)
        inference.get(0)
    finally:
        inference.stop()
        capture.stop()
    assert [t.name for t in threading.enumerate() if t.name in ("capture", "inference")] == []
    return results, said, engines


def check_that_no_frame_is_lost(results: list[Result]) -> None:
    assert [r.frame.index for r in results] == list(range(len(results)))
    assert {pose.id for r in results for pose in r.poses} == {1}
    assert all(len(r.poses) == 1 for r in results)


def test_the_engine_is_changed_between_two_frames(world: World, folder: Path) -> None:
    results, said, engines = run()
    check_that_no_frame_is_lost(results)
    changes = [i for i in range(1, len(engines)) if engines[i] != engines[i - 1]]
    assert len(changes) == 1
    before, after = engines[0], engines[-1]
    assert (before in ("openvino", "onnxruntime"), after) == (True, "tensorrt")
    last, first = results[changes[0] - 1].poses[0], results[changes[0]].poses[0]
    assert np.median(np.abs(last.joints_xy - first.joints_xy)) < 2
    name = suited_model().name
    assert said[0].startswith(f"building TensorRT's engine for {name}; until then {before}")
    assert said[1].startswith(f"now on tensorrt {VERSION} fp16 on Double GPU 100, built in ")
    assert len(said) == 2
    assert (folder / "builds.txt").read_text() == "built\n"
    assert [p.suffix for p in (folder / "engines").iterdir()] == [".engine"]
    # The next run begins with it.
    results, said, engines = run(lines=0)
    assert said == [] and set(engines) == {"tensorrt"}
    check_that_no_frame_is_lost(results)


def test_a_build_that_fails_is_told_and_the_old_engine_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_BUILD", "fails")
    results, said, engines = run()
    check_that_no_frame_is_lost(results)
    assert len(set(engines)) == 1
    assert said[1].startswith(f"still on {engines[0]}")
    assert said[1].endswith("fp16.onnx: no kernel for this")
    assert len(said) == 2


@pytest.mark.parametrize("fault", ["self-test", "deserialize", "create_execution_context"])
def test_an_engine_that_does_not_work_is_told_and_the_old_one_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def fails(engine: object, model: Model) -> bool:
        raise EngineError("tensorrt failed its self-test")

    if fault == "self-test":
        monkeypatch.setattr(background, "check", fails)
    world.fail.add(fault)
    results, said, engines = run()
    check_that_no_frame_is_lost(results)
    assert len(set(engines)) == 1
    assert said[1].startswith(f"still on {engines[0]}")
    assert len(said) == 2


def test_an_engine_of_another_version_is_built_again_and_said(world: World, folder: Path) -> None:
    run()
    (engine,) = (folder / "engines").glob("*.engine")
    give_another_version(engine)
    opened = runtime.open_engine(suited_model())
    assert "cannot be used: it was built for tensorrt 9.9.9.9" in opened.info.choice
    opened.close()
    results, said, engines = run(lines=3)
    check_that_no_frame_is_lost(results)
    assert "9.9.9.9, and here it is 11.4.0.106; building it again" in said[1]
    assert said[2].startswith("now on tensorrt")
    assert engines[-1] == "tensorrt"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-50] ^= 1
    path.write_bytes(data)


def give_another_version(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(VERSION.encode(), b"9.9.9.9", 1))


SPOILT = {"flip": flip, "version": give_another_version, "gone": Path.unlink}

NEXT = {
    "init": "no NVIDIA GPU for 'auto' (cuInit failed",
    "deserialize": "TensorRT does not load it (the plan wants another driver)",
    "create_execution_context": "TensorRT failed at making a context",
    "flip": ".engine cannot be used: it is damaged: its checksum is wrong: `livepose build small`",
    "version": "it was built for tensorrt 9.9.9.9, and here it is 11.4.0.106: `livepose build",
    "gone": "no engine built yet: `livepose build small`",
    "tensorrt": "tensorrt cannot be imported",
    "pycuda.driver": "pycuda.driver cannot be imported",
}


@pytest.mark.parametrize("fault", NEXT)
def test_whatever_is_wrong_with_tensorrt_the_next_engine_runs(
    world: World, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    path = build.build_engine(find_model()).path
    if fault in SPOILT:
        SPOILT[fault](path)
    elif fault in sys.modules:
        monkeypatch.setitem(sys.modules, fault, None)
    else:
        world.fail.add(fault)
    engine = runtime.open_engine(find_model())
    assert engine.info.name.split()[0] in ("openvino", "onnxruntime")
    assert "not tensorrt: " in engine.info.choice and NEXT[fault] in engine.info.choice
    assert "\n" not in engine.info.choice
    engine.close()


def started(folder: Path, builds: int = 1) -> BackgroundBuild:
    """A build that has come as far as TensorRT."""
    begun = BackgroundBuild(find_model(), "auto", "auto", print)
    wait_for_builds(folder, builds)
    return begun


def wait_for_builds(folder: Path, builds: int = 1) -> None:
    until_s = time.monotonic() + 60
    while time.monotonic() < until_s:
        begun = folder / "builds.txt"
        if begun.exists() and begun.read_text().count("built") >= builds:
            return
        time.sleep(0.02)
    raise AssertionError("no build has begun")


def left(folder: Path) -> list[str]:
    """Engines, and files that are not finished."""
    files = [p for name in ("engines", "cache") for p in (folder / name).glob("*")]
    return [p.suffix for p in files if p.suffix == ".engine" or p.name.startswith("tmp")]


@pytest.mark.parametrize("how", ["takes long", "writes long"])
def test_closing_ends_a_build_and_leaves_no_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv("TEST_BUILD", how)
    begun = started(folder)
    if how == "writes long":
        until_s = time.monotonic() + 30
        while not left(folder) and time.monotonic() < until_s:
            time.sleep(0.02)
        assert left(folder)
    else:
        time.sleep(0.1)
    began_s = time.monotonic()
    begun.close()
    assert time.monotonic() - began_s < 2
    assert begun.done()
    begun.close()
    assert left(folder) == []
    # The lock went with the process: the next one gets its turn.
    monkeypatch.delenv("TEST_BUILD")
    again = started(folder, builds=2)
    again._process.wait(30)
    again.close()
    assert left(folder) == [".engine"]


def test_a_program_that_ends_without_its_threads_leaves_no_build(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_BUILD", "takes long")
    begun = started(folder)
    kill_builds()
    assert begun._process.wait(5) == -signal.SIGKILL
    begun.close()
    assert begun._process not in background._running


def test_two_processes_build_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_BUILD", "takes a second")
    both = [BackgroundBuild(find_model(), "auto", "auto", print) for _ in range(2)]
    assert [one._process.wait(60) for one in both] == [0, 0]
    for one in both:
        one.close()
    assert (folder / "builds.txt").read_text() == "built\n"


def test_ctrl_c_while_an_engine_is_built(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole program, with a build that does not react to signals."""
    monkeypatch.setenv("TEST_BUILD", "takes long")
    script = """
        import sys
        from livepose import runtime
        from livepose.runtime.background import BackgroundBuild
        runtime.has_nvidia_gpu = lambda: True
        make = BackgroundBuild.__init__
        def tell(self, *words):
            make(self, *words)
            print(self._process.pid, flush=True)
        BackgroundBuild.__init__ = tell
        from livepose.cli import main
        sys.exit(main(["--source", "test:320x240", "--headless"]))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        builder = int(process.stdout.readline())
        wait_for_builds(folder)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        asked_s = time.monotonic()
        _, error = process.communicate(timeout=20)
        # Two seconds on a machine with nothing else to do.
        assert time.monotonic() - asked_s < (2 if os.environ.get("LIVEPOSE_SLOW_TESTS") else 6)
    finally:
        process.kill()
    assert process.returncode == 130, error
    assert "Traceback" not in error
    assert "building TensorRT's engine for " in error
    assert left(folder) == []
    with pytest.raises(ProcessLookupError):
        os.kill(builder, 0)


def test_nothing_is_built_where_more_is_lacking(
    world: World, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    def said_by(**wishes: str) -> list[str]:
        said: list[str] = []
        with PoseEstimator(**wishes) as estimator:
            estimator.build_in_background(said.append)
        return said

    assert said_by(device="cpu") == []
    assert said_by(precision="int8") == []
    monkeypatch.setattr(runtime, "has_nvidia_gpu", lambda: False)
    assert said_by() == []
    monkeypatch.setattr(runtime, "has_nvidia_gpu", lambda: True)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert said_by() == []
    assert not (folder / "builds.txt").exists()


def test_a_process_that_cannot_be_started_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    said: list[str] = []
    with PoseEstimator() as estimator:
        estimator.build_in_background(said.append)
    assert said == ["`livepose build` cannot be started (No such file or directory)"]
