"""`livepose doctor` on whatever machine this is, and on machines that lack something."""

import json
import sys
from collections.abc import Callable

import numpy as np
import pytest

from livepose import doctor
from livepose.capture import Frame, SourceInfo
from livepose.doctor import Finding


def test_every_line_says_how_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.main(["--json"])
    findings = json.loads(capsys.readouterr().out)["findings"]
    topics = [f["topic"] for f in findings]
    assert topics[:3] == ["Python", "OpenCV", "display"]
    assert {"CPU", "GPU", "CUDA", "onnxruntime", "openvino", "torch"} <= set(topics)
    assert {"TensorRT", "PyCUDA", "engine"} <= set(topics)
    states = {f["topic"]: f["state"] for f in findings}
    assert states["Python"] == states["onnxruntime"] == states["torch"] == "found"
    assert set(states.values()) <= {"found", "missing", "broken"}
    for finding in findings:
        assert finding["detail"] and "\n" not in finding["detail"]


def test_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.show(
        [Finding("x", "missing", "not installed", "pip install x"), Finding("y", "found", "1")]
    )
    assert capsys.readouterr().out == "x: missing: not installed; pip install x\ny: found: 1\n"


def test_a_check_that_breaks_is_one_line_among_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def check_engine() -> Finding:
        raise KeyError("driver")

    monkeypatch.setattr(doctor, "CHECKS", (doctor.check_python, check_engine, doctor.check_opencv))
    found = doctor.examine()
    assert [f.topic for f in found] == ["Python", "engine", "OpenCV"]
    assert (found[1].state, found[1].detail) == ("broken", "KeyError: 'driver'")


def test_a_package_that_is_missing_and_one_that_breaks() -> None:
    missing = doctor.imported("livepose-no-such-thing", "print(1)", "pip install it")
    assert (missing.state, missing.fix) == ("missing", "pip install it")
    broken = doctor.imported("numpy", "raise OSError('libx.so: no such file')", "pip install it")
    assert broken.state == "broken"
    assert "libx.so: no such file" in broken.detail
    killed = doctor.imported("numpy", "import os; os.abort()", "pip install it")
    assert killed.state == "broken"
    found = doctor.imported("numpy", "print('noise'); print('1.2.3')", "")
    assert found == Finding("numpy", "found", "1.2.3")


@pytest.mark.parametrize(
    ("gpu", "build", "state", "text"),
    [
        (False, "2.13.0+cpu", "found", "build for the CPU"),
        (True, "2.13.0+cpu", "broken", "build for the CPU"),
        (False, "2.13.0", "found", "no NVIDIA GPU"),
    ],
)
def test_torch_for_the_cpu_beside_a_gpu_is_wrong(
    gpu: bool, build: str, state: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "has_nvidia_gpu", lambda: gpu)
    monkeypatch.setattr(doctor, "version", lambda name: build)
    finding = doctor.check_torch()
    assert finding.state == state
    assert text in finding.detail
    assert bool(finding.fix) == (state == "broken")


def test_a_gpu_whose_driver_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "output", lambda command: "")
    for there, state in ((True, "broken"), (False, "missing")):
        monkeypatch.setattr(doctor, "has_nvidia_gpu", lambda there=there: there)
        assert doctor.check_gpu().state == state
    monkeypatch.setattr(doctor, "output", lambda command: "NVIDIA H200, 580.1, 143771 MiB")
    assert doctor.check_gpu() == Finding("GPU", "found", "NVIDIA H200, 580.1, 143771 MiB")


def cameras(monkeypatch: pytest.MonkeyPatch, probe: Callable[[str], str]) -> list[Finding]:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(doctor.glob, "glob", lambda pattern: ["/dev/video7"])
    monkeypatch.setattr(doctor, "probe_camera", probe)
    return list(doctor.check_cameras())


def test_cameras_are_measured_or_say_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    (good,) = cameras(monkeypatch, lambda path: f"{path} at 29.9 fps")
    assert good.state == "found" and "29.9 fps" in good.detail

    def busy(path: str) -> str:
        raise doctor.LivePoseError(f"{path}: does another program use it?")

    (bad,) = cameras(monkeypatch, busy)
    assert bad.state == "broken" and "another program" in bad.detail


class Paced:
    """A source of 12 frames, 50 ms apart after a slow first one."""

    info = SourceInfo("camera 9", (2, 2), fps=30.0)
    live = True

    def __init__(self) -> None:
        self.stamps_s = iter([0.0, *(1 + 0.05 * i for i in range(11))])

    def read(self) -> Frame | None:
        stamp_s = next(self.stamps_s, None)
        if stamp_s is None:
            return None
        return Frame(np.zeros((2, 2, 3), np.uint8), 0, stamp_s, stamp_s)

    def close(self) -> None:
        self.stamps_s = iter([])


def test_the_measured_rate_is_that_of_the_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livepose.sources.open_source", lambda spec: Paced())
    assert doctor.probe_camera("9") == "camera 9, measured 20.0 fps"
