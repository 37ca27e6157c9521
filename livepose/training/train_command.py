"""`livepose train`: from arguments to a run, its progress and its curve."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from livepose.cli import Parser
from livepose.errors import EngineError, UsageError

try:
    import torch  # noqa: F401
except ImportError as e:
    raise EngineError("torch is not installed: pip install 'livepose[train]'") from e

from livepose.training.config import TrainConfig, read_settings
from livepose.training.eval_command import print_scores
from livepose.training.finder_trainer import FinderTrainer
from livepose.training.loop import Report, Trainer
from livepose.training.plot import plot_curve

TRAINERS: dict[str, type[Trainer]] = {"pose": Trainer, "finder": FinderTrainer}


def train(words: list[str]) -> None:
    """Train in the run folder, and leave its curve there as a picture."""
    arguments = train_parser().parse_args(words)
    folder = Path(arguments.run_dir)
    config = read_config(arguments, folder)
    trainer = TRAINERS[config.task](config, folder, arguments.device)
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=trainer.rank > 0
    ) as progress:
        task = progress.add_task("loading", total=trainer.config.steps, completed=trainer.step)

        def report(line: dict[str, Any]) -> None:
            if "scores" in line:
                scores = line["scores"]
                name, share = (
                    ("recall", scores["recall"])
                    if "recall" in scores
                    else ("PCK@0.2", scores["pck"]["all14"])
                )
                said = "not counted" if share is None else f"{share:.3f}"
                progress.console.print(f"step {line['step']}: {name} {said}")
            else:
                text = f"loss {line['loss']:.4f}  {line['images_per_s']:.0f} images/s"
                progress.update(task, completed=line["step"], description=text)

        quiet: Report | None = report if trainer.rank == 0 else None
        scores = trainer.run(arguments.minutes, quiet, arguments.validate_every)
    if trainer.rank == 0:
        print_scores(console, trainer.config.validate, scores)
        console.print(f"wrote {plot_curve(folder)} and {folder / 'checkpoint.pt'}")


def read_config(arguments: argparse.Namespace, folder: Path) -> TrainConfig:
    """From --config or the run folder, with what else the command line gives put over it."""
    given = {
        name: getattr(arguments, name)
        for name in ("data", "validate", "steps", "decay", "batch", "lr", "seed", "init")
        if getattr(arguments, name) is not None
    }
    path = Path(arguments.config) if arguments.config else folder / "config.json"
    if path.exists() or arguments.config:
        given = read_settings(path) | given
    if "data" not in given or "validate" not in given:
        if path.exists():
            raise UsageError(f"{path} lacks data or validate: give --data and --validate")
        raise UsageError(f"{folder} holds no run yet: give --config, or --data and --validate")
    root = arguments.data_root
    config = TrainConfig.from_dict(given)
    return replace(
        config,
        data=tuple(spec.replace("{data}", root) for spec in config.data),
        validate=config.validate.replace("{data}", root),
    )


def train_parser() -> Parser:
    parser = Parser(
        prog="livepose train",
        description="Trains a network in a run folder; goes on from the checkpoint there, if any.",
    )
    parser.add_argument(
        "--run-dir", required=True, metavar="FOLDER", help="config, log, checkpoint"
    )
    parser.add_argument(
        "--config", metavar="FILE", help="settings as JSON (default: the run folder's config.json)"
    )
    parser.add_argument(
        "--data",
        action="append",
        metavar="SPEC[*WEIGHT]",
        help="a data set, KIND:PATH[:RANGE] with its share of a batch; may be repeated. Kinds: "
        "lsp, lspet, buffy, coco, mpii, synthetic, speaker, scene, behind, among, followed",
    )
    parser.add_argument(
        "--data-root", default=".", metavar="DIR", help="stands for {data} in the settings' paths"
    )
    parser.add_argument("--validate", metavar="SPEC", help="the data set that is scored")
    parser.add_argument(
        "--init", metavar="MODEL", help="begin with its weights: a released name, an .onnx or a .pt"
    )
    parser.add_argument("--steps", type=int)
    parser.add_argument("--decay", type=int, help="last steps, in which the rate falls to zero")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--minutes", type=float, help="stop by the clock, to be resumed later")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    parser.add_argument("--validate-every", type=int, default=1000, metavar="STEPS")
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    return parser
