"""The skeleton: the 16 joints in MPII order, the limbs between them, sides and flip pairs.

Every array of joints in livepose is in this order. Colours belong to `render.py`.
"""

from typing import Final, Literal

Side = Literal["left", "right", "centre"]

JOINTS: Final = (
    "r_ankle",
    "r_knee",
    "r_hip",
    "l_hip",
    "l_knee",
    "l_ankle",
    "pelvis",
    "thorax",
    "upper_neck",
    "head_top",
    "r_wrist",
    "r_elbow",
    "r_shoulder",
    "l_shoulder",
    "l_elbow",
    "l_wrist",
)
INDEX: Final = {name: i for i, name in enumerate(JOINTS)}

FLIP_ORDER: Final = (5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 15, 14, 13, 12, 11, 10)
"""`joints[FLIP_ORDER]` renames the joints of a mirrored picture: left becomes right."""

LIMBS: Final = tuple(
    (INDEX[a], INDEX[b])
    for a, b in (
        ("r_ankle", "r_knee"),
        ("r_knee", "r_hip"),
        ("r_hip", "pelvis"),
        ("pelvis", "l_hip"),
        ("l_hip", "l_knee"),
        ("l_knee", "l_ankle"),
        ("pelvis", "thorax"),
        ("thorax", "upper_neck"),
        ("upper_neck", "head_top"),
        ("r_wrist", "r_elbow"),
        ("r_elbow", "r_shoulder"),
        ("r_shoulder", "thorax"),
        ("thorax", "l_shoulder"),
        ("l_shoulder", "l_elbow"),
        ("l_elbow", "l_wrist"),
    )
)
"""Pairs of joint indices that a drawn skeleton connects."""

GROUPS: Final = {
    "head": (8, 9),
    "shoulders": (12, 13),
    "elbows": (11, 14),
    "wrists": (10, 15),
    "hips": (2, 3),
    "knees": (1, 4),
    "ankles": (0, 5),
    "limbs": (0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15),
    "upper": (8, 9, 10, 11, 12, 13, 14, 15),
    "all14": (0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15),
}
"""Joint indices by the group that scores are reported for; no group holds pelvis or thorax."""

LSP_ORDER: Final = (0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 8, 9)
"""Where each of LSP's 14 joints stands in `JOINTS`: `ours[LSP_ORDER[i]] = lsp[i]`."""


def side_of(joint: int) -> Side:
    """The side of the body that joint belongs to."""
    return {"r_": "right", "l_": "left"}.get(JOINTS[joint][:2], "centre")  # type: ignore[return-value]
