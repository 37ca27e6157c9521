"""Boxes to crops to the engine to joints in frame pixels: the Python interface of livepose."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from livepose import crops
from livepose.clothes import colours_of
from livepose.errors import EngineError, LivePoseError, ModelError, UsageError
from livepose.finder import Finder, distinct
from livepose.models import FINDER, Model, find_model
from livepose.people import FOLLOWED, Tracker
from livepose.pose import Pose
from livepose.runtime import Engine, lacks_only_a_build, open_engine
from livepose.runtime.background import BackgroundBuild
from livepose.runtime.base import run_squares
from livepose.runtime.choice import suited_model
from livepose.search import FOUND, Among, search_closely
from livepose.smooth import Smoother
from livepose.track import SEEN

COUNTED = 8
"""A pose's score is the mean of its best-scored joints, this many: half a body is a person."""

HARDLY_EVER = 0.005
"""Share of people who are crossed out and answered all the same (`crossed_out` on a model's card)
below which the `Tracker` trusts it."""


class Finds(Protocol):
    """What says where people are: `finder.Finder`."""

    def find(self, frame_bgr: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Frame uint8 [H, W, 3] -> boxes float32 [N, 4] in its pixels, best first."""
        ...

    def close(self) -> None: ...


class PoseEstimator:
    """Finds people's joints in frames.

    model: "auto", which is what suits the engine, the name of a released model, or the path of an
    exported .onnx.
    engine: one of `runtime.ENGINES`; "auto" takes the fastest that runs here.
    Both may also be given opened, as a `Model` and an `Engine`; `close` closes that engine too.
    device, precision: "auto", or what the engine offers.
    max_people: at most so many poses a frame.
    ahead: open the finder at once, beside the engine, rather than when people are first looked for;
    not where both run on a GPU, whose CUDA graphs are captured one at a time.

    A context manager; not safe to use from two threads at once. Raises ModelError where the
    model or the engine cannot be used.
    """

    def __init__(
        self,
        model: str | Model = "auto",
        engine: str | Engine = "auto",
        device: str = "auto",
        precision: str = "auto",
        max_people: int = 8,
        smooth: bool = True,
        ahead: bool = False,
    ) -> None:
        if max_people < 1:
            raise UsageError(f"max_people is {max_people}; it must be at least 1")
        self._asked = (engine if isinstance(engine, str) else "auto", device, precision)
        self.model = model if isinstance(model, Model) else suited_model(model, *self._asked)
        if self.model.card.get("task", "pose") != "pose":
            raise ModelError(
                f"{self.model.name} is a {self.model.card['task']}, not a pose model; give another"
            )
        self._finder: Finds | None = None
        self._opening = opened_beside(*self._asked) if ahead else None
        try:
            self.engine = (
                open_engine(self.model, engine, device, precision)
                if isinstance(engine, str)
                else engine
            )
            self.engine.warm_up()
        except BaseException:
            self._close_finder()
            raise
        self._build: BackgroundBuild | None = None
        self.max_people = max_people
        self._smoother = Smoother() if smooth else None
        answered = self.model.card.get("crossed_out", {}).get("answered", 1.0)
        trusted = answered < HARDLY_EVER
        least = FOLLOWED if "calibration" in self.model.card else FOUND
        self._tracker = Tracker(max_people, trusted, least)

    def estimate(
        self,
        frame_bgr: npt.NDArray[np.uint8],
        boxes_xyxy: npt.NDArray[np.float32] | None = None,
    ) -> list[Pose]:
        """The people of one frame, uint8 [H, W, 3]; remembers nothing.

        With boxes, float32 [N, 4] in pixels and tight around each person, exactly one pose per
        box, in order, with id 0. Without, the people are looked for; where somebody is found it is
        looked once more with them crossed out, for two may share a box.
        """
        check_frame(frame_bgr)
        self._go_over()
        if boxes_xyxy is not None:
            return self._look(frame_bgr, check_boxes(boxes_xyxy))
        return search_closely(
            partial(self._look, frame_bgr),
            lambda: self._find(frame_bgr),
            self.max_people,
        )

    def track(self, frame_bgr: npt.NDArray[np.uint8], time_s: float) -> list[Pose]:
        """The people of the next frame, uint8 [H, W, 3], of a video; `time_s` must rise.

        People keep their ids, are followed by their last pose, and their joints are smoothed.
        Where more than 3 s pass between two frames, or the time goes back, everybody is new.
        Who stands behind somebody is left out while it is in doubt whose the pose is, three or
        four frames mostly; they are followed meanwhile, and come back with their id.
        """
        check_frame(frame_bgr)
        self._go_over()
        self._tracker.at(time_s)
        poses = self._tracker.step(
            partial(self._look, frame_bgr),
            lambda: distinct(self._find(frame_bgr)),
            partial(colours_of, frame_bgr),
        )
        if self._smoother:
            poses = self._smoother(poses, time_s)
        doubted = self._tracker.doubted
        return [pose for pose in poses if pose.id not in doubted]

    def build_in_background(self, say: Callable[[str], None]) -> None:
        """Where TensorRT lacks only its engine, let another process build it. Once it is there,
        the next frame is the first that it runs; people keep their ids.

        say: gets a line when the build begins, and one on how it ended, in the caller's thread.
        """
        _, device, precision = self._asked
        if self._build is not None or not lacks_only_a_build(self.model, device, precision):
            return
        try:
            self._build = BackgroundBuild(self.model, device, precision, say)
        except LivePoseError as e:
            say(str(e))
        else:
            say(f"building TensorRT's engine for {self.model.name}; until then {self.engine.info}")

    def _go_over(self) -> None:
        """Between two frames: to the engine that was being built, if it is there."""
        if self._build is None or not self._build.done():
            return
        build, self._build = self._build, None
        try:
            engine = build.open()
        except LivePoseError as e:
            build.say(f"still on {self.engine.info}, no TensorRT engine: {e}")
        else:
            old, self.engine = self.engine, engine
            old.close()
        finally:
            build.close()

    def close(self) -> None:
        """Free the engines, and end what is being built. Safe to call twice."""
        if self._build is not None:
            self._build.close()
        try:
            self.engine.close()
        finally:
            self._close_finder()

    def _close_finder(self) -> None:
        opening, self._opening = self._opening, None
        # Why it could not be opened is for who asks for people, and nobody does any more.
        if opening is not None and opening.exception() is None:
            self._finder = opening.result()
        if self._finder is not None:
            self._finder.close()

    def __enter__(self) -> "PoseEstimator":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _find(self, frame_bgr: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Boxes float32 [N, 4] of the people of a frame; the finder is there when first asked."""
        if self._finder is None:
            opening, self._opening = self._opening, None
            self._finder = opening.result() if opening else open_finder(*self._asked)
        return self._finder.find(frame_bgr)

    def _look(
        self,
        frame_bgr: npt.NDArray[np.uint8],
        boxes_xyxy: npt.NDArray[np.float32],
        without: Sequence[Sequence[Pose]] = (),
        among: Sequence[Among | None] = (),
    ) -> list[Pose]:
        """One pose for each box [N, 4]; see `search.Look`."""
        if not len(boxes_xyxy):
            return []
        squares = crops.squares_of(boxes_xyxy)
        size = self.model.size
        grey = paint_grey(squares, size, without, among)
        joints = run_squares(self.engine, frame_bgr, squares, size, grey)
        xy = crops.to_frame(joints[..., :2], squares, size)
        scores = joints[..., 2]
        best = best_scores(scores)
        return [
            Pose(joints_xy, joint_scores, box, float(score))
            for joints_xy, joint_scores, box, score in zip(
                xy, scores, boxes_xyxy, best, strict=True
            )
        ]


def paint_grey(
    squares: crops.Squares,
    size: int,
    without: Sequence[Sequence[Pose]],
    among: Sequence[Among | None],
) -> npt.NDArray[np.uint8] | None:
    """Where crops are painted over so that others are not taken for who is asked for: uint8
    [N, size, size], 0 where not; None where nothing is in any. See `search.Look`.
    """
    if not any(without) and not any(near and near[1] for near in among):
        return None
    grey = np.zeros((len(squares), size, size), np.uint8)
    for mask, square, near in zip(grey, squares, among, strict=False):
        if near and near[1]:
            own, others = near
            cross_out(mask, square, others)
            cross_out(mask, square, [own], crops.STOUT, (0, 0, 0))
    for mask, square, poses in zip(grey, squares, without, strict=False):
        cross_out(mask, square, poses)
    return grey


def cross_out(
    mask: npt.NDArray[np.uint8],
    square: npt.NDArray[np.int64],
    poses: Sequence[Pose],
    width: float = crops.CROSSED,
    colour: tuple[int, int, int] = crops.NEITHER,
) -> None:
    """`crops.cross_out_all` for these poses."""
    if poses:
        joints_xy = np.stack([pose.joints_xy for pose in poses])
        seen = np.stack([pose.scores for pose in poses]) >= SEEN
        crops.cross_out_all(mask, square, joints_xy, seen, width, colour)


def open_finder(engine: str, device: str, precision: str) -> Finder:
    """The finder that comes with livepose, on the engine that the pose model was asked for.

    TensorRT engines are built for pose models only, and it is small: beside one it runs on the
    best other engine, on that GPU or on the CPU. It has no INT8 variant.
    """
    model = find_model(FINDER)
    precision = "auto" if precision == "int8" else precision
    if engine in ("auto", "tensorrt"):
        engine, precision = "auto", "auto"
    try:
        # None of the others runs on a GPU that is named.
        on_named = engine == "auto" and device.startswith("cuda")
        opened = open_engine(model, "torch" if on_named else engine, device, precision)
    except EngineError:
        if not on_named:
            raise
        opened = open_engine(model, engine, "cpu", precision)
    opened.warm_up()
    return Finder(opened, model.size)


def opened_beside(engine: str, device: str, precision: str) -> Future[Finder]:
    """`open_finder` in a thread that ends with it."""
    with_thread = ThreadPoolExecutor(1, "finder")
    opening = with_thread.submit(open_finder, engine, device, precision)
    with_thread.shutdown(wait=False)
    return opening


def best_scores(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Of poses with joint scores float32 [N, 16]: each one's score, float32 [N]."""
    return np.asarray(np.sort(scores, axis=1)[:, -COUNTED:].mean(axis=1), np.float32)


def check_frame(frame_bgr: npt.NDArray[np.uint8]) -> None:
    """Raise UsageError for anything but a uint8 [H, W, 3] array with pixels in it."""
    if not isinstance(frame_bgr, np.ndarray):
        what = "None: could the picture be read?" if frame_bgr is None else str(type(frame_bgr))
        raise UsageError(f"a frame is a numpy array uint8 [H, W, 3] BGR, not {what}")
    if (
        not frame_bgr.size
        or frame_bgr.ndim != 3
        or frame_bgr.shape[2] != 3
        or frame_bgr.dtype != np.uint8
    ):
        raise UsageError(
            f"a frame is uint8 [H, W, 3] BGR, not {frame_bgr.dtype} {list(frame_bgr.shape)}"
        )


def check_boxes(boxes_xyxy: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Boxes as float32 [N, 4]; UsageError where they are not boxes."""
    boxes = np.asarray(boxes_xyxy, np.float32)
    if boxes.size == 0:
        return boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise UsageError(f"boxes are finite float32 [N, 4], not {list(boxes.shape)}")
    if (boxes[:, 2:] < boxes[:, :2]).any():
        raise UsageError("boxes are x0, y0, x1, y1 with x0 <= x1 and y0 <= y1")
    return boxes
