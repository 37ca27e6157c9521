"""Built engines on disk: where TensorRT's lie, what they are valid for, how they are written.

An engine file is a header with the whole key and a checksum, then the runtime's own bytes: those
are not handed to it, which crashes on broken ones, before the header has been checked.
Nothing here knows TensorRT, CUDA or OpenVINO.
"""

import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from platformdirs import user_cache_path

from livepose.errors import EngineError, OutputError
from livepose.models import engines_folder

MAGIC = b"livepose engine 1\n"


@dataclass(frozen=True, slots=True)
class Key:
    """All that an engine depends on; another value of any of these is another engine.

    onnx_sha256: of the file it is built from.
    """

    onnx_sha256: str

    def line(self) -> bytes:
        """As it stands in the file."""
        return json.dumps(asdict(self), sort_keys=True).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class EngineKey(Key):
    """A TensorRT engine's.

    tensorrt: full version. gpu, capability: the device's name and compute capability. cuda: the
    driver's major version. shapes: of the optimisation profile. flags: of network and builder,
    by name.
    """

    tensorrt: str
    gpu: str
    capability: str
    cuda: str
    shapes: str
    flags: str


class StaleEngineError(Exception):
    """The engine file cannot be used and must be built again; the message is the reason."""


def cache_folder() -> Path:
    """The checkout's `engines/`, or the user's cache where livepose is installed."""
    folder = engines_folder()
    package = Path(__file__).parents[1]
    return user_cache_path("livepose") / "engines" if package in folder.parents else folder


def scratch_folder() -> Path:
    """The user's cache, for timing caches, locks and graphs made on the way; never committed."""
    folder = user_cache_path("livepose")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise OutputError(f"{folder}: the cache folder cannot be made ({e.strerror})") from e
    return folder


def engine_path(name: str, precision: str, gpu: str) -> Path:
    """Where the engine of this model lies; one file per GPU model, whatever built it."""
    slug = re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")
    return cache_folder() / f"{name}.{precision}.{slug}.engine"


def check_trusted(path: Path) -> None:
    """Engines are programs: only the user's own are run, unless the user names another."""
    own = (cache_folder().resolve(), (user_cache_path("livepose") / "engines").resolve())
    if path.resolve().parent not in own:
        raise EngineError(
            f"{path}: an engine from outside {own[0]} is not run by itself; name it, or build one"
        )


def write_engine(path: Path, key: Key, plan: bytes, sync: bool = True) -> None:
    """Header and the runtime's bytes, whole or not at all; see `write_whole`."""
    checksum = hashlib.sha256(plan).hexdigest().encode()
    write_whole(path, MAGIC + key.line() + checksum + b"\n" + plan, sync)


def write_whole(path: Path, data: bytes, sync: bool = True) -> None:
    """By temporary file and rename: a reader finds the old file or the new, never half of one.

    sync: wait for the disk, so that this holds if the power fails, too.
    """
    partial = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, suffix=path.suffix)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as e:
        raise OutputError(f"{path}: cannot be written ({e.strerror})") from e
    finally:
        if partial:
            Path(partial).unlink(missing_ok=True)


def read_engine(path: Path, key: Key) -> bytes:
    """The runtime's bytes of the engine at `path`, which must be whole and built for `key`.

    Raises StaleEngineError with the reason where it is not.
    """
    try:
        data = path.read_bytes()
    except OSError as e:
        raise StaleEngineError(f"it cannot be read ({e.strerror})") from e
    parts = data.removeprefix(MAGIC).split(b"\n", 2)
    if not data.startswith(MAGIC) or len(parts) < 3:
        raise StaleEngineError("it is no livepose engine, or cut off")
    line, checksum, plan = parts
    if line + b"\n" != key.line():
        raise StaleEngineError(difference(line, key))
    if hashlib.sha256(plan).hexdigest().encode() != checksum:
        raise StaleEngineError("it is damaged: its checksum is wrong")
    return plan


def difference(line: bytes, key: Key) -> str:
    """What an engine was built for that is not so here, for people."""
    try:
        built = json.loads(line)
    except ValueError:
        return "it is damaged: its header cannot be read"
    for name, value in asdict(key).items():
        was = built.get(name) if isinstance(built, dict) else None
        if was != value:
            if name == "onnx_sha256":
                return "the model has changed"
            return f"it was built for {name} {was!s:.60}, and here it is {value}"
    return "it is damaged: its header is not as written"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process and thread at a time for what is written at `path`; waits for its turn.

    The lock is the system's and ends with the process, so that no crash leaves one behind.
    """
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
    lock = scratch_folder() / f"{name}.lock"
    try:
        opened = lock.open("ab")
    except OSError as e:
        raise OutputError(f"{lock}: cannot be written ({e.strerror})") from e
    with opened as file:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            while True:
                # It gives up after ten seconds, and a build takes longer.
                with suppress(OSError):
                    msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                    break
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
