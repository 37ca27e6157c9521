"""Every layout of every data set, made here in small, and every way in which one can be broken."""

import io
import json
import math
import pickle
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from livepose.errors import DataError, LivePoseError
from livepose.skeleton import INDEX, JOINTS
from livepose.training.datasets import ImageRef, PoseSet, load_set

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

LSP_NAMES = [
    "r_ankle",
    "r_knee",
    "r_hip",
    "l_hip",
    "l_knee",
    "l_ankle",
    "r_wrist",
    "r_elbow",
    "r_shoulder",
    "l_shoulder",
    "l_elbow",
    "l_wrist",
    "upper_neck",
    "head_top",
]
COCO_NAMES = [
    "nose",
    "l_eye",
    "r_eye",
    "l_ear",
    "r_ear",
    "l_shoulder",
    "r_shoulder",
    "l_elbow",
    "r_elbow",
    "l_wrist",
    "r_wrist",
    "l_hip",
    "r_hip",
    "l_knee",
    "r_knee",
    "l_ankle",
    "r_ankle",
]


def picture(value: int = 100, ending: str = ".jpg") -> bytes:
    """An encoded picture 40 wide and 30 high: blue 0, green 0, red `value`."""
    image = np.zeros((30, 40, 3), np.uint8)
    image[..., 2] = value
    return bytes(cv2.imencode(ending, image)[1])


def write_pictures(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        (folder / name).write_bytes(picture(50 * (i + 1), Path(name).suffix))


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def lsp_joints(people: int) -> npt.NDArray[np.float32]:
    """float32 [people, 14, 3]: joint j of person p at (10 j + p, j + p), labelled."""
    joints = np.ones((people, 14, 3), np.float32)
    for p in range(people):
        joints[p, :, 0] = 10 * np.arange(14) + p
        joints[p, :, 1] = np.arange(14) + p
    return joints


def make_lspet(folder: Path, people: int = 3) -> npt.NDArray[np.float32]:
    """The packed form: joints.npz and two tars, the last picture in the second."""
    joints = lsp_joints(people)
    files = {f"im{i + 1:05d}.webp": picture(50 * (i + 1), ".webp") for i in range(people)}
    last = f"im{people:05d}.webp"
    write_tar(folder / "images-0.tar", {n: d for n, d in files.items() if n != last})
    write_tar(folder / "images-1.tar", {last: files[last]})
    np.savez(folder / "joints.npz", joints=joints)
    return joints


def save_mat(path: Path, joints: npt.NDArray[Any]) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"joints": joints})


def names_of(pose_set: PoseSet) -> list[str]:
    return [person.name for person in pose_set]


# --- LSP and LSPET


def test_lspet_packed(tmp_path: Path) -> None:
    joints = make_lspet(tmp_path)
    pose_set = load_set(f"lspet:{tmp_path}")
    assert pose_set.name == "lspet" and len(pose_set) == 3
    assert names_of(pose_set) == ["im00001.webp", "im00002.webp", "im00003.webp"]
    person = pose_set[1]
    assert person.joints.shape == (16, 3) and person.joints.dtype == np.float32
    for i, name in enumerate(LSP_NAMES):
        assert person.joints[INDEX[name]].tolist() == joints[1, i].tolist()
    # r_hip is joint 2 and l_hip 3, the shoulders 8 and 9; person 1 is moved by 1, 1.
    assert person.joints[INDEX["pelvis"]].tolist() == [26, 3.5, 1]
    assert person.joints[INDEX["thorax"]].tolist() == [86, 9.5, 1]
    # neck (121, 13), head_top (131, 14)
    assert person.head_size_px == pytest.approx(math.sqrt(101))
    # Extents 1..131 and 1..14; a tenth of 130 on each side.
    assert person.box_xyxy.dtype == np.float32
    assert person.box_xyxy == pytest.approx([-12, -12, 144, 27])
    assert person.area_px2 == pytest.approx(0.53 * 156 * 39, rel=1e-5)


def test_pictures_in_tars_are_the_right_ones(tmp_path: Path) -> None:
    make_lspet(tmp_path)
    for i, person in enumerate(load_set(f"lspet:{tmp_path}")):
        image = person.image.load()
        assert image.shape == (30, 40, 3) and image.dtype == np.uint8
        assert np.abs(image[15, 20].astype(int) - [0, 0, 50 * (i + 1)]).max() <= 6


@pytest.mark.parametrize(
    ("selection", "expected"), [("2-3", [2, 3]), ("2", [2]), ("1-1", [1]), ("1-3", [1, 2, 3])]
)
def test_number_ranges(tmp_path: Path, selection: str, expected: list[int]) -> None:
    make_lspet(tmp_path)
    assert names_of(load_set(f"lspet:{tmp_path}:{selection}")) == [
        f"im{number:05d}.webp" for number in expected
    ]


@pytest.mark.parametrize("selection", ["0-2", "2-4", "3-2", "even", "-1", ""])
def test_wrong_number_ranges(tmp_path: Path, selection: str) -> None:
    make_lspet(tmp_path)
    with pytest.raises(DataError, match=r"cannot select .* within 1-3"):
        load_set(f"lspet:{tmp_path}:{selection}")


def test_unlabelled_joints_are_cleared(tmp_path: Path) -> None:
    joints = make_lspet(tmp_path)
    joints[0, LSP_NAMES.index("l_hip")] = (-250, -300, 0)
    joints[0, LSP_NAMES.index("head_top")] = (900, 900, 0)
    np.savez(tmp_path / "joints.npz", joints=joints)
    person = load_set(f"lspet:{tmp_path}")[0]
    for name in ("l_hip", "pelvis", "head_top"):
        assert person.joints[INDEX[name]].tolist() == [0, 0, 0]
    assert person.joints[INDEX["thorax"], 2] == 1
    assert math.isnan(person.head_size_px)
    assert person.box_xyxy == pytest.approx([-12, -12, 132, 24])  # the neck is the farthest


def test_people_without_two_joints_are_left_out(tmp_path: Path) -> None:
    joints = make_lspet(tmp_path)
    joints[0, 1:, 2] = 0
    joints[1, 2:, 2] = 0
    np.savez(tmp_path / "joints.npz", joints=joints)
    assert names_of(load_set(f"lspet:{tmp_path}")) == ["im00002.webp", "im00003.webp"]


def test_lspet_mat_third_is_labelled(tmp_path: Path) -> None:
    joints = lsp_joints(2)
    joints[1, 0, 2] = 0
    save_mat(tmp_path / "joints.mat", joints.transpose(1, 2, 0))  # [14, 3, N]
    write_pictures(tmp_path / "images", ["im00001.jpg", "im00002.jpg"])
    pose_set = load_set(f"lspet:{tmp_path}")
    assert [person.joints[0, 2] for person in pose_set] == [1, 0]
    assert pose_set[1].joints[INDEX["head_top"]].tolist() == [131, 14, 1]


def test_lsp_mat_third_is_occluded(tmp_path: Path) -> None:
    joints = lsp_joints(2)
    joints[:, ::2, 2] = 0
    save_mat(tmp_path / "joints.mat", joints.transpose(2, 1, 0))  # [3, 14, N]
    write_pictures(tmp_path / "images", ["im0001.jpg", "im0002.png"])
    pose_set = load_set(f"lsp:{tmp_path}")
    assert names_of(pose_set) == ["im0001.jpg", "im0002.png"]
    assert all((person.joints[:, 2] == 1).all() for person in pose_set)
    assert pose_set[1].joints[INDEX["l_wrist"]].tolist() == [111, 12, 1]
    assert pose_set[1].image.load()[5, 5].tolist() == [0, 0, 100]


def test_lsp_mat_without_scipy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(tmp_path / "images", ["im0001.jpg"])
    (tmp_path / "joints.mat").write_bytes(b"not looked at")
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(LivePoseError, match=r"pip install 'livepose\[train\]'"):
        load_set(f"lsp:{tmp_path}")


def test_lsp_broken_mat(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    (tmp_path / "joints.mat").write_bytes(b"no matlab file, but long enough to look at" * 9)
    with pytest.raises(DataError, match=r"joints\.mat is not a \.mat file"):
        load_set(f"lsp:{tmp_path}")


def test_lsp_mat_of_something_else(tmp_path: Path) -> None:
    pytest.importorskip("scipy.io").savemat(tmp_path / "joints.mat", {"other": np.ones(3)})
    with pytest.raises(DataError, match="with 'joints'"):
        load_set(f"lsp:{tmp_path}")


def test_lsp_mat_with_13_joints(tmp_path: Path) -> None:
    save_mat(tmp_path / "joints.mat", np.ones((3, 13, 4)))
    with pytest.raises(DataError, match="has 13 joints, expected 14"):
        load_set(f"lsp:{tmp_path}")


def test_lsp_without_joints(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither joints\.npz nor joints\.mat"):
        load_set(f"lsp:{tmp_path}")


@pytest.mark.parametrize(
    ("joints", "message"),
    [
        (np.ones((2, 16, 3)), "has 16 joints, expected 14"),
        (np.ones((2, 14, 2)), r"shape \[2, 14, 2\]"),
        (np.ones((14, 3)), r"shape \[14, 3\]"),
        (np.full((2, 14, 3), "x"), "expected numbers"),
        (np.where(np.arange(84).reshape(2, 14, 3) == 50, np.nan, 1), "entry 1 are not all finite"),
        (np.full((2, 14, 3), np.inf), "entry 0 are not all finite"),
    ],
    ids=["count", "columns", "dimensions", "type", "nan", "infinite"],
)
def test_joints_that_are_none(tmp_path: Path, joints: npt.NDArray[Any], message: str) -> None:
    np.savez(tmp_path / "joints.npz", joints=joints)
    with pytest.raises(DataError, match=message):
        load_set(f"lsp:{tmp_path}")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 torn"])
def test_broken_npz(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "joints.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"joints\.npz is not a readable \.npz file"):
        load_set(f"lsp:{tmp_path}")


def test_npz_cut_short(tmp_path: Path) -> None:
    np.savez(tmp_path / "joints.npz", joints=lsp_joints(2))
    content = (tmp_path / "joints.npz").read_bytes()
    (tmp_path / "joints.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="not a readable"):
        load_set(f"lsp:{tmp_path}")


def test_npz_that_is_a_npy(tmp_path: Path) -> None:
    with (tmp_path / "joints.npz").open("wb") as file:
        np.save(file, lsp_joints(2))
    with pytest.raises(DataError, match="not a readable"):
        load_set(f"lsp:{tmp_path}")


def test_npz_with_pickles_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "joints.npz", joints=np.array([{"a": 1}], object))
    with pytest.raises(DataError, match="not a readable"):
        load_set(f"lsp:{tmp_path}")


def test_npz_without_joints(tmp_path: Path) -> None:
    np.savez(tmp_path / "joints.npz", points=lsp_joints(2))
    with pytest.raises(DataError, match="lacks an array"):
        load_set(f"lsp:{tmp_path}")


def test_folder_without_pictures(tmp_path: Path) -> None:
    np.savez(tmp_path / "joints.npz", joints=lsp_joints(2))
    with pytest.raises(DataError, match="no pictures in"):
        load_set(f"lsp:{tmp_path}")


def test_picture_that_is_not_there(tmp_path: Path) -> None:
    np.savez(tmp_path / "joints.npz", joints=lsp_joints(3))
    write_pictures(tmp_path / "images", ["im0001.jpg", "im0003.jpg"])
    with pytest.raises(DataError, match="picture 2 is not in"):
        load_set(f"lsp:{tmp_path}")
    assert names_of(load_set(f"lsp:{tmp_path}:3")) == ["im0003.jpg"]


@pytest.mark.parametrize("mode", ["w:gz", "torn"])
def test_tar_that_cannot_be_read(tmp_path: Path, mode: str) -> None:
    make_lspet(tmp_path)
    if mode == "torn":
        (tmp_path / "images-1.tar").write_bytes(b"no tar" * 200)
    else:
        write_tar(tmp_path / "images-1.tar", {"im00003.webp": picture()}, mode)
    with pytest.raises(DataError, match=r"images-1\.tar is not a readable plain tar"):
        load_set(f"lspet:{tmp_path}")


# --- pictures


def test_picture_decodes_to_three_channels_when_grey(tmp_path: Path) -> None:
    grey = cv2.imencode(".png", np.full((5, 6), 77, np.uint8))[1]
    (tmp_path / "grey.png").write_bytes(bytes(grey))
    image = ImageRef("grey.png", "coco", tmp_path / "grey.png").load()
    assert image.shape == (5, 6, 3) and (image == 77).all()


def test_picture_orientation_is_ignored(tmp_path: Path) -> None:
    # An Exif block with one entry: orientation (0x0112, short) = 6, a quarter turn.
    tiff = b"MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06" + b"\0" * 6
    exif = b"Exif\x00\x00" + tiff
    jpeg = picture()
    turned = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    (tmp_path / "turned.jpg").write_bytes(turned)
    assert cv2.imread(str(tmp_path / "turned.jpg")).shape == (40, 30, 3)
    image = ImageRef("turned.jpg", "coco", tmp_path / "turned.jpg").load()
    assert image.shape == (30, 40, 3)


def test_picture_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lsp: picture a\.jpg cannot be read from .*a\.jpg"):
        ImageRef("a.jpg", "lsp", tmp_path / "a.jpg").load()


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_picture_not_decodable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"lsp: picture a\.jpg in .* cannot be decoded"):
        ImageRef("a.jpg", "lsp", tmp_path / "a.jpg").load()


def test_tar_gone_after_listing(tmp_path: Path) -> None:
    make_lspet(tmp_path)
    person = load_set(f"lspet:{tmp_path}")[2]
    (tmp_path / "images-1.tar").unlink()
    with pytest.raises(DataError, match=r"picture im00003\.webp cannot be read"):
        person.image.load()


def test_pictures_load_from_many_threads_and_after_pickling(tmp_path: Path) -> None:
    make_lspet(tmp_path)
    people = pickle.loads(pickle.dumps(load_set(f"lspet:{tmp_path}"))).people
    expected = [person.image.load() for person in people]
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(lambda i: people[i % 3].image.load(), range(60)))
    for i, image in enumerate(images):
        assert np.array_equal(image, expected[i % 3])


# --- Buffy


def make_buffy(folder: Path) -> npt.NDArray[np.float32]:
    names = ["s5e2-000063.webp", "s5e3-000001.webp", "s5e6-000005.webp"]
    joints = np.zeros((3, 16, 3), np.float32)
    joints[:, 6:] = [[20, 20, 1]]
    joints[:, INDEX["head_top"]] = [20, 5, 1]
    joints[:, INDEX["upper_neck"]] = [20, 12, 1]
    write_tar(folder / "images.tar", {name: picture(ending=".webp") for name in names})
    np.savez(folder / "joints.npz", names=np.array(names), joints=joints)
    return joints


@pytest.mark.parametrize(
    ("selection", "expected"),
    [("", ["63", "01", "05"]), (":s5e2-s5e5", ["63", "01"]), (":s5e6", ["05"])],
)
def test_buffy(tmp_path: Path, selection: str, expected: list[str]) -> None:
    joints = make_buffy(tmp_path)
    pose_set = load_set(f"buffy:{tmp_path}{selection}")
    assert [name[-7:-5] for name in names_of(pose_set)] == expected
    assert np.array_equal(pose_set[0].joints, joints[0])
    assert pose_set[0].head_size_px == 7
    assert pose_set[0].image.load().shape == (30, 40, 3)


@pytest.mark.parametrize("selection", ["1-2", "s5", "s5e2-", "s5e2-x", ""])
def test_buffy_wrong_episodes(tmp_path: Path, selection: str) -> None:
    make_buffy(tmp_path)
    with pytest.raises(DataError, match="is no episode"):
        load_set(f"buffy:{tmp_path}:{selection}")


def test_buffy_empty_selection(tmp_path: Path) -> None:
    make_buffy(tmp_path)
    with pytest.raises(DataError, match="holds nobody"):
        load_set(f"buffy:{tmp_path}:s5e4")


def test_buffy_names_and_joints_differ(tmp_path: Path) -> None:
    joints = make_buffy(tmp_path)
    np.savez(tmp_path / "joints.npz", names=np.array(["s5e2-000063.webp"]), joints=joints)
    with pytest.raises(DataError, match="1 names for 3 people"):
        load_set(f"buffy:{tmp_path}")


def test_buffy_picture_missing(tmp_path: Path) -> None:
    make_buffy(tmp_path)
    write_tar(tmp_path / "images.tar", {"s5e2-000063.webp": picture(ending=".webp")})
    with pytest.raises(DataError, match=r"picture s5e3-000001\.webp is not in"):
        load_set(f"buffy:{tmp_path}")


# --- COCO


def coco_annotation(number: int, image_id: int, labelled: tuple[str, ...]) -> dict[str, Any]:
    """Keypoint k at (10 k, k + 1); the labelled ones take turns in being hidden and seen."""
    keypoints: list[float] = []
    for k, name in enumerate(COCO_NAMES):
        keypoints += (10 * k, k + 1, 1 + k % 2) if name in labelled else (0, 0, 0)
    return {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "bbox": [1.5, 2, 30, 20],
        "area": 123.5,
        "iscrowd": 0,
        "num_keypoints": len(labelled),
        "keypoints": keypoints,
    }


def make_coco(path: Path, images: Path, **changes: Any) -> dict[str, Any]:
    """Pictures 4 (two people) and 7 (one), and three annotations that must be left out."""
    crowd = coco_annotation(14, 4, tuple(COCO_NAMES)) | {"iscrowd": 1}
    data: dict[str, Any] = {
        "images": [{"id": 4, "file_name": "4.jpg"}, {"id": 7, "file_name": "7.jpg"}],
        "annotations": [
            coco_annotation(11, 4, tuple(COCO_NAMES)),
            coco_annotation(12, 4, ("l_hip", "l_knee", "r_shoulder", "nose")),
            coco_annotation(13, 7, ("r_wrist",)),
            crowd,
            coco_annotation(15, 7, ()),
            coco_annotation(16, 7, ("nose", "l_eye", "r_ear")),
        ],
    } | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    write_pictures(images, ["4.jpg", "7.jpg"])
    return data


def test_coco(tmp_path: Path) -> None:
    path = tmp_path / "person_keypoints.json"
    make_coco(path, tmp_path / "images")
    pose_set = load_set(f"coco:{path}")
    assert names_of(pose_set) == ["4.jpg", "4.jpg", "7.jpg"]
    whole, part, wrist = pose_set
    for name in set(COCO_NAMES) & set(JOINTS):
        k = COCO_NAMES.index(name)
        assert whole.joints[INDEX[name]].tolist() == [10 * k, k + 1, 1]
    # hips 11 and 12, shoulders 5 and 6
    assert whole.joints[INDEX["pelvis"]].tolist() == [115, 12.5, 1]
    assert whole.joints[INDEX["thorax"]].tolist() == [55, 6.5, 1]
    for person in pose_set:
        assert person.joints[[INDEX["upper_neck"], INDEX["head_top"]]].tolist() == [[0, 0, 0]] * 2
        assert math.isnan(person.head_size_px)
        assert person.box_xyxy.tolist() == [1.5, 2, 31.5, 22]
        assert person.area_px2 == 123.5
    assert np.flatnonzero(part.joints[:, 2]).tolist() == sorted(
        INDEX[name] for name in ("l_hip", "l_knee", "r_shoulder")
    )
    assert np.flatnonzero(wrist.joints[:, 2]).tolist() == [INDEX["r_wrist"]]
    assert wrist.image.load().shape == (30, 40, 3)


def test_coco_even_and_odd(tmp_path: Path) -> None:
    path = tmp_path / "person_keypoints.json"
    make_coco(path, tmp_path / "images")
    assert names_of(load_set(f"coco:{path}:even")) == ["4.jpg", "4.jpg"]
    assert names_of(load_set(f"coco:{path}:odd")) == ["7.jpg"]
    with pytest.raises(DataError, match="cannot select '1-3'; give even or odd"):
        load_set(f"coco:{path}:1-3")


@pytest.mark.parametrize(
    ("annotations", "images"),
    [
        ("person_keypoints.json", "images"),
        ("person_keypoints_val2017.json", "val2017"),
        ("annotations/person_keypoints_train2017.json", "train2017"),
        ("annotations/person_keypoints_val2017.json", "images/val2017"),
        ("annotations/person_keypoints_mine.json", "mine"),
        ("annotations/person_keypoints.json", "images"),
        ("person_keypoints.json", "."),
    ],
)
def test_coco_finds_its_pictures(tmp_path: Path, annotations: str, images: str) -> None:
    make_coco(tmp_path / annotations, tmp_path / images)
    image = load_set(f"coco:{tmp_path / annotations}")[0].image
    assert image.path == tmp_path / images / "4.jpg"


def test_coco_area_and_crowd_may_be_missing(tmp_path: Path) -> None:
    annotation = coco_annotation(1, 4, ("l_hip",))
    del annotation["area"], annotation["iscrowd"]
    make_coco(tmp_path / "a.json", tmp_path / "images", annotations=[annotation])
    assert load_set(f"coco:{tmp_path / 'a.json'}")[0].area_px2 == pytest.approx(0.53 * 30 * 20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints": [1, 2, 2] * 3}, "annotation 1 of 4.jpg: a person has 3 joints, expected 17"),
        ({"keypoints": [1.0] * 50}, "50 keypoint values"),
        ({"keypoints": [math.nan] * 51}, "not all finite"),
        ({"keypoints": "none"}, "not a COCO keypoint file"),
        ({"bbox": [0, 0, 5]}, "not a COCO keypoint file"),
        ({"bbox": [0, 0, 5, 0]}, "the box .* is not x, y, width, height"),
        ({"image_id": 8}, "not a COCO keypoint file: KeyError 8"),
    ],
)
def test_coco_broken_annotation(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    broken = coco_annotation(1, 4, ("l_hip",)) | change
    make_coco(tmp_path / "a.json", tmp_path / "images", annotations=[broken])
    with pytest.raises(DataError, match=message):
        load_set(f"coco:{tmp_path / 'a.json'}")


@pytest.mark.parametrize("content", ["[]", "{}", "3", '{"images": [], "annotations": [{}]}'])
def test_coco_file_of_something_else(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match=r"a\.json is not a COCO keypoint file"):
        load_set(f"coco:{tmp_path / 'a.json'}")


def test_coco_without_pictures(tmp_path: Path) -> None:
    make_coco(tmp_path / "sub" / "a.json", tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"picture 4\.jpg of .* not found; expected in images/"):
        load_set(f"coco:{tmp_path / 'sub' / 'a.json'}")


def test_coco_of_nobody(tmp_path: Path) -> None:
    make_coco(tmp_path / "a.json", tmp_path / "images", annotations=[])
    with pytest.raises(DataError, match="holds nobody"):
        load_set(f"coco:{tmp_path / 'a.json'}")


# --- MPII


def mpii_xy() -> list[list[float]]:
    """Joint j at (10 j + 11, j + 21), counted from 1."""
    return [[10.0 * j + 11, j + 21.0] for j in range(16)]


def make_mpii(root: Path, entries: list[dict[str, Any]], name: str = "annot/train.json") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries))
    write_pictures(root / "images", ["015601864.jpg", "2.jpg"])
    return path


def hrnet_entry(**changes: Any) -> dict[str, Any]:
    return {
        "joints_vis": [0, *[1] * 15],
        "joints": mpii_xy(),
        "image": "015601864.jpg",
        "scale": 3.02,
        "center": [594, 257],
    } | changes


def cpm_entry(**changes: Any) -> dict[str, Any]:
    joints = [[*xy, float(j % 2)] for j, xy in enumerate(mpii_xy())]
    joints[0] = [0.0, 0.0, 0.0]
    return {
        "dataset": "MPI",
        "isValidation": 0.0,
        "img_paths": "015601864.jpg",
        "joint_self": joints,
        "objpos": [594, 257],
        "scale_provided": 3.02,
    } | changes


@pytest.mark.parametrize("entry", [hrnet_entry(), cpm_entry()], ids=["hrnet", "cpm"])
@pytest.mark.parametrize("name", ["annot/train.json", "mpii_annotations.json"])
def test_mpii(tmp_path: Path, entry: dict[str, Any], name: str) -> None:
    (person,) = load_set(f"mpii:{make_mpii(tmp_path, [entry], name)}")
    assert person.name == "015601864.jpg" and person.image.load().shape == (30, 40, 3)
    assert person.joints[0].tolist() == [0, 0, 0]
    for j in range(1, 16):
        assert person.joints[j].tolist() == [10 * j + 10, j + 20, 1]
    # Without a head box: upper_neck (90, 28) to head_top (100, 29).
    assert person.head_size_px == pytest.approx(math.sqrt(101))
    # Extents 20..160 and 21..35; a tenth of 140 on each side.
    assert person.box_xyxy == pytest.approx([6, 7, 174, 49])
    assert person.area_px2 == pytest.approx(0.53 * 168 * 42)


@pytest.mark.parametrize("box", [[[10, 20], [40, 60]], [10, 20, 40, 60]])
def test_mpii_head_box(tmp_path: Path, box: list[Any]) -> None:
    # 30 by 40: the diagonal is 50.
    path = make_mpii(tmp_path, [cpm_entry(headboxes=box)])
    assert load_set(f"mpii:{path}")[0].head_size_px == pytest.approx(30)


def test_mpii_train_and_val(tmp_path: Path) -> None:
    entries = [
        cpm_entry(),
        cpm_entry(isValidation=1.0, img_paths="2.jpg"),
        cpm_entry(dataset="LEEDS", img_paths="3.jpg"),
    ]
    path = make_mpii(tmp_path, entries)
    assert names_of(load_set(f"mpii:{path}")) == ["015601864.jpg", "2.jpg"]
    assert names_of(load_set(f"mpii:{path}:train")) == ["015601864.jpg"]
    assert names_of(load_set(f"mpii:{path}:val")) == ["2.jpg"]
    with pytest.raises(DataError, match="cannot select 'test'; give train or val"):
        load_set(f"mpii:{path}:test")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([hrnet_entry(joints=mpii_xy()[:15], joints_vis=[1] * 15)], "has 15 joints, expected 16"),
        ([hrnet_entry(joints=mpii_xy()[:15])], "15 joints but 16 joints_vis"),
        ([hrnet_entry(joints=[[math.nan, 1.0]] * 16)], "not all finite"),
        ([hrnet_entry(joints=[[1.0], [1.0, 2.0]])], "unreadable entry"),
        ([cpm_entry(joint_self=[[1.0, 2.0, 1.0]] * 14)], "has 14 joints, expected 16"),
        ([cpm_entry(headboxes=[1, 2, 3])], "unreadable entry"),
        ([{"image": "015601864.jpg", "scale": 1}], "lacks 'joints'"),
        ([{"joints": []}], "lacks 'img_paths'"),
        ({"images": []}, "not a list of people"),
        ([3], "not a list of people"),
        ([], "holds nobody"),
        ([hrnet_entry(joints_vis=[0] * 16)], "holds nobody"),
        ([hrnet_entry(image="none.jpg")], r"picture none\.jpg of .* not found"),
    ],
)
def test_mpii_broken(tmp_path: Path, entries: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_set(f"mpii:{make_mpii(tmp_path, entries)}")


def test_mpii_selection_needs_a_file_with_both(tmp_path: Path) -> None:
    path = make_mpii(tmp_path, [hrnet_entry()])
    with pytest.raises(DataError, match="lacks 'isValidation'"):
        load_set(f"mpii:{path}:val")


# --- the spec


@pytest.mark.parametrize("spec", ["", "lsp", "lsp:", "nope:/data", "/data/lsp", ":/data", "LSP:/x"])
def test_spec_that_is_none(spec: str) -> None:
    with pytest.raises(DataError, match=r"is not KIND:PATH.* lsp, lspet, buffy, coco, mpii"):
        load_set(spec)


@pytest.mark.parametrize("kind", ["lsp", "lspet", "buffy"])
def test_missing_folder(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DataError, match=rf"{kind}: folder .*gone not found"):
        load_set(f"{kind}:{tmp_path / 'gone'}")


@pytest.mark.parametrize("kind", ["coco", "mpii"])
def test_missing_and_broken_json(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DataError, match=r"gone\.json cannot be read: No such file"):
        load_set(f"{kind}:{tmp_path / 'gone.json'}")
    (tmp_path / "torn.json").write_bytes(b'{"images": [')
    with pytest.raises(DataError, match=r"torn\.json is not a JSON file"):
        load_set(f"{kind}:{tmp_path / 'torn.json'}")
    (tmp_path / "binary.json").write_bytes(b"\xff\xd8\xff\xe0\x9c")
    with pytest.raises(DataError, match=r"binary\.json is not a JSON file"):
        load_set(f"{kind}:{tmp_path / 'binary.json'}")


def test_path_with_a_colon(tmp_path: Path) -> None:
    folder = tmp_path / "a:1-2"
    make_lspet(folder)
    assert len(load_set(f"lspet:{folder}")) == 3
    assert len(load_set(f"lspet:{folder}:2")) == 1
    with pytest.raises(DataError, match=r"folder C:\\data not found"):
        load_set(r"lspet:C:\data")


@pytest.mark.parametrize("spec", ["lsp:{}/none", "coco:{}/none.json", "bad:{}"])
def test_errors_are_one_line(tmp_path: Path, spec: str) -> None:
    with pytest.raises(DataError) as caught:
        load_set(spec.format(tmp_path))
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2


# --- the real thing


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the real data sets are not at {SHARED}")
@pytest.mark.parametrize(
    ("spec", "pictures", "people"),
    [
        (f"lspet:{SHARED}/lspet", 9000, 9000),
        (f"lsp:{SHARED}/lsp", 1000, 1000),
        (f"buffy:{SHARED}/buffy", 748, 748),
        # One of the 301 pictures shows nobody but people known by their faces alone.
        (f"coco:{SHARED}/coco-people/person_keypoints.json", 300, 613),
    ],
    ids=["lspet", "lsp", "buffy", "coco"],
)
def test_real_sets(spec: str, pictures: int, people: int) -> None:
    pose_set = load_set(spec)
    assert len(pose_set) == people
    assert len({person.name for person in pose_set}) == pictures
    for person in pose_set.people[:: people // 25]:
        height, width = person.image.load().shape[:2]
        assert min(height, width) > 30
        labelled = person.joints[person.joints[:, 2] == 1, :2]
        margin = 0.1 * max(width, height)
        assert (labelled > -margin).all()
        assert (labelled < [width + margin, height + margin]).all()
    joints = np.stack([person.joints for person in pose_set])
    boxes = np.stack([person.box_xyxy for person in pose_set])
    assert np.isin(joints[..., 2], (0, 1)).all()
    assert joints[..., :2].min() > -50 and joints[..., :2].max() < 1000
    assert (boxes[:, 2:] > boxes[:, :2]).all()
