"""What a training run is: one JSON file that repeats it."""

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from livepose.errors import UsageError
from livepose.model.hourglass import HourglassConfig
from livepose.training.augment import Augmentation


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    task: "pose", or "finder" (`training/finder.py`).
    data: data set specs (`datasets.load_set`), each with `*WEIGHT` behind it, its share of a batch.
    validate: the data set that is scored, with true boxes and without a flip.
    steps, batch: optimiser steps and crops per step and process.
    lr: AdamW's peak learning rate; rises over `warmup` steps, stays, and falls linearly to zero
    over the last `decay` steps: a run can be prolonged and still end well.
    foreground: extra weight of a target's peak in the loss. With a plain mean square "zero
    everywhere" is a plateau that training can sit on for thousands of steps. A place that is right
    by chance p is answered with a height of (1 + f) p / (1 + f p), so a high weight f hardly tells
    0.5 from 0.6: with a network that has learnt to see, a low one sets left and right apart.
    clip: a gradient longer than this many times its usual length is shortened to that; 0 shortens
    none. One batch in thousands can throw a run with a high rate off its way.
    ema: decay of the average of the weights, which is what is scored and exported.
    teacher, teaching: a trained model of the same crops (as `init`), and the
    share of the targets of visible joints that is its heatmaps instead of the labels (distillation:
    Zhang, Zhu, Ye, "Fast Human Pose Estimation", CVPR 2019).
    teach_painted: whether the teacher speaks on drawn pictures and on crops with painted hair,
    edges or crushed shadows too: one that has not learnt from such would teach its mistakes.
    drawn: the augmentation of drawn pictures if it is another; in JSON, what differs.
    frozen: what does not learn, of ("folded", "stem"): the norms that `init` has no more, because
    exporting folded them into convolutions (otherwise they get the statistics of this run's crops),
    and all before the first hourglass.
    init: a released model's name, an .onnx or a checkpoint .pt of the same layers, which may have
    fewer channels and crops of another size, whose weights the run begins with; empty begins with
    random ones.
    """

    data: tuple[str, ...]
    validate: str
    network: HourglassConfig = field(default_factory=HourglassConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)
    steps: int = 20000
    batch: int = 32
    lr: float = 1e-3
    weight_decay: float = 1e-2
    warmup: int = 200
    decay: int = 4000
    foreground: float = 30.0
    clip: float = 0.0
    ema: float = 0.999
    seed: int = 0
    precision: str = "auto"
    task: str = "pose"
    init: str = ""
    teacher: str = ""
    teaching: float = 0.5
    teach_painted: bool = True
    drawn: Augmentation | None = None
    frozen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.data:
            raise UsageError("no training data: give at least one data set")
        for name in ("steps", "batch", "warmup", "decay", "seed"):
            if type(getattr(self, name)) is not int:
                raise UsageError(f"{name} is {getattr(self, name)!r}; give a whole number")
        if self.steps < 1 or self.batch < 1:
            raise UsageError(f"steps ({self.steps}) and batch ({self.batch}) must be at least 1")
        if self.precision not in ("auto", "bf16", "fp32"):
            raise UsageError(f"precision {self.precision!r} is not auto, bf16 or fp32")
        for name in ("weight_decay", "warmup", "decay", "foreground", "seed"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name} is {getattr(self, name)}; give a number from 0")
        if not self.lr > 0 or not 0 <= self.ema < 1:
            raise UsageError(f"give lr ({self.lr}) above 0 and ema ({self.ema}) from 0 to below 1")
        if not (self.clip == 0 or self.clip >= 1):
            raise UsageError(f"clip is {self.clip}; give 0 or a number from 1")
        if not 0 < self.teaching <= 1:
            raise UsageError(f"teaching is {self.teaching}; give a share above 0, up to 1")
        if not all(isinstance(text, str) for text in (self.validate, self.init, self.teacher)):
            raise UsageError("validate, init and teacher are texts: a data set and models")
        if type(self.teach_painted) is not bool:
            raise UsageError(f"teach_painted is {self.teach_painted!r}; give true or false")
        if not set(self.frozen) <= {"folded", "stem"}:
            raise UsageError(f"frozen is {list(self.frozen)}; give folded, stem, both or nothing")
        if self.frozen and not self.init:
            raise UsageError("frozen parts need weights to begin with: give init")
        if self.task not in ("pose", "finder"):
            raise UsageError(f"task {self.task!r} is not pose or finder")
        if self.task == "finder" and (self.teacher or self.drawn):
            raise UsageError(
                "a finder is taught by labels alone, and drawn pictures are augmented as others "
                "are: leave teacher and drawn out"
            )
        poses_only = any(spec.startswith(("behind:", "among:", "followed:")) for spec in self.data)
        if self.task == "finder" and poses_only:
            raise UsageError(
                "behind:, among: and followed: are for poses: who is crossed out is not to be found"
            )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {
            "network": self.network.as_dict(),
            "augmentation": asdict(self.augmentation),
            "drawn": None if self.drawn is None else asdict(self.drawn),
            "data": list(self.data),
            "frozen": list(self.frozen),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        known = {f.name for f in fields(cls)}
        unknown = set(values) - known
        if unknown:
            raise UsageError(f"unknown training settings: {', '.join(sorted(unknown))}")
        values = dict(values)
        specs = values.get("data", ())
        listed = isinstance(specs, (list, tuple))
        if not listed or not all(isinstance(spec, str) for spec in specs):
            raise UsageError("data is a list of texts, a data set each")
        values["data"] = tuple(specs)
        frozen = values.get("frozen", ())
        if not isinstance(frozen, (list, tuple)) or not all(isinstance(f, str) for f in frozen):
            raise UsageError("frozen is a list of texts")
        values["frozen"] = tuple(frozen)
        try:
            if "network" in values:
                network = HourglassConfig().as_dict() | values["network"]
                values["network"] = HourglassConfig.from_dict(network)
            if "augmentation" in values:
                values["augmentation"] = Augmentation(**values["augmentation"])
            if values.get("drawn") is not None:
                usual = values.get("augmentation", Augmentation())
                values["drawn"] = replace(usual, **values["drawn"])
            return cls(**values)
        except (TypeError, ValueError) as e:
            raise UsageError(f"training settings: {e}") from e

    def learning_rate(self, step: int) -> float:
        """Of that step, counted from 0."""
        rise = min(1.0, (step + 1) / max(self.warmup, 1))
        fall = min(1.0, (self.steps - step) / max(self.decay, 1))
        return self.lr * rise * fall


def read_settings(path: Path) -> dict[str, Any]:
    """The JSON object in a file, for `TrainConfig.from_dict`."""
    try:
        values = json.loads(path.read_text())
    except OSError as e:
        raise UsageError(f"{path}: cannot be read ({e.strerror})") from e
    except ValueError as e:
        raise UsageError(f"{path}: not JSON ({e})") from e
    if not isinstance(values, dict):
        raise UsageError(f"{path}: training settings are a JSON object")
    return values
