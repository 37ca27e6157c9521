"""Keypoint files: the formats, what is kept when a run is cut short, and failures in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from livepose.capture import Frame, SourceInfo
from livepose.errors import OutputError
from livepose.inference import Result
from livepose.outputs import Outputs
from livepose.pose import Pose
from livepose.sinks import BODY_25_JOINTS, COCO_JOINTS, open_sink
from livepose.skeleton import INDEX, JOINTS

HEADER = {"version": "0.1", "source": "test", "model": "m", "engine": "onnx"}


def pose(person_id: int = 1, score: float = 0.91234) -> Pose:
    """Joint i lies at (10·i + 0.123, 5·i + 0.456) with score i / 20."""
    numbers = np.arange(16, dtype=np.float32)
    return Pose(
        joints_xy=np.stack([10 * numbers + 0.123, 5 * numbers + 0.456], axis=1),
        scores=numbers / 20,
        box_xyxy=np.array([1.234, 2.345, 300.5, 200.75], np.float32),
        score=score,
        id=person_id,
    )


def read_lines(path: Path) -> list[dict]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def test_ndjson_holds_header_frames_and_summary(tmp_path):
    path = tmp_path / "out.ndjson"
    sink = open_sink(str(path), HEADER)
    sink.frame(0, 0.0, [])
    sink.frame(1, 1 / 3, [pose(1), pose(2)])
    sink.close({"frames": 2, "fps": None})
    sink.close({"frames": 2})
    header, empty, frame, summary = read_lines(path)
    assert header == {"type": "header", **HEADER, "joints": list(JOINTS)}
    assert empty == {"type": "frame", "index": 0, "time_s": 0.0, "people": []}
    assert (frame["index"], frame["time_s"]) == (1, 0.333333)
    assert [person["id"] for person in frame["people"]] == [1, 2]
    person = frame["people"][0]
    assert set(person) == {"id", "score", "box", "joints"}
    assert person["score"] == 0.9123
    assert person["box"] == [1.23, 2.35, 300.5, 200.75]
    assert person["joints"][3] == [30.12, 15.46, 0.15]
    assert len(person["joints"]) == 16
    assert summary == {"type": "summary", "frames": 2, "fps": None}


def test_ndjson_names_the_picture_where_there_is_one(tmp_path):
    sink = open_sink(str(tmp_path / "out.ndjson"), HEADER)
    sink.frame(0, 0.0, [], name="a.jpg")
    sink.close({})
    assert read_lines(tmp_path / "out.ndjson")[1]["name"] == "a.jpg"


def test_every_line_is_in_the_file_before_the_next(tmp_path):
    path = tmp_path / "out.ndjson"
    sink = open_sink(str(path), HEADER)
    assert len(read_lines(path)) == 1
    sink.frame(0, 0.0, [pose()])
    assert len(read_lines(path)) == 2
    sink.close({})


@pytest.mark.parametrize("name", ["out.ndjson", "out.json", "folder/"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_json_has_not_become_a_joint_without_score(tmp_path, name, value):
    odd = pose(score=float("nan"))
    odd.joints_xy[INDEX["l_hip"], 0] = value
    odd.scores[INDEX["r_hip"]] = value
    odd.box_xyxy[0] = value
    sink = open_sink(os.path.join(tmp_path, name), HEADER)
    sink.frame(0, 0.0, [odd])
    sink.close({})
    (path,) = (p for p in tmp_path.rglob("*") if p.is_file())
    text = path.read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    if name == "out.ndjson":
        joints = read_lines(path)[1]["people"][0]["joints"]
        assert joints[INDEX["l_hip"]] == [0, 0, 0]
        assert joints[INDEX["r_hip"]] == [20.12, 10.46, 0]


def test_coco_results(tmp_path):
    path = tmp_path / "out.json"
    sink = open_sink(str(path), HEADER)
    assert not path.exists()
    sink.frame(0, 0.0, [])
    sink.frame(1, 0.1, [pose(1), pose(2)])
    sink.frame(2, 0.2, [pose()])
    sink.close({})
    results = json.loads(path.read_text())
    assert [result["image_id"] for result in results] == [1, 1, 2]
    assert {result["category_id"] for result in results} == {1}
    assert results[0]["score"] == 0.9123
    keypoints = np.reshape(results[0]["keypoints"], (17, 3))
    assert (keypoints[:5] == 0).all()
    left_shoulder, right_ankle = keypoints[5], keypoints[16]
    np.testing.assert_allclose(left_shoulder, [130.12, 65.46, 0.65], atol=0.011)
    np.testing.assert_allclose(right_ankle, [0.12, 0.46, 0.0], atol=0.011)
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.parametrize(
    ("pictures", "expected"),
    [
        (["val/000000000139.jpg", "val/000000000285.jpg"], [139, 285]),
        (["val/1.jpg", "val/beach.jpg"], [0, 1]),
        (["a/7.jpg", "b/7.jpg"], [0, 1]),
    ],
)
def test_coco_numbers_each_picture_once(tmp_path, pictures, expected):
    sink = open_sink(str(tmp_path / "out.json"), HEADER, [Path(name) for name in pictures])
    for i, name in enumerate(pictures):
        sink.frame(i, float(i), [pose()], name=name)
    sink.close({})
    results = json.loads((tmp_path / "out.json").read_text())
    assert [result["image_id"] for result in results] == expected
    assert [result["file_name"] for result in results] == pictures


def test_coco_without_people_is_an_empty_list(tmp_path):
    open_sink(str(tmp_path / "out.json"), HEADER).close({})
    assert json.loads((tmp_path / "out.json").read_text()) == []


def test_coco_keeps_the_old_results_until_the_new_are_whole(tmp_path):
    path = tmp_path / "out.json"
    path.write_text("[]")
    sink = open_sink(str(path), HEADER)
    sink.frame(0, 0.0, [pose()])
    assert path.read_text() == "[]"
    assert len(json.loads(Path(f"{path}.part").read_text() + "]")) == 1
    sink.close({})
    assert len(json.loads(path.read_text())) == 1


def test_openpose_files(tmp_path):
    sink = open_sink(str(tmp_path / "a" / "b") + "/", HEADER)
    sink.frame(0, 0.0, [])
    sink.frame(12, 0.1, [pose(7)], name="x/beach.jpg")
    sink.close({})
    folder = tmp_path / "a" / "b"
    assert sorted(p.name for p in folder.iterdir()) == [
        "beach_000000000012_keypoints.json",
        "frame_000000000000_keypoints.json",
    ]
    assert json.loads((folder / "frame_000000000000_keypoints.json").read_text())["people"] == []
    written = json.loads((folder / "beach_000000000012_keypoints.json").read_text())
    (person,) = written["people"]
    assert person["person_id"] == [7]
    keypoints = np.reshape(person["pose_keypoints_2d"], (25, 3))
    np.testing.assert_allclose(keypoints[8], [60.12, 30.46, 0.3], atol=0.011)  # middle of the hip
    np.testing.assert_allclose(keypoints[4], [100.12, 50.46, 0.5], atol=0.011)  # right wrist
    assert (keypoints[15:] == 0).all()


def test_the_foreign_orders_have_their_length_and_only_our_joints():
    assert (len(COCO_JOINTS), len(BODY_25_JOINTS)) == (17, 25)
    for names in (COCO_JOINTS, BODY_25_JOINTS):
        known = [name for name in names if name]
        assert set(known) <= set(JOINTS)
        assert len(set(known)) == len(known)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("out.txt", "unknown kind; use a name ending in .ndjson, .json"),
        ("out", "unknown kind"),
        ("nowhere/out.ndjson", "No such file or directory; create the folder first"),
        ("nowhere/out.json", "No such file or directory; create the folder first"),
        ("folder.json", "it is a folder"),
        ("folder.ndjson", "Is a directory"),
        ("file.ndjson/", "File exists"),
        ("file.ndjson/sub/", "Not a directory"),
    ],
)
def test_a_path_that_cannot_be_written_fails_in_one_line(tmp_path, name, words):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "folder.ndjson").mkdir()
    (tmp_path / "file.ndjson").touch()
    with pytest.raises(OutputError, match="cannot write") as caught:
        open_sink(os.path.join(tmp_path, name), HEADER)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["nowhere/out.ndjson", "folder.ndjson", "nowhere/out.json", "folder.json", "old.mp4/"]
)
def test_keypoints_that_cannot_be_written_leave_an_older_video_alone(tmp_path, name):
    (tmp_path / "folder.ndjson").mkdir()
    (tmp_path / "folder.json").mkdir()
    video = tmp_path / "old.mp4"
    video.write_bytes(b"an older video")
    info = SourceInfo("clip.mp4", (64, 64), 30.0)
    with pytest.raises(OutputError, match="cannot write"):
        Outputs(str(video), os.path.join(tmp_path, name), info, HEADER, 0.3)
    assert video.read_bytes() == b"an older video"


@pytest.mark.parametrize("name", ["out.mp4", "out.avi"])
def test_a_camera_of_unknown_rate_keeps_its_times_in_a_video(tmp_path, name):
    outputs = Outputs(str(tmp_path / name), None, SourceInfo("camera", (64, 64)), HEADER, 0.3)
    for i in range(20):
        frame = Frame(np.full((64, 64, 3), i, np.uint8), i, i / 10, 0.0)
        outputs.write(Result(frame, [], 1.0, 0.0))
    outputs.close({}, whole=True)
    with av.open(str(tmp_path / name)) as container:
        assert container.duration / av.time_base == pytest.approx(2, abs=0.2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("name", ["out.ndjson", "out.json"])
def test_a_full_disk_fails_once_in_one_line(tmp_path, name):
    target = tmp_path / (name + ".part" if name == "out.json" else name)
    target.symlink_to("/dev/full")
    with pytest.raises(OutputError, match="No space left on device; free some space"):
        open_sink(str(tmp_path / name), HEADER).frame(0, 0.0, [pose()])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_disk_that_fills_up_fails_once_in_one_line(tmp_path):
    sink = open_sink(str(tmp_path) + "/", HEADER)
    (tmp_path / "frame_000000000000_keypoints.json").symlink_to("/dev/full")
    with pytest.raises(OutputError, match="No space left on device"):
        sink.frame(0, 0.0, [pose()])
    sink.close({})


def run_script(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_standard_output_is_ndjson():
    process = run_script(
        "from livepose.sinks import open_sink\n"
        "sink = open_sink('-', {'version': '1'})\n"
        "sink.frame(0, 0.0, [])\n"
        "sink.close({'frames': 1})\n"
    )
    out, err = process.communicate(timeout=30)
    assert [json.loads(line)["type"] for line in out.splitlines()] == ["header", "frame", "summary"]
    assert (process.returncode, err) == (0, "")


def test_a_reader_that_goes_away_is_one_error_and_no_noise_at_exit():
    process = run_script(
        "import sys\n"
        "from livepose.errors import OutputError\n"
        "from livepose.sinks import open_sink\n"
        "sink = open_sink('-', {'version': '1'})\n"
        "try:\n"
        "    for i in range(100_000):\n"
        "        sink.frame(i, i / 30, [])\n"
        "except OutputError as error:\n"
        "    print(error, file=sys.stderr)\n"
        "    sink.close({})\n"
        "    sys.exit(5)\n"
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["type"] == "header"
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=30) == 5
    assert err == "cannot write standard output: its reader has gone away\n"
