"""Camera sources, on doubles of OpenCV's own capture."""

import inspect
import os
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from livepose.capture import SourceLost
from livepose.errors import SourceError
from livepose.sources import SourceOptions, open_source
from livepose.sources import camera as camera_module
from livepose.sources.camera import CameraSource


class FakeCamera:
    """Stands in for cv2.VideoCapture; MJPG doubles the rate above VGA."""

    opened: "list[FakeCamera]" = []  # noqa: RUF012
    grey = False
    refuses = False

    def __init__(self, index: int, apiPreference: int = 0) -> None:
        self.index, self.backend = index, apiPreference
        self.values = {cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*"YUYV"))}
        self.dead = self.released = False
        FakeCamera.opened.append(self)

    def isOpened(self) -> bool:
        return not self.refuses

    def set(self, propId: int, value: float) -> bool:
        self.values[propId] = value
        return True

    def get(self, propId: int) -> float:
        if propId == cv2.CAP_PROP_FPS:
            slow = self.values[cv2.CAP_PROP_FRAME_WIDTH] > 640
            mjpg = self.values[cv2.CAP_PROP_FOURCC] == cv2.VideoWriter.fourcc(*"MJPG")
            return 10.0 if slow and not mjpg else 30.0
        return self.values.get(propId, 0.0)

    def grab(self) -> bool:
        return not self.dead

    def retrieve(self) -> tuple[bool, np.ndarray]:
        width = int(self.values[cv2.CAP_PROP_FRAME_WIDTH])
        height = int(self.values[cv2.CAP_PROP_FRAME_HEIGHT])
        shape = (height, width) if self.grey else (height, width, 3)
        return True, np.zeros(shape, np.uint8)

    def release(self) -> None:
        self.released = True


@pytest.fixture
def fake_camera(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeCamera]]:
    for name, method in vars(FakeCamera).items():
        if inspect.isfunction(method) and name != "__init__":
            assert hasattr(cv2.VideoCapture, name), f"cv2.VideoCapture has no {name}"
    real_exists, real_access = os.path.exists, os.access
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    monkeypatch.setattr(
        os.path, "exists", lambda path: str(path) == "/dev/video0" or real_exists(path)
    )
    monkeypatch.setattr(
        os, "access", lambda path, mode: str(path) == "/dev/video0" or real_access(path, mode)
    )
    monkeypatch.setattr(camera_module, "SILENT_S", 0.05)
    monkeypatch.setattr(camera_module, "FIRST_FRAME_S", 0.05)
    FakeCamera.opened.clear()
    yield FakeCamera


@pytest.mark.parametrize("spec", ["0", "/dev/video0"])
def test_camera(spec: str, fake_camera: type[FakeCamera]) -> None:
    source = open_source(spec)
    assert isinstance(source, CameraSource)
    assert source.live and source.info.is_camera
    assert source.info.description.endswith("640x480 at 30 fps, YUYV")
    frames = [source.read() for _ in range(3)]
    assert [frame.index for frame in frames if frame] == [0, 1, 2]
    source.close()
    source.close()
    assert source.read() is None
    assert [camera.released for camera in fake_camera.opened] == [True]


def test_camera_whose_format_is_a_negative_number(
    fake_camera: type[FakeCamera], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DirectShow's RGB24."""
    real = fake_camera.get
    code = {cv2.CAP_PROP_FOURCC: -466162819.0}
    monkeypatch.setattr(fake_camera, "get", lambda self, prop: code.get(prop) or real(self, prop))
    source = open_source("0")
    assert source.info.description == "camera 0, 640x480 at 30 fps"
    source.close()


def test_camera_asks_for_mjpg_where_it_is_faster(fake_camera: type[FakeCamera]) -> None:
    source = open_source("0", options=SourceOptions(size_wh=(1280, 720)))
    assert source.info.description == "camera 0, 1280x720 at 30 fps, MJPG"
    assert source.info.fps == 30
    source.close()
    source = open_source("0", options=SourceOptions(fps=60))
    assert source.info.description == "camera 0, 640x480 at 30 fps, YUYV"
    source.close()


def test_a_camera_may_fill_one_buffer_while_another_is_decoded(
    fake_camera: type[FakeCamera],
) -> None:
    open_source("0").close()
    assert fake_camera.opened[0].values[cv2.CAP_PROP_BUFFERSIZE] == 2
    # What OpenCV reads before its first camera; a silent one would block for 10 s.
    assert os.environ["OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"] == "1"


def test_camera_of_one_channel(
    fake_camera: type[FakeCamera], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_camera, "grey", True)
    frame = open_source("0").read()
    assert frame is not None and frame.image.shape == (480, 640, 3)


def test_camera_that_dies_is_lost(fake_camera: type[FakeCamera]) -> None:
    source = open_source("0")
    assert source.read() is not None
    fake_camera.opened[0].dead = True
    with pytest.raises(SourceLost, match="camera 0: gives no frames"):
        source.read()
    source.close()


def test_camera_refused(fake_camera: type[FakeCamera], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_camera, "refuses", True)
    with pytest.raises(SourceError, match="cannot be opened"):
        open_source("0")
    assert all(camera.released for camera in fake_camera.opened)


@pytest.mark.parametrize(
    ("system", "backends"),
    [
        ("linux", [cv2.CAP_V4L2]),
        ("darwin", [cv2.CAP_AVFOUNDATION]),
        ("win32", [cv2.CAP_MSMF, cv2.CAP_DSHOW]),
    ],
)
def test_camera_back_ends(
    system: str,
    backends: list[int],
    fake_camera: type[FakeCamera],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(camera_module.sys, "platform", system)
    monkeypatch.setattr(fake_camera, "refuses", True)
    with pytest.raises(SourceError):
        CameraSource("0", SourceOptions())
    assert [camera.backend for camera in fake_camera.opened] == backends


@pytest.mark.parametrize("spec", ["987", "/dev/video987", "/dev/null"])
def test_camera_that_does_not_exist(spec: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError, match="livepose --source test"):
        open_source(spec)
    assert capfd.readouterr().err == ""
