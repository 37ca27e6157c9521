"""MediaPipe Pose as a child process, run by the Python of its own environment.

Started by `peer.py` as `PYTHON mediapipe_child.py`; imports nothing of livepose. Says what it
is when it is ready, then reads a JSON object a line and answers one a line:
{"frames": PATH}                   uint8 [N, H, W, 3] RGB .npy, kept -> {"frames", "first_ms"}
{"turns": [i, ...]}                those frames, followed -> {"ms", "ends_s", "found"}
{"crops": PATH, "joints": PATH}    uint8 [N, S, S, 3] RGB -> float32 [N, 33, 3] .npy, {"found"}
"""

import importlib
import json
import sys
import time
from typing import Any

import numpy as np
import numpy.typing as npt

Answer = dict[str, Any]


def landmarks(answer: Any, size_wh: tuple[int, int]) -> npt.NDArray[np.float32]:
    """float32 [33, 3]: x, y in pixels, visibility; nan where nobody was found."""
    if answer.pose_landmarks is None:
        return np.full((33, 3), np.nan, np.float32)
    width, height = size_wh
    found = answer.pose_landmarks.landmark
    # Its pixels are areas, ours are points: the centre of its first one is at 0.5.
    return np.array(
        [(p.x * width - 0.5, p.y * height - 0.5, p.visibility) for p in found], np.float32
    )


class Child:
    """MediaPipe Pose Full, as its documentation sets it up for video."""

    def __init__(self) -> None:
        start_s = time.perf_counter()
        mediapipe = importlib.import_module("mediapipe")
        self.pose = mediapipe.solutions.pose
        self.follower = self.pose.Pose(model_complexity=1)
        self.facts = {
            "mediapipe": mediapipe.__version__,
            "numpy": np.__version__,
            "load_ms": (time.perf_counter() - start_s) * 1e3,
        }
        self.images: list[npt.NDArray[np.uint8]] = []

    def answer(self, question: Answer) -> Answer:
        if "frames" in question:
            return self.keep(question["frames"])
        if "turns" in question:
            return self.follow(question["turns"])
        return self.look(question["crops"], question["joints"])

    def keep(self, path: str) -> Answer:
        self.images = list(np.load(path))
        start_s = time.perf_counter()
        self.follower.process(self.images[0])
        return {"frames": len(self.images), "first_ms": (time.perf_counter() - start_s) * 1e3}

    def follow(self, turns: list[int]) -> Answer:
        ms, ends_s, found = [], [], 0
        for i in turns:
            start_s = time.perf_counter()
            answer = self.follower.process(self.images[i])
            end_s = time.perf_counter()
            ms.append((end_s - start_s) * 1e3)
            ends_s.append(end_s)
            found += answer.pose_landmarks is not None
        return {"ms": ms, "ends_s": ends_s, "found": found}

    def look(self, crops_path: str, joints_path: str) -> Answer:
        crops = np.load(crops_path)
        size_wh = crops.shape[2], crops.shape[1]
        with self.pose.Pose(static_image_mode=True, model_complexity=1) as single:
            found = np.stack([landmarks(single.process(crop), size_wh) for crop in crops])
        np.save(joints_path, found)
        return {"found": int(np.isfinite(found).all(axis=(1, 2)).sum())}


def main() -> None:
    child = Child()
    print(json.dumps(child.facts), flush=True)
    for line in sys.stdin:
        print(json.dumps(child.answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
