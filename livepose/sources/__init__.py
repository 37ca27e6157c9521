"""All sources of frames: `open_source` finds the one that a SRC on the command line means.

| SRC                                        | source                        | live          |
|--------------------------------------------|-------------------------------|---------------|
| `test`, `test:640x480@30,people=2,seed=3`  | `test.SyntheticSource`        | if paced      |
| `0`, `/dev/video0`                         | `camera.CameraSource`         | yes           |
| `http(s)://`, `rtsp(s)://`                 | `network`: MJPEG, else PyAV   | if endless    |
| a picture, a folder or a glob of pictures  | `images.ImageSource`          | no            |
| any other file                             | `video.VideoSource`           | no            |

Each has a module of its own, imported only when it is asked for.
"""

import os
import re
from pathlib import Path

from livepose.capture import Source
from livepose.errors import SourceError
from livepose.sources.common import SourceOptions

__all__ = ["SourceOptions", "open_source"]

_NO_OPTIONS = SourceOptions()


def open_source(spec: str, *, options: SourceOptions = _NO_OPTIONS) -> Source:
    """Open what `spec` names (see the table above).

    Raises `SourceError`, in one line, when it cannot give a single frame, and `UsageError`
    for a `test:` spec that makes no sense.
    """
    if spec == "test" or spec.startswith("test:"):
        from livepose.sources.test import SyntheticSource

        return SyntheticSource.from_spec(spec, options)
    if re.match(r"\w+://", spec):
        from livepose.sources.network import open_network

        return open_network(spec, options)
    device = spec.startswith("/dev/") and not (os.path.isfile(spec) or os.path.isdir(spec))
    if spec.isdecimal() or device:
        from livepose.sources.camera import CameraSource

        return CameraSource(spec, options)
    from livepose.sources.images import ImageSource, find_images

    images = find_images(spec)
    if images:
        return ImageSource(images, spec)
    if not Path(spec).is_file():
        raise SourceError(
            f"{spec}: no such file or folder; check the path, or try `livepose --source test`"
        )
    from livepose.sources.video import VideoSource

    return VideoSource(spec)
