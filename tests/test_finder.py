"""The finder: what it is trained towards, what comes out of its graph, and boxes in the frame."""

from pathlib import Path

import numpy as np
import pytest

from livepose import PoseEstimator
from livepose.errors import ModelError
from livepose.estimator import open_finder
from livepose.finder import SAME, SURELY_SAME, Finder, distinct, iou, letterbox
from livepose.models import find_model
from livepose.runtime.base import EngineInfo
from livepose.synthetic import SyntheticScene

torch = pytest.importorskip("torch")

from livepose.model.finder import MAPS, UNIT_PX, FinderGraph, box_loss, decode_boxes  # noqa: E402
from livepose.model.hourglass import HourglassConfig, StackedHourglass  # noqa: E402
from livepose.training.augment import Augmentation  # noqa: E402
from livepose.training.config import TrainConfig  # noqa: E402
from livepose.training.datasets import load_set  # noqa: E402
from livepose.training.eval_command import evaluate_model  # noqa: E402
from livepose.training.export_command import export  # noqa: E402
from livepose.training.finder import (  # noqa: E402
    FinderLoader,
    View,
    draw_targets,
    shown,
    sights_of,
    split,
)
from livepose.training.finder_trainer import FinderTrainer, score_finder  # noqa: E402
from livepose.training.loader import Mixture  # noqa: E402
from livepose.training.plot import plot_curve  # noqa: E402

TINY = {"stacks": 1, "width": 8, "depth": 2, "stem": [8, 8, 8], "joints": MAPS, "size": 64}
BOXES = np.array([[6, 4, 30, 60], [36, 20, 60, 50]], np.float32)


def ideal_maps(targets: np.ndarray) -> "torch.Tensor":
    """The maps of a network that gives exactly its targets, float32 [1, 5, h, w]."""
    heat = np.clip(targets[0], 1e-4, 1 - 1e-4)
    logits = np.log(heat / (1 - heat))
    sides = np.log(np.maximum(targets[2:6], 1) / UNIT_PX)
    return torch.from_numpy(np.concatenate((logits[None], sides)))[None]


def view(boxes: np.ndarray, size: int = 64) -> View:
    return View(np.zeros((size, size, 3), np.uint8), boxes, np.ones((size // 4,) * 2, np.float32))


def test_what_is_drawn_as_a_target_decodes_to_the_same_boxes() -> None:
    answer = decode_boxes(ideal_maps(draw_targets(view(BOXES))))[0].numpy()
    assert answer.shape == (16, 5)
    sure = answer[answer[:, 4] > 0.99]
    assert len(sure) == 2
    for box in BOXES:
        assert min(np.abs(sure[:, :4] - box).max(axis=1)) < 0.01
    assert (answer[2:, 4] < 0.01).all()


def test_the_loss_is_least_at_the_targets() -> None:
    targets = torch.from_numpy(draw_targets(view(BOXES)))[None]
    best = ideal_maps(targets[0].numpy())
    least = float(box_loss(best, targets))
    nobody = best.clone()
    nobody[:, 0] = -6
    crowd = best.clone()
    crowd[:, 0, 0, 0] = 4
    wide = best.clone()
    wide[:, 1:] += 0.3
    for worse in (nobody, crowd, wide):
        assert float(box_loss(worse, targets)) > 2 * least + 0.05


def test_where_people_may_stand_unlabelled_nobody_is_said_softly() -> None:
    unsure = view(BOXES)
    unsure.sure[:, 8:] = 0.1
    crowd = ideal_maps(draw_targets(view(BOXES)))
    crowd[:, 0, 0, 14] = 4
    soft = float(box_loss(crowd, torch.from_numpy(draw_targets(unsure))[None]))
    aloud = float(box_loss(crowd, torch.from_numpy(draw_targets(view(BOXES)))[None]))
    assert soft < 0.2 * aloud


def test_people_of_whom_too_little_is_shown_are_neither_wanted_nor_denied() -> None:
    boxes = np.array([[-10, 0, 30, 40], [-50, 0, 6, 40], [100, 0, 120, 40]], np.float32)
    seen, ignored = shown(boxes, 64, 64)
    assert np.array_equal(seen, [[0, 0, 30, 40]])
    assert np.array_equal(ignored, [[0, 0, 6, 40]])


def test_tiles_cover_their_rows_and_end_on_the_grid() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        tiles = split(160, rng)
        assert 2 <= len(tiles) <= 4
        for x, y, width, height in tiles:
            assert not (x % 4 or y % 4 or width % 4 or height % 4)
            assert min(width, height) >= 32
            assert x + width <= 160 and y + height <= 160


def test_batches_hold_the_drawn_people_and_are_repeatable() -> None:
    people = load_set("scene:8")
    assert sorted({len(s.boxes) for s in sights_of(people)}) == [1, 2, 3, 4]

    def batch() -> tuple[np.ndarray, np.ndarray]:
        how = Augmentation(cut_off=0.0, nobody=0.0)
        return FinderLoader(Mixture([people], [1.0]), 8, 64, how, 5).make(3)

    pictures, targets = batch()
    assert (pictures.shape, pictures.dtype) == ((8, 64, 64, 3), np.uint8)
    assert (targets.shape, targets.dtype) == ((8, 7, 16, 16), np.float32)
    assert ((targets[:, 0] == 1).sum(axis=(1, 2)) >= 1).mean() > 0.7
    again = batch()
    assert np.array_equal(pictures, again[0]) and np.array_equal(targets, again[1])


def test_a_run_learns_stops_and_goes_on(tmp_path: Path) -> None:
    config = TrainConfig.from_dict(
        {
            "task": "finder",
            "data": ["scene:4*1"],
            "validate": "scene:4",
            "network": TINY,
            "steps": 4,
            "batch": 2,
            "decay": 1,
        }
    )
    losses: list[float] = []

    def report(line: dict[str, object]) -> None:
        if isinstance(line.get("loss"), float):
            losses.append(line["loss"])  # type: ignore[arg-type]

    scores = FinderTrainer(config, tmp_path, "cpu").run(report=report)
    assert len(losses) == 4
    assert 0 <= scores.recall <= 1 and scores.people == 9, "of the ten one is all but hidden"
    assert FinderTrainer(config, tmp_path, "cpu").step == 4
    assert plot_curve(tmp_path).stat().st_size > 1000


def test_an_exported_finder_gives_torch_s_boxes_and_has_a_self_test(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = TrainConfig.from_dict(
        {"task": "finder", "data": ["scene:2"], "validate": "scene:2", "network": TINY}
    )
    FinderTrainer(config, tmp_path, "cpu").save()
    out = tmp_path / "tiny.onnx"
    export([str(tmp_path / "checkpoint.pt"), str(out), "--score", "scene:2"])
    model = find_model(str(out))
    assert model.card["task"] == "finder"
    assert model.card["scores"]["scene:2"]["people"] == 3
    assert set(model.card["selftest"]) == {"crops_jpeg", "joints_float32"}
    with pytest.raises(ModelError, match="finder"):
        PoseEstimator(model=str(out), engine="onnx")
    capsys.readouterr()
    evaluate_model(["scene:2", "--model", str(out), "--engine", "onnx"])
    assert "recall" in capsys.readouterr().out


def test_the_graph_takes_pictures_and_gives_boxes() -> None:
    graph = FinderGraph(StackedHourglass(HourglassConfig.from_dict(TINY)).eval())
    with torch.inference_mode():
        answer = graph(torch.randint(0, 255, (3, 64, 64, 3), dtype=torch.uint8))
    assert (tuple(answer.shape), answer.dtype) == ((3, 16, 5), torch.float32)
    scores = answer[..., 4]
    assert bool((scores[:, :-1] >= scores[:, 1:]).all())


class Told:
    """An engine that sees the same boxes in every picture."""

    info = EngineInfo("told", "cpu", "fp32")

    def __init__(self, boxes: np.ndarray) -> None:
        self.boxes = boxes

    def warm_up(self) -> None:
        pass

    def run(self, crops: np.ndarray) -> np.ndarray:
        return np.repeat(self.boxes[None], len(crops), axis=0)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("size_wh", [(640, 480), (480, 640), (100, 1000), (64, 64)])
def test_boxes_come_back_to_where_the_people_are(size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    frame = np.zeros((height, width, 3), np.uint8)
    x0, y0, x1, y1 = (round(v) for v in (0.25 * width, 0.5 * height, 0.75 * width, 0.9 * height))
    frame[y0:y1, x0:x1] = 255
    picture, _, _ = letterbox(frame, 160)
    assert picture.shape == (160, 160, 3)
    ys, xs = np.nonzero(picture[..., 0] > 127)
    told = np.zeros((16, 5), np.float32)
    told[0] = (xs.min(), ys.min(), xs.max(), ys.max(), 0.9)
    (box,) = Finder(Told(told), 160).find(frame)
    assert np.abs(box - (x0, y0, x1, y1)).max() <= 1 + max(size_wh) / 160


def test_a_person_gets_one_box_the_best() -> None:
    boxes = np.array([[0, 0, 10, 30], [1, 1, 10, 30], [8, 0, 20, 30]], np.float32)
    assert iou(boxes[0], boxes[1]) > SAME > iou(boxes[0], boxes[2])
    assert np.array_equal(distinct(boxes), boxes[[0, 2]])
    assert distinct(np.zeros((0, 4), np.float32)).shape == (0, 4)


def test_two_boxes_stay_unless_they_share_so_much_that_they_are_surely_one_persons() -> None:
    told = np.zeros((16, 5), np.float32)
    told[0] = (20, 20, 60, 120, 0.9)
    told[1] = (30, 20, 70, 120, 0.8)  # shares 0.6
    told[2] = (24, 20, 64, 120, 0.7)  # 0.82
    found = Finder(Told(told), 160).find(np.zeros((160, 160, 3), np.uint8))
    boxes = distinct(found, SURELY_SAME)
    assert SAME < iou(boxes[0], boxes[1]) < SURELY_SAME < iou(told[0, :4], told[2, :4])
    assert np.allclose(boxes, told[:2, :4], atol=1)
    assert np.allclose(distinct(found), told[:1, :4], atol=1)


def test_scores_count_people_and_boxes() -> None:
    image, _ = SyntheticScene((320, 240), people=2, seed=3).render(1.0)
    truth = np.array([[10, 10, 50, 100], [200, 10, 250, 100]], np.float32)
    answers = np.array([[12, 10, 50, 100], [100, 100, 110, 110]], np.float32)
    scores = score_finder(lambda _: answers, [(image, truth)])
    assert (scores.people, scores.recall, scores.boxes_per_person) == (2, 0.5, 1.0)


@pytest.mark.parametrize("engine", ["onnx", "torch", "openvino"])
def test_the_released_finder_sees_the_drawn_person_on_every_engine(engine: str) -> None:
    pytest.importorskip("openvino" if engine == "openvino" else "onnxruntime")
    finder = open_finder(engine, "cpu", "fp32")
    image, joints = SyntheticScene((640, 480), people=1, seed=5).render(2.0)
    boxes = finder.find(image)
    finder.close()
    xy = joints[..., :2]
    truth = np.concatenate((xy.min(axis=1), xy.max(axis=1)), axis=1)
    assert all(max(iou(box, one) for one in boxes) > 0.5 for box in truth)


def test_a_room_without_people_has_few_boxes_and_no_poses() -> None:
    with PoseEstimator(engine="onnx") as estimator:
        image, _ = SyntheticScene((640, 480), people=0, seed=2).render(0.0)
        assert estimator.estimate(image) == []
