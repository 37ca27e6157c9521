"""The training loop: read it top to bottom. `torchrun` runs it on several GPUs."""

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from livepose.errors import ModelError, OutputError, UsageError, first_line
from livepose.model.checkpoint import load_checkpoint, save_checkpoint
from livepose.model.from_onnx import idle_norms, open_network, restore_norms
from livepose.model.graph import PoseGraph, normalise
from livepose.model.hourglass import StackedHourglass
from livepose.model.widen import widen
from livepose.training.augment import PAINTED
from livepose.training.config import TrainConfig
from livepose.training.datasets import PoseSet, load_set
from livepose.training.evaluate import Scores, evaluate, torch_runner
from livepose.training.loader import BatchLoader, Mixture
from livepose.training.targets import heatmap_loss, make_targets, taught

LENGTHS = 50
"""Gradients whose median length is the usual one for `TrainConfig.clip`: the last so many."""

NORM_CROPS = 256
"""Of the run's own, from which the norms of an exported model get their statistics back."""

Report = Callable[[dict[str, Any]], None]
"""Is called with one dict per log line, and after every step with {"step", "loss"}."""


class Trainer:
    """One run in one folder: `config.json`, `log.jsonl`, `checkpoint.pt`.

    Use: `Trainer(config, folder).run(minutes=…)`. If the folder holds a checkpoint the run goes
    on from it, and the weights come out as if it had never stopped (same machine, same steps; on
    a GPU nearly).
    """

    batches: type[BatchLoader] = BatchLoader
    """What makes the crops."""

    def __init__(self, config: TrainConfig, folder: Path, device: str = "auto") -> None:
        self.config, self.folder = config, folder
        self.rank = int(os.environ.get("RANK", "0"))
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self.workers = max(1, min(16, (os.cpu_count() or 1) // self.world))
        self.device = choose_device(device)
        torch.manual_seed(config.seed)
        self.network = StackedHourglass(config.network).to(self.device)
        self.network = self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = StackedHourglass(config.network).to(self.device).eval()
        self.average.load_state_dict(self.network.state_dict())
        self._frozen: list[nn.Module] = []
        self._pairs = floats_of(self.average), floats_of(self.network)
        self.optimizer = torch.optim.AdamW(
            decayed_groups(self.network, config.weight_decay), lr=config.lr, fused=True
        )
        self.teacher = self._open_teacher(config.teacher) if config.teacher else None
        self.step = 0
        self._lengths = torch.full((LENGTHS,), torch.nan, device=self.device)
        if (folder / "checkpoint.pt").exists():
            self._resume(folder / "checkpoint.pt")

    def run(
        self,
        minutes: float | None = None,
        report: Report | None = None,
        validate_every: int = 1000,
        validate_people: int = 300,
        save_every_s: float = 120.0,
    ) -> Scores:
        """Train to the last step or until the clock says so; returns the scores of all of
        the validation set."""
        if validate_every < 1 or (minutes is not None and minutes <= 0):
            raise UsageError("--validate-every and --minutes must be above 0")
        end_s = time.monotonic() + (minutes * 60 if minutes else float("inf"))
        sets, weights = load_mixture(self.config.data)
        held_out = load_set(self.config.validate)
        self._start_folder()
        loader = self.loader(Mixture(sets, weights))
        if self.config.init and not self.step:
            self._begin_with(self.config.init, loader)
        self._freeze()
        model = self._distributed()
        saved_s = time.monotonic()
        started_s, first = time.monotonic(), self.step
        for crops, labels in loader.steps(self.step, self.config.steps):
            loss = self._train_step(model, torch.from_numpy(crops), torch.from_numpy(labels))
            now_s = time.monotonic()
            rate = (self.step - first) * self.config.batch * self.world / (now_s - started_s)
            if report:
                report({"step": self.step, "loss": loss, "images_per_s": rate})
            if self.step % validate_every == 0:
                self._log(loss, rate, self.validate(held_out, validate_people), report)
            if now_s - saved_s > save_every_s:
                self.save()
                saved_s = time.monotonic()
            if self._any(now_s > end_s):
                break
        self.save()
        scores = self.validate(held_out, None)
        self._log(None, None, scores, report)
        if self.world > 1:
            dist.destroy_process_group()
        return scores

    def loader(self, mixture: Mixture) -> BatchLoader:
        """What makes this run's batches."""
        config = self.config
        return self.batches(
            *(mixture, config.batch, config.network.size, config.augmentation, config.seed),
            rank=self.rank,
            workers=self.workers,
            forked=self.device.type == "cuda",
            drawn=config.drawn,
        )

    def loss(self, answers: list[Tensor], labels: Tensor, x: Tensor) -> Tensor:
        """Of one batch: `answers` of every stack, `labels` as the loader makes them, and what the
        answers are to, `x`."""
        targets, weights = make_targets(labels, self.config.network.size)
        if self.teacher is not None:
            with torch.no_grad(), self._autocast():
                said = self.teacher(x)[-1].float()
            untaught = None if self.config.teach_painted else labels[..., 2] == PAINTED
            targets = taught(targets, said, self.config.teaching, untaught)
        return heatmap_loss(answers, targets, weights, self.config.foreground)

    def validate(self, held_out: PoseSet, people: int | None) -> Scores:
        """Scores of the averaged weights; `people` evenly spread ones, or all."""
        stride = 1 if people is None else max(1, len(held_out.people) // people)
        runner = torch_runner(PoseGraph(self.average), self.device)
        return evaluate(runner, self.config.network.size, held_out.people[::stride])

    def save(self) -> None:
        if self.rank == 0:
            state = {
                "network": self.config.network.as_dict(),
                "config": json.dumps(self.config.as_dict()),
                "step": self.step,
                "model": self.network.state_dict(),
                "ema": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "lengths": self._lengths.cpu(),
            }
            save_checkpoint(self.folder / "checkpoint.pt", state)

    def _train_step(self, model: nn.Module, crops: Tensor, labels: Tensor) -> float:
        lr = self.config.learning_rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        model.train()
        for module in self._frozen:
            module.eval()
        crops = crops.to(self.device, non_blocking=True)
        x = normalise(crops, self.config.network.mean).contiguous(memory_format=torch.channels_last)
        with self._autocast():
            answers = model(x)
        loss = self.loss(answers, labels.to(self.device), x)
        if not torch.isfinite(loss):
            raise ModelError(f"the loss is {loss.item()} at step {self.step}; lower --lr")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.config.clip:
            self._shorten([p.grad for p in self.network.parameters() if p.grad is not None])
        self.optimizer.step()
        self.step += 1
        with torch.no_grad():  # of weights, and of norms' statistics
            decay = min(self.config.ema, self.step / (self.step + 10))
            torch._foreach_lerp_(*self._pairs, 1 - decay)
        return loss.item()

    def _shorten(self, gradients: list[Tensor]) -> None:
        """Multiply all by what makes them `clip` times as long as usual, if they are longer."""
        length = torch.nn.utils.get_total_norm(gradients)
        if not torch.isfinite(length):
            raise ModelError(f"the gradient is {length.item()} at step {self.step}; lower --lr")
        self._lengths[self.step % LENGTHS] = length
        usual = self._lengths.nanmedian()
        factor = (self.config.clip * usual / (length + 1e-12)).clamp(max=1)
        torch._foreach_mul_(gradients, factor)

    def _any(self, flag: bool) -> bool:
        """Whether a process says so: all stop at the same step, or the others would wait."""
        if self.world == 1:
            return flag
        flags = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags.item())

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._use_bf16())

    def _use_bf16(self) -> bool:
        if self.config.precision != "auto":
            return self.config.precision == "bf16"
        return self.device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()

    def _distributed(self) -> nn.Module:
        """What a step calls; on a GPU it is compiled, which takes about a minute at the start,
        where there is a C compiler for that."""
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
            torch.backends.cudnn.benchmark = True
            if any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))):
                self.network.compile(dynamic=False)
        if self.world == 1:
            return self.network
        dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
        ids = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(self.network, device_ids=ids)

    def _resume(self, path: Path) -> None:
        state = load_checkpoint(path)
        if state["network"] != self.config.network.as_dict():
            raise UsageError(
                f"{path} is of another network ({state['network']}); choose another --run-dir"
            )
        self.network.load_state_dict(state["model"])
        self.average.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        if idle_norms(self.network) and "folded" not in self.config.frozen:
            raise UsageError(
                f"{path}: its folded norms were frozen; go on so, or --init with it elsewhere"
            )
        # The settings count, not those that the state was saved under.
        self.optimizer.param_groups[0]["weight_decay"] = self.config.weight_decay
        self.step = int(state["step"])
        self._lengths = state.get("lengths", self._lengths).to(self.device)

    def _begin_with(self, init: str, loader: BatchLoader) -> None:
        """Take over a trained model's weights; it may be narrower than this run's."""
        network, own = open_network(init), self.config.network
        if self.config.frozen and replace(network.config, size=own.size) != own:
            raise UsageError(f"init {init}: frozen parts are of the same network: leave frozen out")
        if "folded" not in self.config.frozen and idle_norms(network):
            batches = range(-(-NORM_CROPS // self.config.batch))
            crops = np.concatenate([loader.make(step)[0] for step in batches])[:NORM_CROPS]
            x = normalise(torch.from_numpy(crops), self.config.network.mean)
            restore_norms(network.to(self.device), x.to(self.device))
        try:
            widen(network, self.network)
        except ValueError as e:
            raise UsageError(f"init {init}: is of another network than this run's ({e})") from e
        self.average.load_state_dict(self.network.state_dict())

    def _freeze(self) -> None:
        """What does not learn, see `TrainConfig.frozen`, keeps its statistics too."""
        stem, folded = (name in self.config.frozen for name in ("stem", "folded"))
        self._frozen = [self.network.stem] if stem else []
        self._frozen += idle_norms(self.network) if folded else []
        for module in self._frozen:
            module.requires_grad_(False)

    def _open_teacher(self, name: str) -> StackedHourglass:
        """The network that the heatmaps of `taught` come from."""
        teacher, own = open_network(name), self.config.network
        if (teacher.config.size, teacher.config.mean) != (own.size, own.mean):
            raise UsageError(f"teacher {name}: is of crops of another size or mean than this run's")
        return teacher.eval().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def _start_folder(self) -> None:
        if self.rank == 0:
            text = json.dumps(self.config.as_dict(), indent=2)
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                (self.folder / "config.json").write_text(text + "\n")
            except OSError as e:
                raise OutputError(f"{self.folder}: cannot be written ({e.strerror})") from e

    def _log(
        self, loss: float | None, rate: float | None, scores: Scores, report: Report | None
    ) -> None:
        if self.rank:
            return
        line: dict[str, Any] = {"step": self.step, "loss": loss, "images_per_s": rate}
        line |= {"lr": self.config.learning_rate(self.step), "scores": scores.as_dict()}
        path = self.folder / "log.jsonl"
        try:
            with path.open("a") as log:
                log.write(json.dumps(line) + "\n")
        except OSError as e:
            raise OutputError(f"{path}: cannot be written ({e.strerror})") from e
        if report:
            report(line)


def choose_device(name: str) -> torch.device:
    """`auto` is this process's GPU if there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"device {name}: no CUDA GPU that torch can use; give --device cpu")
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        return torch.device(name)
    except RuntimeError as e:
        raise UsageError(f"device {name!r}: {first_line(e)}") from e


def load_mixture(specs: tuple[str, ...]) -> tuple[list[PoseSet], list[float]]:
    """`SPEC*WEIGHT` strings -> sets and weights; the weight is 1 where none is given."""
    sets, weights = [], []
    for text in specs:
        spec, star, number = text.rpartition("*")
        try:
            weight = float(number) if star else 1.0
        except ValueError:
            spec, weight = text, 1.0
        if weight <= 0:
            raise UsageError(f"{text}: the weight must be above 0")
        sets.append(load_set(spec if star else text))
        weights.append(weight)
    return sets, weights


def decayed_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on convolution weights only, not on biases and norms."""
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [
        {"params": weights, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def floats_of(network: nn.Module) -> list[Tensor]:
    """Weights and the norms' statistics, the tensors themselves: the same for as long as it lives,
    and asking for them takes milliseconds, too many for every step on a GPU."""
    return [value for value in network.state_dict().values() if value.is_floating_point()]
