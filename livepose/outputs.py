"""What a run leaves behind: the annotated video or pictures, and the file of keypoints.

Opened at the first result, when the frames' size and the engine are known. Pictures drawn on
are the source's own, never the mirrored view, so they agree with the keypoints.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from livepose.capture import Frame, SourceInfo
from livepose.errors import OutputError
from livepose.inference import Result
from livepose.render import draw_poses
from livepose.sinks import NdjsonSink, Sink, check_place, open_sink

if TYPE_CHECKING:
    from livepose.record import VideoWriter

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class Outputs:
    """`save` and `keypoints` are the paths of the command line, or None.

    finished: those of them that are whole files, once closed.
    """

    def __init__(
        self,
        save: str | None,
        keypoints: str | None,
        info: SourceInfo,
        header: dict[str, Any],
        min_score: float,
    ) -> None:
        self._min_score = min_score
        self._info = info
        self._save, self._keypoints = save, keypoints
        self._failed: set[str | None] = set()
        self.finished: list[str] = []
        self._video: VideoWriter | None = None
        self._folder: Path | None = None
        self._written: set[str] = set()
        self._pictures = {identity(path) for path in info.pictures}
        if keypoints:
            check_place(keypoints)  # before opening the video empties an older one
        if save and (save.endswith(("/", os.sep)) or Path(save).is_dir()):
            self._folder = make_folder(save)
        elif save and Path(save).suffix.lower() not in IMAGE_SUFFIXES:
            self._video = open_video(save, info)
        self._sink: Sink | None = None
        if keypoints:
            try:
                self._sink = open_sink(keypoints, header, info.pictures)
            except OutputError:
                self.close({}, whole=False)
                raise

    def write(self, result: Result) -> None:
        """One more frame."""
        frame = result.frame
        if self._sink:
            with self._noting(self._keypoints):
                self._sink.frame(frame.index, frame.time_s, result.poses, frame.name)
        if self._save is not None:
            with self._noting(self._save):
                self._write_drawn(result)

    def _write_drawn(self, result: Result) -> None:
        assert self._save is not None
        frame = result.frame
        picture = frame.image.copy()
        draw_poses(picture, result.poses, min_score=self._min_score)
        if self._video:
            self._video.write(picture, frame.time_s)
        elif self._folder:
            name = self._name_for(frame)
            self._write_picture(str(self._folder / name), picture)
            self._written.add(name)
        elif self._written:
            raise OutputError(
                f"{self._save}: one picture for many frames; give a video (.mp4) or a folder/"
            )
        else:
            self._write_picture(self._save, picture)
            self._written.add(self._save)

    def close(self, summary: dict[str, Any], whole: bool, hurry: bool = False) -> None:
        """Finish all files; what was written so far stays usable even when this is never called.

        whole: the source was read to its end, so the video lasts as long as it does.
        hurry: the run was interrupted, and waits for no reader of standard output.
        """
        try:
            if self._video:
                self._video.close(self._info.duration_s if whole else None)
        finally:
            if self._sink:
                if hurry and isinstance(self._sink, NdjsonSink):
                    self._sink.check_reader()
                self._sink.close(summary)
        paths = (self._save, self._keypoints)
        self.finished = [p for p in paths if p and p != "-" and p not in self._failed]

    @contextmanager
    def _noting(self, path: str | None) -> Iterator[None]:
        """Remember that an output failed."""
        try:
            yield
        except OutputError:
            self._failed.add(path)
            raise

    def _name_for(self, frame: Frame) -> str:
        """The picture's own name where it can be had."""
        source = Path(frame.name or f"{frame.index:06d}.png")
        suffix = source.suffix if source.suffix.lower() in IMAGE_SUFFIXES else ".png"
        name = source.stem + suffix
        if name in self._written:
            name = f"{source.stem}-{frame.index}{suffix}"
        return name

    def _write_picture(self, path: str, picture: npt.NDArray[np.uint8]) -> None:
        """Never over a picture of the source, be it read already or not."""
        from livepose.record import write_image

        if os.path.exists(path) and identity(Path(path)) in self._pictures:
            raise OutputError(f"{path}: the source would be overwritten; choose another place")
        write_image(path, picture)


def open_video(path: str, info: SourceInfo) -> "VideoWriter":
    from livepose.record import VideoWriter  # with PyAV, which a start without it need not load

    return VideoWriter(path, info.size_wh, info.fps or (1.0 if info.pictures else 30.0))


def identity(path: Path) -> tuple[int, int] | None:
    """The same for all names of one file; None where there is none any more."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def make_folder(path: str) -> Path:
    """The folder, made if it is not there."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise OutputError(f"{path}: the folder cannot be made ({e.strerror})") from e
    return folder
