"""The command line as a user meets it: outputs that match their input, and errors in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from livepose.cli import main
from livepose.record import VideoWriter
from livepose.sources.common import without_password
from livepose.synthetic import SyntheticScene

FRAMES = 12


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second of the synthetic figure, 25 fps."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    scene = SyntheticScene((320, 240))
    writer = VideoWriter(str(path), (320, 240), 25)
    for i in range(FRAMES):
        writer.write(scene.render(i / 25)[0], i / 25)
    writer.close()
    return path


def facts(path: Path) -> tuple[int, int, int, float]:
    """Frames, width, height and duration in seconds."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        last = frames[-1]
        assert last.time is not None
        duration_s = last.time + float(last.duration * last.time_base)
    return len(frames), last.width, last.height, duration_s


def test_a_video_keeps_its_frames_size_and_duration(clip: Path, tmp_path: Path) -> None:
    video, keypoints = tmp_path / "out.mp4", tmp_path / "out.ndjson"
    words = ["--source", str(clip), "--headless", "--save", str(video)]
    assert main([*words, "--keypoints", str(keypoints)]) == 0
    before, after = facts(clip), facts(video)
    assert after[:3] == before[:3]
    assert after[3] == pytest.approx(before[3], abs=0.01)
    header, *frames, summary = [json.loads(line) for line in keypoints.read_text().splitlines()]
    assert (header["type"], summary["type"]) == ("header", "summary")
    assert len(header["joints"]) == 16
    assert [f["index"] for f in frames] == list(range(FRAMES))
    assert [f["time_s"] for f in frames] == pytest.approx([i / 25 for i in range(FRAMES)], abs=1e-3)
    assert summary["frames"] == summary["captured"] == FRAMES


def test_the_figure_is_found_where_it_is(tmp_path: Path) -> None:
    """The released model on the synthetic camera: most visible joints within a fifth of a torso."""
    out = tmp_path / "k.ndjson"
    source = "test:640x480@10"
    words = ["--source", source, "--headless", "--save", str(tmp_path / "o.mp4"), "--no-smooth"]
    assert main([*words, "--duration", "4", "--keypoints", str(out)]) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    scene = SyntheticScene((640, 480))
    right, seen = 0, 0
    for line in (item for item in lines if item["type"] == "frame"):
        truth = scene.render(line["time_s"])[1][0]
        torso = np.hypot(*(truth[12, :2] - truth[3, :2]))
        assert line["people"], f"nobody at {line['time_s']} s"
        joints = np.array(line["people"][0]["joints"])
        near = np.hypot(*(joints[:, :2] - truth[:, :2]).T) <= 0.2 * torso
        right += int(near[truth[:, 2] > 0].sum())
        seen += int((truth[:, 2] > 0).sum())
    assert right / seen > 0.7


def test_pictures_in_pictures_out(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    scene = SyntheticScene((200, 220))
    for name in ("a.png", "b.jpg"):
        cv2.imwrite(str(folder / name), scene.render(1.0)[0])
    assert main(["--source", str(folder), "--headless", "--save", f"{out}/"]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["a.png", "b.jpg"]
    single = tmp_path / "one.png"
    assert main(["--source", str(folder / "a.png"), "--headless", "--save", str(single)]) == 0
    drawn, plain = cv2.imread(str(single)), cv2.imread(str(folder / "a.png"))
    assert drawn.shape == plain.shape
    assert (drawn != plain).any()


def test_keypoints_on_stdout_are_nothing_but_json(clip: Path) -> None:
    words = [sys.executable, "-m", "livepose", "--source", str(clip), "--headless"]
    done = subprocess.run([*words, "--keypoints", "-"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == FRAMES + 2


def test_only_what_is_whole_is_said_to_be_written(clip: Path, tmp_path: Path) -> None:
    picture, keypoints = tmp_path / "one.png", tmp_path / "out.json"
    words = [sys.executable, "-m", "livepose", "--source", str(clip), "--headless"]
    words += ["--save", str(picture), "--keypoints", str(keypoints)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 5 and "one picture for many frames" in done.stderr
    assert f"wrote {keypoints}" in done.stderr
    assert f"wrote {picture}" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_standard_output_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-c", "from livepose.cli import script; script()", "doctor"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 5
    assert "livepose: cannot write standard output: No space left" in done.stderr
    assert "Traceback" not in done.stderr and "a bug" not in done.stderr


def test_a_closed_standard_output_is_no_bug(clip: Path) -> None:
    run = f'from livepose.cli import script; script()" --source {clip} --headless'
    for words, code in ((run, 0), (f"{run} --keypoints -", 5)):
        command = f'exec {sys.executable} -c "{words} >&-'
        done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, timeout=60)
        assert done.returncode == code, done.stderr
        assert "a bug" not in done.stderr and "Traceback" not in done.stderr


@pytest.fixture
def inputs(tmp_path: Path, clip: Path) -> dict[str, str]:
    """Inputs that cannot be used, and places that cannot be written."""
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "nothing").mkdir()
    cv2.imwrite(str(tmp_path / "dot.png"), np.zeros((1, 1, 3), np.uint8))
    (tmp_path / "text.onnx").write_text("hello")
    (tmp_path / "text.json").write_text('{"size": 128}')
    (tmp_path / "alone.onnx").write_text("hello")
    return {"tmp": str(tmp_path), "clip": str(clip)}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--source {tmp}/gone.mp4", 3, "gone.mp4"),
        ("--source {tmp}/text.mp4", 3, "text.mp4"),
        ("--source {tmp}/empty.mp4", 3, "empty.mp4"),
        ("--source {tmp}/nothing", 3, "nothing"),
        ("--source {tmp}/dot.png", 3, "1x1"),
        ("--source {tmp}/*.webp", 3, "*.webp"),
        ("--source {tmp}/" + "long" * 75 + ".png", 3, "too long"),
        ("--source http://127.0.0.1:9/", 3, "127.0.0.1:9"),
        ("--source http://[::1/video", 3, "not a URL"),
        ("--source rtsp://me:pw@host:99999/x", 3, "rtsp://: not a URL"),
        ("--camera 77", 3, "77"),
        ("--source test:0x0", 3, "0x0"),
        ("--source test --duration inf", 2, "--duration inf"),
        ("--source test --duration nan", 2, "--duration nan"),
        ("--source {clip} --save {tmp}/no/out.mp4", 5, "out.mp4"),
        ("--source {clip} --save {tmp}/out.xyz", 5, "out.xyz"),
        ("--source {clip} --save /proc/out.mp4", 5, "/proc/out.mp4"),
        ("--source {clip} --keypoints {tmp}/no/k.ndjson", 5, "k.ndjson"),
        ("--source {clip} --keypoints {tmp}/k.csv", 5, "k.csv"),
        ("--source {clip} --keypoints /dev/full", 5, "/dev/full"),
        ("--source {clip} --save {tmp}/one.png", 5, "one.png"),
        ("--source {clip} --model nosuch", 4, "nosuch"),
        ("--source {clip} --model {tmp}/gone.onnx", 4, "gone.onnx"),
        ("--source {clip} --model {tmp}/text.onnx", 4, "text.onnx"),
        ("--source {clip} --model {tmp}/alone.onnx", 4, "alone"),
        ("--source {clip} --engine nosuch", 4, "nosuch"),
        ("--source {clip} --min-score 3", 2, "min-score"),
        ("--source {clip} --max-frames 0", 2, "max-frames"),
        ("--source {clip} --camera 0", 2, "not allowed with"),
        ("--source test:1x", 2, "test:1x"),
        ("--source {clip} --save {clip}", 2, "overwritten"),
        ("--nonsense", 2, "--nonsense"),
    ],
)
def test_errors_are_one_line_with_the_right_code(
    words: str, code: int, said: str, inputs: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        returned = main(["--headless", *(w.format(**inputs) for w in words.split())])
    except SystemExit as e:  # argparse
        returned = int(e.code or 0)
    error = capfd.readouterr().err
    complaints = [line for line in error.splitlines() if line.startswith("livepose: ")]
    assert returned == code, error
    assert len(complaints) == 1, error
    assert said in complaints[0]
    assert "Traceback" not in error


def test_a_missing_system_library_is_named_with_its_remedy(tmp_path: Path) -> None:
    broken = "raise ImportError('libGL.so.1: cannot open shared object file: No such file')"
    (tmp_path / "cv2.py").write_text(broken)
    command = [sys.executable, "-m", "livepose", "--source", "test", "--headless"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path.cwd())])}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("livepose: a library is missing: libGL.so.1")
    assert "apt-get install libgl1" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_debug_shows_where(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--headless", "--debug", "--source", str(tmp_path / "gone.mp4")]) == 3
    error = capfd.readouterr().err
    assert "Traceback" in error
    assert error.splitlines()[-1].startswith("livepose: ")


def test_help_and_version() -> None:
    for words, said in ((["--help"], "exit codes"), (["--version"], "livepose 0")):
        command = [sys.executable, "-m", "livepose", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0
        assert said in done.stdout


def test_without_a_display_it_says_so_and_goes_on(clip: Path) -> None:
    env = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-m", "livepose", "--source", str(clip)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    if sys.platform == "linux":
        assert "going on headless" in done.stderr


def test_sources_are_never_overwritten(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), SyntheticScene((200, 220)).render(1.0)[0])
    before = picture.read_bytes()
    for source in (picture, tmp_path / "*.png", tmp_path):
        assert main(["--source", str(source), "--headless", "--save", f"{tmp_path}/"]) in (2, 5)
        assert "would be overwritten" in capfd.readouterr().err
    assert picture.read_bytes() == before


def test_no_picture_of_the_source_is_written_over(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not by another picture's annotated copy either, be it read already or not."""
    for i, name in enumerate(("a.bmp", "b.png", "c/b.png", "c/d.tif", "d.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), SyntheticScene((200, 220)).render(1.0 + i)[0])
    (tmp_path / "link").mkdir()
    os.link(tmp_path / "a.bmp", tmp_path / "link" / "a.bmp")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    for source, save in (
        ("", "b.png"),
        ("*.bmp", "a.bmp"),
        ("c", "./"),  # b.png is another folder's, but d.tif becomes d.png
        ("**/[bd].*", "./"),
        ("*.bmp", "link/"),
    ):
        words = ["--source", str(tmp_path / source), "--headless", "--save"]
        code = main([*words, os.path.join(tmp_path, save)])
        error = capfd.readouterr().err
        if source == "c":
            assert code == 0, "what is no picture of this source may be replaced"
            (tmp_path / "b.png").write_bytes(before[tmp_path / "b.png"])
            (tmp_path / "d.png").write_bytes(before[tmp_path / "d.png"])
        else:
            assert code in (2, 5) and "would be overwritten" in error
        assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_a_wrong_name_for_keypoints_leaves_the_old_video(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "old.mp4"
    video.write_bytes(b"precious")
    words = ["--source", str(clip), "--headless", "--save", str(video), "--keypoints", "k.csv"]
    assert main(words) == 5
    assert "unknown kind" in capfd.readouterr().err
    assert video.read_bytes() == b"precious"


def test_a_shortened_run_gives_a_short_video(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    words = ["--source", str(clip), "--headless", "--save", str(out), "--max-frames", "5"]
    assert main(words) == 0
    frames, _, _, duration_s = facts(out)
    assert frames == 5
    assert duration_s == pytest.approx(5 / 25, abs=0.01)


def test_pictures_have_nothing_to_do_with_each_other(tmp_path: Path) -> None:
    """The second picture's person is not looked for where the first one's was."""
    image = SyntheticScene((640, 480)).render(1.0)[0]
    far = np.full((480, 1920, 3), 90, np.uint8)
    far[:, 1280:] = image
    near = np.full((480, 1920, 3), 90, np.uint8)
    near[:, :640] = image
    cv2.imwrite(str(tmp_path / "1.png"), near)
    cv2.imwrite(str(tmp_path / "2.png"), far)
    out = tmp_path / "k.ndjson"
    assert main(["--source", str(tmp_path), "--headless", "--keypoints", str(out)]) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()][1:-1]
    first, second = (np.array(line["people"][0]["joints"])[:, 0].mean() for line in lines)
    assert second - first == pytest.approx(1280, abs=40)


def test_a_password_does_not_get_into_files() -> None:
    assert without_password("rtsp://me:secret@host/x") == "rtsp://host/x"
    assert without_password("rtsp://me:p@ss@host/x@y") == "rtsp://host/x@y"
    assert without_password("http://host?mail=a@b") == "http://host?mail=a@b"
    assert without_password("a@b.mp4") == "a@b.mp4"


def test_a_source_without_its_option_is_told_how(capfd: pytest.CaptureFixture[str]) -> None:
    for words in (["clip.mkv"], ["--headless", "clip.mkv"]):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 2
        assert "a source is given as --source clip.mkv" in capfd.readouterr().err
    for words, hint in (
        (["--source", "a.jpg", "b.jpg"], "put a pattern in quotes"),
        (["--debug", "bench"], "the command comes first: livepose bench"),
    ):
        with pytest.raises(SystemExit):
            main(words)
        said = capfd.readouterr().err
        assert hint in said and "is given as" not in said


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--precision", "int4", "no precision 'int4': give one of auto, fp32"),
        ("--device", "gpu", "no device 'gpu': give auto, cpu, cuda or cuda:N"),
    ],
)
def test_names_that_are_none_are_told(
    option: str, value: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["--source", "test", "--headless", "--max-frames", "1", option, value]) == 4
    assert said in capfd.readouterr().err


def test_what_only_cameras_obey_is_not_ignored_in_silence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), np.zeros((64, 64, 3), np.uint8))
    words = ["--headless", "--engine", "onnx", "--size", "320x240", "--max-frames", "1"]
    assert main(["--source", str(picture), *words]) == 0
    assert "--size and --fps are for cameras" in capfd.readouterr().err
    assert main(["--source", "test", *words]) == 0
    assert "are for cameras" not in capfd.readouterr().err
