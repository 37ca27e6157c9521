"""MediaPipe Pose as a contender: the child process, its joints in our order, its accuracy.

It lives in an environment of its own (its wheel wants an older numpy), so it runs as a child:
    python -m venv mp && mp/bin/pip install mediapipe==0.10.21
    livepose bench --peer mediapipe --peer-python mp/bin/python
"""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from livepose.bench.contender import Clip
from livepose.bench.machine import memory_mib
from livepose.bench.measure import Samples
from livepose.errors import EngineError
from livepose.skeleton import INDEX
from livepose.training.datasets import Person
from livepose.training.evaluate import Scores, evaluate

CHILD = Path(__file__).with_name("mediapipe_child.py")

CROP_SIZE = 512
ROOM = 1.6
"""Crops for accuracy show this much more than livepose's, in more pixels: MediaPipe looks for
the person itself, and of the crops tried (0.8 to 2.7 times, 256 to 512 pixels) it does best on
these."""

NOWHERE = -1e6
"""Pixels; where joints are put of whom MediaPipe does not find: they count as wrong."""

FROM_PEER = {
    "r_ankle": (28,), "r_knee": (26,), "r_hip": (24,),
    "l_hip": (23,), "l_knee": (25,), "l_ankle": (27,),
    "pelvis": (23, 24), "thorax": (11, 12),
    "r_wrist": (16,), "r_elbow": (14,), "r_shoulder": (12,),
    "l_shoulder": (11,), "l_elbow": (13,), "l_wrist": (15,),
}  # fmt: skip
"""Our joints as the mean of MediaPipe's landmarks. It has no neck and no top of the head."""


class Peer:
    """The child process. A context manager; EngineError when it cannot run or has died."""

    def __init__(self, python: str, arguments: Sequence[str] = (str(CHILD),)) -> None:
        self._name = f"{python} (MediaPipe)"
        self._folder = tempfile.TemporaryDirectory(prefix="livepose-peer-")
        self.folder = Path(self._folder.name)
        self._found: list[float] = []
        self._log = (self.folder / "stderr.txt").open("w+")
        try:
            self._process = subprocess.Popen(
                [python, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
            )
        except OSError as e:
            self._log.close()
            self._folder.cleanup()
            raise EngineError(f"{self._name}: cannot be started ({e.strerror})") from e
        try:
            self.facts = self._read()
        except EngineError:
            self.close()
            raise

    def send_clip(self, clip: Clip) -> None:
        """Give it the frames, as RGB, which it wants: the conversion is not on its bill."""
        path = self.folder / "frames.npy"
        np.save(path, np.stack(clip.images)[..., ::-1])
        self.facts["first_ms"] = self._ask({"frames": str(path)})["first_ms"]
        path.unlink()

    def block(self, clip: Clip, turns: Sequence[int]) -> Samples:
        """See `compare.Block`; the child's own clock."""
        answer = self._ask({"turns": [clip.position(i) for i in turns]})
        self._found.extend([answer["found"] / len(turns)] * len(turns))
        return Samples(np.array(answer["ms"]), np.array(answer["ends_s"]))

    def score(self, people: Sequence[Person]) -> Scores:
        """Its accuracy on those people, from crops around their true boxes."""
        roomy = [replace(p, box_xyxy=enlarged(p.box_xyxy)) for p in people]
        return evaluate(self.run, CROP_SIZE, roomy)

    @property
    def pid(self) -> int:
        """The child's."""
        return self._process.pid

    def facts_after(self, warm_up: int) -> dict[str, Any]:
        """What is known of it, its memory and how often it saw somebody included."""
        people = sum(self._found[warm_up:]) / max(1, len(self._found) - warm_up)
        return self.facts | memory_mib(self.pid) | {"mean_people": people}

    def run(self, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """As an engine's: crops uint8 [N, S, S, 3] RGB -> joints float32 [N, 16, 3]."""
        paths = {"crops": str(self.folder / "crops.npy"), "joints": str(self.folder / "out.npy")}
        np.save(paths["crops"], crops)
        self._ask(paths)
        return to_joints(np.load(paths["joints"]))

    def close(self) -> None:
        """End the child. Safe to call twice."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None and not stream.closed:
                with suppress(BrokenPipeError):  # of a child that died, which was told already
                    stream.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        self._folder.cleanup()

    def __enter__(self) -> "Peer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as e:
            raise EngineError(f"{self._name}: it died ({self._why()})") from e
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EngineError(
                f"{self._name}: it died ({self._why()}); install mediapipe==0.10.21 in its "
                "environment and give that one's python"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _why(self) -> str:
        self._process.wait(5)
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        return lines[-1] if lines else f"exit code {self._process.returncode}"


def enlarged(box_xyxy: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The box float32 [4], `ROOM` times as large around the same centre."""
    centre = (box_xyxy[:2] + box_xyxy[2:]) / 2
    half = (box_xyxy[2:] - box_xyxy[:2]) * (ROOM / 2)
    return np.concatenate((centre - half, centre + half))


def to_joints(landmarks: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """MediaPipe's [N, 33, 3] (x, y in pixels, visibility; nan: nobody) -> ours [N, 16, 3]."""
    joints = np.zeros((len(landmarks), 16, 3), np.float32)
    joints[..., :2] = NOWHERE
    for name, sources in FROM_PEER.items():
        joints[:, INDEX[name]] = landmarks[:, list(sources)].mean(axis=1)
    missing = ~np.isfinite(joints).all(axis=2)
    joints[missing] = (NOWHERE, NOWHERE, 0)
    return joints
