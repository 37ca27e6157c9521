"""Cameras and videos behind a URL: HTTP MJPEG parsed here, everything else through PyAV.

MJPEG (multipart/x-mixed-replace) has a parser of its own because FFmpeg's gives up at the
first wrong Content-Length, and cameras send junk. Reconnecting is the capture thread's.
"""

import base64
import http.client
import re
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, unquote, urlsplit

import cv2
import numpy as np
import numpy.typing as npt

from livepose.capture import Frame, Source, SourceInfo, SourceLost
from livepose.errors import SourceError
from livepose.sources.common import SourceOptions, check_size, without_password

_MULTIPART = "multipart/x-mixed-replace"
_PLAYLISTS = ("application/vnd.apple.mpegurl", "application/x-mpegurl", "application/dash+xml")
_ENDINGS = (".m3u8", ".mpd")
_PIECE_S = 30.0
"""The next piece of a live playlist may take so long."""
_MAX_PART_BYTES = 32 << 20
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_MAX_HEADER_BYTES = 8192
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_MOST_WAITING = 8
_START_OF_IMAGE, _END_OF_IMAGE = b"\xff\xd8", b"\xff\xd9"
_FAILURES = (OSError, http.client.HTTPException)


def open_network(url: str, options: SourceOptions) -> Source:
    """The source behind an http(s):// or rtsp(s):// URL; raises `SourceError`."""
    name = without_password(url)
    finite = False
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        # What is wrong may be part of a password: it is not repeated.
        scheme = url.partition(":")[0]
        raise SourceError(
            f"{scheme}://: not a URL; write special characters of a password as %23 and the like"
        ) from error
    if parts.scheme in ("http", "https"):
        response = _request(parts, name, options.timeout_s)
        if response.headers.get_content_type() == _MULTIPART:
            return MjpegSource(response, name, options)
        finite = response.length is not None
        if response.headers.get_content_type() in _PLAYLISTS or parts.path.endswith(_ENDINGS):
            options = replace(options, timeout_s=max(options.timeout_s, _PIECE_S))
        response.close()
    elif parts.scheme not in ("rtsp", "rtsps"):
        raise SourceError(f"{name}: cannot be opened; give an http(s):// or rtsp(s):// URL")
    from livepose.sources.paced import Paced
    from livepose.sources.video import VideoSource

    # TCP, because frames with lost UDP packets are worse than late ones.
    rtsp = {"rtsp_transport": "tcp"} if parts.scheme.startswith("rtsp") else {}
    source = VideoSource(url, network=options, finite=finite, name=name, ffmpeg_options=rtsp)
    return Paced(source) if source.in_pieces else source


class MjpegSource:
    """An MJPEG stream over HTTP; see `Source`. Live.

    A thread reads the connection, so that no picture waits, unseen and unstamped, for the
    decoding of the one before. A frame is stamped when its last byte is here; `time_s` counts from
    the first. Only the newest picture is decoded: those that it overtook are left out of `index`,
    which goes on by more than one. What is no whole JPEG is skipped and counted in `junk`.
    """

    live = True

    def __init__(
        self, response: http.client.HTTPResponse, name: str, options: SourceOptions
    ) -> None:
        self.junk = 0
        self._response = response
        self._name = name
        self._timeout_s = options.timeout_s
        self._index = 0
        self._opened_s: float | None = None
        # One lock for the five below; its condition is notified on every change.
        self._changed = threading.Condition()
        self._received: deque[tuple[bytes, float]] = deque()
        self._overtaken = 0
        self._unread_junk = 0
        self._over = False
        self._lost: SourceLost | None = None
        threading.Thread(target=self._receive, name="mjpeg", daemon=True).start()
        try:
            self._waiting = self._next()
            if self._waiting is None:
                raise SourceError(f"{name}: the stream ended before its first picture")
            size_wh = (self._waiting.image.shape[1], self._waiting.image.shape[0])
            check_size(size_wh, name)
        except BaseException:
            self.close()
            raise
        self.info = SourceInfo(f"{name}, {size_wh[0]}x{size_wh[1]}, MJPEG", size_wh)

    def read(self) -> Frame | None:
        """The newest good picture; None when the server ends the stream."""
        frame, self._waiting = self._waiting or self._next(), None
        return frame

    def close(self) -> None:
        """End the thread, which closes the connection once its last read is over."""
        with self._changed:
            self._waiting = None
            self._received.clear()
            self._over = True
            self._changed.notify_all()

    def _next(self) -> Frame | None:
        give_up_s = time.monotonic() + self._timeout_s
        while True:
            with self._changed:
                left_s = give_up_s - time.monotonic()
                self._changed.wait_for(lambda: self._received or self._over, max(left_s, 0))
                parts, self._received = self._received, deque()
                self._index += self._overtaken
                self.junk += self._unread_junk
                self._overtaken = self._unread_junk = 0
                over, lost = self._over, self._lost
            while parts:
                part, arrived_s = parts.pop()
                image = _decode(part)
                if image is not None:
                    pictures = sum(_is_jpeg(older) for older, _ in parts)
                    self._index += pictures
                    self.junk += len(parts) - pictures
                    return self._frame(image, arrived_s)
                self.junk += 1
            if lost is not None:
                raise lost
            if over:
                return None
            if time.monotonic() >= give_up_s:
                raise SourceLost(f"{self._name}: no good picture for {self._timeout_s:g} s")

    def _receive(self) -> None:
        """The thread: everything that comes, until `close`, the end of the stream or a failure."""
        reader = PartReader(self._response.headers.get_param("boundary", "", "content-type"))
        try:
            while not self._over and (data := self._response.read1(1 << 16)):
                arrived_s = time.monotonic()
                for part in reader.feed(data):
                    with self._changed:
                        if self._over:
                            return
                        self._received.append((part, arrived_s))
                        if len(self._received) > _MOST_WAITING:
                            picture = _is_jpeg(self._received.popleft()[0])
                            self._overtaken += picture
                            self._unread_junk += not picture
                        self._changed.notify_all()
        except _FAILURES as error:
            # Kept for the reader, whose `read` raises it.
            self._lost = SourceLost(f"{self._name}: reading failed ({_why(error)})")
            self._lost.__cause__ = error
        finally:
            self._response.close()
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _frame(self, image: npt.NDArray[np.uint8], arrived_s: float) -> Frame:
        if self._opened_s is None:
            self._opened_s = arrived_s
        index = self._index
        self._index += 1
        return Frame(image, index, arrived_s - self._opened_s, arrived_s)


class PartReader:
    """Cuts the bytes of a multipart stream into the bodies of its parts.

    A Content-Length is believed only if a JPEG ends there. Without one, a part is over when
    the bytes so far end like a JPEG: most servers send the boundary only with the next frame,
    and waiting for it would show every frame one frame late.
    """

    def __init__(self, boundary: object) -> None:
        # Some cameras count the leading dashes as part of the boundary's name.
        self._boundary = b"--" + str(boundary or "").strip('"').lstrip("-").encode()
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies that are whole once `data` has been added."""
        self._buffer += data
        while (part := self._take()) is not None:
            yield part

    def _take(self) -> bytes | None:
        buffer = self._buffer
        start = buffer.find(self._boundary)
        if start < 0:
            del buffer[: -len(self._boundary)]
            return None
        head = _HEADER_END.search(buffer, start)
        if head is None:
            if len(buffer) - start > _MAX_HEADER_BYTES:
                del buffer[: start + len(self._boundary)]
            return None
        end = self._end_of_part(head.start(), head.end())
        if end is None:
            if len(buffer) - start > _MAX_PART_BYTES:
                buffer.clear()
            return None
        body = bytes(buffer[head.end() : end])
        del buffer[:end]
        return body

    def _end_of_part(self, head_end: int, body: int) -> int | None:
        buffer = self._buffer
        following = buffer.find(self._boundary, body)
        length = _LENGTH.search(buffer, 0, head_end)
        if length is not None:
            end = body + int(length[1])
            if len(buffer) >= end and _is_jpeg(buffer[body:end]):
                return end
        elif following < 0 and _is_jpeg(buffer[body:]):
            return len(buffer)
        return None if following < 0 else following


def _is_jpeg(data: bytes | bytearray) -> bool:
    return data.startswith(_START_OF_IMAGE) and data.rstrip(b"\r\n\0").endswith(_END_OF_IMAGE)


def _decode(part: bytes) -> npt.NDArray[np.uint8] | None:
    """uint8 [H, W, 3] BGR; None if it is no whole JPEG (cv2 would fill a cut one with grey)."""
    if not _is_jpeg(part):
        return None
    try:
        image = cv2.imdecode(np.frombuffer(part, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, np.uint8)


def _request(parts: SplitResult, name: str, timeout_s: float) -> http.client.HTTPResponse:
    """The opened answer to a GET; user and password of the URL are for its host alone, sent at
    once (Basic) or hashed, if it asks for that (Digest)."""
    host = parts.netloc.rpartition("@")[2]
    url = parts._replace(netloc=host).geturl()
    request = urllib.request.Request(url)
    opener = urllib.request.build_opener()
    if parts.username is not None:
        user, password = unquote(parts.username), unquote(parts.password or "")
        basic = base64.b64encode(f"{user}:{password}".encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {basic}")
        logins = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        logins.add_password(None, f"{parts.scheme}://{host}/", user, password)
        digest = urllib.request.HTTPDigestAuthHandler(logins)
        # Of the six retries that it allows two are left, for the URL and where that leads: cameras
        # lock out who tries often.
        digest.retried = 4  # type: ignore[attr-defined]
        opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(logins), digest)
    try:
        response = opener.open(request, timeout=timeout_s)
    except HTTPError as error:
        error.close()
        hint = "check the URL"
        if error.code == 401:
            known = parts.username is not None
            hint = "wrong user or password" if known else "give http://USER:PASSWORD@HOST/..."
        raise SourceError(f"{name}: the server says {error.code} {error.reason}; {hint}") from error
    except (*_FAILURES, ValueError) as error:
        raise SourceError(
            f"{name}: cannot be reached ({_why(error)}); check the URL and the network"
        ) from error
    assert isinstance(response, http.client.HTTPResponse)
    return response


def _why(error: BaseException) -> str:
    if isinstance(error, URLError) and isinstance(error.reason, OSError):
        error = error.reason
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
