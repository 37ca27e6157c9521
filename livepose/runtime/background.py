"""A TensorRT engine built by another process, while the next best engine already runs.

A process and not a thread: a build takes minutes, holds up other threads, cannot be stopped
from within, and has a CUDA context of its own.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from livepose.errors import EngineError
from livepose.models import Model
from livepose.runtime.base import Engine
from livepose.runtime.selftest import check

GRACE_S = 0.5
"""For a process to take its unfinished file away; in the middle of a build it cannot react."""

PREFIX = "livepose: "
"""Begins the lines of the command that are for people."""


_running: set["subprocess.Popen[bytes]"] = set()


def kill_builds() -> None:
    """End those that are left, at once: for a process that ends itself without its threads."""
    for process in list(_running):
        process.kill()


class BackgroundBuild:
    """`livepose build` of a model, begun at once. `close` ends it, whatever it is doing.

    say: gets lines for people, in the thread that calls.
    """

    def __init__(
        self, model: Model, device: str, precision: str, say: Callable[[str], None]
    ) -> None:
        self.say = say
        self._wish = (model, device, precision)
        self._began_s = time.monotonic()
        words = ["build", os.fspath(model.path.resolve())]
        words += ["--device", device, "--precision", precision]
        # A file and not a pipe, which nobody reads before the end: full, it would stop the build.
        self._told = tempfile.TemporaryFile("w+")  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "livepose", *words],
                # Python would look for modules in the user's folder first.
                cwd=Path(__file__).parents[2],
                # Ctrl-C is for this process, which then ends that one.
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._told,
            )
        except OSError as e:
            self._told.close()
            raise EngineError(f"`livepose build` cannot be started ({e.strerror})") from e
        _running.add(self._process)

    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._process.poll() is not None

    def open(self) -> Engine:
        """The engine, after `done`: from the cache, opened in this thread, tested and warm.

        Says what the build had to say, why an older engine was not good for example.
        Raises EngineError with the reason where there is no engine; nothing is built here.
        """
        self._told.seek(0)
        lines = self._told.read().splitlines()
        told = [line.removeprefix(PREFIX) for line in lines if line.startswith(PREFIX)]
        if self._process.returncode:
            why = told[-1] if told else f"the build ended with code {self._process.returncode}"
            raise EngineError(why)
        for line in told:
            self.say(line)
        engine = open_built(*self._wish)
        self.say(f"now on {engine.info}, built in {time.monotonic() - self._began_s:.0f} s")
        return engine

    def close(self) -> None:
        """Safe to call twice, and after `open`."""
        if not self.done():
            self._process.terminate()
            try:
                self._process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        _running.discard(self._process)
        self._told.close()


def open_built(model: Model, device: str, precision: str) -> Engine:
    """The engine in the cache, self-test passed, ready for frames; EngineError where not."""
    from livepose.runtime.build import find_gpu, find_target
    from livepose.runtime.tensorrt import TensorRTEngine

    path = find_target(model, find_gpu(device), precision).path
    # By name, for an engine that is refused must not be built again while frames wait.
    engine = TensorRTEngine(model, device, precision, engine_path=path)
    try:
        check(engine, model)
        engine.warm_up()
    except BaseException:
        engine.close()
        raise
    return engine
