"""Sources on the network: MJPEG cameras, live playlists, files on a server, nobody there."""

import functools
import socket
import threading
import time
from fractions import Fraction
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import av
import cv2
import pytest

from livepose.capture import SourceLost
from livepose.errors import SourceError
from livepose.sources import SourceOptions, open_source
from livepose.sources.network import MjpegSource, PartReader
from tests.mjpeg_server import MjpegServer, number_in, numbered_image

SIZE_WH = (96, 64)
FRAMES = 5


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.mark.parametrize(
    "server",
    [
        {},
        {"with_length": False},
        {"wrong_length": 9},
        {"wrong_length": -9},
        {"with_length": False, "chunked": True},
    ],
    ids=str,
)
def test_mjpeg_keeps_every_good_frame_between_junk(server: dict[str, int]) -> None:
    junk_at = tuple(range(2, 22, 2))
    with MjpegServer(frames=30, fps=100, junk_at=junk_at, **server) as running:
        source = open_source(running.url)
        assert isinstance(source, MjpegSource)
        frames = list(iter(source.read, None))
        source.close()
    numbers = [number_in(frame.image) for frame in frames]
    assert len(numbers) > 20 and numbers == sorted(set(numbers)) and numbers[-1] == 29
    # An empty part may pass unseen, and what looks like a picture be overtaken.
    assert source.junk >= 4


def test_mjpeg_pictures_that_a_newer_one_overtook_are_left_out_and_counted() -> None:
    """Who reads slowly gets the newest picture, stamped when it came, not when it was read."""
    with MjpegServer(fps=100) as server:
        source = open_source(server.url)
        assert source.read() is not None
        last = source.read()
        for _ in range(4):
            time.sleep(0.25)
            frame = source.read()
            assert frame is not None and last is not None
            assert time.monotonic() - frame.captured_s < 0.15
            assert frame.index == number_in(frame.image) > last.index + 5
            assert (
                0.1
                < frame.time_s - last.time_s
                == pytest.approx(frame.captured_s - last.captured_s, abs=1e-6)
            )
            last = frame
        source.close()


def test_a_live_playlist_is_played_at_its_own_speed(tmp_path: Path) -> None:
    """Pieces of a second that come at once, as a camera behind HLS gives them."""
    pieces, fps = 6, 20
    for piece in range(pieces):
        with av.open(str(tmp_path / f"{piece}.ts"), "w", format="mpegts") as container:
            stream = container.add_stream("mpeg4", rate=fps)
            stream.width, stream.height = SIZE_WH
            for i in range(fps):
                number = piece * fps + i
                frame = av.VideoFrame.from_ndarray(numbered_image(number, SIZE_WH), format="bgr24")
                frame.pts, frame.time_base = number, Fraction(1, fps)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    started_s = time.monotonic()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/live.m3u8":
                last = min(pieces, 3 + int(time.monotonic() - started_s))
                names = "".join(f"#EXTINF:1.0,\n{i}.ts\n" for i in range(last - 3, last))
                head = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{last - 3}\n"
                (tmp_path / "live.m3u8").write_text(head + names)
            super().do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    handler = functools.partial(Handler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        serving.start()
        source = open_source(f"http://127.0.0.1:{server.server_address[1]}/live.m3u8")
        assert source.live
        frames = [frame for _ in range(4 * fps) if (frame := source.read())]
        source.close()
        server.shutdown()
        serving.join()
    assert len(frames) == 4 * fps
    gaps_s = [b.captured_s - a.captured_s for a, b in pairwise(frames)]
    assert max(gaps_s) < 0.7
    assert frames[-1].captured_s - frames[0].captured_s == pytest.approx(4 - 1 / fps, abs=0.5)
    steps_s = [b.time_s - a.time_s for a, b in pairwise(frames)]
    assert steps_s == pytest.approx([1 / fps] * len(steps_s), abs=0.01)


def test_mjpeg_frame_is_given_out_before_the_next_one_is_sent() -> None:
    picture = cv2.imencode(".jpg", numbered_image(3, SIZE_WH))[1].tobytes()
    for head in (b"\r\n", b"Content-Length: %d\r\n\r\n" % len(picture)):
        reader = PartReader('"--cut"')
        data = b"--cut\r\nContent-Type: image/jpeg\r\n" + head + picture
        parts = [part for i in range(len(data)) for part in reader.feed(data[i : i + 1])]
        assert parts == [picture]


def test_mjpeg_stalled_and_junk_only_are_lost() -> None:
    with MjpegServer() as server:
        source = open_source(server.url, options=SourceOptions(timeout_s=0.3))
        server.stalled = True
        with pytest.raises(SourceLost, match=r"reading failed|no good picture"):
            list(iter(source.read, None))
        source.close()
        server.stalled, server.only_junk = False, True
        with pytest.raises(SourceLost, match="no good picture"):
            open_source(server.url, options=SourceOptions(timeout_s=0.3))


@pytest.mark.parametrize("digest", [False, True])
def test_mjpeg_password_goes_into_the_header_only(digest: bool) -> None:
    with MjpegServer(login=("me", "s3:cret/"), digest=digest) as server:
        with pytest.raises(SourceError, match=r"401.*USER:PASSWORD"):
            open_source(server.url)
        with pytest.raises(SourceError, match=r"401.*wrong user or password"):
            open_source(server.url.replace("http://", "http://me:wrong@"))
        url = server.url.replace("http://", "http://me:s3%3Acret%2F@")
        for place in (url, url.replace("/stream", "/moved")):
            source = open_source(place)
            assert "s3" not in source.info.description
            source.close()


@pytest.mark.parametrize("kind", ["picture", "video without a length"])
def test_a_file_on_a_server_is_read_once(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    if kind == "picture":
        path.write_bytes(cv2.imencode(".png", numbered_image(0, SIZE_WH))[1].tobytes())
    else:  # as browsers record it
        with av.open(str(path), "w", format="matroska", options={"live": "1"}) as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height = SIZE_WH
            for number in range(FRAMES):
                image = numbered_image(number, SIZE_WH)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            container.mux(stream.encode())
        with av.open(str(path)) as container:
            assert container.duration is None
    with MjpegServer(file=path) as server:
        source = open_source(server.url)
        assert not source.live
        frames = list(iter(source.read, None))
        source.close()
    assert len(frames) == (1 if kind == "picture" else FRAMES)


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_network_nobody_there(scheme: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(SourceError, match=f"{scheme}://127.0.0.1:{port}/x: cannot be") as caught:
        open_source(f"{scheme}://me:s3cret@127.0.0.1:{port}/x")
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_network_silent_server_is_bounded_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for scheme in ("http", "rtsp"):
            url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/x"
            started_s = time.monotonic()
            with pytest.raises(SourceError, match="check the URL"):
                open_source(url, options=SourceOptions(timeout_s=0.3))
            assert time.monotonic() - started_s < 5


def test_network_not_found_and_unknown_scheme() -> None:
    with MjpegServer() as server, pytest.raises(SourceError, match="404"):
        open_source(server.url + "/nothing")
    with pytest.raises(SourceError, match="rtsp"):
        open_source("ftp://127.0.0.1/x")


# Cameras
