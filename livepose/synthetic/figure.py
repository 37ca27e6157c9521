"""Flesh, hair and clothes on a `Body`: which solids, of which material. A `Look` says what is worn.

Everything is in metres here; `draw.py` brings it into a picture.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from livepose.synthetic.body import OUT, Body, Vec, unit

Colour = tuple[float, float, float]
"""BGR, 0..255."""


@dataclass(frozen=True)
class Look:
    """What a person looks like and wears. Lengths of clothes are shares of the limb."""

    skin: Colour = (120, 158, 214)
    hair: Colour = (30, 42, 62)
    hair_style: Literal["none", "short", "long", "bun", "cap"] = "short"
    beard: bool = False
    glasses: bool = False
    shirt: Colour = (150, 92, 44)
    second: Colour = (225, 225, 225)
    pattern: Literal["plain", "stripes", "checks", "print", "halves"] = "plain"
    worn: Literal["nothing", "lanyard", "tie", "zip"] = "nothing"
    sleeve: float = 0.55
    shirt_loose_m: float = 0.014
    hem: float = 0.75
    bottom: Literal["trousers", "shorts", "skirt"] = "trousers"
    trousers: Colour = (72, 58, 48)
    trousers_loose_m: float = 0.012
    shoes: Colour = (205, 205, 210)
    folds: float = 1.0
    fold_offset: tuple[int, int] = (0, 0)


SKIN, FACE, HAIR, SHIRT, BOTTOM, SHOE, CAP = range(7)
"""Materials of solids."""

Plane = tuple[Vec, Vec]


@dataclass
class Solids:
    """Solids in metres, gathered one by one; each list has one entry per solid.

    grains: None or (start, direction), which a pattern on the cloth follows.
    """

    ends: list[tuple[Vec, Vec]] = field(default_factory=list)
    radii: list[tuple[float, float]] = field(default_factory=list)
    soft: list[float] = field(default_factory=list)
    material: list[int] = field(default_factory=list)
    cuts: list[Plane | None] = field(default_factory=list)
    grains: list[Plane | None] = field(default_factory=list)

    def add(
        self,
        material: int,
        a: Vec,
        b: Vec,
        ra: float,
        rb: float,
        soft: float = 0.008,
        cut: Plane | None = None,
        grain: Plane | None = None,
    ) -> None:
        """A capsule from a to b, metres; fields as in `paint.Solid`."""
        self.ends.append((a, b))
        self.radii.append((ra, rb))
        self.soft.append(soft)
        self.material.append(material)
        self.cuts.append(cut)
        self.grains.append(grain)


def trunk(solids: Solids, body: Body, look: Look) -> None:
    """Chest, belly, hips, shoulders and neck."""
    build, joints = body.build, body.joints
    size, fat = build.height, build.girth * build.height
    thorax, neck = joints[7], joints[8]
    loose = look.shirt_loose_m
    down = -body.pelvis[:, 1]
    hem = body.waist + down * size * (0.1 + 0.2 * look.hem)
    for out in OUT:
        top = thorax + body.chest @ [out * 0.088 * size * build.shoulders, -0.1 * size, 0.004]
        middle = body.waist + body.chest @ [out * 0.058 * fat, 0.03 * size, 0]
        hip = body.pelvis @ [out * 0.08 * size * build.hips, 0, 0]
        solids.add(SHIRT, top, middle, 0.1 * fat**0.5 + loose * 0.5, 0.094 * fat + loose, 0.07)
        solids.add(
            SHIRT,
            middle,
            hip + 0.1 * down,
            0.094 * fat + loose,
            0.112 * fat + loose * 1.3,
            0.07,
            (hem, down),
        )
        solids.add(BOTTOM, hip, hip * 0.2, 0.098 * fat, 0.098 * fat, 0.02)
        if build.bust:
            breast = thorax + body.chest @ [out * 0.075 * size, -0.17 * size, 0.075]
            r = 0.055 + 0.02 * build.bust
            solids.add(SHIRT, breast, breast - 0.03 * body.chest[:, 1], r, r, 0.06)
        shoulder = joints[12 if out < 0 else 13]
        base = thorax + body.chest @ [out * 0.03 * size, 0.05 * size, -0.016]
        solids.add(
            SHIRT, base, shoulder, 0.04 * size + loose * 0.2, 0.044 * size + loose * 0.6, 0.035
        )
    heart = thorax + body.chest @ [0, -0.115 * size, 0.006]
    belly = body.waist + body.pelvis @ [0, -0.06 * size, 0.004]
    solids.add(SHIRT, heart, belly, 0.102 * fat**0.5 + loose * 0.5, 0.097 * fat + loose, 0.05)
    seat = 0.11 * down + body.pelvis @ [0, 0, -0.004]
    low = 0.097 * fat + loose, 0.112 * fat + loose * 1.2
    solids.add(SHIRT, belly, seat, *low, 0.05, (hem, down))
    back = [thorax + body.chest @ [out * 0.035 * size, 0.022 * size, -0.03] for out in OUT]
    solids.add(
        SHIRT, back[0], back[1], 0.046 * size + loose * 0.3, 0.046 * size + loose * 0.3, 0.05
    )
    nape = neck + body.head @ [0, 0.06 * size, -0.012]
    base = thorax + body.chest @ [0, 0.0, -0.008]
    solids.add(SKIN, base, nape, 0.058 * fat**0.5, 0.052 * fat**0.5, 0.025)
    if look.sleeve > 0.7:
        collar = thorax + body.chest @ [0, 0.062 * size, 0.004]
        solids.add(SHIRT, base, collar, 0.074, 0.066 * fat**0.5, 0.01, (collar, body.chest[:, 1]))


def arm(solids: Solids, body: Body, look: Look, side: int) -> None:
    """Upper arm, forearm, hand and sleeve."""
    size, fat = body.build.height, body.build.girth**0.7 * body.build.height
    shoulder, elbow, wrist = body.joints[[12, 11, 10] if side == 0 else [13, 14, 15]]
    upper, fore, hand = unit(elbow - shoulder), unit(wrist - elbow), body.fingers[side]
    solids.add(SKIN, shoulder, elbow, 0.048 * fat, 0.04 * fat)
    belly = elbow + 0.3 * (wrist - elbow)
    solids.add(SKIN, elbow, belly, 0.038 * fat, 0.042 * fat)
    solids.add(SKIN, belly, wrist, 0.042 * fat, 0.026 * fat)
    loose = look.shirt_loose_m
    if look.sleeve > 0:
        end = min(look.sleeve, 1.0)
        stop = None if look.sleeve >= 1 else (shoulder + end * (elbow - shoulder), upper)
        r = 0.05 * fat + loose
        solids.add(
            SHIRT, shoulder, elbow, 0.05 * fat + loose * 0.7, r, 0.05, stop, (shoulder, upper)
        )
        if look.sleeve > 1:
            cuff = elbow + (look.sleeve - 1) * (wrist - elbow)
            solids.add(
                SHIRT,
                elbow,
                wrist,
                r,
                0.031 * fat + loose * 0.8,
                0.008,
                (cuff, fore),
                (elbow, fore),
            )
    # The thumb is on the side that the upper arm's inside turns to: forward when hanging.
    across = unit(np.cross(hand, body.chest[:, 0]) + 1e-3 * body.chest[:, 2])
    across = np.cos(body.rolls[side]) * across + np.sin(body.rolls[side]) * np.cross(hand, across)
    knuckle, tip = wrist + 0.085 * size * hand, wrist + 0.17 * size * hand
    for aside in (-0.023 * size, 0, 0.023 * size):
        start, end = wrist + 0.02 * size * hand + 0.4 * aside * across, knuckle + aside * across
        solids.add(SKIN, start, end, 0.021 * size, 0.02 * size, 0.015)
    for spread in (-0.02, 0.02):
        curl = 0.02 * size * np.cross(across, hand) * OUT[side]
        start = knuckle + spread * across
        solids.add(
            SKIN, start, tip + 1.3 * spread * across + curl, 0.017 * size, 0.011 * size, 0.01
        )
    thumb = wrist + 0.03 * size * hand + 0.015 * across
    solids.add(
        SKIN, thumb, thumb + 0.05 * size * unit(hand + across), 0.015 * size, 0.01 * size, 0.01
    )


def leg(solids: Solids, body: Body, look: Look, side: int) -> None:
    """Thigh, shin, shoe and what is worn over them."""
    size, fat = body.build.height, body.build.girth**0.8 * body.build.height
    hip, knee, ankle = body.joints[[2, 1, 0] if side == 0 else [3, 4, 5]]
    down, back = unit(knee - hip), -body.toes[side]
    hip = 0.88 * hip
    calf = knee + 0.3 * (ankle - knee) + 0.012 * size * back
    loose = look.trousers_loose_m
    top, at_knee = 0.084 * fat + 0.4 * loose, 0.056 * fat
    if look.bottom == "trousers":
        solids.add(BOTTOM, hip, knee, top, at_knee + loose, 0.02)
        solids.add(BOTTOM, knee, calf, at_knee + loose, 0.056 * fat + loose, 0.012)
        end = ankle + 0.03 * unit(ankle - knee)
        solids.add(
            BOTTOM,
            calf,
            end,
            0.056 * fat + loose,
            0.044 * fat + loose,
            0.008,
            (end, unit(ankle - knee)),
        )
    else:
        solids.add(SKIN, hip, knee, 0.083 * fat, at_knee, 0.02)
        solids.add(SKIN, knee, calf, at_knee - 0.004, 0.056 * fat, 0.012)
        solids.add(SKIN, calf, ankle, 0.056 * fat, 0.034 * fat, 0.008)
        share = 0.62 if look.bottom == "shorts" else 0.7
        wide = 0.02 if look.bottom == "shorts" else 0.045
        solids.add(
            BOTTOM,
            hip,
            knee,
            top + 0.006,
            at_knee + wide + loose,
            0.02,
            (hip + share * (knee - hip), down),
        )
    shin, toes = unit(ankle - knee), body.toes[side]
    sole = unit(shin - (shin @ toes) * toes)
    heel = ankle + 0.03 * size * back + 0.042 * size * sole
    toe = heel + 0.185 * size * body.toes[side]
    solids.add(SHOE, ankle, heel, 0.04 * size, 0.04 * size, 0.02)
    solids.add(SHOE, heel, toe, 0.04 * size, 0.033 * size)
    solids.add(SHOE, ankle, toe, 0.042 * size, 0.026 * size, 0.02)


def skirt(solids: Solids, body: Body) -> None:
    """Cloth between the thighs."""
    fat = body.build.girth**0.8 * body.build.height
    middle_hip, middle_knee = body.joints[[2, 3]].mean(0), body.joints[[1, 4]].mean(0)
    down = unit(middle_knee - middle_hip)
    end = middle_hip + 0.7 * (middle_knee - middle_hip)
    solids.add(BOTTOM, middle_hip, middle_knee, 0.075 * fat, 0.125 * fat, 0.03, (end, down))


HAIRLINE: Final = np.array([0, 0.62, -0.78])
"""In the head's frame: hair is where points lie beyond the plane through the top of the brow."""
BROW_TOP: Final = np.array([0, 0.174, 0.075])


def head(solids: Solids, body: Body, look: Look) -> None:
    """Skull, jaw, nose, ears and hair; eyes and mouth are painted by `face`."""
    size = 1.04 * body.build.height**0.6
    frame, neck = body.head, body.joints[8]

    def at(x: float, y: float, z: float) -> Vec:
        point: Vec = neck + frame @ np.array([x, y, z]) * size
        return point

    solids.add(FACE, at(0, 0.15, -0.028), at(0, 0.15, 0.018), 0.079 * size, 0.077 * size, 0.01)
    solids.add(FACE, at(0, 0.115, 0.03), at(0, 0.035, 0.053), 0.067 * size, 0.042 * size, 0.05)
    solids.add(FACE, at(0, 0.112, 0.094), at(0, 0.078, 0.106), 0.009 * size, 0.014 * size, 0.012)
    for out in OUT:
        solids.add(FACE, at(out * 0.078, 0.125, -0.008), at(out * 0.074, 0.092, 0), 0.014, 0.01, 0)
    crown = at(0, 0.158, -0.03), at(0, 0.152, 0.012)
    if look.hair_style in ("short", "long", "bun"):
        cut = at(*BROW_TOP), frame @ -HAIRLINE
        solids.add(HAIR, *crown, 0.089 * size, 0.083 * size, 0.0, cut)
    if look.hair_style == "long":
        for out in OUT:
            solids.add(
                HAIR,
                at(out * 0.055, 0.13, -0.035),
                at(out * 0.06, -0.06, -0.05),
                0.045 * size,
                0.035 * size,
                0.03,
            )
        solids.add(HAIR, at(0, 0.13, -0.05), at(0, -0.1, -0.075), 0.06 * size, 0.04 * size, 0.04)
    if look.hair_style == "bun":
        solids.add(HAIR, at(0, 0.2, -0.12), at(0, 0.17, -0.14), 0.035, 0.03, 0.02)
    if look.hair_style == "cap":
        cut = at(0, 0.165, 0.08), frame @ unit([0, -1.0, 0.12])
        solids.add(CAP, *crown, 0.088 * size, 0.086 * size, 0.0, cut)
        solids.add(
            CAP,
            at(-0.02, 0.172, 0.1),
            at(0.02, 0.172, 0.1),
            0.05,
            0.05,
            0.0,
            (at(0, 0.172, 0.1), frame[:, 1]),
        )


def solids_of(body: Body, look: Look) -> Solids:
    """All solids of one person, in an order that lets clothes win over skin where they meet."""
    solids = Solids()
    for side in (0, 1):
        leg(solids, body, look, side)
    if look.bottom == "skirt":
        skirt(solids, body)
    trunk(solids, body, look)
    head(solids, body, look)
    for side in (0, 1):
        arm(solids, body, look, side)
    return solids
