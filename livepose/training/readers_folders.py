"""Readers of folders with one labelled person a picture: LSP, LSPET and Buffy Stickmen.

Each takes a joints.npz or, for LSP and LSPET, the official joints.mat; see `datasets.py`.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from livepose.errors import DataError, LivePoseError
from livepose.skeleton import JOINTS, LSP_ORDER
from livepose.training.readers_common import (
    PoseSet,
    check_joints,
    clear_unlabelled,
    list_pictures,
    make_person,
    need_folder,
    read_npz,
    to_skeleton,
)


def read_lsp(kind: str, folder: Path, selection: str | None) -> PoseSet:
    """LSP ("lsp") or LSPET ("lspet"); selection: picture numbers from 1, "N" or "FIRST-LAST"."""
    need_folder(folder, kind)
    joints = to_skeleton(_lsp_joints(kind, folder), LSP_ORDER)
    first, last = _number_range(kind, selection, len(joints))
    # The official sets write im0001 and im00001; the number alone identifies the picture.
    pictures = {
        int(match[1]): picture
        for stem, picture in list_pictures(folder, kind).items()
        if (match := re.fullmatch(r"im0*(\d+)", stem))
    }
    people = []
    for number in range(first, last + 1):
        if number not in pictures:
            raise DataError(
                f"{kind}: picture {number} is not in {folder}; add it, "
                f"or select others with {kind}:{folder}:FIRST-LAST"
            )
        people.append(make_person(pictures[number], joints[number - 1]))
    return PoseSet(kind, [person for person in people if person])


def _lsp_joints(kind: str, folder: Path) -> npt.NDArray[np.float64]:
    """LSP's 14 joints [N, 14, 3], third labelled 1 or not 0."""
    if (folder / "joints.npz").is_file():
        path = folder / "joints.npz"
        return check_joints(read_npz(path, ["joints"], kind)["joints"], 14, f"{kind}: {path}")
    path = folder / "joints.mat"
    if not path.is_file():
        raise DataError(f"{kind}: neither joints.npz nor joints.mat is in {folder}")
    joints = _load_mat(path, kind)
    # [3, 14, N] in LSP, [14, 3, N] in LSPET.
    if joints.ndim == 3:
        joints = joints.transpose((2, 1, 0) if joints.shape[0] == 3 else (2, 0, 1))
    joints = check_joints(joints, 14, f"{kind}: {path}")
    if kind == "lsp":
        # Here the third number means hidden, in LSPET it means labelled; all of LSP is labelled.
        joints[..., 2] = 1
    return joints


def _load_mat(path: Path, kind: str) -> npt.NDArray[Any]:
    try:
        from scipy.io import loadmat
    except ModuleNotFoundError as error:
        raise LivePoseError(
            f"{kind}: scipy is needed to read {path}; run: pip install 'livepose[train]'"
        ) from error
    try:
        return np.asarray(loadmat(path)["joints"])
    except (OSError, ValueError, TypeError, NotImplementedError, KeyError) as error:
        raise DataError(f"{kind}: {path} is not a .mat file with 'joints': {error}") from error


def _number_range(kind: str, selection: str | None, count: int) -> tuple[int, int]:
    if selection is None:
        return 1, count
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", selection)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last <= count:
        raise DataError(
            f"{kind}: cannot select {selection!r}; give numbers FIRST-LAST within 1-{count}"
        )
    return first, last


def read_buffy(kind: str, folder: Path, selection: str | None) -> PoseSet:
    """Buffy Stickmen; selection: episodes, "s5e6" or "s5e2-s5e5"."""
    need_folder(folder, kind)
    path = folder / "joints.npz"
    arrays = read_npz(path, ["names", "joints"], kind)
    checked = check_joints(arrays["joints"], len(JOINTS), f"{kind}: {path}")
    joints = clear_unlabelled(checked.astype(np.float32))
    names = [str(name) for name in arrays["names"]]
    if len(names) != len(joints):
        raise DataError(f"{kind}: {path} holds {len(names)} names for {len(joints)} people")
    first, last = _episode_range(kind, selection)
    pictures = list_pictures(folder, kind)
    people = []
    for name, person_joints in zip(names, joints, strict=True):
        if not first <= _episode(kind, name.partition("-")[0]) <= last:
            continue
        if Path(name).stem not in pictures:
            raise DataError(f"{kind}: picture {name} is not in {folder}; add it")
        people.append(make_person(pictures[Path(name).stem], person_joints))
    return PoseSet(kind, [person for person in people if person])


def _episode(kind: str, text: str) -> tuple[int, int]:
    """Season and episode of "s5e2"."""
    match = re.fullmatch(r"s(\d+)e(\d+)", text)
    if not match:
        raise DataError(f"{kind}: {text!r} is no episode; expected the form s5e2 or s5e2-s5e5")
    return int(match[1]), int(match[2])


def _episode_range(kind: str, selection: str | None) -> tuple[tuple[int, int], tuple[int, int]]:
    if selection is None:
        return (0, 0), (10**9, 0)
    first, dash, last = selection.partition("-")
    return _episode(kind, first), _episode(kind, last if dash else first)
