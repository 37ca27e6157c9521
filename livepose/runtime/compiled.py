"""What OpenVINO compiled, kept on disk: read back it is there in a quarter of the time.

The files are `engine_cache.py`'s: their key and checksum are right, or they are not used.
"""

import hashlib
import json
import logging
import os
import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from livepose.errors import OutputError
from livepose.runtime.engine_cache import Key, StaleEngineError, read_engine, write_engine
from livepose.runtime.hardware import cpu_features

log = logging.getLogger(__name__)

KEPT = 12
"""Graphs that are kept; of more, those that were not used for longest are deleted."""


@dataclass(frozen=True, slots=True)
class CompiledKey(Key):
    """What a compiled graph depends on besides its model.

    openvino: full version. cpu: its name and features. config: of the compilation, as JSON.
    """

    openvino: str
    cpu: str
    config: str


class Compiled:
    """One compiled graph in the user's cache, there or not. A cache that cannot be read or written
    is none: nothing here raises for that.
    """

    def __init__(self, onnx: Path, version: str, config: Mapping[str, object]) -> None:
        sha = hashlib.sha256(onnx.read_bytes()).hexdigest()
        name = os.environ.get("PROCESSOR_IDENTIFIER", platform.machine())  # the former on Windows
        cpu = " ".join((name, *sorted(cpu_features())))
        self._key = CompiledKey(sha, version, cpu, json.dumps(config, sort_keys=True))
        made = hashlib.sha256(self._key.line()).hexdigest()[:12]
        self._path = user_cache_path("livepose") / "openvino" / f"{onnx.stem}.{made}.engine"

    def read(self) -> bytes | None:
        """The graph as OpenVINO exported it; None where there is none that is whole."""
        try:
            return read_engine(self._path, self._key)
        except StaleEngineError as e:
            log.info("%s is not used: %s", self._path, e)
            return None
        finally:
            with suppress(OSError):
                os.utime(self._path)  # the files that are used last are kept

    def write(self, export: Callable[[], bytes]) -> None:
        """Keep what `export` answers, where there is room for it."""
        try:
            write_engine(self._path, self._key, export(), sync=False)
            for old in sorted(self._path.parent.glob("*.engine"), key=age)[KEPT:]:
                old.unlink(missing_ok=True)
        except (OSError, OutputError, RuntimeError) as e:  # the last is OpenVINO's
            log.info("what OpenVINO compiled is not kept: %s", e)

    def delete(self) -> bool:
        """Whether it is gone."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            return False
        return True


def age(path: Path) -> float:
    """The newest first."""
    with suppress(OSError):
        return -path.stat().st_mtime
    return 0.0
