"""Videos and pictures: what goes in comes out, and every failure is one line."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from livepose.errors import OutputError
from livepose.record import VideoWriter, write_image

CFR_30 = np.arange(45) / 30
CFR_29_97 = np.arange(45) * 1001 / 30000
VFR = np.cumsum([0.0, *np.random.default_rng(1).uniform(0.005, 0.1, 44)])


def picture(i: int, size_wh: tuple[int, int] = (160, 120)) -> np.ndarray:
    """A grey ramp with a green block that moves; uint8 [H, W, 3] BGR."""
    width, height = size_wh
    image = np.empty((height, width, 3), np.uint8)
    image[:] = np.linspace(40, 200, width, dtype=np.uint8)[None, :, None]
    image[20:60, 2 * i : 2 * i + 40] = (0, 200, 0)
    return image


def record(path: Path, times_s: np.ndarray, size_wh=(160, 120), fps=30.0) -> None:
    with VideoWriter(str(path), size_wh, fps) as video:
        for i, time_s in enumerate(times_s):
            video.write(picture(i, size_wh), float(time_s))


def decode(path: Path, *, cut_short: bool = False) -> tuple[np.ndarray, float, list[np.ndarray]]:
    """The times of all frames in seconds, the end of the last one, and the frames in BGR.

    The last frame of a file that is `cut_short` may be incomplete.
    """
    frames: list[av.VideoFrame] = []
    with av.open(str(path)) as container:
        with suppress(av.InvalidDataError) if cut_short else nullcontext():
            frames.extend(container.decode(video=0))
        end_s = (container.duration or 0) / 1e6
    return (
        np.array([f.time for f in frames]),
        end_s,
        [f.to_ndarray(format="bgr24") for f in frames],
    )


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize(("times_s", "fps"), [(CFR_30, 30), (CFR_29_97, 29.97), (VFR, 20)])
def test_frames_times_size_and_duration_survive(tmp_path, ending, times_s, fps):
    path = tmp_path / f"out{ending}"
    record(path, times_s + 7.25, fps=fps)
    times_read_s, end_s, frames = decode(path)
    assert len(frames) == len(times_s)
    assert frames[0].shape == (120, 160, 3)
    np.testing.assert_allclose(times_read_s, times_s, atol=1.1e-3)
    assert end_s == pytest.approx(times_s[-1] + 1 / fps, abs=2e-3)


def test_avi_keeps_the_constant_rate(tmp_path):
    record(tmp_path / "out.avi", CFR_29_97, fps=29.97)
    times_s, end_s, frames = decode(tmp_path / "out.avi")
    assert len(frames) == 45
    np.testing.assert_allclose(times_s, CFR_29_97, atol=1e-3)
    assert end_s == pytest.approx(1.5015, abs=2e-3)


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".webm", ".avi"])
def test_the_picture_and_its_colours_survive(tmp_path, ending):
    path = tmp_path / f"out{ending}"
    record(path, CFR_30)
    for i, frame in enumerate(decode(path)[2]):
        assert np.abs(frame.astype(int) - picture(i)).mean() < 6


def test_mpeg4_stands_in_where_pyav_has_no_x264(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    record(tmp_path / "out.mp4", VFR, fps=20)
    times_s, end_s, frames = decode(tmp_path / "out.mp4")
    assert len(frames) == len(VFR)
    np.testing.assert_allclose(times_s, VFR, atol=1e-3)
    assert end_s == pytest.approx(VFR[-1] + 0.05, abs=2e-3)


def test_a_last_frame_does_not_stand_for_a_rest_that_is_missing(tmp_path):
    video = VideoWriter(str(tmp_path / "out.mp4"), (160, 120), 30)
    video.write(picture(0), 0.0)
    video.write(picture(1), 0.5)
    video.close(end_s=600.0)
    assert decode(tmp_path / "out.mp4")[1] == pytest.approx(0.5 + 1 / 30, abs=2e-3)


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_ctrl_c_while_a_frame_is_written_keeps_the_file(tmp_path, ending):
    class Interrupted:
        """A container whose third packet is written, and Ctrl-C pressed meanwhile."""

        def __init__(self, container) -> None:
            self._container, self._written = container, 0

        def __getattr__(self, name: str):
            return getattr(self._container, name)

        def mux(self, packet) -> None:
            self._container.mux(packet)
            self._written += 1
            if self._written == 3:
                raise KeyboardInterrupt

    path = tmp_path / f"out{ending}"
    video = VideoWriter(str(path), (160, 120), 30)
    video._container = Interrupted(video._container)
    with pytest.raises(KeyboardInterrupt):
        for i in range(9):
            video.write(picture(i), i / 30)
    video.close()
    assert decode(path)[0] == pytest.approx(np.arange(4) / 30, abs=1.1e-3)


def test_close_knows_when_the_last_frame_ends(tmp_path):
    video = VideoWriter(str(tmp_path / "out.mp4"), (160, 120))
    video.write(picture(0), 3.0)
    video.write(picture(1), 3.5)
    video.close(end_s=5.0)
    video.close()
    assert decode(tmp_path / "out.mp4")[1] == pytest.approx(2.0, abs=1e-3)


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".avi"])
def test_times_that_stand_still_or_go_back_keep_every_frame(tmp_path, ending):
    path = tmp_path / f"out{ending}"
    record(path, np.array([0, 0, 0.1, 0.05, 0.1, 0.2]))
    times_s, _, frames = decode(path)
    assert len(frames) == 6
    assert (np.diff(times_s) >= 0).all()
    assert times_s[-1] == pytest.approx(0.2, abs=2e-3)


def test_a_video_of_no_frames_is_closed_quietly(tmp_path):
    VideoWriter(str(tmp_path / "out.mp4"), (160, 120)).close()
    assert (tmp_path / "out.mp4").exists()


def test_odd_sizes_gain_one_pixel(tmp_path):
    record(tmp_path / "out.mp4", CFR_30[:5], size_wh=(161, 121))
    assert decode(tmp_path / "out.mp4")[2][0].shape == (122, 162, 3)


def test_an_image_of_another_size_is_scaled(tmp_path):
    with VideoWriter(str(tmp_path / "out.mp4"), (160, 120)) as video:
        video.write(picture(0), 0.0)
        video.write(picture(0, (320, 240)), 0.1)
    assert decode(tmp_path / "out.mp4")[2][1].shape == (120, 160, 3)


def test_no_thread_outlives_the_video(tmp_path):
    def tasks() -> int:
        task_folder = Path("/proc/self/task")
        return len(os.listdir(task_folder)) if task_folder.exists() else threading.active_count()

    record(tmp_path / "first.mp4", CFR_30[:5])
    before = tasks()
    record(tmp_path / "second.mp4", CFR_30[:5])
    deadline_s = time.monotonic() + 5
    while tasks() > before and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert tasks() <= before


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv", ".webm", ".avi"])
def test_a_killed_recording_plays(tmp_path, ending):
    path = tmp_path / f"out{ending}"
    script = """
import sys, time
import numpy as np
from livepose.record import VideoWriter
rng = np.random.default_rng(0)
video = VideoWriter(sys.argv[1], (160, 120), 30.0)
for i in range(150):
    video.write(rng.integers(0, 256, (120, 160, 3), dtype=np.uint8), i / 30)
print("written", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
    finally:
        process.kill()
        process.communicate(timeout=10)
    times_s, _, frames = decode(path)
    assert len(frames) >= 150 - 33, "more than the last second is lost"
    assert (np.diff(times_s) > 0).all()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("out.xyz", "unknown kind of video; use one of .mp4"),
        ("out", "unknown kind of video"),
        ("nowhere/out.mp4", "No such file or directory; create the folder first"),
        ("folder.mp4", "Is a directory"),
    ],
)
def test_a_path_that_cannot_be_a_video_fails_in_one_line(tmp_path, name, words):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(OutputError, match="cannot write") as caught:
        VideoWriter(str(tmp_path / name), (160, 120))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@contextmanager
def small_disk(folder: Path, size_kib: int) -> Iterator[Path]:
    """A file system of that size, or a skipped test."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot mount a small file system here: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=10)


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".webm", ".avi"])
def test_a_disk_that_fills_up_ends_the_video_in_one_line(tmp_path, ending):
    rng = np.random.default_rng(0)
    with small_disk(tmp_path, 512) as disk:
        video = VideoWriter(str(disk / f"out{ending}"), (160, 120))
        with pytest.raises(OutputError, match="No space left on device; free some space") as caught:
            for i in range(1000):
                video.write(rng.integers(0, 256, (120, 160, 3), dtype=np.uint8), i / 30)
        assert "\n" not in str(caught.value)
        video.write(picture(0), 99.0)
        video.close()
        assert len(decode(disk / f"out{ending}", cut_short=True)[2]) >= 10


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".avi"])
def test_a_disk_that_was_full_is_noticed_at_the_latest_when_closing(tmp_path, ending):
    target = tmp_path / f"out{ending}"
    try:
        target.symlink_to("/dev/full")
        Path("/dev/full").stat()
    except OSError as error:
        pytest.skip(f"no /dev/full: {error}")
    with pytest.raises(OutputError, match="No space left"):
        record(target, CFR_30[:3])


@pytest.mark.parametrize("ending", [".png", ".jpg", ".JPEG", ".webp", ".bmp"])
def test_pictures_are_written(tmp_path, ending):
    path = tmp_path / f"ü{ending}"
    write_image(str(path), picture(3))
    read = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(read.astype(int) - picture(3)).mean() < 4


@pytest.mark.parametrize(
    ("name", "words"),
    [("out.xyz", "use one of .png"), ("nowhere/out.png", "create the folder first")],
)
def test_a_picture_that_cannot_be_written_fails_in_one_line(tmp_path, name, words):
    with pytest.raises(OutputError, match=words):
        write_image(str(tmp_path / name), picture(0))
