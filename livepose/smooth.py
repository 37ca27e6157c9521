"""Steadier joints: the One Euro filter (Casiez, Roussel, Vogel, CHI 2012), per joint.

It works on true timestamps and in units of body size, so that it behaves alike near and far
and at any frame rate: little jitter at rest, little lag in motion. Scores fall at once
and rise a little later.
"""

from dataclasses import dataclass, replace

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


def smoothing_factor(
    cutoff_hz: npt.NDArray[np.float64], dt_s: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Weight of the new value of a first-order low-pass filter, of any shape that these have."""
    tau = 2 * np.pi * cutoff_hz * dt_s
    return np.asarray(tau / (1 + tau))


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """What is known of one person's joints: xy and speed float64 [16, 2] in pixels and in body
    sizes per second, scores float64 [16], as of that time."""

    time_s: float
    xy: npt.NDArray[np.float64]
    speed: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]

    def tells(self, time_s: float) -> bool:
        """Whether it still says something about that time."""
        return 0 <= time_s - self.time_s <= FORGET_S


class Smoother:
    """Filters the joints of everybody at once, by their ids; a person is forgotten `FORGET_S`
    after they were last seen."""

    def __init__(self) -> None:
        self._past: dict[int, Past] = {}

    def __call__(self, poses: list[Pose], time_s: float) -> list[Pose]:
        """The poses of one frame, with steadier joints; `time_s` on any rising clock."""
        self._past = {i: past for i, past in self._past.items() if past.tells(time_s)}
        if not poses:
            return []
        raw_xy = np.array([pose.joints_xy for pose in poses], np.float64)
        raw = np.array([pose.scores for pose in poses], np.float64)
        # Who is new was where they are now, at rest.
        still = np.zeros_like(raw_xy[0])
        pasts = [
            self._past.get(pose.id) or Past(time_s, xy, still, scores)
            for pose, xy, scores in zip(poses, raw_xy, raw, strict=True)
        ]
        dt_s = np.array([max(time_s - past.time_s, SHORTEST_S) for past in pasts])[:, None]
        boxes = np.array([pose.box_xyxy for pose in poses], np.float32)
        sizes = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(axis=1), 1.0, dtype=np.float64)
        xy, speed = followed(
            raw_xy,
            np.array([past.xy for past in pasts]),
            np.array([past.speed for past in pasts]),
            np.minimum(np.maximum(raw / SURE, LEAST), 1),
            sizes[:, None, None],
            dt_s,
        )
        scores = np.array([past.scores for past in pasts])
        scores += (1 - np.exp(-dt_s / APPEAR_S)) * (raw - scores)
        self._past.update(
            (pose.id, Past(time_s, *past))
            for pose, *past in zip(poses, xy, speed, scores, strict=True)
        )
        shown = np.minimum(raw, scores).astype(np.float32)
        return [
            replace(pose, joints_xy=joints_xy, scores=own)
            for pose, joints_xy, own in zip(poses, xy.astype(np.float32), shown, strict=True)
        ]


def followed(
    raw_xy: npt.NDArray[np.float64],
    last_xy: npt.NDArray[np.float64],
    last_speed: npt.NDArray[np.float64],
    trust: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.float64],
    dt_s: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The filter itself, for N people: their new places and speeds, float64 [N, 16, 2] each.

    raw_xy, last_xy: float64 [N, 16, 2] in pixels, as seen now and as filtered before; last_speed:
    float64 [N, 16, 2] in body sizes per second; trust: float64 [N, 16], how much a new place
    counts; sizes: float64 [N, 1, 1] in pixels; dt_s: float64 [N, 1], since then.
    """
    moved = (raw_xy - last_xy) / sizes
    rate = smoothing_factor(np.array(DERIVATIVE_CUTOFF_HZ), dt_s)[..., None]
    speed = last_speed + rate * (moved / dt_s[..., None] - last_speed)
    cutoff_hz = MIN_CUTOFF_HZ + SPEED_CUTOFF_HZ * lengths(speed)
    weight = smoothing_factor(cutoff_hz, dt_s) * trust
    jumped = lengths(moved) > JUMP
    weight[jumped] = 1
    speed[jumped] = 0
    return last_xy + weight[..., None] * (raw_xy - last_xy), speed


def lengths(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """float64 [..., 2] -> [...]; np.linalg.norm takes twice as long for so few."""
    x, y = xy[..., 0], xy[..., 1]
    return np.sqrt(x * x + y * y)
