"""Every source keeps the one contract of `livepose.capture.Source`; then each one's own traits."""

import logging
import os
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from livepose.capture import Frame, Source, SourceInfo
from livepose.errors import SourceError, UsageError
from livepose.sources import SourceOptions, open_source
from livepose.sources.images import ImageSource
from livepose.sources.paced import Paced
from livepose.sources.test import SyntheticSource
from livepose.sources.video import VideoSource
from tests.mjpeg_server import MjpegServer, number_in, numbered_image

SIZE_WH = (96, 64)
FRAMES = 5


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def write_video(
    path: Path,
    times_ms: tuple[int, ...] = (0, 40, 80, 120, 160),
    rotation: int = 0,
    size_wh: tuple[int, int] = SIZE_WH,
    codec: str = "mpeg4",
) -> Path:
    """A clip of numbered pictures, shown at the given times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.width, stream.height = size_wh
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for number, time_ms in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(numbered_image(number, size_wh), format="bgr24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_images(folder: Path, count: int = FRAMES) -> Path:
    """1.png ... N.png; from 10 on the order of the alphabet is wrong."""
    folder.mkdir()
    for number in range(count):
        cv2.imwrite(str(folder / f"{number + 1}.png"), numbered_image(number, SIZE_WH))
    return folder


def spec_of(kind: str, tmp_path: Path, stack: ExitStack) -> str:
    if kind == "test":
        return "test:96x64@100"
    if kind == "video":
        return str(write_video(tmp_path / "clip.mp4"))
    if kind == "http video":
        path = write_video(tmp_path / "clip.mp4")
        return stack.enter_context(MjpegServer(file=path)).url
    if kind == "mjpeg":
        return stack.enter_context(MjpegServer(size_wh=SIZE_WH, frames=FRAMES)).url
    folder = write_images(tmp_path / "pictures")
    return str({"image": folder / "1.png", "folder": folder, "glob": folder / "*.png"}[kind])


@pytest.mark.parametrize(
    "kind", ["test", "video", "http video", "mjpeg", "image", "folder", "glob"]
)
def test_contract(kind: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        spec = spec_of(kind, tmp_path, stack)
        source: Source = open_source(spec)
        stack.callback(source.close)
        frames = []
        while len(frames) < FRAMES and (frame := source.read()) is not None:
            frames.append(frame)

        # Of a camera whatever came while another picture was decoded is left out.
        expected = [frame.index for frame in frames] if kind == "mjpeg" else list(range(FRAMES))
        assert len(frames) == (1 if kind == "image" else len(expected))
        assert source.live == (kind in ("test", "mjpeg"))
        for frame in frames:
            assert frame.image.dtype == np.uint8
            assert frame.image.shape == (SIZE_WH[1], SIZE_WH[0], 3)
            assert frame.image.flags.c_contiguous
        assert [frame.index for frame in frames] == expected[: len(frames)]
        assert frames[0].time_s == pytest.approx(0, abs=0.5)
        for earlier, later in pairwise(frames):
            assert earlier.time_s < later.time_s
            assert earlier.captured_s <= later.captured_s
        if kind not in ("test", "image"):
            assert [number_in(frame.image) for frame in frames] == expected
        assert source.info.size_wh == SIZE_WH
        assert f"{SIZE_WH[0]}x{SIZE_WH[1]}" in source.info.description
        assert "\n" not in source.info.description
        if kind != "test":
            assert source.read() is None
        source.close()
        source.close()
        assert source.read() is None


class Timed:
    """Frames of these times, at once."""

    live = False
    info = SourceInfo("frames", SIZE_WH)

    def __init__(self, *times_s: float) -> None:
        self.closed = False
        self._frames = [
            Frame(numbered_image(i, SIZE_WH), i, time_s, 0.0) for i, time_s in enumerate(times_s)
        ]

    def read(self) -> Frame | None:
        return self._frames.pop(0) if self._frames else None

    def close(self) -> None:
        self.closed = True


def test_a_live_stream_in_pieces_catches_up_and_its_times_do_not_jump() -> None:
    inner = Timed(0.0, 0.1, 0.2, 3600.0, 3600.1)
    inner.live = True
    source = Paced(inner)
    assert source.live
    start_s = time.monotonic()
    frames = [source.read(), source.read()]
    time.sleep(0.5)  # the next one is late
    frames += [source.read(), source.read(), source.read()]
    assert all(frames)
    times_s = [frame.time_s for frame in frames if frame]
    assert times_s[:3] == pytest.approx([0, 0.1, 0.2], abs=1e-6)
    assert times_s[2] < times_s[3] < times_s[4] < 2.5
    assert time.monotonic() - start_s < 2.5


def test_a_watched_file_keeps_its_own_speed_and_does_not_catch_up() -> None:
    inner = Timed(0, 0.1, 0.2, 0.3, 0.4, 60.0, 60.1)
    source = Paced(inner)
    began_s = time.monotonic()
    frames = [source.read() for _ in range(3)]
    for frame, due_s in zip(frames, (0, 0.1, 0.2), strict=True):
        assert frame is not None and due_s <= frame.captured_s - began_s < due_s + 0.5
    time.sleep(0.6)  # a pause
    resumed_s = time.monotonic()
    for index, due_s in ((3, 0), (4, 0.1)):
        frame = source.read()
        assert frame is not None and frame.index == index
        assert due_s <= frame.captured_s - resumed_s < due_s + 0.5
    waited_s = time.monotonic()
    assert source.read() is not None and time.monotonic() - waited_s < 1.5
    after_s = time.monotonic()
    assert source.read() is not None and time.monotonic() - after_s < 0.6
    assert source.read() is None
    source.close()
    assert inner.closed


def test_a_video_below_dev_is_no_camera(tmp_path: Path) -> None:
    shm = Path("/dev/shm")
    if not os.access(shm, os.W_OK):
        pytest.skip("no /dev/shm here")
    path = write_video(shm / f"{tmp_path.name}-{os.getpid()}.mp4")
    try:
        source = open_source(str(path))
        assert isinstance(source, VideoSource)
        source.close()
    finally:
        path.unlink()


# The test source


def test_test_source_is_paced_and_skips_what_is_late() -> None:
    source = open_source("test:64x64@50,people=1")
    assert isinstance(source, SyntheticSource)
    first = source.read()
    time.sleep(0.1)
    late = source.read()
    assert first is not None and late is not None
    assert late.index == round(late.time_s * 50) >= 5
    assert late.time_s >= 0.1 - 1e-6
    assert late.captured_s - first.captured_s >= 0.1


def test_test_source_unpaced_gives_every_frame_and_knows_the_truth() -> None:
    source = open_source("test:128x96@10,people=2,seed=3", options=SourceOptions(paced=False))
    assert isinstance(source, SyntheticSource)
    assert not source.live
    times_s = [frame.time_s for frame in (source.read() for _ in range(3)) if frame is not None]
    assert times_s == pytest.approx([0, 0.1, 0.2])
    truth = source.truth_at(times_s[1])
    assert truth.shape == (2, 16, 3)
    assert not np.array_equal(truth, source.truth_at(times_s[2]))


def test_test_source_takes_options_and_its_spec_wins() -> None:
    wishes = SourceOptions(size_wh=(80, 64), fps=12)
    assert open_source("test", options=wishes).info.size_wh == (80, 64)
    assert open_source("test:@24,motion=wave", options=wishes).info.fps == 24
    assert open_source("test:seed=4,people=1").info.size_wh == (640, 480)


@pytest.mark.parametrize(
    "spec", ["test:wide", "test:64x", "test:motion=fly", "test:@0", "test:a=1"]
)
def test_test_source_wrong_spec(spec: str) -> None:
    with pytest.raises(UsageError, match="test"):
        open_source(spec)


# Video files


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_video_numbers(tmp_path: Path, suffix: str) -> None:
    source = open_source(str(write_video(tmp_path / f"clip{suffix}")))
    assert isinstance(source, VideoSource)
    if suffix == ".mp4":
        assert source.info.frames == 5
        assert source.info.fps == pytest.approx(25)
        assert source.info.duration_s == pytest.approx(0.2, abs=0.05)
    source.close()


def test_video_keeps_variable_rate(tmp_path: Path) -> None:
    times_ms = (0, 10, 200, 210, 1000)
    source = open_source(str(write_video(tmp_path / "clip.mkv", times_ms)))
    read = [frame.time_s for frame in iter(source.read, None)]
    assert read == pytest.approx([each / 1000 for each in times_ms])
    source.close()


def test_video_starts_at_zero_wherever_its_clock_does(tmp_path: Path) -> None:
    source = open_source(str(write_video(tmp_path / "clip.mkv", (5000, 5040, 5080))))
    read = [frame.time_s for frame in iter(source.read, None)]
    assert read == pytest.approx([0, 0.04, 0.08], abs=1e-3)
    source.close()


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_video_of_a_turned_phone_is_upright(tmp_path: Path, rotation: int) -> None:
    source = open_source(str(write_video(tmp_path / "clip.mp4", rotation=rotation)))
    frames = list(iter(source.read, None))
    upright = np.rot90(numbered_image(1, SIZE_WH), rotation // 90)
    assert source.info.size_wh == (upright.shape[1], upright.shape[0])
    assert frames[1].image.shape == upright.shape
    difference = np.abs(frames[1].image.astype(int) - upright)
    assert np.median(difference) < 20
    source.close()


def test_video_skips_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_video(tmp_path / "clip.avi", tuple(range(0, 2000, 40)), codec="mjpeg")
    data = bytearray(path.read_bytes())
    pictures, at = [], data.find(b"00dc")
    while at >= 0:
        (length,) = struct.unpack_from("<I", data, at + 4)
        if length:
            pictures.append((at, length))
        at = data.find(b"00dc", at + 8 + length)
    for at, length in pictures[10:13]:
        data[at + 8 : at + 8 + length] = b"\xff" * length
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        source = open_source(str(path))
        frames = list(iter(source.read, None))
    assert isinstance(source, VideoSource)
    assert source.corrupt == 3
    assert len(frames) == 47
    assert "skipped 3" in caplog.text
    source.close()


def test_a_video_whose_rest_is_missing_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_video(tmp_path / "clip.mkv", tuple(range(0, 8000, 40)))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with caplog.at_level(logging.WARNING):
        source = open_source(str(path))
        frames = list(iter(source.read, None))
        assert source.read() is None
    assert 20 < len(frames) < 180
    end = f"its pictures end after {frames[-1].time_s:.1f} of 8.0 s"
    assert [end in record.message for record in caplog.records] == [True]
    source.close()


def text_named_mp4(path: Path) -> None:
    path.write_text("this is no video\n" * 20)


def empty(path: Path) -> None:
    path.touch()


def only_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), "fltp", "mono")
        sound.sample_rate = 48000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())


def cut_short(path: Path) -> None:
    write_video(path)
    path.write_bytes(path.read_bytes()[:200])


def too_small(path: Path) -> None:
    write_video(path, size_wh=(8, 8))


@pytest.mark.parametrize("make", [text_named_mp4, empty, only_sound, cut_short, too_small])
def test_video_that_is_none(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    make(path)
    with pytest.raises(SourceError) as caught:
        open_source(str(path))
    assert "clip.mp4" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file() -> None:
    with pytest.raises(SourceError, match="no such file"):
        open_source("nowhere/clip.mp4")
    with pytest.raises(SourceError, match="no such file"):
        open_source("nowhere/picture.png")


# Pictures


def test_images_in_natural_order_and_named(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "pictures", 11)
    source = open_source(str(folder))
    frames = list(iter(source.read, None))
    assert [number_in(frame.image) for frame in frames] == list(range(11))
    assert frames[9].name == str(folder / "10.png")
    assert frames[9].time_s == 9
    assert (source.info.frames, source.info.fps) == (11, None)


@pytest.mark.parametrize(
    ("shape", "dtype", "value"),
    [((64, 96), "u1", 200), ((64, 96), "u2", 200 * 257), ((64, 96, 4), "u1", 200)],
)
def test_images_become_uint8_bgr(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, value: int
) -> None:
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), np.full(shape, value, dtype))
    frame = open_source(str(path)).read()
    assert frame is not None
    assert frame.image.shape == (64, 96, 3)
    assert frame.image.dtype == np.uint8
    assert np.abs(frame.image.astype(int) - 200).max() <= 1


def test_image_turned_by_exif(tmp_path: Path) -> None:
    path = tmp_path / "phone.jpg"
    jpeg = cv2.imencode(".jpg", numbered_image(5, SIZE_WH))[1].tobytes()
    # Orientation 6: to be turned by 90 degrees clockwise.
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b"Exif\0\0" + tiff
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
    frame = open_source(str(path)).read()
    assert frame is not None
    assert frame.image.shape == (96, 64, 3)
    assert number_in(cv2.rotate(frame.image, cv2.ROTATE_90_COUNTERCLOCKWISE)) == 5


def test_unreadable_image_is_skipped_in_a_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_images(tmp_path / "pictures", 3)
    (folder / "2.png").write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING):
        source = open_source(str(folder))
        frames = list(iter(source.read, None))
    assert isinstance(source, ImageSource)
    assert [frame.index for frame in frames] == [0, 1]
    assert source.skipped == 1
    assert "2.png" in caplog.text


def test_images_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(SourceError, match="no pictures"):
        open_source(str(tmp_path))
    with pytest.raises(SourceError, match="no pictures"):
        open_source(str(tmp_path / "*.png"))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(SourceError, match=r"bad\.png"):
        open_source(str(tmp_path / "bad.png"))
    cv2.imwrite(str(tmp_path / "dot.png"), np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(SourceError, match="too small"):
        open_source(str(tmp_path / "dot.png"))
    with pytest.raises(SourceError, match="none of its 2 pictures"):
        open_source(str(tmp_path))


def test_folder_named_like_a_pattern(tmp_path: Path) -> None:
    assert open_source(str(write_images(tmp_path / "a[1]*"))).info.frames == FRAMES


def test_pixels_that_are_not_square_become_so(tmp_path: Path) -> None:
    path = tmp_path / "dvd.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = SIZE_WH
        stream.sample_aspect_ratio = stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for number in range(FRAMES):
            image = numbered_image(number, SIZE_WH)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    source = open_source(str(path))
    assert source.info.size_wh == (128, 64)
    frames = list(iter(source.read, None))
    source.close()
    assert {frame.image.shape for frame in frames} == {(64, 128, 3)}
    assert [number_in(frame.image) for frame in frames] == list(range(FRAMES))
