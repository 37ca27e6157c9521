"""The window and its keys, over OpenCV's. What is in the picture is `render.py`'s.

Main thread only: macOS and Qt insist.
"""

import ctypes
import os
import re
import sys
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt


class Command(Enum):
    """What a key asks for; the values are the help's words."""

    QUIT = "quit"
    PAUSE = "pause, go on"
    SNAPSHOT = "save a picture"
    RECORD = "start, stop recording"
    MIRROR = "mirror the picture"
    OVERLAY = "skeletons, and figures, and names"
    MORE = "draw only surer joints"
    FEWER = "draw less sure joints, too"
    HELP = "show, hide this help"


_ESCAPE: Final = 27
_KEYPAD_PLUS, _KEYPAD_MINUS = 0xFFAB, 0xFFAD  # X11's names for them
_COMMANDS: Final = {
    ord("q"): Command.QUIT,
    _ESCAPE: Command.QUIT,
    ord(" "): Command.PAUSE,
    ord("s"): Command.SNAPSHOT,
    ord("r"): Command.RECORD,
    ord("m"): Command.MIRROR,
    ord("o"): Command.OVERLAY,
    ord("+"): Command.MORE,
    ord("="): Command.MORE,  # where + needs shift
    _KEYPAD_PLUS: Command.MORE,
    ord("-"): Command.FEWER,
    _KEYPAD_MINUS: Command.FEWER,
    ord("h"): Command.HELP,
}
_NAMES: Final = {ord(" "): "space", _ESCAPE: "Esc"}
HELP: Final = tuple(
    (" ".join(_NAMES.get(key, chr(key)) for key in keys), command.value)
    for command in Command
    for keys in ([key for key, c in _COMMANDS.items() if c is command and key < 256],)
)
"""(keys, what they do), for people."""

_SMALLEST_PX = 640  # the window's longer side at first, at least
_LARGEST_WH = 1280, 720


MEND_OPENCV = (
    "pip uninstall -y opencv-python-headless && "
    "pip install --force-reinstall --no-deps opencv-python"
)
"""The packages share their files: taking one away takes the other's along."""


def display_available() -> str | None:
    """None where a window can be opened; else why not, in a few words.

    Asks before Qt does, which ends the process where there is no display or where it is refused.
    """
    if re.search(r"GUI:\s+NONE", cv2.getBuildInformation()):
        return f"this OpenCV has no windows: {MEND_OPENCV}"
    if sys.platform != "linux":
        return None
    if _pyav_came_first():
        return "PyAV was imported before OpenCV, whose windows hang then; import cv2 first"
    only_x11 = _use_the_only_qt_platform()
    if os.environ.get("WAYLAND_DISPLAY") and not only_x11:
        return None
    name = os.environ.get("DISPLAY")
    if not name:
        return "DISPLAY is not set"
    return None if _x_server_answers() else f"no X server can be used at DISPLAY={name}"


def _pyav_came_first() -> bool:
    """Whether Qt would share an xcb library with PyAV that speaks to the X server through another.

    Both wheels bring libraries of the same names; the first ones loaded serve both.
    https://github.com/opencv/opencv/issues/29195
    """
    maps = Path("/proc/self/maps")
    loaded = maps.read_text(errors="replace") if maps.exists() else ""
    return re.search(r"/av\.libs/libxcb-shm\b", loaded) is not None


def _use_the_only_qt_platform() -> bool:
    """OpenCV's wheels bring Qt for X11 only; asked for Wayland, it grumbles or aborts."""
    plugins = Path(os.environ.get("QT_QPA_PLATFORM_PLUGIN_PATH", "")) / "platforms"
    only_x11 = [path.name for path in plugins.glob("libq*.so")] == ["libqxcb.so"]
    if only_x11:
        os.environ.update(QT_QPA_PLATFORM="xcb", XDG_SESSION_TYPE="x11")
    return only_x11


def _x_server_answers() -> bool:
    """Log in to the X server of DISPLAY, as Qt will: by socket or TCP, with the user's cookie."""
    try:
        xcb = ctypes.CDLL("libxcb.so.1")
    except OSError:
        return False
    xcb.xcb_connect.restype = ctypes.c_void_p
    connection = ctypes.c_void_p(xcb.xcb_connect(None, None))
    refused = bool(xcb.xcb_connection_has_error(connection))
    xcb.xcb_disconnect(connection)
    return not refused


class Window:
    """A window that can be resized. Closing it is the same as the key for `QUIT`."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._shown = False
        self.closed = False

    def show(self, image_bgr: npt.NDArray[np.uint8]) -> None:
        """Show uint8 [H, W, 3] BGR at the next `commands`; nothing once the window is closed."""
        if self.closed:
            return
        if not self._shown:
            flags = cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL
            cv2.namedWindow(self._title, flags)
            cv2.resizeWindow(self._title, first_size(image_bgr.shape[1], image_bgr.shape[0]))
            self._shown = True
        cv2.imshow(self._title, image_bgr)

    def commands(self) -> list[Command]:
        """Let the window work, and tell which keys were pressed since the last call."""
        found: list[Command] = []
        if not self._shown:
            return found
        while (key := cv2.pollKey()) != -1:
            key &= 0xFFFF  # above are shift, caps lock and the like
            command = _COMMANDS.get(key + 32 if ord("A") <= key <= ord("Z") else key)
            if command:
                found.append(command)
        if self._shown and not self._visible():
            self.closed = True
            found.append(Command.QUIT)
        return found

    def close(self) -> None:
        """Safe to call twice."""
        if self._shown and not self.closed:
            with suppress(cv2.error):
                cv2.destroyWindow(self._title)
            cv2.pollKey()
        self.closed = True

    def _visible(self) -> bool:
        try:
            value = cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE)
        except cv2.error:  # Qt's answer after its last window was closed, and macOS's
            return False
        # On macOS 0 is a minimised window, which has nothing to be closed by; GTK cannot tell (-1).
        return value != 0 or sys.platform == "darwin"


def first_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the window that opens for frames of that size, in pixels."""
    scale = max(1.0, _SMALLEST_PX / max(width, height))
    scale = min(scale, _LARGEST_WH[0] / width, _LARGEST_WH[1] / height)
    return round(width * scale), round(height * scale)
