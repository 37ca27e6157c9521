"""Data sets by name: `load_set` and what it gives. The layouts are read in `readers_*.py`.

Listing a set reads annotations only; pictures are decoded by `ImageRef.load`. Augmenting and
cropping them is `augment.py`'s.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from livepose.errors import DataError
from livepose.training.readers_common import ImageRef, Person, Picture, PoseSet
from livepose.training.readers_folders import read_buffy, read_lsp
from livepose.training.readers_followed import read_followed
from livepose.training.readers_json import read_coco, read_mpii
from livepose.training.readers_synthetic import (
    read_among,
    read_behind,
    read_scenes,
    read_synthetic,
)

__all__ = ["ImageRef", "Person", "Picture", "PoseSet", "load_set"]

_READERS: dict[str, Callable[[str, Path, str | None], PoseSet]] = {
    "lsp": read_lsp,
    "lspet": read_lsp,
    "buffy": read_buffy,
    "coco": read_coco,
    "mpii": read_mpii,
    "synthetic": read_synthetic,
    "speaker": read_synthetic,
    "scene": read_scenes,
    "behind": read_behind,
    "among": read_among,
    "followed": read_followed,
}


def load_set(spec: str) -> PoseSet:
    """The people of the data set `spec`, KIND:PATH or KIND:PATH:SELECTION.

    lsp, lspet: PATH is a folder with the official joints.mat and images/, or with joints.npz
        (`joints` [N, 14, 3] = x, y, labelled) and images*.tar or images/.
        SELECTION: picture numbers from 1, both ends included: "1-8000", "17".
    buffy: PATH is a folder with joints.npz (`names` [N], `joints` [N, 16, 3] in our order) and
        images*.tar or images/. SELECTION: episodes: "s5e6", "s5e2-s5e5".
    coco: PATH is a person_keypoints_*.json; the pictures are in images/, train2017/ or val2017/
        beside it or one folder up. Crowds and people without any of our joints are left out.
        SELECTION: "even" or "odd" picture ids.
    mpii: PATH is HRNet's annot/train.json or valid.json, or the single file with `joint_self`
        that came with Convolutional Pose Machines; the pictures are in images/ beside it or one
        folder up. SELECTION: "train" or "val", for files which hold both.
    synthetic: PATH is a number: so many pictures of the drawn figure, always the same.
    speaker: the same of somebody before a webcam, hands before chest, face and hips.
    scene: PATH is a number: so many pictures of one to four drawn people in a room.
    behind: who is behind others in as many such pictures, with those others crossed out.
    among: who overlaps others in as many such pictures, with those others crossed out around them.
    followed: PATH is a number: what the tracker asks a network for in so many scenes of people who
        cross. SELECTION: the model it is asked of, a name or a file, as in "followed:48:small".

    No other SELECTION holds a slash. Pictures are .jpg, .png or .webp. A DataError says what is
    wrong.
    """
    kind, _, rest = spec.partition(":")
    if kind not in _READERS or not rest:
        raise DataError(
            f"data set {spec!r} is not KIND:PATH[:SELECTION] with KIND {', '.join(_READERS)}"
        )
    path, selection = _split_selection(rest)
    pose_set = _READERS[kind](kind, path, selection)
    if not pose_set.people:
        raise DataError(f"data set {spec!r} holds nobody; choose another selection or file")
    return pose_set


def _split_selection(rest: str) -> tuple[Path, str | None]:
    """PATH and SELECTION; a colon that belongs to the path (C:\\data) stays in it."""
    path, colon, selection = rest.rpartition(":")
    if not colon or Path(rest).exists() or "/" in selection or "\\" in selection:
        return Path(rest), None
    return Path(path), selection


@cache
def read_once(spec: str) -> PoseSet:
    """As `load_set`, for a command that asks for a set more than once: it is not to be changed."""
    return load_set(spec)
