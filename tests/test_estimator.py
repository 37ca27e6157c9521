"""The Python interface with the released model, on the synthetic figure."""

import threading
from dataclasses import replace

import numpy as np
import pytest

import livepose
from livepose import Pose, PoseEstimator
from livepose.crops import squares_of, to_crops
from livepose.errors import ModelError, UsageError
from livepose.models import find_model
from livepose.people import FOLLOWED, Tracker
from livepose.search import FOUND
from livepose.synthetic import SyntheticScene


@pytest.fixture(scope="module")
def estimator():
    with PoseEstimator(engine="onnx", max_people=2) as estimator:
        yield estimator


def figure() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frame, true joints, and the tight box around them."""
    image, joints = SyntheticScene((640, 480)).render(5.0)
    xy = joints[0, :, :2]
    return image, joints[0], np.concatenate((xy.min(axis=0), xy.max(axis=0))).astype(np.float32)


def share_right(pose: Pose, truth: np.ndarray) -> float:
    torso = np.hypot(*(truth[12, :2] - truth[3, :2]))
    return float((np.hypot(*(pose.joints_xy - truth[:, :2]).T) <= 0.2 * torso).mean())


def test_one_pose_per_box_in_order(estimator: PoseEstimator) -> None:
    image, truth, box = figure()
    elsewhere = np.array([10, 10, 60, 60], np.float32)
    boxes = np.stack([elsewhere, box, elsewhere + 400, box])
    poses = estimator.estimate(image, boxes)
    assert len(poses) == 4
    for pose, wanted in zip(poses, boxes, strict=True):
        assert np.array_equal(pose.box_xyxy, wanted)
        assert (pose.joints_xy.shape, pose.joints_xy.dtype) == ((16, 2), np.float32)
        assert (pose.scores.shape, pose.scores.dtype) == ((16,), np.float32)
        assert pose.scores.min() >= 0 and pose.scores.max() <= 1
    assert share_right(poses[1], truth) > 0.7
    assert np.allclose(poses[1].joints_xy, poses[3].joints_xy, atol=0.01)
    assert poses[0].score < 0.5 < poses[1].score


def test_finds_the_figure_without_boxes_and_nobody_in_an_empty_frame(
    estimator: PoseEstimator,
) -> None:
    image, truth, _ = figure()
    (pose,) = estimator.estimate(image)
    assert share_right(pose, truth) > 0.7
    assert estimator.estimate(np.full((480, 640, 3), 127, np.uint8)) == []


def test_boxes_may_be_empty_outside_or_huge(estimator: PoseEstimator) -> None:
    image, _, box = figure()
    assert estimator.estimate(image, np.zeros((0, 4), np.float32)) == []
    odd = np.array([[-900, -900, -800, -800], [0, 0, 1e6, 1e6], [5, 5, 5, 5]], np.float32)
    poses = estimator.estimate(image, np.vstack((odd, box)))
    assert len(poses) == 4
    assert all(np.isfinite(p.joints_xy).all() for p in poses)


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((9, 9, 3)),
        np.zeros((0, 0, 3), np.uint8),
        None,  # what cv2.imread answers where there is no picture
    ],
)
def test_frames_of_another_kind_are_refused(estimator: PoseEstimator, frame: np.ndarray) -> None:
    with pytest.raises(UsageError, match="uint8"):
        estimator.estimate(frame)


@pytest.mark.parametrize("boxes", [[[1, 2, 3]], [[0, 0, np.nan, 5]], [[9, 9, 1, 1]]])
def test_boxes_of_another_kind_are_refused(estimator: PoseEstimator, boxes: list) -> None:
    with pytest.raises(UsageError, match="boxes"):
        estimator.estimate(figure()[0], np.array(boxes, np.float32))


def test_who_is_looked_for_among_others_is_whole_and_they_are_crossed_out(
    estimator: PoseEstimator, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, truth, box = figure()
    own = Pose(truth[:, :2], truth[:, 2], box, 0.0)
    other = replace(own, joints_xy=own.joints_xy + np.float32([60, 0]))
    crops: list[np.ndarray] = []

    def run(cut: np.ndarray) -> np.ndarray:
        crops.append(cut.copy())
        return np.zeros((len(cut), 16, 3), np.float32)

    with monkeypatch.context() as patched:
        patched.setattr(estimator.engine, "run", run)
        for without, among in (((), ()), ([[other]], ()), ((), [(own, [other])])):
            estimator._look(image, box[None], without, among)
    (plain,), (crossed,), (among_them,) = crops
    changed, spared = ((crop != plain).any(axis=2) for crop in (crossed, among_them))
    assert 100 < spared.sum() < changed.sum()
    assert np.array_equal(among_them[spared], crossed[spared])
    places = np.rint(to_crops(truth[None, :, :2], squares_of(box[None]), len(plain))[0]).astype(int)
    assert not spared[places[:, 1], places[:, 0]].any()


def test_tracking_keeps_the_id(estimator: PoseEstimator) -> None:
    scene = SyntheticScene((640, 480))
    ids = {pose.id for i in range(12) for pose in estimator.track(scene.render(i / 30)[0], i / 30)}
    assert ids == {1}


def test_wrong_settings() -> None:
    with pytest.raises(UsageError, match="max_people"):
        PoseEstimator(max_people=0)
    with pytest.raises(ModelError, match="nosuch"):
        PoseEstimator("nosuch")
    with pytest.raises(AttributeError, match="nosuch"):
        livepose.nosuch  # noqa: B018


def test_a_model_that_answers_who_is_crossed_out_is_trusted_less_behind_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By its card; one without that figure is not trusted."""
    believed: list[bool] = []
    surest: list[float] = []

    def tracker(max_people: int, trusted: bool, least: float) -> Tracker:
        believed.append(trusted)
        surest.append(least)
        return Tracker(max_people, trusted, least)

    monkeypatch.setattr("livepose.estimator.Tracker", tracker)
    model = find_model("small")
    for answered in (None, 0.5, 0.0):
        about = {} if answered is None else {"crossed_out": {"answered": answered}}
        card = {k: v for k, v in model.card.items() if k != "crossed_out"} | about
        PoseEstimator(replace(model, card=card)).close()
    assert believed == [False, False, True]
    card = {k: v for k, v in model.card.items() if k != "calibration"}
    PoseEstimator(replace(model, card=card)).close()
    assert surest == [FOLLOWED] * 3 + [FOUND], "of heights that are no chances less is wanted"


class Opened:
    """A finder that nobody is found by."""

    closed = 0

    def find(self, frame_bgr: np.ndarray) -> np.ndarray:
        return np.zeros((0, 4), np.float32)

    def close(self) -> None:
        self.closed += 1


def opening(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> list[object]:
    """Each finder that is opened from now on, and in which thread."""
    made: list[object] = []

    def open_finder(*_: str) -> Opened:
        made.append(threading.current_thread().name)
        if error:
            raise error
        made.append(Opened())
        return made[-1]  # type: ignore[return-value]

    monkeypatch.setattr("livepose.estimator.open_finder", open_finder)
    return made


def test_the_finder_is_opened_beside_the_engine_or_when_it_is_first_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image, _, box = figure()
    made = opening(monkeypatch)
    with PoseEstimator(engine="onnx", ahead=True) as estimator:
        assert estimator.track(image, 0.0) == estimator.track(image, 1.0) == []
        thread, finder = made
    assert thread != threading.current_thread().name and finder.closed == 1  # type: ignore[attr-defined]
    made.clear()
    with PoseEstimator(engine="onnx") as estimator:
        estimator.estimate(image, box[None])
        assert made == []
        assert estimator.estimate(image) == []
    assert made[0] == threading.current_thread().name and made[1].closed == 1  # type: ignore[attr-defined]


def test_a_finder_that_nobody_asked_for_is_closed_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = opening(monkeypatch)
    PoseEstimator(engine="onnx", ahead=True).close()
    assert made[1].closed == 1  # type: ignore[attr-defined]
    with pytest.raises(ModelError):
        PoseEstimator(engine="onnx", precision="none", ahead=True)
    assert made[3].closed == 1  # type: ignore[attr-defined]


def test_why_no_finder_can_be_opened_is_told_where_people_are_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image, _, box = figure()
    opening(monkeypatch, ModelError("no finder"))
    with PoseEstimator(engine="onnx", ahead=True) as estimator:
        assert len(estimator.estimate(image, box[None])) == 1
        with pytest.raises(ModelError, match="no finder"):
            estimator.estimate(image)
    PoseEstimator(engine="onnx", ahead=True).close()
