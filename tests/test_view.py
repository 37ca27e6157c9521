"""What the window's panel says holds the rate down, and names of files made by keys."""

import io
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from rich.console import Console

from livepose.app import RunOptions
from livepose.capture import Frame, SourceInfo
from livepose.errors import OutputError
from livepose.inference import Result
from livepose.stats import StatsSnapshot
from livepose.view import WindowView, free_name


@pytest.mark.parametrize(
    ("is_camera", "fps", "asked", "inference_ms", "said"),
    [
        (True, 15.0, None, 5.0, "camera-limited: camera 0 at 15 fps, YUYV; asked for 30 fps"),
        (True, 30.0, 60.0, 5.0, "camera-limited: camera 0 at 15 fps, YUYV; asked for 60 fps"),
        (True, 30.0, None, 5.0, None),
        (False, 15.0, None, 5.0, None),
        (True, 19.0, None, 50.0, "engine-limited: 50 ms a frame"),
        (True, 13.0, None, 50.0, None),
    ],
)
def test_what_limits_is_named(
    is_camera: bool, fps: float, asked: float | None, inference_ms: float, said: str | None
) -> None:
    view = WindowView.__new__(WindowView)
    view._options = RunOptions(fps=asked)
    rate = 30.0 if inference_ms > 20 else fps
    view._info = SourceInfo("camera 0 at 15 fps, YUYV", (640, 480), rate, is_camera=is_camera)
    view._stats = StatsSnapshot(fps, 10.0, 20.0, 10.0, inference_ms, 0)
    assert view._limit() == said


def test_files_made_by_keys_never_replace_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = []
    for _ in range(3):
        names.append(free_name(".png"))
        Path(names[-1]).touch()
    assert len(set(names)) == 3


def test_a_recording_of_a_held_picture_has_that_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    frame = Frame(np.full((64, 96, 3), 128, np.uint8), 0, 0.0, 0.0)
    view = WindowView.__new__(WindowView)
    view._console, view._min_score = Console(file=io.StringIO(), width=200), 0.3
    view._recording, view._info, view._last = None, None, Result(frame, [], 0.0, 1.0)
    view._toggle_recording()
    view._toggle_recording()
    (written,) = tmp_path.iterdir()
    with av.open(str(written)) as video:
        (picture,) = video.decode(video=0)
    assert (picture.width, picture.height) == (96, 64)
    assert f"wrote {written.name}" in view._console.file.getvalue()  # type: ignore[attr-defined]


def test_a_source_lost_again_with_the_same_words_is_told_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[str | None] = []
    monkeypatch.setattr(WindowView, "_draw", lambda self, state: drawn.append(state))
    view = WindowView.__new__(WindowView)
    view._window = SimpleNamespace(commands=list, closed=False)  # type: ignore[assignment]
    view._recording, view._last, view._state, view.wants_to_quit = None, None, None, False
    frame = Frame(np.full((64, 96, 3), 128, np.uint8), 0, 0.0, 0.0)
    stats = StatsSnapshot(30.0, 10.0, 20.0, 10.0, 5.0, 0)
    for _ in range(2):
        view.show(Result(frame, [], 0.0, 1.0), stats)
        for _ in range(3):
            view.idle("camera 0: lost", stats)
    assert drawn == [None, "camera 0: lost"] * 2


def test_a_recording_that_cannot_be_finished_ends_neither_run_nor_window() -> None:
    class FullDisk:
        path = "a.mp4"

        def close(self) -> None:
            raise OutputError("cannot write a.mp4: No space left on device")

    console = Console(file=io.StringIO(), width=200)
    closed: list[bool] = []
    view = WindowView.__new__(WindowView)
    view._console, view._recording = console, FullDisk()  # type: ignore[assignment]
    view._window = SimpleNamespace(close=lambda: closed.append(True))  # type: ignore[assignment]
    view.close()
    view.close()
    assert closed == [True, True]
    assert console.file.getvalue().count("No space left") == 1  # type: ignore[attr-defined]
