"""What the sources share: options, the least size of a picture, and words for people."""

import re
from dataclasses import dataclass

from livepose.errors import SourceError

MIN_SIDE_PX = 16


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Wishes; what was obtained is in the source's `info`.

    size_wh, fps: asked of cameras and of the test source; other sources have their own.
    paced: False makes the test source a file: every frame, as fast as it can be rendered.
    timeout_s: how long a network source may take to connect, and from one frame to the next.
    """

    size_wh: tuple[int, int] | None = None
    fps: float | None = None
    paced: bool = True
    timeout_s: float = 5.0


def check_size(size_wh: tuple[int, int], what: str) -> None:
    """Raise `SourceError` for a picture too small to hold a person."""
    if min(size_wh) < MIN_SIDE_PX:
        raise SourceError(
            f"{what}: {size_wh[0]}x{size_wh[1]} pixels are too small, "
            f"give pictures of at least {MIN_SIDE_PX}x{MIN_SIDE_PX}"
        )


def without_password(source: str) -> str:
    """The source as it may be shown and stand in a file: a URL without its user and password."""
    return re.sub(r"^(\w+://)[^/?#]*@", r"\1", source)


def rate(fps: float | None) -> str:
    """ " at 30 fps" for a description; nothing where the rate is not known."""
    return "" if fps is None else f" at {fps:.4g} fps"
