"""Readers of JSON annotations: COCO keypoints, and MPII in the two forms that are in use.

What they accept is described in `datasets.py`.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from livepose.errors import DataError
from livepose.skeleton import INDEX, JOINTS
from livepose.training.readers_common import (
    Floats,
    ImageRef,
    Person,
    PoseSet,
    check_joints,
    clear_unlabelled,
    find_images_folder,
    make_person,
    read_json,
    to_skeleton,
)

COCO_FACE_JOINTS = 5
"""COCO's first five keypoints (nose, eyes, ears) have no counterpart in ours."""

COCO_ORDER = tuple(
    INDEX[f"{side}_{joint}"]
    for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in "lr"
)
"""Where each of COCO's other 12 keypoints stands in `skeleton.JOINTS`."""


def read_coco(kind: str, path: Path, selection: str | None) -> PoseSet:
    """COCO keypoints; selection: "even" or "odd" picture ids."""
    parities = {None: (0, 1), "even": (0,), "odd": (1,)}
    if selection not in parities:
        raise DataError(f"{kind}: cannot select {selection!r}; give even or odd (picture ids)")
    data = read_json(path, kind)
    try:
        names = {int(image["id"]): str(image["file_name"]) for image in data["images"]}
        chosen = [
            annotation
            for annotation in data["annotations"]
            if int(annotation["image_id"]) % 2 in parities[selection]
            and not annotation.get("iscrowd")
            and annotation["num_keypoints"]
        ]
        if not chosen:
            return PoseSet(kind, [])
        folder = find_images_folder(path, names[int(chosen[0]["image_id"])], kind)
        images = {key: ImageRef(name, kind, folder / name) for key, name in names.items()}
        people = [_coco_person(kind, a, images[int(a["image_id"])]) for a in chosen]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(
            f"{kind}: {path} is not a COCO keypoint file: {type(error).__name__} {error}"
        ) from error
    return PoseSet(kind, [person for person in people if person])


def _coco_person(kind: str, annotation: dict[str, Any], image: ImageRef) -> Person | None:
    what = f"{kind}: annotation {annotation.get('id', '?')} of {image.name}"
    keypoints = np.asarray(annotation["keypoints"], np.float64)
    if keypoints.size % 3:
        raise DataError(f"{what}: {keypoints.size} keypoint values, expected 17 times x, y, v")
    checked = check_joints(keypoints.reshape(1, -1, 3), 17, what)
    x, y, width, height = (float(value) for value in annotation["bbox"])
    area = annotation.get("area")
    if not math.isfinite(x + y + width + height) or min(width, height) <= 0:
        raise DataError(f"{what}: the box {annotation['bbox']} is not x, y, width, height")
    return make_person(
        image,
        to_skeleton(checked[:, COCO_FACE_JOINTS:], COCO_ORDER)[0],
        box_xyxy=np.asarray([x, y, x + width, y + height], np.float32),
        area_px2=float(area) if area else None,
    )


HEAD_SIZE_PER_DIAGONAL = 0.6
"""MPII's head size: this share of the head box's diagonal (its own evaluation's constant)."""


def read_mpii(kind: str, path: Path, selection: str | None) -> PoseSet:
    """MPII as JSON, HRNet's form or that with `joint_self`; selection: "train" or "val"."""
    if selection not in (None, "train", "val"):
        raise DataError(f"{kind}: cannot select {selection!r}; give train or val")
    data = read_json(path, kind)
    if not isinstance(data, list) or not all(isinstance(entry, dict) for entry in data):
        raise DataError(f"{kind}: {path} is not a list of people; expected HRNet's annot/*.json")
    try:
        # The file may mix data sets ("LEEDS", "FLIC"); only MPII's people have our joints.
        chosen = [entry for entry in data if str(entry.get("dataset", "MPI")).startswith("MPI")]
        if selection:
            validation = selection == "val"
            chosen = [entry for entry in chosen if bool(entry["isValidation"]) == validation]
        if not chosen:
            return PoseSet(kind, [])
        folder = find_images_folder(path, _mpii_picture(chosen[0]), kind)
        people = [_mpii_person(kind, entry, folder) for entry in chosen]
    except KeyError as error:
        raise DataError(
            f"{kind}: an entry of {path} lacks {error}; expected HRNet's form (image, joints, "
            "joints_vis) or the one with img_paths, joint_self, isValidation"
        ) from error
    except (TypeError, ValueError) as error:
        raise DataError(f"{kind}: {path} holds an unreadable entry: {error}") from error
    return PoseSet(kind, [person for person in people if person])


def _mpii_picture(entry: dict[str, Any]) -> str:
    return str(entry["image"] if "image" in entry else entry["img_paths"])


def _mpii_person(kind: str, entry: dict[str, Any], folder: Path) -> Person | None:
    name = _mpii_picture(entry)
    what = f"{kind}: {name}"
    joints = _mpii_joints(entry, what)
    head = entry.get("headboxes")
    corners = None if head is None else np.asarray(head, np.float64).reshape(2, 2)
    return make_person(
        ImageRef(name, kind, folder / name),
        joints,
        # Without the head box, the head segment itself stands in for 0.6 of its diagonal.
        head_size_px=None
        if corners is None
        else HEAD_SIZE_PER_DIAGONAL * float(np.hypot(*(corners[1] - corners[0]))),
    )


def _mpii_joints(entry: dict[str, Any], what: str) -> Floats:
    """Our joints, float32 [16, 3]; both forms count pixels from 1, as MATLAB does."""
    if "joint_self" in entry:
        joints = np.asarray(entry["joint_self"], np.float64)[None]
        checked = check_joints(joints, len(JOINTS), what)
        # The third number tells seen from hidden; a joint without a label is at 0, 0.
        checked[..., 2] = (checked[..., :2] > 0).all(axis=2)
    else:
        xy = np.asarray(entry["joints"], np.float64)
        state = np.asarray(entry["joints_vis"], np.float64)
        if len(xy) != len(state):
            raise DataError(f"{what}: {len(xy)} joints but {len(state)} joints_vis")
        checked = check_joints(np.column_stack((xy, state))[None], len(JOINTS), what)
    checked[..., :2] -= 1
    person: Floats = clear_unlabelled(checked.astype(np.float32))[0]
    return person
