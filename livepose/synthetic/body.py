"""A jointed body: proportions, a stance made of directions, and the joints in metres they give.

The body's own frame is x to its left, y up, z forward; the camera's is x to the picture's right,
y up, z towards the camera: a person with no rotation looks into the camera. Side 0 is right and
side 1 is left, everywhere. Nothing here draws; `figure.py` puts flesh on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

Vec = npt.NDArray[np.float64]
"""A point or direction [3], or several [..., 3]; a rotation is [3, 3] with the axes as columns."""

OUT: Final = (-1.0, 1.0)
"""The sign of x that leads away from the body, per side."""


@dataclass(frozen=True)
class Build:
    """Proportions of one body; lengths as shares of those of a 1.75 m adult."""

    height: float = 1.0
    girth: float = 1.0
    shoulders: float = 1.0
    hips: float = 1.0
    legs: float = 1.0
    arms: float = 1.0
    bust: float = 0.0


def unit(vector: Vec | Sequence[float]) -> Vec:
    """Direction(s) [..., 3] of length 1."""
    vector = np.asarray(vector, float)
    direction: Vec = vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-9)
    return direction


def rotation(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Vec:
    """[3, 3]: first roll (to the body's left side up), then pitch (forward), then yaw (left)."""
    (cy, cp, cr), (sy, sp, sr) = np.cos([yaw, pitch, roll]), np.sin([yaw, pitch, roll])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    result: Vec = about_y @ about_x @ about_z
    return result


HANGING: Final = np.array([[-0.16, -1, 0.02], [0.16, -1, 0.02]])
FOREARMS: Final = np.array([[-0.06, -1, 0.28], [0.06, -1, 0.28]])
STANDING: Final = np.array([[-0.07, -1, 0.03], [0.07, -1, 0.03]])
SHINS: Final = np.array([[-0.05, -1, -0.05], [0.05, -1, -0.05]])


@dataclass(frozen=True)
class Stance:
    """How a body is held. Directions need no unit length; row 0 is the right side.

    root: rotation of the pelvis in the camera's frame; chest: of the chest against the pelvis;
    head: of the head against the chest.
    upper_arms, forearms: [2, 3] in the chest's frame. thighs, shins: [2, 3] in the pelvis's.
    feet: up-and-down angle of each foot against square to the shin, radians, toes up positive.
    """

    root: Vec = field(default_factory=lambda: np.eye(3))
    chest: Vec = field(default_factory=lambda: np.eye(3))
    head: Vec = field(default_factory=lambda: np.eye(3))
    upper_arms: Vec = field(default_factory=HANGING.copy)
    forearms: Vec = field(default_factory=FOREARMS.copy)
    thighs: Vec = field(default_factory=STANDING.copy)
    shins: Vec = field(default_factory=SHINS.copy)
    feet: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Body:
    """A body in the camera's frame, metres, the pelvis at the origin.

    joints: [16, 3] in the order of `skeleton.JOINTS`. waist: [3].
    pelvis, chest, head: [3, 3] rotations. toes, fingers: [2, 3] directions of feet and hands.
    rolls: [2] angles of the palms about their fingers, in radians; 0 with the thumbs forward.
    """

    build: Build
    joints: Vec
    waist: Vec
    pelvis: Vec
    chest: Vec
    head: Vec
    toes: Vec
    fingers: Vec
    rolls: Vec = field(default_factory=lambda: np.zeros(2))


THIGH: Final = 0.43
SHIN: Final = 0.42
UPPER_ARM: Final = 0.29
FOREARM: Final = 0.255
ANKLE: Final = 0.09
"""Lengths of an adult in metres; ANKLE is the height of the ankle over the floor."""


def pose_body(build: Build, stance: Stance) -> Body:
    """The body of that build in that stance."""
    scale = build.height
    pelvis, chest = stance.root, stance.root @ stance.chest
    head = chest @ stance.head
    waist = pelvis @ [0, 0.2 * scale, 0.012]
    thorax = waist + chest @ [0, 0.29 * scale, -0.012]
    neck = thorax + (0.5 * chest + 0.5 * head) @ [0, 0.088 * scale, 0.014]
    joints = np.zeros((16, 3))
    joints[[7, 8, 9]] = thorax, neck, neck + head @ [0, 0.245 * scale**0.6, 0]
    arms, legs = scale * build.arms, scale * build.legs
    upper_arms, forearms = unit(stance.upper_arms) @ chest.T, unit(stance.forearms) @ chest.T
    thighs, shins = unit(stance.thighs) @ pelvis.T, unit(stance.shins) @ pelvis.T
    toes = np.zeros((2, 3))
    for side, out in enumerate(OUT):
        # The collar bone follows a raised arm.
        lift = 0.035 * scale * (1 + upper_arms[side] @ chest[:, 1])
        x = out * 0.172 * scale * build.shoulders
        shoulder = thorax + chest @ [x - out * 0.4 * lift, lift, 0]
        hip = pelvis @ [out * 0.095 * scale * build.hips, 0, 0]
        elbow = shoulder + UPPER_ARM * arms * upper_arms[side]
        knee = hip + THIGH * legs * thighs[side]
        leg = hip, knee, knee + SHIN * legs * shins[side]
        joints[[2, 1, 0] if side == 0 else [3, 4, 5]] = leg
        arm = shoulder, elbow, elbow + FOREARM * arms * forearms[side]
        joints[[12, 11, 10] if side == 0 else [13, 14, 15]] = arm
        # The toes point where the knee bends away from, square to the shin.
        ahead = pelvis[:, 2] + 0.15 * out * pelvis[:, 0] + 0.8 * (thighs[side] - shins[side])
        square = unit(ahead - (ahead @ shins[side]) * shins[side])
        angle = stance.feet[side]
        toes[side] = np.cos(angle) * square - np.sin(angle) * shins[side]
    fingers = unit(forearms + 0.12 * (chest[:, 2] + 0.5 * upper_arms))
    return Body(build, joints, waist, pelvis, chest, head, toes, fingers)


def reach(start: Vec, end: Vec, ahead: Vec, lengths: tuple[float, float]) -> tuple[Vec, Vec]:
    """Directions of the two bones that bring a limb from start to end, its joint bent to `ahead`.

    lengths: of the upper and the lower bone. An end out of reach is aimed at with the limb all
    but straight, one too near with it all but folded.
    """
    upper, lower = lengths
    line = unit(end - start)
    far = float(np.linalg.norm(end - start))
    far = float(np.clip(far, 1.02 * abs(upper - lower) + 0.01, 0.9995 * (upper + lower)))
    cosine = (upper**2 + far**2 - lower**2) / (2 * upper * far)
    bend = unit(ahead - (ahead @ line) * line)
    first = cosine * line + np.sqrt(max(1 - cosine**2, 0.0)) * bend
    return first, unit(start + far * line - (start + upper * first))
