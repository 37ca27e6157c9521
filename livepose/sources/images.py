"""Pictures as a source: one image, a folder of them, or a glob, in natural order.

Moving pictures, GIF included, belong to `video.py`.
"""

import glob
import logging
import re
import time
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from livepose.capture import Frame, SourceInfo
from livepose.errors import SourceError
from livepose.sources.common import check_size

log = logging.getLogger(__name__)

_NATURAL = re.compile(r"(\d+)|(\D+)")

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff"),
    *(".jp2", ".avif", ".ppm", ".pgm", ".pbm", ".pnm"),
)

IMAGES_PER_S = 1.0
"""The timeline of a row of pictures: they are unrelated, so one a second."""


def find_images(spec: str) -> list[Path]:
    """The pictures `spec` names, "2.png" before "10.png"; none if it is no such spec.

    Raises `SourceError` for a folder or a glob without a picture in it, and for a path that may
    not be looked at.
    """
    path = Path(spec)
    try:
        if path.is_dir():
            entries = list(path.iterdir())
        elif path.exists() or not glob.has_magic(spec):
            return [path] if _is_image(path) else []
        else:
            entries = [Path(name) for name in glob.glob(spec, recursive=True)]
        found = [entry for entry in entries if _is_image(entry)]
    except OSError as error:
        raise SourceError(f"{spec}: cannot be read ({error.strerror})") from error
    if not found:
        raise SourceError(f"{spec}: no pictures here; give a folder or a pattern that holds some")
    return sorted(found, key=_natural)


class ImageSource:
    """Pictures, each once, in the order given; see `Source`.

    `Frame.name` is the picture's path and `time_s` its index in seconds. Pictures come as they
    are meant to be seen: EXIF orientation applied, 16 bits brought to 8, grey to three
    channels, alpha dropped. An unreadable one among several is skipped, logged and counted
    in `skipped`; alone it is a `SourceError`.
    """

    live = False

    def __init__(self, paths: list[Path], description: str) -> None:
        self.skipped = 0
        self._paths = paths
        self._next = 0
        self._index = 0
        self._description = description
        self._waiting = self._load_next()
        if self._waiting is None:
            raise SourceError(f"{description}: none of its {len(paths)} pictures can be read")
        height, width = self._waiting[1].shape[:2]
        many = f", {len(paths)} pictures" if len(paths) > 1 else ""
        self.info = SourceInfo(
            f"{description}, {width}x{height}{many}",
            (width, height),
            frames=len(paths),
            duration_s=len(paths) / IMAGES_PER_S,
            pictures=tuple(paths),
        )

    def read(self) -> Frame | None:
        """The next picture that can be read, or None."""
        loaded, self._waiting = self._waiting or self._load_next(), None
        if loaded is None:
            return None
        path, image = loaded
        index = self._index
        self._index += 1
        return Frame(image, index, index / IMAGES_PER_S, time.monotonic(), str(path))

    def close(self) -> None:
        """Give no more pictures."""
        self._waiting = None
        self._next = len(self._paths)

    def _load_next(self) -> tuple[Path, npt.NDArray[np.uint8]] | None:
        while self._next < len(self._paths):
            path = self._paths[self._next]
            self._next += 1
            try:
                return path, load_image(path)
            except SourceError as error:
                if len(self._paths) == 1:
                    raise
                self.skipped += 1
                log.warning("skipped %s", error)
        return None


def load_image(path: Path) -> npt.NDArray[np.uint8]:
    """The picture as uint8 [H, W, 3] BGR; raises `SourceError`."""
    try:
        # Decoded from memory because cv2.imread cannot open every path on Windows.
        data = np.fromfile(path, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror})") from error
    except cv2.error as error:
        raise SourceError(f"{path}: cannot be decoded ({error.err})") from error
    if image is None:
        raise SourceError(f"{path}: not a picture, or a damaged one; open it in a viewer to see")
    check_size((image.shape[1], image.shape[0]), str(path))
    return np.asarray(image, np.uint8)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key: runs of digits count as numbers."""
    parts = _NATURAL.findall(str(path).lower())
    return [(int(digits), "") if digits else (-1, text) for digits, text in parts]
