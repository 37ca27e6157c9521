"""Hair down to the waist, painted over people in crops: data sets of sports hardly show any.

Without it a network takes light strands on dark clothes for arms held over the head.
"""

import cv2
import numpy as np
import numpy.typing as npt

from livepose.crops import torso_of
from livepose.synthetic.chance import HAIRS

Image = npt.NDArray[np.uint8]
Joints = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

PELVIS, NECK, HEAD_TOP, RIGHT_SHOULDER, LEFT_SHOULDER = 6, 8, 9, 12, 13
NEEDED = [NECK, HEAD_TOP, RIGHT_SHOULDER, LEFT_SHOULDER]

FOREARMS = ((10, 11), (15, 14))
"""Wrist and elbow."""

SIDEWAYS = 0.25
"""Shoulders less far apart than this across the trunk, in torsos, are seen from the side."""

UPRIGHT = 0.6
"""Cosine of head's and trunk's angle to the crop's way down; hair of who leans more hangs loose."""


def long_hair(crop: Image, joints: Joints, rng: np.random.Generator) -> Image:
    """Long hair on who is seen from behind, or beside the face of who is seen from the front.

    Before the face and the chest forearms stay free. crop: uint8 [S, S, 3] RGB; joints: float32
    [16, 3] (x, y, state), which stay as they are. Answers a new crop; the one handed in where
    head and shoulders are not all labelled, the head is short for the torso, or the person leans,
    is seen from the side or is small.
    """
    torso = torso_of(joints[:, :2], joints[:, 2] > 0)
    if (joints[NEEDED, 2] <= 0).any() or torso < 12:
        return crop
    pelvis, neck, top, right, left = joints[[PELVIS, *NEEDED], :2].astype(np.float64)
    head = float(np.linalg.norm(neck - top))
    if head <= 0.2 * torso:
        return crop
    hanging = (neck - top) / head
    back = pelvis - neck if joints[PELVIS, 2] > 0 else neck - top
    down = back / max(float(np.linalg.norm(back)), 1e-6)
    apart = float((right - left) @ (down[1], -down[0])) / torso
    if abs(apart) < SIDEWAYS or min(hanging[1], down[1]) < UPRIGHT:
        return crop
    y, x = np.mgrid[: crop.shape[0], : crop.shape[1]]
    # Along the hair in heads, from the top of the head and then down the back; and beside it.
    at_head = (x - top[0]) * hanging[0] + (y - top[1]) * hanging[1]
    on_back = head + (x - neck[0]) * down[0] + (y - neck[1]) * down[1]
    along = np.where(at_head < head, at_head, np.maximum(on_back, head)) / head
    beside_head = (x - top[0]) * hanging[1] - (y - top[1]) * hanging[0]
    beside_back = (x - neck[0]) * down[1] - (y - neck[1]) * down[0]
    waves = rng.uniform(0, 0.08) * np.sin(along * rng.uniform(4, 9) + rng.uniform(0, 6))
    beside = np.where(at_head < head, beside_head, beside_back) / head + waves
    length = 1.0 + rng.uniform(0.3, 1.15) * torso / head
    strands = _strands(rng)
    column = (np.clip(beside, -1.2, 1.2) + 1.2) / 2.4 * (len(strands) - 1)
    level = strands[column.astype(int)]
    wide = _width(along, length, rng)
    inside = np.minimum(wide - np.abs(beside), (length * (1 + 0.16 * (level - 0.5)) - along) * 0.8)
    inside = np.minimum(inside, along + 0.08)
    if apart < 0:  # the face and the chest between two strands stay free
        face = rng.uniform(0.2, 0.3) + 0.05 * np.sin(along * 3)
        brow = rng.uniform(0.12, 0.25)
        inside = np.where(along > brow, np.minimum(inside, np.abs(beside) - face), inside)
        inside = np.where(_forearms(crop.shape[:2], joints, torso), -np.inf, inside)
    alpha = np.clip(inside * head * 0.8 + 0.3, 0, 1)[..., None] * rng.uniform(0.85, 1)
    hair = _dyed(level, np.clip(along / length, 0, 1), rng)
    painted: Image = np.rint(crop * (1 - alpha) + hair * alpha).astype(np.uint8)
    return painted


def _width(along: Floats, length: float, rng: np.random.Generator) -> Floats:
    """Half the hair's width in heads where it is so far along, both [S, S]: round over the skull,
    then as wide as it falls; `length` of it in heads."""
    skull, end = rng.uniform(0.4, 0.55), rng.uniform(0.3, 0.75)
    round_top = skull * np.sqrt(np.clip(1 - (1 - (along + 0.08) / 0.5) ** 2, 0, 1))
    falling = skull + (end - skull) * np.clip((along - 0.42) / (length - 0.42), 0, 1)
    return np.where(along < 0.42, round_top, falling)


def _strands(rng: np.random.Generator) -> Floats:
    """How light each of 64 strands is, 0 to 1, float64 [64], even or in streaks."""
    streaks = cv2.GaussianBlur(rng.random((1, 64)), (0, 0), rng.uniform(0.5, 2.5))[0]
    light: Floats = (streaks - streaks.min()) / max(float(np.ptp(streaks)), 1e-3)
    return light


def _dyed(level: Floats, towards_tips: Floats, rng: np.random.Generator) -> Floats:
    """Hair of one colour, RGB [S, S, 3] in 0..255, lighter in its light strands and often at its
    tips; both [S, S] in 0..1."""
    colour = np.array(HAIRS[rng.integers(len(HAIRS))])[::-1] * np.exp(rng.normal(0, 0.15, 3))
    tips = np.exp(towards_tips * rng.uniform(-0.1, 0.8))
    light = np.exp(rng.uniform(0.3, 1.6) * (level - 0.5)) * tips * rng.uniform(0.6, 1.3)
    dyed: Floats = np.clip(colour * light[..., None], 0, 255)
    return dyed


def _forearms(shape_hw: tuple[int, ...], joints: Joints, torso: float) -> npt.NDArray[np.bool_]:
    """Where forearms and hands are, bool [H, W]: a hand's length on from each wrist."""
    mask = np.zeros(shape_hw, np.uint8)
    for wrist, elbow in (joints[list(pair)] for pair in FOREARMS):
        if min(wrist[2], elbow[2]) > 0:
            fingers = wrist[:2] + 0.5 * (wrist[:2] - elbow[:2])
            ends = [tuple(np.rint(end).astype(int).tolist()) for end in (elbow[:2], fingers)]
            cv2.line(mask, ends[0], ends[1], 255, max(1, round(0.22 * torso)))
    return mask > 0
