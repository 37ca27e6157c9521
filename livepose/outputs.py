"""What a run leaves behind: the annotated video or pictures, and the file of keypoints.

Opened at the first result, when the frames' size and the engine are known. Pictures drawn on
are the source's own, never the mirrored view, so they agree with the keypoints.
"""

from pathlib import Path
from typing import Any

from livepose.capture import SourceInfo
from livepose.errors import OutputError
from livepose.inference import Result
from livepose.record import VideoWriter, write_image
from livepose.render import draw_poses
from livepose.sinks import Sink, open_sink

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class Outputs:
    """`save` and `keypoints` are the paths of the command line, or None."""

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
        self._sink: Sink | None = open_sink(keypoints, header) if keypoints else None
        self._save = save
        self._video: VideoWriter | None = None
        self._folder: Path | None = None
        self._written = 0
        if save and (save.endswith("/") or Path(save).is_dir()):
            self._folder = make_folder(save)
        elif save and Path(save).suffix.lower() not in IMAGE_SUFFIXES:
            self._video = self._open_video(save)

    def write(self, result: Result) -> None:
        """One more frame."""
        frame = result.frame
        if self._sink:
            self._sink.frame(frame.index, frame.time_s, result.poses, frame.name)
        if self._save is None:
            return
        picture = frame.image.copy()
        draw_poses(picture, result.poses, min_score=self._min_score)
        if self._video:
            self._video.write(picture, frame.time_s)
        elif self._folder:
            name = Path(frame.name).name or f"{frame.index:06d}.png"
            write_image(str(self._folder / name), picture)
        elif self._written:
            raise OutputError(
                f"{self._save}: one picture for many frames; give a video (.mp4) or a folder/"
            )
        else:
            write_image(self._save, picture)
        self._written += 1

    def close(self, summary: dict[str, Any]) -> None:
        """Finish all files; what was written so far stays usable even when this is never called."""
        try:
            if self._video:
                self._video.close(self._info.duration_s)
        finally:
            if self._sink:
                self._sink.close(summary)

    def _open_video(self, path: str) -> VideoWriter:
        return VideoWriter(path, self._info.size_wh, self._info.fps or 1.0)


def make_folder(path: str) -> Path:
    """The folder, made if it is not there."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise OutputError(f"{path}: the folder cannot be made ({e.strerror})") from e
    return folder
