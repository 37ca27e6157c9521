"""Where joints go: NDJSON, COCO results or OpenPose files, behind one `Sink`.

Pictures and videos are `record.py`'s. Every format is written as the frames come, so that an
interrupted run keeps what it had.
"""

import contextlib
import errno
import json
import os
import select
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Final, Protocol, TextIO

import numpy as np

from livepose.errors import OutputError
from livepose.pose import Pose
from livepose.skeleton import INDEX, JOINTS

PATIENCE_S: Final = 1.0
"""How long the reader of standard output may take to read on when the run is interrupted."""

COCO_JOINTS: Final = (
    *("", "", "", "", ""),  # nose, eyes, ears: MPII has none
    *("l_shoulder", "r_shoulder", "l_elbow", "r_elbow", "l_wrist", "r_wrist"),
    *("l_hip", "r_hip", "l_knee", "r_knee", "l_ankle", "r_ankle"),
)
"""Our joint for each of COCO's 17; an empty name stands for one we do not have."""

BODY_25_JOINTS: Final = (
    *("", "thorax"),  # nose, neck: OpenPose's neck lies between the shoulders, as our thorax
    *("r_shoulder", "r_elbow", "r_wrist", "l_shoulder", "l_elbow", "l_wrist"),
    *("pelvis", "r_hip", "r_knee", "r_ankle", "l_hip", "l_knee", "l_ankle"),
    *("", "", "", "", "", "", "", "", "", ""),  # eyes, ears, feet
)
"""Our joint for each of OpenPose's 25."""


class Sink(Protocol):
    """Takes the joints of every frame, in order. Failures are `OutputError`, raised once:
    after one, `close` does nothing."""

    def frame(self, index: int, time_s: float, poses: Sequence[Pose], name: str = "") -> None:
        """Write one frame; it has left this process when the call returns.

        `name` is the picture's file name where the source is a set of pictures.
        """

    def close(self, summary: dict[str, Any]) -> None:
        """Finish the output. A second call does nothing."""


def open_sink(path: str, header: dict[str, Any], pictures: Sequence[Path] = ()) -> Sink:
    """Open the sink that `path` asks for: `-` or `.ndjson`, `.json`, or a folder ending in `/`.

    `header` holds version, source, model and engine; only NDJSON has a place for it. `pictures`
    are the source's, where it is a set of them.
    """
    check_name(path)
    check_place(path)
    if path == "-" or path.lower().endswith(".ndjson"):
        return NdjsonSink(path, header)
    if path.endswith(("/", os.sep)):
        return OpenPoseSink(path)
    return CocoSink(path, pictures)


def check_name(path: str) -> None:
    """Raise OutputError for a name that says nothing of the kind of file."""
    if path == "-" or path.endswith(("/", os.sep)) or path.lower().endswith((".ndjson", ".json")):
        return
    raise OutputError(
        f"cannot write keypoints to {path}: unknown kind; use a name ending in .ndjson, "
        ".json (COCO results) or / (OpenPose files), or - for standard output"
    )


def check_place(path: str) -> None:
    """Raise OutputError where `open_sink` cannot open that name; nothing is emptied."""
    place = Path(path)
    if path == "-":
        return
    if path.endswith(("/", os.sep)):
        OpenPoseSink(path)  # makes the folder
        return
    if not place.parent.is_dir():
        number = errno.ENOENT
    elif place.is_dir() and path.lower().endswith(".json"):
        raise OutputError(f"cannot write keypoints to {path}: it is a folder; end it in /")
    elif place.is_dir():
        number = errno.EISDIR
    elif not os.access(place if place.exists() else place.parent, os.W_OK):
        number = errno.EACCES
    else:
        return
    raise cannot_write(path, OSError(number, os.strerror(number)))


class NdjsonSink:
    """One JSON object a line: a header, the frames, a summary."""

    def __init__(self, path: str, header: dict[str, Any]) -> None:
        self._lines = TextFile(path)
        self._lines.write(_json({"type": "header", **header, "joints": JOINTS}) + "\n")

    def frame(self, index: int, time_s: float, poses: Sequence[Pose], name: str = "") -> None:
        people = [
            {
                "id": pose.id,
                "score": _score(pose.score),
                "box": _pixels(pose.box_xyxy),
                "joints": _joints(pose),
            }
            for pose in poses
        ]
        line = {"type": "frame", "index": index, "time_s": round(time_s, 6), "people": people}
        if name:
            line["name"] = name
        self._lines.write(_json(line) + "\n")

    def close(self, summary: dict[str, Any]) -> None:
        if self._lines.open:
            self._lines.write(_json({"type": "summary", **summary}) + "\n")
            self._lines.close()

    def check_reader(self) -> None:
        """Before a `close` that may not wait: OutputError if nobody reads standard output."""
        if self._lines.open:
            self._lines.check_reader()


class CocoSink:
    """COCO's keypoint results: `[{image_id, category_id, keypoints, score}, ...]`.

    `image_id` is the number that the picture's file name is, as in COCO's own sets, if each of
    the source's pictures has one of its own; else the frame's index. Results of pictures have
    their `file_name` as well. The third value of each keypoint is our score. The results grow in
    `PATH.part` and take the name `PATH` when the sink is closed, so that `PATH` is valid JSON at
    any time.
    """

    def __init__(self, path: str, pictures: Sequence[Path]) -> None:
        self._path = path
        numbers = {int(p.stem) for p in pictures if p.stem.isascii() and p.stem.isdigit()}
        self._numbered = len(numbers) == len(pictures)
        self._part = path + ".part"
        self._lines = TextFile(self._part)
        self._lines.write("[")
        self._separator = "\n"

    def frame(self, index: int, time_s: float, poses: Sequence[Pose], name: str = "") -> None:
        image_id = int(Path(name).stem) if name and self._numbered else index
        for pose in poses:
            result = {
                "image_id": image_id,
                "category_id": 1,
                "keypoints": _reordered(pose, COCO_JOINTS),
                "score": _score(pose.score),
                **({"file_name": name} if name else {}),
            }
            self._lines.write(self._separator + _json(result))
            self._separator = ",\n"

    def close(self, summary: dict[str, Any]) -> None:
        if not self._lines.open:
            return
        self._lines.write("\n]\n")
        self._lines.close()
        try:
            os.replace(self._part, self._path)
        except OSError as error:
            raise cannot_write(self._path, error) from error


class OpenPoseSink:
    """One `NAME_000000000000_keypoints.json` a frame in OpenPose's BODY_25 order.

    NAME is the picture's, or `frame`. Joints that MPII lacks (nose, eyes, ears, feet) are zeros.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(folder, error) from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise cannot_write(folder, PermissionError(errno.EACCES, "Permission denied"))

    def frame(self, index: int, time_s: float, poses: Sequence[Pose], name: str = "") -> None:
        people = [
            {"person_id": [pose.id], "pose_keypoints_2d": _reordered(pose, BODY_25_JOINTS)}
            for pose in poses
        ]
        path = self._folder / f"{Path(name).stem or 'frame'}_{index:012d}_keypoints.json"
        try:
            path.write_text(_json({"version": 1.3, "people": people}) + "\n", encoding="ascii")
        except OSError as error:
            raise cannot_write(str(path), error) from error

    def close(self, summary: dict[str, Any]) -> None:
        pass


class TextFile:
    """A text file, or standard output for `-`, whose every write is flushed."""

    def __init__(self, path: str) -> None:
        self._name = "standard output" if path == "-" else path
        self.open = True
        self._file: TextIO
        if path == "-" and sys.stdout is None:
            raise OutputError("cannot write standard output: it is closed")
        try:
            # Not a `with`: the file lives as long as the sink.
            self._file = (
                sys.stdout if path == "-" else open(path, "w", encoding="ascii", newline="\n")  # noqa: SIM115
            )
        except OSError as error:
            raise cannot_write(path, error) from error

    def write(self, text: str) -> None:
        if not self.open:
            return
        try:
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            self._abandon()
            raise cannot_write(self._name, error) from error

    def check_reader(self) -> None:
        """OutputError if whoever reads standard output does not for a while. `write` waits for
        them, for they may only be slow. Windows cannot tell."""
        if self._file is not sys.stdout or os.name != "posix":
            return
        try:
            _, ready, _ = select.select([], [self._file], [], PATIENCE_S)
        except (OSError, ValueError):  # not a file of the system, such as a test's
            return
        if not ready:
            self._abandon()
            raise OutputError(f"cannot write {self._name}: its reader has stopped reading")

    def close(self) -> None:
        self.open = False
        if self._file is sys.stdout:
            return
        try:
            self._file.close()
        except OSError as error:
            raise cannot_write(self._name, error) from error

    def _abandon(self) -> None:
        """Drop what could not be written."""
        self.open = False
        if self._file is sys.stdout:
            drop(sys.stdout)
            return
        with contextlib.suppress(OSError):
            self._file.close()


def drop(stream: IO[str]) -> None:
    """What could not be written to stdout or stderr goes nowhere, or Python would try again, and
    complain, at exit."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def cannot_write(path: str, error: Exception) -> OutputError:
    """The one line for an output that failed with an `OSError` or FFmpeg's twin of it."""
    if isinstance(error, BrokenPipeError):
        return OutputError(f"cannot write {path}: its reader has gone away")
    advice = {
        errno.ENOENT: "; create the folder first",
        errno.EACCES: "; choose a place you may write to",
        errno.EROFS: "; choose a place you may write to",
        errno.ENOSPC: "; free some space",
    }.get(getattr(error, "errno", None) or 0, "")
    reason = getattr(error, "strerror", None) or str(error)
    return OutputError(f"cannot write {path}: {reason}{advice}")


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _score(score: float) -> float:
    return round(float(score), 4) if np.isfinite(score) else 0.0


def _pixels(values: np.ndarray[Any, np.dtype[np.float32]]) -> list[float]:
    """Rounded to hundredths of a pixel; what is not a number becomes 0, JSON has no NaN."""
    finite = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return [round(value, 2) for value in finite.tolist()]


def _joints(pose: Pose) -> list[list[float]]:
    """[x, y, score] of each joint, in our order; a joint without a place has score 0."""
    return [
        [*_pixels(xy), _score(score)] if np.isfinite(xy).all() else [0.0, 0.0, 0.0]
        for xy, score in zip(pose.joints_xy, pose.scores, strict=True)
    ]


def _reordered(pose: Pose, names: Sequence[str]) -> list[float]:
    """The flat [x, y, score, ...] of another convention, zeros where `names` is empty."""
    joints = _joints(pose)
    return [v for name in names for v in (joints[INDEX[name]] if name else (0.0, 0.0, 0.0))]
