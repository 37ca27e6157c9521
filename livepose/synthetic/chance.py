"""People by chance: bodies, clothes, stances, light and framing for training pictures."""

from colorsys import hsv_to_rgb
from dataclasses import replace
from typing import Final

import cv2
import numpy as np

from livepose.synthetic.backdrop import Rng, anything, colour
from livepose.synthetic.body import (
    FOREARM,
    FOREARMS,
    HANGING,
    OUT,
    UPPER_ARM,
    Body,
    Build,
    Stance,
    Vec,
    pose_body,
    reach,
    rotation,
    unit,
)
from livepose.synthetic.draw import Camera, draw_figure
from livepose.synthetic.figure import Look
from livepose.synthetic.paint import F32, U8, Light

SKINS: Final = (
    (178, 190, 230),
    (150, 167, 222),
    (120, 142, 214),
    (86, 108, 182),
    (52, 70, 130),
    (34, 46, 84),
)
HAIRS: Final = (
    (22, 24, 28),
    (30, 42, 62),
    (44, 72, 110),
    (110, 160, 196),
    (40, 70, 150),
    (150, 152, 155),
)


def random_build(rng: Rng) -> Build:
    """Grown-ups of all kinds, and now and then a child."""
    woman = rng.random() < 0.5
    height = rng.uniform(0.62, 0.85) if rng.random() < 0.08 else rng.normal(1, 0.05)
    return Build(
        height=float(np.clip(height, 0.6, 1.15)),
        girth=float(np.clip(rng.normal(1.0, 0.12), 0.78, 1.45)),
        shoulders=float(rng.normal(0.92 if woman else 1.02, 0.04)),
        hips=float(rng.normal(1.04 if woman else 0.96, 0.04)),
        legs=float(rng.normal(1, 0.04)),
        arms=float(rng.normal(1, 0.04)),
        bust=float(rng.uniform(0.2, 1)) if woman else 0.0,
    )


def random_look(rng: Rng) -> Look:
    """Skin, hair and clothes."""
    cloth = [colour(rng, 12, 240) for _ in range(3)]
    skin = np.clip(np.array(SKINS[rng.integers(len(SKINS))]) + rng.normal(0, 8, 3), 12, 250)
    return Look(
        skin=tuple(skin.tolist()),
        hair=HAIRS[rng.integers(len(HAIRS))],
        hair_style=rng.choice(
            ["none", "short", "long", "bun", "cap"], p=[0.1, 0.42, 0.28, 0.1, 0.1]
        ),
        beard=bool(rng.random() < 0.15),
        glasses=bool(rng.random() < 0.15),
        shirt=cloth[0],
        second=cloth[1],
        pattern=rng.choice(
            ["plain", "stripes", "checks", "print", "halves"], p=[0.55, 0.13, 0.08, 0.16, 0.08]
        ),
        sleeve=float(
            rng.choice([0.0, 0.35, 0.55, 0.75, 1.4, 2.0], p=[0.1, 0.1, 0.25, 0.1, 0.1, 0.35])
        ),
        shirt_loose_m=float(rng.uniform(0.002, 0.024)),
        hem=float(rng.uniform(0.3, 1.0)),
        bottom=rng.choice(["trousers", "shorts", "skirt"], p=[0.64, 0.26, 0.1]),
        trousers=cloth[0] if rng.random() < 0.08 else cloth[2],
        trousers_loose_m=float(rng.uniform(0.0, 0.03)),
        shoes=colour(rng),
        folds=float(rng.uniform(0.2, 2.2)),
        fold_offset=(int(rng.integers(256)), int(rng.integers(256))),
    )


def _arm(rng: Rng, side: int) -> tuple[Vec, Vec]:
    """Directions of upper arm and forearm within what a shoulder and an elbow can do."""
    out = OUT[side]
    while True:
        upper = unit(rng.normal(size=3))
        if rng.random() < 0.35:
            upper = unit(np.array([out * 0.2, -1, 0.1]) + rng.normal(0, 0.22, 3))
        inward = -out * upper[0]
        if upper[2] > -0.55 and inward < (0.55 if upper[2] > 0.4 else 0.1):
            break
    for _ in range(20):
        hinge = unit(np.cross(upper, rng.normal(size=3)))
        if hinge @ [-0.5 * out, 0.35, 1.0] > 0.1:
            break
    flex = rng.choice([rng.uniform(0, 0.5), rng.uniform(0, 2.5)], p=[0.4, 0.6])
    return upper, np.cos(flex) * upper + np.sin(flex) * hinge


def _legs(rng: Rng) -> tuple[Vec, Vec]:
    """Directions of thighs and shins: standing, walking, sitting, or anything a hip can do."""
    kind = rng.choice(["stand", "walk", "sit", "any"], p=[0.38, 0.22, 0.15, 0.25])
    thighs, shins = np.zeros((2, 3)), np.zeros((2, 3))
    stride = rng.uniform(0.2, 0.75) * rng.choice([-1, 1])
    for side, out in enumerate(OUT):
        spread, flex, knee = (
            rng.normal(0.06, 0.06),
            rng.normal(0.03, 0.08),
            abs(rng.normal(0, 0.12)),
        )
        if kind == "walk":
            flex, knee = -out * stride, 0.1 + (rng.uniform(0.2, 1.0) if out * stride > 0 else 0)
        elif kind == "sit":
            flex, knee = rng.normal(1.45, 0.18), rng.normal(1.5, 0.25)
            spread = rng.normal(0.15, 0.12)
        elif kind == "any":
            flex, knee = rng.uniform(-0.5, 2.0), rng.uniform(0, 2.2)
            spread = rng.uniform(-0.15, 0.8)
        thighs[side] = rotation(0, -flex, out * spread) @ [0, -1, 0]
        shins[side] = rotation(0, max(knee, 0) - flex, out * spread) @ [0, -1, 0]
    return thighs, shins


def _facing(rng: Rng) -> Vec:
    """Rotation of the pelvis: mostly upright, mostly from the front."""
    yaw = rng.normal(0, 0.5) if rng.random() < 0.6 else rng.uniform(-np.pi, np.pi)
    tilted = rng.random()
    roll = rng.uniform(-np.pi, np.pi) if tilted < 0.1 else rng.normal(0, 0.12)
    pitch = rng.normal(0.0, 0.6) if tilted < 0.2 else rng.normal(0.05, 0.1)
    view = rotation(0, rng.normal(0.05, 0.15))
    result: Vec = view @ rotation(0, 0, roll) @ rotation(yaw) @ rotation(0, pitch)
    return result


def random_stance(rng: Rng) -> Stance:
    """A stance that a healthy body can take."""
    arms = [_arm(rng, side) for side in (0, 1)]
    if rng.random() < 0.25:
        arms[1] = tuple(v * [-1, 1, 1] for v in arms[0])  # type: ignore[assignment]
    thighs, shins = _legs(rng)
    bend = abs(rng.normal(0, 0.5)) if rng.random() < 0.2 else rng.normal(0.05, 0.1)
    return Stance(
        root=_facing(rng),
        chest=rotation(rng.normal(0, 0.2), bend, rng.normal(0, 0.12)),
        head=rotation(*(rng.normal(0, 1, 3) * [0.4, 0.2, 0.13]).tolist()),
        upper_arms=np.array([arms[0][0], arms[1][0]]),
        forearms=np.array([arms[0][1], arms[1][1]]),
        thighs=thighs,
        shins=shins,
        feet=(float(rng.normal(-0.1, 0.2)), float(rng.normal(-0.1, 0.2))),
    )


def _buried(body: Body) -> bool:
    """Whether an elbow or wrist is inside the trunk, or a wrist inside the head."""
    tips = body.joints[[10, 11, 14, 15]]
    inside = (tips - body.waist) @ body.chest / (0.17, 0.28, 0.1)
    skull = body.joints[8:10].mean(0) - body.joints[[10, 15]]
    near_head = np.linalg.norm(skull, axis=1) < 0.11
    return bool((np.linalg.norm(inside, axis=1) < 1).any() or near_head.any())


FRAMINGS: Final = ((range(16), 0.52), ((2, 3, *range(6, 16)), 0.33), ((7, 8, 9, 12, 13), 0.15))
"""Joints that have to be in the picture: all of them, down to the hips, head and shoulders."""


def _frame(rng: Rng, body: Body, size_wh: tuple[int, int]) -> Camera:
    """A camera that shows all of the body, or half of it, or a little."""
    chosen = FRAMINGS[rng.choice(len(FRAMINGS), p=[share for _, share in FRAMINGS])][0]
    points = body.joints[list(chosen), :2] * (1, -1)
    low, high = points.min(0) - 0.12, points.max(0) + 0.12
    fill = rng.uniform(0.5, 1.0) if len(chosen) > 5 else rng.uniform(0.4, 0.75)
    metre_px = float(fill * (np.array(size_wh) / (high - low)).min())
    spare = np.array(size_wh) - metre_px * (high - low)
    origin = spare * np.clip(rng.normal(0.5, 0.2, 2), 0, 1) - metre_px * low
    eye = np.array(size_wh) / 2
    return Camera(tuple(origin.tolist()), metre_px, float(rng.uniform(2.2, 8)), tuple(eye.tolist()))


def random_light(rng: Rng) -> Light:
    """Light from above more often than not, strong or soft, warm or cold."""
    direction = unit(
        np.array([rng.normal(0, 0.7), -abs(rng.normal(0.5, 0.5)), rng.uniform(0.2, 1)])
    )
    power, ambient = rng.uniform(0.3, 1.0), rng.uniform(0.2, 0.6)
    tint = 1 + rng.normal(0, 0.06, 3)
    key, fill = (power * tint).tolist(), (ambient * (2 - tint)).tolist()
    return Light(direction, tuple(key), tuple(fill))


def develop(rng: Rng, picture: U8) -> U8:
    """A cheap camera: exposure, blur and noise."""
    gain, lift = rng.uniform(0.75, 1.2), rng.uniform(-12, 18)
    shot = cv2.convertScaleAbs(picture, alpha=gain, beta=max(lift, 0))
    if rng.random() < 0.4:
        shot = cv2.GaussianBlur(shot, (0, 0), rng.uniform(0.4, 1.2) * picture.shape[1] / 256)
    noise = rng.standard_normal((*picture.shape[:2], 1), dtype=np.float32)
    noise = cv2.merge([noise * np.float32(rng.uniform(0.5, 7))] * 3)
    return cv2.add(shot, noise, dtype=cv2.CV_8U)  # type: ignore[return-value]


def random_figure(rng: Rng, size_wh: tuple[int, int] = (256, 256)) -> tuple[U8, F32]:
    """One training picture: uint8 [H, W, 3] BGR and joints float32 [16, 3].

    Joints are x, y in pixels and 1 where in the picture (seen, or hidden by the own body), 0 where
    not. The same state of rng gives the same picture.
    """
    build = random_build(rng)
    for _ in range(8):
        body = pose_body(build, random_stance(rng))
        if not _buried(body):
            break
    picture = anything(rng, size_wh)
    camera = _frame(rng, body, size_wh)
    joints = draw_figure(picture, body, random_look(rng), camera, random_light(rng))
    return develop(rng, picture), joints


HANDS: Final = (
    ((-0.15, 0.35), (-0.35, -0.02), (0.15, 0.45)),
    ((-0.08, 0.16), (0.02, 0.26), (0.15, 0.32)),
    ((-0.1, 0.25), (-0.58, -0.33), (0.12, 0.4)),
    ((0.2, 0.5), (-0.1, 0.35), (0.05, 0.4)),
)
"""Where a wrist may be, body heights from the thorax: outwards, up, forward. Before the chest,
before the face, in the lap or at the hip, and raised at the side."""

MEETING: Final = 0.3
"""Share of the speakers whose hands meet,"""

SKINLIKE: Final = 0.1
"""of those whose shirt has the hue of their skin,"""

LOUD: Final = 0.35
"""and of those whose shirt has another loud colour: on one, networks take sleeves for hands."""


def _gesture(rng: Rng, build: Build, side: int) -> tuple[Vec, Vec]:
    """Directions of upper arm and forearm that bring a hand before the body, or hanging."""
    out = OUT[side]
    if rng.random() < 0.15:
        down = rng.normal(0, 0.12, (2, 3))
        return unit(HANGING[side] + down[0]), unit(FOREARMS[side] + down[1])
    place = HANDS[rng.choice(len(HANDS), p=(0.35, 0.25, 0.25, 0.15))]
    wrist = np.array([rng.uniform(*span) for span in place]) * (out, 1, 1)
    return _to(rng, build, side, wrist)


def _together(rng: Rng, build: Build) -> list[tuple[Vec, Vec]]:
    """The same of both arms: hands that meet before chest or chin, as of one who claps or asks."""
    middle = np.array((rng.normal(0, 0.04), rng.uniform(-0.2, 0.12), rng.uniform(0.16, 0.34)))
    apart = rng.uniform(0.015, 0.07)
    wrists = [middle + (OUT[side] * apart, *rng.normal(0, 0.015, 2)) for side in (0, 1)]
    return [_to(rng, build, side, wrists[side]) for side in (0, 1)]


def _to(rng: Rng, build: Build, side: int, wrist: Vec) -> tuple[Vec, Vec]:
    """Directions of upper arm and forearm that bring a wrist there, in body heights."""
    out, wrist = OUT[side], wrist * build.height
    shoulder = np.array([out * 0.172 * build.shoulders * build.height, 0, 0])
    elbow_to = np.array([out * rng.uniform(0.2, 1.2), -1, rng.uniform(-0.5, 0.2)])
    size = build.height * build.arms
    return reach(shoulder, wrist, elbow_to, (UPPER_ARM * size, FOREARM * size))


def _dressed(rng: Rng, look: Look) -> Look:
    """The same person, perhaps in a shirt of one colour that misleads, mostly with full sleeves,
    and perhaps with something before it.
    """
    worn = rng.choice(["nothing", "lanyard", "tie", "zip"], p=[0.73, 0.13, 0.07, 0.07])
    look = replace(look, worn=worn)
    kind = rng.random()
    if kind < SKINLIKE:
        skin = np.array(look.skin)
        shirt = rng.uniform(0.6, 1.2) * (skin.mean() + (skin - skin.mean()) * rng.uniform(0.7, 3))
    elif kind < SKINLIKE + LOUD:
        loud = hsv_to_rgb(rng.random(), rng.uniform(0.6, 1), rng.uniform(0.35, 1))
        shirt = 255 * np.array(loud[::-1])
    else:
        return look
    sleeve = 2.0 if rng.random() < 0.5 else look.sleeve
    pattern = "plain" if rng.random() < 0.7 else look.pattern
    shirt = tuple(np.clip(shirt, 12, 250).tolist())
    return replace(look, shirt=shirt, sleeve=sleeve, pattern=pattern)


def random_speaker(rng: Rng, size_wh: tuple[int, int] = (256, 256)) -> tuple[U8, F32]:
    """Somebody before a webcam who speaks with their hands: down to the hips at most, from the
    front; answers as `random_figure`.
    """
    build = random_build(rng)
    for _ in range(8):
        meet = rng.random() < MEETING
        arms = _together(rng, build) if meet else [_gesture(rng, build, s) for s in (0, 1)]
        stance = Stance(
            root=rotation(rng.normal(0, 0.35), rng.normal(0.03, 0.1), rng.normal(0, 0.06)),
            chest=rotation(rng.normal(0, 0.15), rng.normal(0.05, 0.1), rng.normal(0, 0.08)),
            head=rotation(*(rng.normal(0, 1, 3) * [0.35, 0.2, 0.12]).tolist()),
            upper_arms=np.array([arms[0][0], arms[1][0]]),
            forearms=np.array([arms[0][1], arms[1][1]]),
        )
        body = pose_body(build, stance)
        if not _buried(body):
            break
    raised = np.array((0, rng.uniform(0.3, 2), 0)) if meet else np.zeros(3)
    fingers = unit(body.fingers + raised + rng.normal(0, 0.35, (2, 3)))
    body = replace(body, fingers=fingers, rolls=rng.uniform(-1, 1, 2) * np.pi / 2)
    look = _dressed(rng, random_look(rng))
    picture = anything(rng, size_wh)
    width, height = size_wh
    # The picture ends somewhere between the ribs and just below the hips.
    top = body.joints[9, 1] + rng.uniform(0.03, 0.5) * build.height
    bottom = rng.uniform(-0.22, 0.22) * build.height
    metre_px = height / (top - bottom)
    across = width * np.clip(rng.normal(0.5, 0.1), 0.3, 0.7) - metre_px * body.joints[7, 0]
    eye = width / 2, height / 2
    camera = Camera((float(across), metre_px * top), metre_px, float(rng.uniform(1.2, 4)), eye)
    joints = draw_figure(picture, body, look, camera, random_light(rng))
    return develop(rng, picture), joints
