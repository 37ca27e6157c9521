"""Video through PyAV: files, and every network stream that is not MJPEG.

Frames come with their own presentation times, turned the right way up, in order. Sound is
ignored. Writing video is `livepose.record`'s.
"""

import logging
import time
from collections.abc import Generator

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.error import EOFError as AvEOFError
from av.error import ExitError, FFmpegError, InvalidDataError
from av.stream import Disposition
from av.video.stream import VideoStream

from livepose.capture import Frame, SourceInfo, SourceLost
from livepose.errors import SourceError
from livepose.sources.common import SourceOptions, check_size, rate

log = logging.getLogger(__name__)

_NOT_MOVING = Disposition.attached_pic | Disposition.timed_thumbnails
_TURNS = {
    90: cv2.ROTATE_90_COUNTERCLOCKWISE,
    180: cv2.ROTATE_180,
    -180: cv2.ROTATE_180,
    -90: cv2.ROTATE_90_CLOCKWISE,
}
_FPS_IF_UNKNOWN = 25.0
_MISSING_S = 1.0
"""A video whose pictures end that much before its length says so is worth a word."""


class VideoSource:
    """A video file, or a stream that FFmpeg understands; see `Source`.

    `time_s` is the presentation time; where the container has none, or it does not rise, it
    is one nominal frame after the last. What cannot be decoded is skipped and counted in
    `corrupt`. A network stream without an end is live, and `time_s` is then time since opening;
    but for one that is `in_pieces` (HLS, DASH), of which seconds come at once.
    finite: the server says how many bytes it is, which only of a playlist says nothing.
    """

    def __init__(
        self,
        url: str,
        *,
        network: SourceOptions | None = None,
        finite: bool = False,
        name: str = "",
        ffmpeg_options: dict[str, str] | None = None,
    ) -> None:
        self.corrupt = 0
        self._name = name or url
        self._index = 0
        self._last_s: float | None = None
        self._told = False
        self._waiting: av.VideoFrame | None = None
        self._timeout_s = network.timeout_s if network else None
        try:
            self._container = av.open(url, timeout=self._timeout_s, options=ffmpeg_options or {})
        except (FFmpegError, OSError, ValueError) as error:
            hint = "check the URL and the network" if network else "is it a video, and whole?"
            raise SourceError(
                f"{self._name}: cannot be opened as video ({_why(error)}); {hint}"
            ) from error
        try:
            self._stream = self._find_stream()
            kind = self._container.format.name
            file = kind.endswith("_pipe") or (finite and kind not in ("hls", "dash"))
            endless = url.startswith("rtsp") or (self._container.duration is None and not file)
            self.live = network is not None and endless
            self.in_pieces = self.live and kind in ("hls", "dash")
            self._frames = self._decode()
            self._waiting = first = self._first_frame()
            self.info = self._describe(first)
        except BaseException:
            self._container.close()
            raise
        self._opened_s = time.monotonic()

    def read(self) -> Frame | None:
        """The next frame, decoded and turned upright; None at the end."""
        raw, self._waiting = self._waiting or next(self._frames, None), None
        if raw is None:
            self._check_length()
            return None
        image = self._upright(raw)
        captured_s = time.monotonic()
        on_arrival = self.live and not self.in_pieces
        time_s = captured_s - self._opened_s if on_arrival else self._time_of(raw)
        frame = Frame(image, self._index, time_s, captured_s)
        self._index += 1
        return frame

    def _check_length(self) -> None:
        """Say so where the rest is missing: of a download that broke off, for one."""
        length_s, last_s = self.info.duration_s, self._last_s
        if not length_s or last_s is None or self._told:
            return
        if last_s + max(_MISSING_S, 2 / (self.info.fps or _FPS_IF_UNKNOWN)) > length_s:
            return
        self._told = True
        log.warning("%s: its pictures end after %.1f of %.1f s", self._name, last_s, length_s)

    def close(self) -> None:
        """Close the file or the connection."""
        self._waiting = None
        self._frames.close()
        self._container.close()

    def _find_stream(self) -> VideoStream:
        for stream in self._container.streams.video:
            if not stream.disposition & _NOT_MOVING:
                # Frame threads decode several times faster, but hold frames back: files only.
                stream.thread_type = "AUTO" if self._timeout_s is None else "SLICE"
                return stream
        raise SourceError(f"{self._name}: holds no video; give a file with pictures in it")

    def _first_frame(self) -> av.VideoFrame:
        raw = next(self._frames, None)
        if raw is None:
            raise SourceError(f"{self._name}: not one frame can be decoded; the file is damaged")
        return raw

    def _describe(self, first: av.VideoFrame) -> SourceInfo:
        height, width = self._upright(first).shape[:2]
        check_size((width, height), self._name)
        stream, container = self._stream, self._container
        fps = stream.average_rate or stream.guessed_rate
        duration_s = None
        if stream.duration and stream.time_base:
            duration_s = float(stream.duration * stream.time_base)
        elif container.duration:
            duration_s = container.duration / av.time_base
        return SourceInfo(
            f"{self._name}, {width}x{height}{rate(float(fps) if fps else None)}, "
            f"{stream.codec_context.name}",
            (width, height),
            fps=float(fps) if fps else None,
            frames=stream.frames or None,
            duration_s=duration_s,
        )

    def _decode(self) -> Generator[av.VideoFrame, None, None]:
        """All frames that can be decoded; on a stalled network `SourceLost`."""
        quiet_since_s = time.monotonic()
        try:
            for packet in self._container.demux(self._stream):
                try:
                    frames = packet.decode()
                except FFmpegError:
                    self.corrupt += 1
                    frames = []
                yield from frames
                if frames:
                    quiet_since_s = time.monotonic()
                elif self._stalled(quiet_since_s):
                    raise SourceLost(f"{self._name}: no frame that can be decoded any more")
        except (InvalidDataError, AvEOFError):
            self.corrupt += 1
        except (FFmpegError, OSError) as error:
            kind = SourceLost if self._timeout_s is not None else SourceError
            raise kind(f"{self._name}: reading failed ({_why(error)})") from error
        if self.corrupt:
            log.warning("%s: skipped %d damaged packets", self._name, self.corrupt)

    def _upright(self, raw: av.VideoFrame) -> npt.NDArray[np.uint8]:
        """uint8 [H, W, 3] BGR with square pixels (those of a DVD are none), turned as the display
        matrix says (a phone held upright)."""
        image = raw.to_ndarray(format="bgr24")
        shape = float(self._stream.sample_aspect_ratio or 1)
        if shape != 1 and 1 / 4 <= shape <= 4:
            image = cv2.resize(image, (round(raw.width * shape), raw.height))  # type: ignore[assignment]
        turn = _TURNS.get(raw.rotation)
        return np.asarray(image if turn is None else cv2.rotate(image, turn), np.uint8)

    def _stalled(self, quiet_since_s: float) -> bool:
        limit_s = self._timeout_s
        return self.live and limit_s is not None and time.monotonic() - quiet_since_s > limit_s

    def _time_of(self, raw: av.VideoFrame) -> float:
        """Seconds since the start of the file, always after the frame before."""
        start_s = (self._container.start_time or 0) / av.time_base
        time_s = None if raw.time is None else raw.time - start_s
        last_s = self._last_s
        if last_s is not None and (time_s is None or time_s <= last_s):
            time_s = last_s + 1 / (self.info.fps or _FPS_IF_UNKNOWN)
        self._last_s = max(0.0, time_s or 0.0)
        return self._last_s


def _why(error: Exception) -> str:
    if isinstance(error, ExitError):
        return "time-out"
    return getattr(error, "strerror", None) or str(error)
