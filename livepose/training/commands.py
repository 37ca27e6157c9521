"""`livepose train`, `eval` and `export`: from arguments to work and back to the terminal."""

import argparse
import json
import shlex
import sys
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from livepose.cli import Parser
from livepose.errors import EngineError, UsageError
from livepose.skeleton import GROUPS

try:
    import torch
except ImportError as e:
    raise EngineError("torch is not installed: pip install 'livepose[train]'") from e

from livepose.model.checkpoint import load_checkpoint, load_network
from livepose.model.export import export_onnx, write_card
from livepose.model.graph import PoseGraph
from livepose.models import find_model
from livepose.runtime import open_engine
from livepose.runtime.selftest import make_selftest
from livepose.training.config import TrainConfig
from livepose.training.datasets import load_set
from livepose.training.evaluate import Runner, Scores, evaluate, torch_runner
from livepose.training.loop import Report, Trainer
from livepose.training.plot import plot_curve


def train(words: list[str]) -> None:
    """Train in the run folder, and leave its curve there as a picture."""
    arguments = train_parser().parse_args(words)
    folder = Path(arguments.run_dir)
    trainer = Trainer(read_config(arguments, folder), folder, arguments.device)
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=trainer.rank > 0
    ) as progress:
        task = progress.add_task("loading", total=trainer.config.steps, completed=trainer.step)

        def report(line: dict[str, Any]) -> None:
            if "scores" in line:
                share = line["scores"]["pck"]["all14"]
                progress.console.print(f"step {line['step']}: PCK@0.2 {share:.3f}")
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
        for name in ("data", "validate", "steps", "decay", "batch", "lr", "seed")
        if getattr(arguments, name) is not None
    }
    path = Path(arguments.config) if arguments.config else folder / "config.json"
    if path.exists() or arguments.config:
        given = TrainConfig.load(path).as_dict() | given
    if "data" not in given or "validate" not in given:
        raise UsageError(f"{folder} holds no run yet: give --config, or --data and --validate")
    root = arguments.data_root
    given["data"] = [spec.replace("{data}", root) for spec in given["data"]]
    given["validate"] = given["validate"].replace("{data}", root)
    return TrainConfig.from_dict(given)


def evaluate_model(words: list[str]) -> None:
    """Scores of a model on each data set, as a table or JSON on stdout."""
    arguments = eval_parser().parse_args(words)
    run, size = open_runner(arguments.model, arguments.engine)
    scores = {spec: evaluate(run, size, load_set(spec).people) for spec in arguments.data}
    if arguments.json:
        print(json.dumps({spec: s.as_dict() for spec, s in scores.items()}, indent=2))
        return
    for spec, s in scores.items():
        print_scores(Console(), spec, s)


def open_runner(name: str, engine: str) -> tuple[Runner, int]:
    """A checkpoint through torch, anything else through an engine."""
    if name.endswith(".pt"):
        network = load_network(Path(name))
        return torch_runner(PoseGraph(network), torch.device("cpu")), network.config.size
    model = find_model(name)
    return open_engine(model, engine).run, model.size


def print_scores(console: Console, title: str, scores: Scores) -> None:
    table = Table(title=f"{title}: {scores.people} people, mean OKS {scores.oks:.3f}")
    table.add_column("joints")
    table.add_column("PCK@0.2", justify="right")
    table.add_column("PCKh@0.5", justify="right")
    for group in GROUPS:
        table.add_row(group, f"{scores.pck[group]:.3f}", f"{scores.pckh[group]:.3f}")
    console.print(table)


def export(words: list[str]) -> None:
    """Write the ONNX file and its card, with scores measured on the exported file itself."""
    arguments = export_parser().parse_args(words)
    output = Path(arguments.output)
    if output.suffix != ".onnx":
        raise UsageError(f"{output}: the exported model's name ends in .onnx")
    state = load_checkpoint(Path(arguments.checkpoint))
    network = load_network(Path(arguments.checkpoint))
    export_onnx(network, output)
    reference = torch_runner(PoseGraph(network), torch.device("cpu"))
    checked: dict[str, Any] = {"selftest": make_selftest(network.config.size, reference)}
    card_path = write_card(network, output, checked)
    run, size = open_runner(str(output), "auto")
    about = checked | {
        "exported": date.today().isoformat(),
        "command": shlex.join(["livepose", *sys.argv[1:]]),
        "note": arguments.note,
        "trained_on": {"steps": state["step"], "config": json.loads(state["config"])},
        "score_of": "true boxes, one crop, no flip; PCK@0.2 of the torso, PCKh@0.5, mean OKS",
        "scores": {
            spec: evaluate(run, size, load_set(spec).people).as_dict() for spec in arguments.score
        },
    }
    write_card(network, output, about)
    print(f"wrote {output} and {card_path}")


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
        "lsp, lspet, buffy, coco, mpii, synthetic",
    )
    parser.add_argument(
        "--data-root", default=".", metavar="DIR", help="stands for {data} in the settings' paths"
    )
    parser.add_argument("--validate", metavar="SPEC", help="the data set that is scored")
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


def eval_parser() -> Parser:
    parser = Parser(
        prog="livepose eval",
        description="Scores a model on labelled people: true boxes, one crop each, no flip.",
    )
    parser.add_argument("data", nargs="+", metavar="SPEC", help="KIND:PATH[:RANGE]")
    parser.add_argument(
        "--model", default="auto", help="a released model, an .onnx, or a checkpoint .pt"
    )
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    return parser


def export_parser() -> Parser:
    parser = Parser(
        prog="livepose export",
        description="Writes a checkpoint's averaged weights as NAME.onnx with a model card.",
    )
    parser.add_argument("checkpoint", help="checkpoint.pt of a run folder")
    parser.add_argument("output", metavar="NAME.onnx")
    parser.add_argument(
        "--score",
        action="append",
        default=[],
        metavar="SPEC",
        help="score the model on this data set for the card; may be repeated",
    )
    parser.add_argument("--note", default="", help="a line for the card")
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    return parser
