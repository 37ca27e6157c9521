"""The synthetic camera: a room with people in it whose joints are known, as a function of time."""

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from livepose.errors import UsageError
from livepose.synthetic.backdrop import room
from livepose.synthetic.body import Build, Stance, Vec, pose_body
from livepose.synthetic.chance import random_build, random_look
from livepose.synthetic.draw import Camera, draw_figure
from livepose.synthetic.figure import Look
from livepose.synthetic.motion import exercise, greet, stroll
from livepose.synthetic.paint import F32, U8, Light

EYE_HEIGHT_M = 1.2
DISTANCE_M = 3.6
NOISE_MARGIN = 64


class SyntheticScene:
    """People in a room. The same arguments and the same time give the same picture.

    size_wh: pixels, from 64x64 up. people: 1 moves on the spot, several walk about.
    seed: of people, clothes and room. noise: of the sensor, standard deviation in grey levels.
    motion: `live`, `wave` (one hand only), or `still` (nothing moves but the noise).
    """

    def __init__(
        self,
        size_wh: tuple[int, int] = (640, 480),
        people: int = 1,
        seed: int = 0,
        noise: float = 2.0,
        motion: Literal["live", "wave", "still"] = "live",
    ) -> None:
        width, height = size_wh
        if width < 16 or height < 16 or people < 0:
            raise UsageError(
                f"synthetic scene of {width}x{height} with {people} people: "
                "give at least 16x16 pixels and no negative number of people"
            )
        self._motion = motion
        self._size_wh = size_wh
        self._seed = seed
        rng = np.random.default_rng(seed)
        # Tall enough for raised arms, and wide enough for spread ones in an upright picture.
        self._metre_px = min(0.77 * height / 1.75, 0.95 * width / 1.9)
        self._floor_y = height / 2 + 0.455 * min(height, 2.25 * self._metre_px)
        wall = self._horizon + (self._floor_y - self._horizon) * DISTANCE_M / (DISTANCE_M + 1.3)
        self._background = room(rng, size_wh, wall)
        self._people = [(Build(), Look())] if seed == 0 else []
        while len(self._people) < people:
            self._people.append((random_build(rng), random_look(rng)))
        del self._people[people:]
        grain = rng.standard_normal((height + NOISE_MARGIN, width + NOISE_MARGIN, 3), np.float32)
        self._grain = np.round(grain * np.float32(noise)).astype(np.int16) if noise > 0 else None

    @property
    def _horizon(self) -> float:
        return self._floor_y - EYE_HEIGHT_M * self._metre_px

    def render(self, time_s: float) -> tuple[U8, F32]:
        """The picture at that time, uint8 [H, W, 3] BGR, and joints float32 [people, 16, 3].

        Joints are x, y in pixels and 1 where in the picture (seen or hidden), 0 where not.
        """
        return self.render_crowd(time_s)[:2]

    def render_crowd(self, time_s: float) -> tuple[U8, F32, npt.NDArray[np.bool_]]:
        """As `render`, and which joints somebody nearer covers, bool [people, 16]."""
        picture = self._background.copy()
        joints = np.zeros((len(self._people), 16, 3), np.float32)
        covered = np.zeros((len(self._people), 16), bool)
        placed = []
        for i, (build, look) in enumerate(self._people):
            stance, pelvis = self._move(i, build, time_s)
            placed.append((pelvis[2], i, pose_body(build, stance), look, pelvis))
        light = Light(np.array([-0.55, -0.65, 0.7]))
        # The farthest first: nearer people are painted over them.
        for _, i, body, look, pelvis in sorted(placed, key=lambda one: one[:2]):
            near = DISTANCE_M / (DISTANCE_M - pelvis[2])
            metre_px = self._metre_px * near
            x = self._size_wh[0] / 2 + pelvis[0] * metre_px
            ground = self._horizon + EYE_HEIGHT_M * metre_px
            eye = self._size_wh[0] / 2, self._horizon
            camera = Camera((x, ground - pelvis[1] * metre_px), metre_px, DISTANCE_M / near, eye)
            feet = camera.project(body.joints[[0, 5]])
            _shadow(picture, (x, ground), 0.42 * metre_px, 0.3)
            for foot in feet:
                _shadow(picture, (foot[0], foot[1] + 0.08 * metre_px), 0.17 * metre_px, 0.45)
            before = picture.copy()
            joints[i] = draw_figure(picture, body, look, camera, light)
            # Who was painted before is farther away: what has changed there is covered now.
            covered |= _changed(before, picture, joints)
            covered[i] = False
        return self._expose(picture, time_s), joints, covered

    def _move(self, person: int, build: Build, time_s: float) -> tuple[Stance, Vec]:
        """How that person stands at that time, and where the pelvis is, metres [3]."""
        if self._motion == "still":
            time_s = 0.0
        if len(self._people) > 1:
            return stroll(build, time_s, person, len(self._people))
        return (greet if self._motion == "wave" else exercise)(build, time_s)

    def _expose(self, picture: U8, time_s: float) -> U8:
        """Adds the sensor's noise, another patch of it for every millisecond."""
        if self._grain is None:
            return picture
        rng = np.random.default_rng((self._seed, abs(round(time_s * 1000))))
        x, y = rng.integers(NOISE_MARGIN, size=2)
        height, width = picture.shape[:2]
        return cv2.add(picture, self._grain[y : y + height, x : x + width], dtype=cv2.CV_8U)  # type: ignore[return-value]


def _changed(before: U8, after: U8, joints: F32) -> npt.NDArray[np.bool_]:
    """Whether the pixel at each joint in the picture, [people, 16, 3], is another one now."""
    height, width = after.shape[:2]
    x = np.clip(np.rint(joints[..., 0]).astype(int), 0, width - 1)
    y = np.clip(np.rint(joints[..., 1]).astype(int), 0, height - 1)
    changed: npt.NDArray[np.bool_] = (before[y, x] != after[y, x]).any(axis=2)
    return changed & (joints[..., 2] > 0)


def _shadow(picture: U8, xy: tuple[float, float], radius: float, strength: float) -> None:
    """Darkens a flat soft ellipse of the floor, in place."""
    height, width = picture.shape[:2]
    x0, x1 = int(np.clip(xy[0] - radius, 0, width)), int(np.clip(xy[0] + radius, 0, width))
    y0, y1 = (
        int(np.clip(xy[1] - radius / 4, 0, height)),
        int(np.clip(xy[1] + radius / 4, 0, height)),
    )
    if x0 >= x1 or y0 >= y1:
        return
    x = (np.arange(x0, x1, dtype=np.float32) - xy[0]) / radius
    y = (np.arange(y0, y1, dtype=np.float32) - xy[1])[:, None] / (radius / 4)
    dark = 1 - strength * np.square(np.maximum(1 - x * x - y * y, 0))
    view = picture[y0:y1, x0:x1]
    view[:] = cv2.multiply(view, cv2.merge([dark.astype(np.float32)] * 3), dtype=cv2.CV_8U)
