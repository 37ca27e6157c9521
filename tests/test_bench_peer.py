"""MediaPipe as a contender: its process, its joints, the command."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from livepose.bench.command import main
from livepose.bench.peer import NOWHERE, Peer, to_joints
from livepose.errors import EngineError
from livepose.skeleton import INDEX
from tests.bench_doubles import CLIP, write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mkv")


def test_the_peers_joints_come_in_our_order_and_nobody_is_wrong_everywhere() -> None:
    landmarks = np.zeros((2, 33, 3), np.float32)
    landmarks[0, :, 0] = np.arange(33)
    landmarks[0, :, 2] = 0.5
    landmarks[1] = np.nan
    joints = to_joints(landmarks)
    assert joints[0, INDEX["r_ankle"], 0] == 28
    assert joints[0, INDEX["l_wrist"], 0] == 15
    assert joints[0, INDEX["pelvis"], 0] == 23.5
    assert joints[0, INDEX["head_top"], 0] == NOWHERE
    assert (joints[1, :, 0] == NOWHERE).all()
    assert (joints[1, :, 2] == 0).all()


FAKE_MEDIAPIPE = """
import time
from types import SimpleNamespace as Bag
__version__ = "made up"

class Pose:
    def __init__(self, **options):
        assert options["model_complexity"] == 1
    def __enter__(self):
        return self
    def __exit__(self, *error):
        pass
    def process(self, image):
        time.sleep(0.004)
        if not image.any():
            return Bag(pose_landmarks=None)
        mark = Bag(x=0.25, y=0.5, visibility=1.0)
        return Bag(pose_landmarks=Bag(landmark=[mark] * 33))

solutions = Bag(pose=Bag(Pose=Pose))
"""


@pytest.fixture
def fake_mediapipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "mediapipe.py").write_text(FAKE_MEDIAPIPE)
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.usefixtures("fake_mediapipe")
def test_the_peer_runs_in_its_own_process() -> None:
    with Peer(sys.executable) as peer:
        assert peer.facts["mediapipe"] == "made up"
        peer.send_clip(CLIP)
        assert peer.facts["first_ms"] >= 4
        samples = peer.block(CLIP, range(3, 8))
        assert (samples.ms >= 4).all()
        assert samples.ms.shape == (5,)
        crops = np.stack((np.full((64, 64, 3), 9, np.uint8), np.zeros((64, 64, 3), np.uint8)))
        joints = peer.run(crops)
    assert joints.shape == (2, 16, 3)
    assert joints[0, 0].tolist() == [15.5, 31.5, 1]
    assert (joints[1, :, 2] == 0).all()
    peer.close()


def test_a_peer_that_cannot_run_says_why(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot be started"):
        Peer(str(tmp_path / "python"))
    with pytest.raises(EngineError, match=r"No module named 'mediapipe'.*0\.10\.21"):
        Peer(sys.executable)


@pytest.mark.usefixtures("fake_mediapipe")
def test_a_peer_that_dies_is_the_error() -> None:
    with pytest.raises(EngineError, match="it died"), Peer(sys.executable) as peer:
        os.kill(peer.pid, signal.SIGKILL)
        time.sleep(0.5)
        peer.send_clip(CLIP)


@pytest.mark.usefixtures("fake_mediapipe")
def test_the_command_compares_with_the_peer(video: str, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    words = ["--engine", "null:2ms", "--peer", "mediapipe", "--peer-python", sys.executable]
    main([*words, "--source", video, "--count", "30", "--json", str(path)])
    report = json.loads(path.read_text())
    assert [row["name"] for row in report["rows"]] == ["null:2ms", "mediapipe"]
    assert [row["mean_people"] >= 1 for row in report["rows"]] == [True, True]
    assert len(report["rows"][0]["stages"]["compute"]["samples_ms"]) == 30
    (ratio,) = report["ratios"]
    assert (ratio["name"], ratio["base"]) == ("null:2ms", "mediapipe")
    low, high = ratio["interval_95"]
    assert low <= ratio["ratio_of_medians"] <= high
