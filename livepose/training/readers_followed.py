"""What a tracker shows a pose network while people cross, as a data set: learning on the job.

The network is asked for people where the `Tracker` expects them, with those crossed out whom it
holds for others, right or wrong. Which crops that makes depends on the network; they are labelled
truly and trained on (Ross, Gordon, Bagnell, "A Reduction of Imitation Learning and Structured
Prediction to No-Regret Online Learning", AISTATS 2011).
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from livepose import crops
from livepose.errors import DataError
from livepose.estimator import PoseEstimator, paint_grey
from livepose.finder import iou
from livepose.models import find_model
from livepose.pose import Pose
from livepose.search import Among
from livepose.synthetic import SyntheticScene
from livepose.track import BEHIND, SEEN, Boxes, overlap
from livepose.training.readers_common import Floats, Image, Person, PoseSet, make_person, tight_box
from livepose.training.readers_synthetic import SHOWN, DrawnImage, draw_all

SCENE_WH = (320, 240)
FPS = 30
FRAMES = 150
KEPT_EVERY = 2
"""Of the looks of a scene those at every so many frames: two in a row are nearly the same."""

WIDE = 1.5
"""Sides of a crop that are kept of the frame around it, for it is scaled and shifted again."""

ASKED = 0.3
"""IoU with the box that is looked into, from which somebody is who is asked for."""

SAME = 0.5
"""Torsos between joints, their median, up to which a pose is somebody's."""


def read_followed(kind: str, path: Path, selection: str | None) -> PoseSet:
    """Of that many scenes of two to four people, FRAMES frames each, the crops in which somebody
    is asked for among others. `selection` is the model that follows them.

    Who is covered is labelled where they are, for they are asked for; a crop in which nobody is to
    be seen who is not crossed out is labelled as nobody's.
    """
    if selection is None:  # the name of a file: what holds a slash was not taken for a selection
        count, _, selection = str(path).partition(":")
        path = Path(count)
    if not selection or not path.name.isdecimal():
        raise DataError(
            f"{kind}:{path}: give how many scenes and which model follows the people in them, as "
            f"in {kind}:48:small"
        )
    find_model(selection)  # that it is not there is told before processes are started
    # A scene takes seconds: two are worth another process.
    return draw_all(kind, path, None, partial(_scene, selection), few=2)


class _Watched(PoseEstimator):
    """Keeps what was looked for in a frame. The same on every machine, as far as CPUs agree."""

    def __init__(self, model: str) -> None:
        super().__init__(model, engine="onnx", device="cpu", precision="fp32")
        self.looks: list[tuple[Boxes, Sequence[Pose], Among | None]] = []

    def _look(
        self,
        frame_bgr: Image,
        boxes_xyxy: Boxes,
        without: Sequence[Sequence[Pose]] = (),
        among: Sequence[Among | None] = (),
    ) -> list[Pose]:
        for i, box in enumerate(boxes_xyxy):
            near = among[i] if i < len(among) else None
            self.looks.append((box, without[i] if i < len(without) else (), near))
        return super()._look(frame_bgr, boxes_xyxy, without, among)


def _scene(model: str, i: int) -> list[Person]:
    # The synthetic camera's own seeds are small numbers, those of `scene` from 1000.
    scene = SyntheticScene(SCENE_WH, people=(4, 4, 3, 2)[i % 4], seed=100_000 + i)
    people: list[Person] = []
    with (estimator := _Watched(model)):
        for k in range(FRAMES):
            time_s = 7.3 * i + k / FPS
            frame, joints, covered = scene.render_crowd(time_s)
            shown = (joints[..., 2] > 0) & ~covered
            estimator.looks = []
            estimator.track(frame, time_s)
            if k % KEPT_EVERY:
                continue
            for n, (box, without, near) in enumerate(estimator.looks):
                asked = _asked_for(box, without, near, joints, shown)
                if asked is None:
                    continue
                who = (joints[asked], shown[asked]) if asked >= 0 else None
                name = f"followed picture {i}, frame {k}, look {n}"
                size = estimator.model.size
                person = _labelled(name, frame, box, without, near, who, size)
                people += [person] if person is not None else []
    return people


def _asked_for(
    box: Boxes,
    without: Sequence[Pose],
    near: Among | None,
    joints: Floats,
    shown: npt.NDArray[np.bool_],
) -> int | None:
    """Whose pose should be answered in that box, as an index of `joints` [N, 16, 3], -1 where it
    is nobody's; None where it cannot be said, or is nothing to be learnt. shown: bool [N, 16].
    """
    own, beside = near or (None, ())
    out = {_whose(pose, joints, shown) for pose in (*without, *beside)}
    if own is not None and _whose(own, joints, shown) in out:
        return None  # two tracks of one body, which is not crossed out after all, or of nobody's
    boxes = {k: tight_box(person) for k, person in enumerate(joints) if (person[:, 2] > 0).any()}
    here = [k for k in boxes if overlap(box, boxes[k])]
    inside = [k for k in here if overlap(box, boxes[k]) > BEHIND]
    if len(inside) < 2 and not out:
        return None
    if not any(shown[k].any() for k in here if k not in out):
        return -1 if inside else None
    left = [k for k in inside if k not in out and shown[k].sum() >= SHOWN]
    shares = {k: iou(box, boxes[k]) for k in left}
    best = max(shares, key=lambda k: shares[k], default=None)
    return best if best is not None and shares[best] >= ASKED else None


def _whose(pose: Pose, joints: Floats, shown: npt.NDArray[np.bool_]) -> int | None:
    """Which of the people [N, 16, 3] that pose is of, None if nobody. shown: bool [N, 16]."""
    away = {}
    for k, (person, seen) in enumerate(zip(joints, shown & (pose.scores >= SEEN), strict=True)):
        torso = crops.torso_of(person[:, :2], person[:, 2] > 0)
        if seen.any() and torso:
            apart = np.linalg.norm(pose.joints_xy - person[:, :2], axis=1)[seen]
            away[k] = float(np.median(apart)) / torso
    nearest = min(away, key=lambda k: away[k], default=None)
    return None if nearest is None or away[nearest] > SAME else nearest


def _labelled(
    name: str,
    frame: Image,
    box: Boxes,
    without: Sequence[Pose],
    near: Among | None,
    who: tuple[Floats, npt.NDArray[np.bool_]] | None,
    size: int,
) -> Person | None:
    """The crop, `size` pixels a side, and some room around it, as it was painted over, labelled
    with who is asked for in it, joints [16, 3] and which of them are shown, bool [16], or as
    nobody's; None where they are painted over too.
    """
    left, top, side = crops.squares_of(box[None])[0].tolist()
    room = round((WIDE - 1) / 2 * side)
    square = np.array([[left - room, top - room, side + 2 * room]])
    wide = round(WIDE * size)
    grey = paint_grey(square, wide, [without], [near])
    labels = np.full((16, 3), -1, np.float32)
    if who is not None:
        joints, shown = who
        labels[:, :2] = crops.to_crops(joints[None, :, :2], square, wide)[0]
        inside = ((labels[:, :2] >= 0) & (labels[:, :2] <= wide - 1)).all(axis=1)
        labels[:, 2] = np.where((joints[:, 2] > 0) & inside, 1, -1)
        x, y = np.rint(labels[shown & inside, :2]).astype(int).T
        if len(x) - (0 if grey is None else np.count_nonzero(grey[0, y, x])) < SHOWN:
            return None
    picture = crops.cut(frame, square, wide, grey)[0, :, :, ::-1]
    half = crops.FILL * size / 2
    middle = (wide - 1) / 2
    own = np.array((middle - half, middle - half, middle + half, middle + half), np.float32)
    return make_person(DrawnImage(name, np.ascontiguousarray(picture)), labels, box_xyxy=own)
