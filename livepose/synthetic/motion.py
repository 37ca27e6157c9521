"""How the people of the synthetic camera move: stances as smooth functions of time."""

from typing import Final

import numpy as np

from livepose.synthetic.body import (
    ANKLE,
    FOREARMS,
    HANGING,
    OUT,
    SHIN,
    THIGH,
    Build,
    Stance,
    Vec,
    reach,
    rotation,
    unit,
)

CYCLE_S: Final = 20.0

HANG: Final = (HANGING[1], FOREARMS[1])
GREET: Final = (np.array([0.85, -0.3, 0.25]), np.array([0.35, 1.0, 0.25]))
SIDE: Final = (np.array([1.0, 0.0, 0.08]), np.array([1.0, 0.08, 0.18]))
UP: Final = (np.array([0.55, 1.0, 0.12]), np.array([0.12, 1.0, 0.1]))
HIP: Final = (np.array([0.7, -0.8, -0.25]), np.array([-0.62, -0.72, 0.4]))
FRONT: Final = (np.array([0.25, -0.25, 1.0]), np.array([-0.15, 0.15, 1.0]))
"""Directions of upper arm and forearm of the left arm; the right arm's are mirrored."""

RIGHT_ARM: Final = (
    (0.0, HANG),
    (1.2, HANG),
    (2.2, GREET),
    (5.2, GREET),
    (6.4, HANG),
    (7.4, SIDE),
    (8.6, UP),
    (9.6, UP),
    (10.8, SIDE),
    (12.0, HIP),
    (13.6, HIP),
    (14.8, FRONT),
    (15.6, FRONT),
    (16.8, HANG),
    (20.0, HANG),
)
LEFT_ARM: Final = (
    (0.0, HANG),
    (2.4, HANG),
    (3.4, HIP),
    (5.2, HIP),
    (6.4, HANG),
    (7.4, SIDE),
    (8.6, UP),
    (9.6, UP),
    (10.8, SIDE),
    (12.0, HIP),
    (13.6, HIP),
    (15.0, GREET),
    (18.2, GREET),
    (19.4, HANG),
    (20.0, HANG),
)


def ease(share: float) -> float:
    """0..1 -> 0..1 with no speed at either end; clamped."""
    share = min(max(share, 0.0), 1.0)
    return share * share * (3 - 2 * share)


def _arm(keys: tuple[tuple[float, tuple[Vec, Vec]], ...], time_s: float, side: int) -> Vec:
    """[2, 3], upper arm and forearm at that time of the cycle, with the greeting's wave."""
    at = next(i for i in range(1, len(keys)) if time_s <= keys[i][0])
    (t0, before), (t1, after) = keys[at - 1], keys[at]
    share = ease((time_s - t0) / (t1 - t0))
    now = [
        unit((1 - share) * unit(a) + share * unit(b)) for a, b in zip(before, after, strict=True)
    ]
    greeting = (1 - share) * (before is GREET) + share * (after is GREET)
    now[1] = unit(now[1] + np.array([0.5, 0, 0]) * greeting * np.sin(2 * np.pi * 1.25 * time_s))
    return np.array(now) * [OUT[side], 1, 1]


def _bump(time_s: float, start_s: float, end_s: float) -> float:
    """0, then up to 1 half-way between start and end, then 0 again; smooth."""
    share = (time_s - start_s) / (end_s - start_s)
    return ease(2 * share) if share < 0.5 else ease(2 - 2 * share)


def exercise(build: Build, time_s: float) -> tuple[Stance, Vec]:
    """Somebody who faces the camera and moves arms, knees and feet, over and over.

    Answers the stance and where the pelvis is: metres [3], the floor at 0, start at x = z = 0.
    """
    t = time_s % CYCLE_S
    wave = 2 * np.pi / CYCLE_S * t
    steps = ((6.4, 0.20), (16.6, -0.20))
    size, legs = build.height, build.height * build.legs
    feet = np.zeros((2, 3))
    for side, out in enumerate(OUT):
        feet[side] = out * 0.13 * size, ANKLE * size, 0
        for start, way in steps:
            # The foot on the side it goes to leads.
            begin = start + (0.55 if out * way < 0 else 0.0)
            feet[side, 0] += way * ease((t - begin) / 0.6)
            feet[side, 1] += 0.07 * _bump(t, begin, begin + 0.6)
    squat = 0.16 * _bump(t, 9.4, 12.2) + 0.03 * _bump(t, 6.4, 7.6) + 0.03 * _bump(t, 16.6, 17.8)
    sway = 0.025 * np.sin(6 * wave) + 0.045 * (_bump(t, 2.2, 6.0) - _bump(t, 14.0, 19.0))
    pelvis = np.array([feet[:, 0].mean() + sway, (ANKLE * size + 0.843 * legs) - squat, 0.0])
    root = rotation(0.2 * np.sin(wave) + 0.06 * np.sin(3 * wave), 0.4 * squat, 0.5 * sway)
    thighs, shins = np.zeros((2, 3)), np.zeros((2, 3))
    for side, out in enumerate(OUT):
        hip = pelvis + root @ [out * 0.095 * size * build.hips, 0, 0]
        ahead = root @ [0.25 * out, 0, 1.0]
        upper, lower = reach(hip, feet[side], ahead, (THIGH * legs, SHIN * legs))
        thighs[side], shins[side] = root.T @ upper, root.T @ lower
    arms = np.array([_arm(RIGHT_ARM, t, 0), _arm(LEFT_ARM, t, 1)])
    stance = Stance(
        root=root,
        chest=rotation(0.15 * np.sin(2 * wave), 0.02 + 0.8 * squat, -0.9 * sway),
        head=rotation(
            0.3 * np.sin(wave + 1) * np.sin(3 * wave),
            0.05 * np.sin(4 * wave),
            0.06 * np.sin(5 * wave),
        ),
        upper_arms=arms[:, 0],
        forearms=arms[:, 1],
        thighs=thighs,
        shins=shins,
    )
    return stance, pelvis


def greet(build: Build, time_s: float) -> tuple[Stance, Vec]:
    """Somebody who stands and waves the right hand; answers as `exercise`."""
    still, pelvis = exercise(build, 0.0)
    keys = ((0.0, GREET), (CYCLE_S, GREET))
    arms = np.array([_arm(keys, time_s % CYCLE_S, 0), np.array(HANG)])
    return (
        Stance(
            still.root,
            still.chest,
            still.head,
            unit(arms[:, 0]),
            unit(arms[:, 1]),
            still.thighs,
            still.shins,
        ),
        pelvis,
    )


RINGS: Final = ((1.25, 0.9, 11.0), (0.75, 0.4, 7.9))
"""How far people walk across and in depth from the middle, in metres, and the seconds it takes."""


def stroll(build: Build, time_s: float, person: int, people: int) -> tuple[Stance, Vec]:
    """Somebody who walks round and round, every other one the other way in the ring within, so that
    nobody (of ten or so) walks through anybody; answers as `exercise`.
    """
    ring, nth = person % 2, person // 2
    across, deep, round_s = RINGS[ring]
    rate = (-1) ** ring * 2 * np.pi / round_s
    turn = rate * time_s + 2 * np.pi * (nth + 0.35 + ring / 2) / ((people + 1 - ring) // 2)
    place = np.array([across * np.sin(turn), 0, deep * np.cos(turn) - 0.4])
    heading = np.arctan2(across * rate * np.cos(turn), -deep * rate * np.sin(turn))
    phase = 2 * np.pi * time_s / 1.45 + person
    swing = np.array([np.sin(phase), -np.sin(phase)])
    flex = 0.32 * swing + 0.06
    knees = 0.12 + 0.7 * np.square(np.maximum(np.array([np.cos(phase), -np.cos(phase)]), 0))
    thighs = np.array([rotation(0, -f) @ [o * 0.05, -1, 0] for f, o in zip(flex, OUT, strict=True)])
    shins = np.array(
        [rotation(0, k - f) @ [o * 0.03, -1, 0] for f, k, o in zip(flex, knees, OUT, strict=True)]
    )
    upper = np.array(
        [rotation(0, 0.5 * s) @ [o * 0.14, -1, 0] for s, o in zip(swing, OUT, strict=True)]
    )
    fore = np.array(
        [rotation(0, 0.5 * s - 0.45) @ [o * 0.03, -1, 0] for s, o in zip(swing, OUT, strict=True)]
    )
    legs = build.height * build.legs
    lengths = (0.43 * unit(thighs)[:, 1] + 0.42 * unit(shins)[:, 1]) * legs
    # The lower foot stands on the floor; the soft minimum keeps the pelvis from jerking.
    drop = np.log(np.exp(-40 * lengths).sum()) / 40 - np.log(2) / 80
    place[1] = ANKLE * build.height + drop
    twist = 0.12 * float(swing[0])
    return (
        Stance(
            rotation(heading + twist),
            rotation(-2 * twist, 0.04),
            rotation(0.25 * np.sin(turn)),
            upper,
            fore,
            thighs,
            shins,
            (-0.1, -0.1),
        ),
        place,
    )
