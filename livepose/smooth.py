"""Steadier joints: the One Euro filter (Casiez, Roussel, Vogel, CHI 2012), per joint.

It works on true timestamps and in units of body size, so that it behaves alike near and far
and at any frame rate: little jitter at rest, little lag in motion. Scores fall at once
and rise a little later.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from livepose.pose import Pose

MIN_CUTOFF_HZ = 0.9
SPEED_CUTOFF_HZ = 10.0
"""Added to the cut-off per body size per second of speed."""

DERIVATIVE_CUTOFF_HZ = 1.5
JUMP = 0.5
"""Body sizes a joint moves in one frame for the filter to start anew there."""

SURE = 0.15
"""Joint score from which a new place counts in full; below, the last one is trusted more."""

LEAST = 0.4
"""How much a new place counts of a joint that is not seen at all."""

APPEAR_S = 0.25
"""Time constant in which a joint's score rises: what was not there, a hand that is taken for a knee
for some frames, is not drawn; a new joint that is surely seen is after 0.1 s. It falls at once."""

FORGET_S = 0.5

SHORTEST_S = 1e-3
"""Two frames of one time, as of pictures that arrive together, are thought to be so far apart."""


def smoothing_factor(cutoff_hz: npt.NDArray[np.float64], dt_s: float) -> npt.NDArray[np.float64]:
    """Weight of the new value of a first-order low-pass filter."""
    tau = 2 * np.pi * cutoff_hz * dt_s
    return np.asarray(tau / (1 + tau))


class PoseFilter:
    """Filters one person's joints."""

    def __init__(self) -> None:
        self._time_s = float("-inf")
        self._xy = np.zeros((16, 2))
        self._speed = np.zeros((16, 2))
        self._scores = np.zeros(16)

    def remembers(self, time_s: float) -> bool:
        """Whether what it last saw still says something about that time."""
        return 0 <= time_s - self._time_s <= FORGET_S

    def __call__(self, pose: Pose, time_s: float) -> Pose:
        dt_s = max(time_s - self._time_s, SHORTEST_S)
        size = max(float((pose.box_xyxy[2:] - pose.box_xyxy[:2]).max()), 1.0)
        xy, raw = pose.joints_xy.astype(np.float64), pose.scores.astype(np.float64)
        if not self.remembers(time_s):
            self._speed[:] = 0
            self._xy = xy
            self._scores = raw
        else:
            self._update(xy, raw, size, dt_s)
            self._scores += (1 - np.exp(-dt_s / APPEAR_S)) * (raw - self._scores)
        self._time_s = time_s
        scores = np.minimum(pose.scores, self._scores.astype(np.float32))
        return replace(pose, joints_xy=self._xy.astype(np.float32), scores=scores)

    def _update(
        self,
        xy: npt.NDArray[np.float64],
        scores: npt.NDArray[np.float64],
        size: float,
        dt_s: float,
    ) -> None:
        moved = (xy - self._xy) / size
        speed = moved / dt_s
        self._speed += smoothing_factor(np.array(DERIVATIVE_CUTOFF_HZ), dt_s) * (
            speed - self._speed
        )
        cutoff_hz = MIN_CUTOFF_HZ + SPEED_CUTOFF_HZ * np.linalg.norm(self._speed, axis=1)
        weight = (smoothing_factor(cutoff_hz, dt_s) * np.clip(scores / SURE, LEAST, 1))[:, None]
        jumped = np.linalg.norm(moved, axis=1) > JUMP
        weight[jumped] = 1
        self._speed[jumped] = 0
        self._xy = self._xy + weight * (xy - self._xy)


class Smoother:
    """One filter per id; a filter is forgotten `FORGET_S` after its person was last seen."""

    def __init__(self) -> None:
        self._filters: dict[int, PoseFilter] = {}

    def __call__(self, poses: list[Pose], time_s: float) -> list[Pose]:
        """The poses of one frame, with steadier joints; `time_s` on any rising clock."""
        seen = {p.id: self._filters.get(p.id, PoseFilter()) for p in poses}
        recent = {i: f for i, f in self._filters.items() if f.remembers(time_s)}
        self._filters = recent | seen
        return [self._filters[p.id](p, time_s) for p in poses]
