"""The window, for real: on an X server of our own, with keys pressed by another program."""

import ctypes
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from livepose import window
from livepose.window import HELP, Command, first_size

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="about X11")

SHOW_RED = """
import numpy as np
from livepose.window import Window, display_available
assert display_available() is None, display_available()
window = Window("livepose")
red = np.zeros((200, 640, 3), np.uint8)
red[:, :, 2] = 255
while not window.closed:
    window.show(red)
    for command in window.commands():
        print(command.name, flush=True)
    if not shown:
        print("shown", flush=True)
        shown = True
window.show(red)
window.close()
"""


class Screen:
    """An X server without a monitor; its pixels are a file in XWD format."""

    def __init__(self, folder: Path) -> None:
        command = ["Xvfb", "-displayfd", "1", "-screen", "0", "800x600x24", "-fbdir", str(folder)]
        self._server = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._server.stdout is not None
        self.display = f":{self._server.stdout.readline().strip()}"
        self._pixels = folder / "Xvfb_screen0"

    def close(self) -> None:
        self._server.terminate()
        self._server.communicate(timeout=10)

    def environment(self, **changes: str) -> dict[str, str]:
        unwanted = ("WAYLAND_DISPLAY", "XAUTHORITY", "QT_QPA_PLATFORM")
        kept = {k: v for k, v in os.environ.items() if k not in unwanted}
        return {**kept, "DISPLAY": self.display, **changes}

    def picture(self) -> np.ndarray:
        """uint8 [600, 800, 3] BGR."""
        raw = self._pixels.read_bytes()
        header = np.frombuffer(raw, ">u4", 25)
        start = int(header[0] + 12 * header[19])
        pixels = np.frombuffer(raw, np.uint8, 600 * 800 * 4, start)
        return pixels.reshape(600, 800, 4)[..., :3]

    def xdotool(self, *arguments: str) -> str:
        if shutil.which("xdotool") is None:
            pytest.skip("xdotool is not installed")
        return subprocess.run(
            ["xdotool", *arguments],
            env=self.environment(),
            check=True,
            capture_output=True,
            text=True,
            timeout=20,
        ).stdout


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed")
    server = Screen(tmp_path)
    yield server
    server.close()


def start(script: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def showing(screen: Screen) -> Iterator[subprocess.Popen[str]]:
    """A process that shows a red picture and prints the commands, until the window is closed."""
    # PyAV is there too, as in the program: its libraries must not get in the window's way.
    process = start("import livepose.record\nshown = False\n" + SHOW_RED, screen.environment())
    assert process.stdout is not None
    assert process.stdout.readline() == "shown\n"
    yield process
    process.kill()
    process.communicate(timeout=10)


def test_the_picture_is_on_the_screen(screen, showing):
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        red = (screen.picture() == (0, 0, 255)).all(axis=2)
        if red.sum() == 640 * 200:
            break
        time.sleep(0.05)
    assert red.sum() == 640 * 200, "the frame is not shown, or not in its own size"


def test_keys_become_commands(screen, showing):
    window = screen.xdotool("search", "--sync", "--name", "^livepose$").split()[-1]
    screen.xdotool("windowfocus", "--sync", window)
    keys = ["s", "r", "m", "o", "h", "plus", "equal", "KP_Add", "minus", "KP_Subtract", "space"]
    ignored = ["Left", "Home", "Shift_L", "F1", "z"]
    expected = ["SNAPSHOT", "RECORD", "MIRROR", "OVERLAY", "HELP", "MORE", "MORE", "MORE"]
    expected += ["FEWER", "FEWER", "PAUSE", "QUIT", "QUIT"]
    screen.xdotool("key", "--delay", "30", *ignored, *keys, "Q", "Escape")
    assert [showing.stdout.readline().strip() for _ in expected] == expected


def test_a_picture_stays_until_it_has_been_seen(screen, tmp_path):
    picture = tmp_path / "green.png"
    window.cv2.imwrite(str(picture), np.full((200, 640, 3), (0, 255, 0), np.uint8))
    command = [sys.executable, "-m", "livepose", "--source", str(picture)]
    process = subprocess.Popen(command, env=screen.environment(), stderr=subprocess.PIPE, text=True)
    try:
        shown = screen.xdotool("search", "--sync", "--name", "^livepose$").split()[-1]
        time.sleep(3)
        assert process.poll() is None
        assert (screen.picture() == (0, 255, 0)).all(axis=2).sum() > 640 * 100
        screen.xdotool("windowfocus", "--sync", shown)
        screen.xdotool("key", "q")
        _, error = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0, error


def test_the_picture_is_there_before_the_model_and_can_be_closed(screen, tmp_path):
    """A model that takes half a minute to load: the picture waits for it, and keys end it."""
    picture = tmp_path / "green.png"
    window.cv2.imwrite(str(picture), np.full((200, 640, 3), (0, 255, 0), np.uint8))
    script = (
        "import sys, time\n"
        "from livepose import app, cli\n"
        "app.make_estimator = lambda *_: time.sleep(30)\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", script, "--source", str(picture)]
    process = subprocess.Popen(command, env=screen.environment(), stderr=subprocess.PIPE, text=True)
    try:
        shown = screen.xdotool("search", "--sync", "--name", "^livepose$").split()[-1]
        deadline_s = time.monotonic() + 10
        green = amber = 0
        while time.monotonic() < deadline_s and not (green > 640 * 100 and amber):
            green = (screen.picture() == (0, 255, 0)).all(axis=2).sum()
            amber = (screen.picture() == (60, 200, 255)).all(axis=2).sum()
            time.sleep(0.05)
        assert green > 640 * 100 and amber, "no picture, or no word of loading"
        screen.xdotool("windowfocus", "--sync", shown)
        screen.xdotool("key", "space", "s", "r", "q")
        asked_s = time.monotonic()
        _, error = process.communicate(timeout=20)
        assert time.monotonic() - asked_s < 10
    finally:
        process.kill()
        process.communicate(timeout=10)
    assert (process.returncode, error) == (0, "")
    assert {p.name for p in tmp_path.iterdir()} == {"green.png", "Xvfb_screen0"}


def ask_to_close(display_name: str, window: int) -> None:
    """What a window manager does when the close button is clicked."""
    x11 = ctypes.CDLL("libX11.so.6")
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XInternAtom.restype = ctypes.c_ulong
    display = ctypes.c_void_p(x11.XOpenDisplay(display_name.encode()))

    class ClientMessage(ctypes.Structure):
        _fields_ = (
            ("type", ctypes.c_int),
            ("serial", ctypes.c_ulong),
            ("send_event", ctypes.c_int),
            ("display", ctypes.c_void_p),
            ("window", ctypes.c_ulong),
            ("message_type", ctypes.c_ulong),
            ("format", ctypes.c_int),
            ("data", ctypes.c_long * 5),
            ("padding", ctypes.c_long * 24),  # XSendEvent reads a whole XEvent
        )

    protocols = x11.XInternAtom(display, b"WM_PROTOCOLS", 0)
    delete = x11.XInternAtom(display, b"WM_DELETE_WINDOW", 0)
    event = ClientMessage(type=33, window=window, message_type=protocols, format=32)
    event.data[0] = delete
    x11.XSendEvent(display, ctypes.c_ulong(window), 0, ctypes.c_long(0), ctypes.byref(event))
    x11.XCloseDisplay(display)


def test_the_close_button_quits_quietly(screen, showing):
    window = screen.xdotool("search", "--sync", "--name", "^livepose$").split()[-1]
    ask_to_close(screen.display, int(window))
    out, err = showing.communicate(timeout=20)
    assert out.split() == ["QUIT"]
    assert (showing.returncode, err) == (0, "")


def test_a_wayland_desktop_gets_an_x11_window(screen):
    """OpenCV's Qt has only X11, and would abort or grumble."""
    wayland = {"QT_QPA_PLATFORM": "wayland", "XDG_SESSION_TYPE": "wayland"}
    desktop = {"XDG_CURRENT_DESKTOP": "GNOME", "WAYLAND_DISPLAY": "wayland-0"}
    script = SHOW_RED.replace("while not window.closed", "for shown in (False, True)")
    process = start(script, screen.environment(**wayland, **desktop))
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "shown\n", "")


def reason(environment: dict[str, str], first: str = "") -> str:
    process = start(
        f"{first}\nfrom livepose.window import display_available\nprint(display_available())",
        {**os.environ, "WAYLAND_DISPLAY": "", **environment},
    )
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return out.strip()


@linux_only
@pytest.mark.parametrize(
    ("display", "expected"),
    [
        ("", "DISPLAY is not set"),
        (":4711", "no X server can be used at DISPLAY=:4711"),
        ("localhost:4711", "no X server can be used at DISPLAY=localhost:4711"),
        ("nonsense", "no X server can be used at DISPLAY=nonsense"),
    ],
)
def test_without_a_display_the_reason_is_told(display, expected):
    assert reason({"DISPLAY": display}) == expected


@linux_only
def test_a_lone_wayland_display_is_not_enough_for_opencvs_wheel():
    expected = ("DISPLAY is not set", "None")  # None: an OpenCV whose windows know Wayland
    assert reason({"DISPLAY": "", "WAYLAND_DISPLAY": "wayland-0"}) in expected


@linux_only
def test_an_x_server_that_wants_a_cookie_refuses(tmp_path):
    if shutil.which("Xvfb") is None or shutil.which("xauth") is None:
        pytest.skip("Xvfb or xauth is not installed")
    cookie = tmp_path / "cookie"
    cookie.touch()
    subprocess.run(
        ["xauth", "-f", str(cookie), "add", ":0", ".", "0123456789abcdef0123456789abcdef"],
        check=True,
        capture_output=True,
        timeout=10,
    )
    command = ["Xvfb", "-displayfd", "1", "-auth", str(cookie), "-nolisten", "local"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        display = f":{server.stdout.readline().strip()}"
        empty = tmp_path / "empty"
        empty.touch()
        answer = reason({"DISPLAY": display, "XAUTHORITY": str(empty)})
        assert answer == f"no X server can be used at DISPLAY={display}"
    finally:
        server.terminate()
        server.communicate(timeout=10)


@linux_only
def test_pyav_loaded_before_opencv_is_told_instead_of_hanging(screen):
    answer = reason({"DISPLAY": screen.display}, first="import av, cv2")
    maps = "import av, cv2\nprint(open('/proc/self/maps').read())"
    process = start(maps, screen.environment())
    if "av.libs/libxcb-shm" not in process.communicate(timeout=30)[0]:
        pytest.skip("this PyAV does not bring its own xcb")
    assert answer.startswith("PyAV was imported before OpenCV")
    assert reason({"DISPLAY": screen.display}, first="import livepose.record") == "None"


def test_the_help_lists_every_command_once():
    assert [meaning for _, meaning in HELP] == [command.value for command in Command]
    assert dict(HELP)["q Esc"] == "quit"


@pytest.mark.parametrize(
    ("size_wh", "expected"),
    [
        ((640, 480), (640, 480)),
        ((320, 240), (640, 480)),
        ((1280, 720), (1280, 720)),
        ((3840, 2160), (1280, 720)),
        ((1080, 1920), (405, 720)),
        ((1600, 1200), (960, 720)),
    ],
)
def test_the_window_opens_in_a_handy_size(size_wh, expected):
    assert first_size(*size_wh) == expected


def test_no_key_is_asked_for_before_there_is_a_window(monkeypatch):
    """Polling before the first window is suspected of leaving that window black now and then."""

    def fail() -> int:
        raise AssertionError("polled without a window")

    monkeypatch.setattr(window.cv2, "pollKey", fail)
    assert window.Window("none").commands() == []
