"""What every data set is read into, and the helpers the readers share.

`ImageRef`, `Person` and `PoseSet`; no layout of any data set is known here.
"""

import json
import os
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from livepose.errors import DataError
from livepose.skeleton import INDEX, JOINTS

Floats = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]

PICTURES = (".jpg", ".jpeg", ".png", ".webp")

BOX_PADDING = 0.1
"""Where the data has no box: the labelled joints' extents, and on each side this share of the
longer one. Joints lie inside the body: flesh, hands, feet and hair reach beyond them."""

AREA_PER_BOX = 0.53
"""Where the data has no area: this share of the box, the usual one for COCO's people."""

MIN_BOX_JOINTS = 2
"""Fewer labelled joints say nothing about the person's size, so no box can be made of them."""


class Picture(Protocol):
    """Something that can be loaded as a picture, and be a key of a cache."""

    @property
    def name(self) -> str:
        """For messages."""

    def load(self) -> Image:
        """uint8 [H, W, 3] BGR."""


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A picture that is not read before `load`: a file, or `size` bytes of one from `offset`."""

    name: str
    set_name: str
    path: Path
    offset: int = 0
    size: int | None = None

    def load(self) -> Image:
        """The picture, uint8 [H, W, 3] BGR 0..255 (grey ones too); any thread may call this.

        The orientation a camera noted in the file is ignored, for labels are made without it.
        """
        try:
            # Opened for each call: no file position is shared by threads or forked workers.
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read(-1 if self.size is None else self.size)
        except OSError as error:
            raise DataError(
                f"{self.set_name}: picture {self.name} cannot be read from {self.path}: "
                f"{error.strerror}; restore it or leave it out of the annotations"
            ) from error
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
        if image is None:
            raise DataError(
                f"{self.set_name}: picture {self.name} in {self.path} cannot be decoded; "
                "copy it again or leave it out of the annotations"
            )
        return np.asarray(image, np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """One labelled person of one picture; positions are in that picture's pixels.

    joints: float32 [16, 3] = x, y, state; state 1 is labelled (seen or not), 0 is not labelled,
        which does not mean absent; then x = y = 0; -1 is known to be out of the picture. Order
        of `skeleton.JOINTS`.
    box_xyxy: float32 [4], tight around the person; may reach out of the picture.
    area_px2: the person's area, which OKS is measured with.
    head_size_px: what PCKh is measured with; nan where unknown.
    name: the picture's name, for messages.
    """

    image: Picture
    joints: Floats
    box_xyxy: Floats
    area_px2: float
    head_size_px: float
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class PoseSet:
    """The people of one data set in the order of its annotations; never empty."""

    name: str
    people: list[Person]

    def by_picture(self) -> list[list[Person]]:
        """The people of each picture, in the order of the set."""
        groups: dict[str, list[Person]] = {}
        for person in self.people:
            groups.setdefault(person.name, []).append(person)
        return list(groups.values())

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, index: int) -> Person:
        return self.people[index]

    def __iter__(self) -> Iterator[Person]:
        return iter(self.people)


def tight_box(joints: Floats) -> Floats:
    """Box float32 [4] xyxy around the labelled ones of `joints` [16, 3], padded; see above."""
    seen = joints[joints[:, 2] > 0, :2]
    low, high = seen.min(axis=0), seen.max(axis=0)
    padding = np.float32(BOX_PADDING) * (high - low).max()
    return np.concatenate((low - padding, high + padding))


def head_length(joints: Floats) -> float:
    """Distance in pixels from upper neck to head top in `joints` [16, 3]; nan if unlabelled."""
    neck, top = joints[INDEX["upper_neck"]], joints[INDEX["head_top"]]
    if neck[2] == 0 or top[2] == 0:
        return float("nan")
    return float(np.hypot(*(top[:2] - neck[:2])))


def make_person(
    image: Picture,
    joints: Floats,
    *,
    box_xyxy: Floats | None = None,
    area_px2: float | None = None,
    head_size_px: float | None = None,
) -> Person | None:
    """A Person with whatever the data set leaves out filled in; None if nothing of use is left.

    joints: float32 [16, 3]. Without a box, `MIN_BOX_JOINTS` must be labelled, else one.
    """
    labelled = int(np.count_nonzero(joints[:, 2]))
    if labelled < (MIN_BOX_JOINTS if box_xyxy is None else 1):
        return None
    box = tight_box(joints) if box_xyxy is None else box_xyxy
    width, height = np.maximum(box[2:] - box[:2], 1.0)
    return Person(
        image=image,
        joints=joints,
        box_xyxy=box,
        area_px2=AREA_PER_BOX * float(width * height) if area_px2 is None else area_px2,
        head_size_px=head_length(joints) if head_size_px is None else head_size_px,
        name=image.name,
    )


def to_skeleton(joints: npt.NDArray[Any], order: Sequence[int]) -> Floats:
    """Another data set's joints [N, J, 3] as ours, float32 [N, 16, 3].

    order: where each of the J stands in `skeleton.JOINTS`, which has no pelvis and no thorax:
    they become the midpoints of the hips and of the shoulders, labelled if both ends are.
    """
    ours = np.zeros((len(joints), len(JOINTS), 3), np.float32)
    ours[:, list(order)] = joints
    for name, ends in (("pelvis", "hip"), ("thorax", "shoulder")):
        right, left = ours[:, INDEX[f"r_{ends}"]], ours[:, INDEX[f"l_{ends}"]]
        ours[:, INDEX[name], :2] = (right[:, :2] + left[:, :2]) / 2
        ours[:, INDEX[name], 2] = np.minimum(right[:, 2], left[:, 2])
    return clear_unlabelled(ours)


def clear_unlabelled(joints: Floats) -> Floats:
    """`joints` [N, 16, 3] with state 0 or 1 and nothing where a joint is not labelled."""
    labelled = joints[..., 2] > 0
    cleared = np.where(labelled[..., None], joints, 0).astype(np.float32)
    cleared[..., 2] = labelled
    return cleared


def check_joints(joints: npt.NDArray[Any], count: int, what: str) -> npt.NDArray[np.float64]:
    """`joints` as float64 [N, count, 3], or a DataError that begins with `what`."""
    if joints.ndim != 3 or joints.shape[2] != 3 or joints.dtype.kind not in "fiu":
        raise DataError(
            f"{what}: joints have shape {list(joints.shape)} and type {joints.dtype}, "
            f"expected numbers [N, {count}, 3]"
        )
    if joints.shape[1] != count:
        raise DataError(f"{what}: a person has {joints.shape[1]} joints, expected {count}")
    bad = ~np.isfinite(joints).all(axis=(1, 2))
    if bad.any():
        raise DataError(f"{what}: the joints of entry {int(bad.argmax())} are not all finite")
    return joints.astype(np.float64)


def need_folder(path: Path, set_name: str) -> None:
    """DataError unless `path` is a folder."""
    if not path.is_dir():
        raise DataError(f"{set_name}: folder {path} not found; check the path")


def read_json(path: Path, set_name: str) -> Any:
    """What the JSON file holds, or a DataError."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"{set_name}: annotations {path} cannot be read: {error.strerror}; check the path"
        ) from error
    except ValueError as error:
        raise DataError(f"{set_name}: {path} is not a JSON file: {error}") from error


def read_npz(path: Path, keys: Sequence[str], set_name: str) -> Mapping[str, npt.NDArray[Any]]:
    """The arrays of that .npz by name, or a DataError."""
    try:
        # numpy leaves a file that it opened itself open when the archive is broken.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in keys}
    except KeyError as error:
        raise DataError(
            f"{set_name}: {path} lacks an array: {error.args[0]}; expected {', '.join(keys)}"
        ) from error
    except (OSError, EOFError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        # A bare .npy loads as an array, which is no context manager: TypeError, AttributeError.
        raise DataError(f"{set_name}: {path} is not a readable .npz file: {error}") from error


def list_pictures(folder: Path, set_name: str) -> dict[str, ImageRef]:
    """The pictures of FOLDER/images*.tar and FOLDER/images/, by name without the ending."""
    found: dict[str, ImageRef] = {}
    for tar_path in sorted(folder.glob("images*.tar")):
        found.update(_list_tar(tar_path, set_name))
    if (folder / "images").is_dir():
        with os.scandir(folder / "images") as entries:
            for entry in entries:
                stem, ending = os.path.splitext(entry.name)
                if ending.lower() in PICTURES:
                    found[stem] = ImageRef(entry.name, set_name, Path(entry.path))
    if not found:
        raise DataError(f"{set_name}: no pictures in {folder}; expected images/ or images*.tar")
    return found


def _list_tar(path: Path, set_name: str) -> dict[str, ImageRef]:
    found = {}
    try:
        # "r:" refuses compressed tars: there the pictures have no offset to be read from.
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                stem, ending = os.path.splitext(os.path.basename(member.name))
                if member.isfile() and ending.lower() in PICTURES:
                    found[stem] = ImageRef(
                        stem + ending, set_name, path, member.offset_data, member.size
                    )
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{set_name}: {path} is not a readable plain tar: {error}") from error
    return found


def find_images_folder(annotations: Path, first: str, set_name: str) -> Path:
    """The folder which holds the picture `first` of that annotation file.

    Looked for beside the file and one folder up: images/, images/SPLIT, SPLIT or the folder
    itself, SPLIT being train2017, val2017 or what the file's name ends in after the last "_".
    """
    splits = dict.fromkeys((annotations.stem.rpartition("_")[2], "train2017", "val2017"))
    parents = (annotations.parent, annotations.absolute().parent.parent)
    for parent in parents:
        images = parent / "images"
        for folder in (images, *(p / s for s in splits for p in (images, parent)), parent):
            if (folder / first).is_file():
                return folder
    raise DataError(
        f"{set_name}: picture {first} of {annotations} not found; expected in images/, "
        f"{', '.join(f'{split}/' for split in splits)} in {parents[0]} or {parents[1]}"
    )
