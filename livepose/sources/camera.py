"""A camera on this machine, through OpenCV.

One `CameraSource` is one opening of the device. Whether a silent camera is lost, and when to
open it again, is decided in `livepose.capture`.
"""

import glob
import os
import re
import sys
import time

import cv2
import numpy as np
import numpy.typing as npt

from livepose.capture import Frame, SourceInfo, SourceLost
from livepose.errors import SourceError
from livepose.sources.common import SourceOptions, check_size, rate

SIZE_WH = (640, 480)
"""Asked for unless the user wants another: every webcam has it at 30 fps, and the network sees
a person in far fewer pixels."""
FPS = 30.0

FIRST_FRAME_S = 5.0
"""Webcams need up to some seconds to deliver after opening."""
SILENT_S = 0.5
RETRY_S = 0.02

BUFFERS = 2
"""Frames that V4L2 may hold: one is filled while the other is decoded. With a single one the
driver has nowhere to put the next frame meanwhile, and many webcams then give only every second."""

_MJPG = cv2.VideoWriter.fourcc(*"MJPG")


class CameraSource:
    """The camera `spec`: a number, or on Linux a path such as /dev/video0; see `Source`.

    Live. A frame is stamped right after `grab()`, before it is decoded, and `time_s` counts
    from the first. `read` raises `SourceLost` after half a second without a frame, or as soon after
    it as OpenCV returns: on Linux after one.
    """

    live = True

    def __init__(self, spec: str, options: SourceOptions) -> None:
        self._index = 0
        self._name, number = _find(spec)
        self._camera: cv2.VideoCapture | None = _open(number, self._name)
        self._opened_s: float | None = None
        self._waiting: Frame | None = None
        try:
            obtained = _ask_for(self._camera, options.size_wh or SIZE_WH, options.fps or FPS)
            self._waiting = self._grab(FIRST_FRAME_S)
            image = self._waiting.image
            size_wh = (image.shape[1], image.shape[0])
            check_size(size_wh, self._name)
        except BaseException:
            self.close()
            raise
        fps = self._camera.get(cv2.CAP_PROP_FPS)
        fps_or_none = fps if 0 < fps < 1000 else None
        self.info = SourceInfo(
            f"{self._name}, {size_wh[0]}x{size_wh[1]}{rate(fps_or_none)}{obtained}",
            size_wh,
            fps=fps_or_none,
            is_camera=True,
        )

    def read(self) -> Frame | None:
        """The next frame; None after `close`."""
        if self._camera is None:
            return None
        frame, self._waiting = self._waiting or self._grab(SILENT_S), None
        return frame

    def close(self) -> None:
        """Give the device back."""
        self._waiting = None
        if self._camera is not None:
            self._camera.release()
            self._camera = None

    def _grab(self, patience_s: float) -> Frame:
        assert self._camera is not None
        give_up_s = time.monotonic() + patience_s
        while True:
            try:
                if self._camera.grab():
                    captured_s = time.monotonic()
                    good, image = self._camera.retrieve()
                    if good and image is not None and image.size:
                        return self._frame(_bgr(image), captured_s)
            except cv2.error as error:
                raise SourceLost(f"{self._name}: reading failed ({error.err})") from error
            if time.monotonic() >= give_up_s:
                raise SourceLost(
                    f"{self._name}: gives no frames; check its cable and that no other "
                    "program uses it"
                )
            time.sleep(RETRY_S)

    def _frame(self, image: npt.NDArray[np.uint8], captured_s: float) -> Frame:
        if self._opened_s is None:
            self._opened_s = captured_s
        index = self._index
        self._index += 1
        return Frame(image, index, captured_s - self._opened_s, captured_s)


def _find(spec: str) -> tuple[str, int]:
    """The name for people and the number OpenCV opens; links such as /dev/v4l/by-id/* too."""
    if spec.isdecimal():
        name, number = f"camera {spec}", int(spec)
    else:
        device = re.fullmatch(r"/dev/video(\d+)", os.path.realpath(spec))
        if device is None:
            raise SourceError(f"{spec}: no camera; {_others()}")
        name, number = spec, int(device[1])
    device_path = f"/dev/video{number}"
    if sys.platform == "linux" and not os.path.exists(device_path):
        raise SourceError(f"{name}: {device_path} does not exist; {_others()}")
    if sys.platform == "linux" and not os.access(device_path, os.R_OK | os.W_OK):
        raise SourceError(f"{name}: no permission for {device_path}; join the group 'video'")
    return name, number


def _others() -> str:
    if sys.platform != "linux":
        return "try another number, or `livepose --source test`"
    found = ", ".join(sorted(glob.glob("/dev/video*"))) or "no camera at all"
    return f"this machine has {found}; `livepose --source test` needs none"


def _open(number: int, name: str) -> cv2.VideoCapture:
    backends = {
        "linux": [cv2.CAP_V4L2],
        "darwin": [cv2.CAP_AVFOUNDATION],
        "win32": [cv2.CAP_MSMF, cv2.CAP_DSHOW],
    }.get(sys.platform, [cv2.CAP_ANY])
    # OpenCV warns of cameras that do not open, or are silent; our own errors say it, and once.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    for backend in backends:
        camera = cv2.VideoCapture(number, backend)
        if camera.isOpened():
            return camera
        camera.release()
    allowed = ""
    if sys.platform == "darwin":
        allowed = "; macOS asks at the first try, then see Privacy & Security, Camera"
    raise SourceError(
        f"{name}: cannot be opened (does another program use it?){allowed}; {_others()}"
    )


def _ask_for(camera: cv2.VideoCapture, size_wh: tuple[int, int], fps: float) -> str:
    """Ask for size and rate; MJPG where it is faster than what the camera gives by itself.

    Returns ", MJPG" or whatever the pixel format is called, for the description.
    """
    # Drivers keep more old frames otherwise; where it is not supported, nothing happens.
    camera.set(cv2.CAP_PROP_BUFFERSIZE, BUFFERS)
    _set_mode(camera, size_wh, fps)
    mode = _mode(camera)
    own_format = int(camera.get(cv2.CAP_PROP_FOURCC))
    if mode != (*size_wh, fps) and camera.set(cv2.CAP_PROP_FOURCC, _MJPG):
        _set_mode(camera, size_wh, fps)
        if not _is_nearer(_mode(camera), mode, size_wh):
            camera.set(cv2.CAP_PROP_FOURCC, own_format)
            _set_mode(camera, size_wh, fps)
    # DirectShow's are signed, and of RGB pictures negative.
    fourcc = (int(camera.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF).to_bytes(4, "little")
    return f", {fourcc.decode()}" if fourcc.isascii() and fourcc.isalnum() else ""


def _set_mode(camera: cv2.VideoCapture, size_wh: tuple[int, int], fps: float) -> None:
    camera.set(cv2.CAP_PROP_FRAME_WIDTH, size_wh[0])
    camera.set(cv2.CAP_PROP_FRAME_HEIGHT, size_wh[1])
    camera.set(cv2.CAP_PROP_FPS, fps)


def _mode(camera: cv2.VideoCapture) -> tuple[int, int, float]:
    properties = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)
    width, height, fps = (camera.get(each) for each in properties)
    return int(width), int(height), fps


def _is_nearer(
    new: tuple[int, int, float], old: tuple[int, int, float], size_wh: tuple[int, int]
) -> bool:
    """Whether the new mode is better: the wanted size first, then the higher rate."""
    return (new[:2] == size_wh, new[2]) > (old[:2] == size_wh, old[2])


def _bgr(image: cv2.typing.MatLike) -> npt.NDArray[np.uint8]:
    """uint8 [H, W, 3] from what `retrieve` gave; infrared cameras give one channel."""
    grey = image.ndim == 2 or image.shape[2] == 1
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if grey else image, np.uint8)
