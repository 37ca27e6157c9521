"""Writes annotated pictures and videos. Joints are `sinks.py`'s."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Final

# Before PyAV, or OpenCV's windows hang: see `window.py`.
import cv2

# isort: split
import av
import numpy as np
import numpy.typing as npt
from av.container import OutputContainer
from av.packet import Packet
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from livepose.errors import OutputError
from livepose.sinks import cannot_write

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Encoder:
    """One that answers every frame with its packet, so that a kill loses next to nothing.

    `tick_s` is the finest time base: MPEG-4 stores at most 16 bits of denominator.
    """

    name: str
    options: dict[str, str]
    tick_s: Fraction = Fraction(1, 90_000)


@dataclass(frozen=True)
class _Container:
    """A file format; `options` bound what is still in memory when the process dies."""

    format: str
    encoders: tuple[_Encoder, ...]
    options: dict[str, str]
    constant_rate: bool = False


_H264: Final = _Encoder("libx264", {"preset": "superfast", "tune": "zerolatency", "crf": "20"})
_MPEG4: Final = _Encoder(
    "mpeg4", {"flags": "+qscale", "global_quality": str(3 * 118)}, Fraction(1, 60_000)
)
_VP9: Final = _Encoder(
    "libvpx-vp9",
    {
        **{"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "row-mt": "1"},
        **{"crf": "24", "b": "0"},
    },
)
_FLUSHED: Final = {"flush_packets": "1"}  # nothing waits, half written, in libavformat's buffer
_FRAGMENTS: Final = {
    **_FLUSHED,
    "movflags": "frag_keyframe+empty_moov+default_base_moof",
    "frag_duration": "500000",  # microseconds
}
_CLUSTERS: Final = {**_FLUSHED, "cluster_time_limit": "500"}  # milliseconds
_CONTAINERS: Final = {
    ".mp4": _Container("mp4", (_H264, _MPEG4), _FRAGMENTS),
    ".mov": _Container("mov", (_H264, _MPEG4), _FRAGMENTS),
    ".mkv": _Container("matroska", (_H264, _MPEG4), _CLUSTERS),
    ".webm": _Container("webm", (_VP9,), _CLUSTERS),
    ".avi": _Container("avi", (_MPEG4,), _FLUSHED, constant_rate=True),
}
_LONGEST_LAST_S: Final = 10.0
"""A last frame said to last longer belongs to a video whose rest is missing."""
_KEYFRAME_EVERY: Final = 60  # frames: how far a player may have to go back when seeking
_PICTURES: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class VideoWriter:
    """Writes a video that keeps each frame's own time and stays playable if we are killed.

    Rates may vary from frame to frame; only AVI, which knows no times, rounds them to the
    nearest frame of `fps_hint`. H.264 where PyAV has x264, else MPEG-4; VP9 in WebM. Widths and
    heights must be even for the pixel format that every player knows (yuv420p): an odd one gets
    one more column or row, a copy of the last.

    Every failure is an `OutputError`, raised once: after one, `close` does nothing.
    """

    def __init__(self, path: str, size_wh: tuple[int, int], fps_hint: float = 30.0) -> None:
        kind = _CONTAINERS.get(Path(path).suffix.lower())
        if kind is None:
            raise OutputError(
                f"cannot write {path}: unknown kind of video; use one of {', '.join(_CONTAINERS)}"
            )
        encoder = next(e for e in kind.encoders if e.name in av.codecs_available)
        rate = Fraction(fps_hint).limit_denominator(1001)
        self._path = path
        self._size_wh = size_wh
        self._tick_s = 1 / rate if kind.constant_rate else encoder.tick_s
        self._period_s = float(1 / rate)
        self._start_s: float | None = None
        self._next_pts = 0
        self._held: Packet[VideoStream] | None = None
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        with self._failing_once():
            self._container = av.open(path, "w", format=kind.format, options=kind.options)
            stream = self._container.add_stream(encoder.name, rate=rate, options=encoder.options)
            assert isinstance(stream, VideoStream)
            self._stream = stream
            context = stream.codec_context
            context.width, context.height = (side + side % 2 for side in size_wh)
            context.pix_fmt = "yuv420p"
            context.time_base = self._tick_s
            context.gop_size = _KEYFRAME_EVERY
            # cv2's conversion in `_frame`; without these, players guess by the size.
            context.colorspace = Colorspace.ITU601
            context.color_range = ColorRange.MPEG
            self._container.start_encoding()

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def write(self, image_bgr: Image, time_s: float) -> None:
        """Append uint8 [H, W, 3] BGR, shown from `time_s` on; the first frame's time becomes 0.

        A time not after the last one is moved to one tick after it. An image of another size (a
        camera that came back with another mode) is scaled to the video's.
        """
        if self._stream is None:
            return
        if self._start_s is None:
            self._start_s = time_s
        frame = self._frame(image_bgr)
        frame.pts = max(self._ticks(time_s), self._next_pts)
        frame.time_base = self._tick_s
        self._next_pts = frame.pts + 1
        with self._failing_once():
            self._mux(self._stream.encode(frame))

    def close(self, end_s: float | None = None) -> None:
        """Finish the file; a second call does nothing.

        The last frame lasts until `end_s` (on `write`'s clock), or, where that is not given or
        more than 10 s away, one period of `fps_hint`.
        """
        if self._container is None or self._stream is None:
            return
        with self._failing_once():
            self._mux(self._stream.encode())
            if self._held is not None:
                last_s = self._period_s
                if end_s is not None and self._held.pts is not None:
                    until_s = float((self._ticks(end_s) - self._held.pts) * self._tick_s)
                    last_s = until_s if until_s <= _LONGEST_LAST_S else last_s
                self._held.duration = max(1, round(last_s / self._tick_s))
                self._container.mux(self._held)
            self._container.close()
        self._release()

    def _mux(self, packets: "list[Packet[VideoStream]]") -> None:
        """Write all but the newest packet: how long that lasts is known with the next one."""
        assert self._container is not None
        for packet in packets:
            # Exchanged first: Ctrl-C while it is written must not have it written again.
            held, self._held = self._held, packet
            if held is not None:
                if packet.pts is not None and held.pts is not None:
                    held.duration = packet.pts - held.pts
                self._container.mux(held)

    def _ticks(self, time_s: float) -> int:
        return round((time_s - (self._start_s or 0.0)) / self._tick_s)

    def _frame(self, image_bgr: Image) -> av.VideoFrame:
        width, height = self._size_wh
        if image_bgr.shape[:2] != (height, width):
            resized = cv2.resize(image_bgr, (width, height), interpolation=cv2.INTER_AREA)
            image_bgr = np.asarray(resized, np.uint8)
        if width % 2 or height % 2:
            image_bgr = np.pad(image_bgr, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        yuv = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2YUV_I420)
        return av.VideoFrame.from_ndarray(np.asarray(yuv, np.uint8), format="yuv420p")

    @contextlib.contextmanager
    def _failing_once(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            self._release()
            raise cannot_write(self._path, error) from error

    def _release(self) -> None:
        """Let go of file and encoder threads, without another word about a failed file."""
        container, self._container, self._stream, self._held = self._container, None, None, None
        if container is not None:
            with contextlib.suppress(av.FFmpegError, OSError):
                container.close()


def write_image(path: str, image_bgr: Image) -> None:
    """Write uint8 [H, W, 3] BGR as the kind of picture that the name's ending asks for."""
    suffix = Path(path).suffix.lower()
    if suffix not in _PICTURES:
        raise OutputError(
            f"cannot write {path}: unknown kind of picture; use one of {', '.join(_PICTURES)}"
        )
    # Not cv2.imwrite, which says neither what went wrong nor, on a full disk, that it did.
    _, encoded = cv2.imencode(suffix, image_bgr)
    try:
        Path(path).write_bytes(encoded.tobytes())
    except OSError as error:
        raise cannot_write(path, error) from error
