"""A real MJPEG camera on the loopback interface that can be told to fail.

Every good picture carries its running number, so a test can say which ones arrived.
"""

import base64
import hashlib
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import cv2
import numpy as np
import numpy.typing as npt

BITS = 12
JUNK = (
    b"",
    b"no picture at all",
    b"\xff\xd8\xff\xd9",
    b"\xff\xd8" + bytes(range(256)) * 8 + b"\xff\xd9",
    b"\x00" * 70_000,
)


def numbered_image(number: int, size_wh: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """uint8 [H, W, 3] BGR: the number's lowest bits as black and white stripes."""
    bits = (number >> np.arange(BITS)) & 1
    stripes = bits[np.arange(size_wh[0]) * BITS // size_wh[0]] * 255
    return np.broadcast_to(stripes[None, :, None], (*size_wh[::-1], 3)).astype(np.uint8)


def number_in(image: npt.NDArray[np.uint8]) -> int:
    """The number that `numbered_image` drew, read from the middle of each stripe."""
    at = (np.arange(BITS) * 2 + 1) * image.shape[1] // (2 * BITS)
    return int(((image[image.shape[0] // 2, at, 1] > 127) << np.arange(BITS)).sum())


class MjpegServer:
    """Serves `url`; each connection is sent the same running numbers from 0.

    stalled: connections stay open and silent. junk_at: numbers before which a junk part goes
    out. with_length: whether parts tell their Content-Length; wrong_length adds a lie.
    only_junk: no good picture is sent. login: asked of clients, `digest` says how.
    chunked: as HTTP/1.1 does it.
    file: served whole instead of the stream.
    cut() closes everything, resume() listens on the same port again.
    """

    def __init__(
        self,
        *,
        size_wh: tuple[int, int] = (96, 64),
        fps: float = 100.0,
        with_length: bool = True,
        wrong_length: int = 0,
        junk_at: tuple[int, ...] = (),
        frames: int | None = None,
        chunked: bool = False,
        login: tuple[str, str] | None = None,
        digest: bool = False,
        file: Path | None = None,
    ) -> None:
        self.size_wh = size_wh
        self.fps = fps
        self.with_length = with_length
        self.wrong_length = wrong_length
        self.junk_at = junk_at
        self.frames = frames
        self.chunked = chunked
        self.login = login
        self.digest = digest
        self.file = file
        self.only_junk = False
        self.stalled = False
        self.still = False
        self._port = 0
        self._open: list[socket.socket] = []
        self.resume()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/stream"

    def resume(self) -> None:
        """Listen, on the port of before."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1" if server.chunked else "HTTP/1.0"

            def do_GET(self) -> None:
                server._serve(self)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._http = _QuietServer(("127.0.0.1", self._port), Handler)
        self._port = self._http.server_address[1]
        self._running = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()

    def cut(self) -> None:
        """Close all connections and listen no more."""
        self._running = False
        self._http.shutdown()
        for connection in self._open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the other end closed it first
        self._open.clear()
        self._http.server_close()  # joins the threads of the connections
        self._thread.join()

    def __enter__(self) -> "MjpegServer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self._running:
            self.cut()

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        self._open.append(request.connection)
        if self.login and not self._knows(request.headers.get("Authorization") or ""):
            request.send_response(401, "Unauthorized")
            more = ', nonce="b5c1", qop="auth"' if self.digest else ""
            asks = f'{"Digest" if self.digest else "Basic"} realm="camera"{more}'
            request.send_header("WWW-Authenticate", asks)
            request.end_headers()
        elif request.path == "/moved":
            request.send_response(302)
            request.send_header("Location", "/stream")
            request.send_header("Content-Length", "0")
            request.end_headers()
        elif request.path != "/stream":
            request.send_error(404)
        elif self.file is not None:
            data = self.file.read_bytes()
            request.send_response(200)
            request.send_header("Content-Type", "video/mp4")
            request.send_header("Content-Length", str(len(data)))
            request.end_headers()
            request.wfile.write(data)
        else:
            request.send_response(200)
            request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            if self.chunked:
                request.send_header("Transfer-Encoding", "chunked")
            request.end_headers()
            self._stream(request.wfile)

    def _knows(self, said: str) -> bool:
        """Whether it is the login, said in the way that is wanted (RFC 7617 and 7616, MD5)."""
        user, password = self.login or ("", "")
        if not self.digest:
            return said == "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        fields = dict(re.findall(r'(\w+)="?([^",]+)"?', said.removeprefix("Digest ")))
        if not said.startswith("Digest ") or fields.get("username") != user:
            return False

        def md5(*words: str) -> str:
            return hashlib.md5(":".join(words).encode()).hexdigest()

        whole = (fields["nonce"], fields["nc"], fields["cnonce"], fields["qop"])
        key = md5(user, "camera", password)
        return fields["response"] == md5(key, *whole, md5("GET", fields["uri"]))

    def _stream(self, out: BinaryIO) -> None:
        def send(data: bytes) -> None:
            out.write(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)

        number = 0
        while self._running and number != self.frames:
            if self.only_junk:
                send(self._part(JUNK[1]))
            elif not self.stalled:
                if number in self.junk_at:
                    send(self._part(JUNK[self.junk_at.index(number) % len(JUNK)]))
                image = numbered_image(0 if self.still else number, self.size_wh)
                send(self._part(cv2.imencode(".jpg", image)[1].tobytes()))
                number += 1
            time.sleep(1 / self.fps)
        send(b"--frame--\r\n")
        if self.chunked:
            out.write(b"0\r\n\r\n")

    def _part(self, body: bytes) -> bytes:
        length = f"Content-Length: {max(0, len(body) + self.wrong_length)}\r\n" * self.with_length
        return f"--frame\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode() + body + b"\r\n"


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is what these tests are about."""
