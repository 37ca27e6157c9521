"""The self-test of engines: stored crops, and what fp32 torch on the CPU answered to them.

Joints or boxes: an answer's rows are places in pixels, and a score at the end.

`livepose export` makes one and puts it on the model's card; every engine is held against it
when it is opened. A fast engine that draws wrong skeletons is worse than none.
"""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from livepose.errors import EngineError, ModelError
from livepose.models import Model
from livepose.runtime.base import Engine

COUNTED_SCORE = 0.3
"""Rows with lower reference scores are not held against an engine: their peaks are no peaks."""

MAX_FP32_PX = 0.5
MEAN_HALF_PX = 0.5
MAX_FP32_SCORE = 0.02
MEAN_HALF_SCORE = 0.05
"""Bounds: the largest difference in fp32, the mean one in fp16 and bf16, the median in int8."""

CROPS = 2
CANDIDATES = 24
JPEG_QUALITY = 90

Run = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""Crops uint8 [N, S, S, 3] RGB -> answers float32 [N, 16, D], as `Engine.run`."""


@dataclass(frozen=True, slots=True, eq=False)
class SelfTest:
    """crops uint8 [N, S, S, 3] RGB; joints float32 [N, 16, D]: D - 1 places in crop pixels
    (x, y of a joint, two corners of a box), and a score in 0..1.
    """

    crops: npt.NDArray[np.uint8]
    joints: npt.NDArray[np.float32]


def make_selftest(size: int, reference: Run) -> dict[str, Any]:
    """The value of `selftest` on a card: of some synthetic people, those best recognised.

    size: the crops' side in pixels. reference: the model in fp32 torch on the CPU.
    """
    from livepose.synthetic.chance import random_figure

    rng = np.random.default_rng(2016)
    jpegs = []
    for _ in range(CANDIDATES):
        picture_bgr, _ = random_figure(rng, (size, size))
        _, jpeg = cv2.imencode(".jpg", picture_bgr, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
        jpegs.append(jpeg.tobytes())
    joints = reference(np.stack([decoded(jpeg) for jpeg in jpegs]))
    best = np.argsort(-joints[..., -1].mean(axis=1), kind="stable")[:CROPS]
    return {
        "crops_jpeg": [base64.b64encode(jpegs[i]).decode() for i in best],
        "joints_float32": base64.b64encode(joints[best].astype("<f4").tobytes()).decode(),
    }


def read_selftest(model: Model) -> SelfTest | None:
    """The self-test on a model's card; None where the card has none."""
    stored = model.card.get("selftest")
    if stored is None:
        return None
    try:
        jpegs = [base64.b64decode(text, validate=True) for text in stored["crops_jpeg"]]
        crops = np.stack([decoded(jpeg) for jpeg in jpegs])
        floats = np.frombuffer(base64.b64decode(stored["joints_float32"], validate=True), "<f4")
        joints = floats.reshape(len(crops), 16, -1).astype(np.float32)
        if crops.shape[1:] != (model.size, model.size, 3):
            raise ValueError(f"crops of {crops.shape[2]}x{crops.shape[1]}")
    except (KeyError, TypeError, ValueError, binascii.Error, cv2.error) as e:
        raise ModelError(
            f"{model.path.with_suffix('.json')}: the card's self-test cannot be read "
            f"({e}); `livepose export` writes the card anew"
        ) from e
    return SelfTest(crops, joints)


def check(engine: Engine, model: Model) -> bool:
    """Hold an engine against the model's self-test; False where the card has none.

    Raises EngineError, with the differences, beyond the bounds.
    """
    test = read_selftest(model)
    if test is None:
        return False
    joints = engine.run(test.crops)
    if joints.shape != test.joints.shape or not np.isfinite(joints).all():
        raise EngineError(f"{engine.info} failed its self-test: its answers are no joints")
    apart = np.abs(joints - test.joints)
    counted = test.joints[..., -1] >= COUNTED_SCORE
    distances_px = np.linalg.norm(apart[..., :-1], axis=-1)[counted]
    # In INT8 a joint may jump between two peaks that are as high.
    usual = np.median if engine.info.precision == "int8" else np.mean
    usual_px, max_px = (float(f(distances_px)) if counted.any() else 0.0 for f in (usual, np.max))
    mean_score, max_score = float(apart[..., -1].mean()), float(apart[..., -1].max())
    if engine.info.precision == "fp32":
        passed = max_px <= MAX_FP32_PX and max_score <= MAX_FP32_SCORE
    else:
        passed = usual_px <= MEAN_HALF_PX and mean_score <= MEAN_HALF_SCORE
    if not passed:
        raise EngineError(
            f"{engine.info} failed its self-test: {usual.__name__} {usual_px:.2f} px off, "
            f"{max_px:.2f} px at most, scores {mean_score:.3f} and {max_score:.3f}"
        )
    return True


def decoded(jpeg: bytes) -> npt.NDArray[np.uint8]:
    """uint8 [H, W, 3] RGB."""
    picture_bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if picture_bgr is None:
        raise ValueError("not a picture")
    return np.ascontiguousarray(picture_bgr[..., ::-1], np.uint8)
