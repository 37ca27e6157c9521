"""`livepose train`, `eval` and `export`: from arguments to work and back to the terminal."""

import argparse
import json
import shlex
import sys
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from livepose.cli import Parser
from livepose.console import Printing
from livepose.errors import EngineError, UsageError
from livepose.estimator import PoseEstimator, best_scores
from livepose.finder import Finder
from livepose.people import FOUND
from livepose.skeleton import GROUPS

try:
    import torch
except ImportError as e:
    raise EngineError("torch is not installed: pip install 'livepose[train]'") from e

from livepose.model.checkpoint import first_stacks, load_checkpoint, load_network
from livepose.model.export import GRAPHS, add_to_card, export_onnx, write_card
from livepose.model.finder import MOST_PEOPLE
from livepose.model.graph import PoseGraph
from livepose.model.hourglass import StackedHourglass
from livepose.model.mix import mixed
from livepose.models import find_model
from livepose.runtime import open_engine
from livepose.runtime.choice import suited_model
from livepose.runtime.selftest import make_selftest
from livepose.training.calibrate import calibrate
from livepose.training.config import TrainConfig, read_settings
from livepose.training.datasets import Person, read_once
from livepose.training.evaluate import Scores, evaluate, predict, torch_runner, true_crops
from livepose.training.finder import pictures_of
from livepose.training.finder_trainer import (
    FinderScores,
    FinderTrainer,
    RunnerEngine,
    score_finder,
)
from livepose.training.found import FoundScores, score_found
from livepose.training.loop import Report, Trainer
from livepose.training.plot import plot_curve, plot_reliability

CALIBRATION = 200
"""People whose crops INT8 is calibrated on, evenly spread over the data sets that are given."""

TRAINERS: dict[str, type[Trainer]] = {"pose": Trainer, "finder": FinderTrainer}

SCORE_OF = {
    "pose": "true boxes, one crop, no flip; PCK@0.2 of the torso, PCKh@0.5, mean OKS",
    "finder": "whole pictures; recall of labelled people at IoU >= 0.5, boxes a labelled person",
}


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


def evaluate_model(words: list[str]) -> None:
    """Scores of a model on each data set, as a table or JSON on stdout."""
    arguments = eval_parser().parse_args(words)
    if arguments.find and arguments.plot:
        raise UsageError("--plot draws the scores of joints in true boxes: leave out --find")
    asked = arguments.model, arguments.engine, arguments.data, arguments.precision
    scored = (score_search if arguments.find else score_model)(*asked)
    if arguments.json:
        print(json.dumps({spec: s.as_dict() for spec, s in scored.items()}, indent=2))
        return
    for spec, scores in scored.items():
        print_scores(Printing(), spec, scores)
    if arguments.plot:
        poses = {spec: s for spec, s in scored.items() if isinstance(s, Scores)}
        if not poses:
            raise UsageError("--plot: a finder has no joints whose scores could be right")
        plot_reliability(poses, Path(arguments.plot))
        print(f"wrote {arguments.plot}")


def score_model(
    name: str, engine: str, specs: list[str], precision: str = "auto"
) -> dict[str, Scores | FinderScores]:
    """Scores by data set: of a checkpoint through torch, of anything else through an engine."""
    sets = {spec: read_once(spec) for spec in specs}
    if name.endswith(".pt"):
        network = load_network(Path(name))
        task = json.loads(load_checkpoint(Path(name))["config"]).get("task", "pose")
        run = torch_runner(GRAPHS[task](network), torch.device("cpu"))
        size = network.config.size
    else:
        model = suited_model(name, engine, "auto", precision)
        task, size = model.card.get("task", "pose"), model.size
        run = open_engine(model, engine, "auto", precision).run
    if task == "finder":
        find = Finder(RunnerEngine(run), size).find
        return {spec: score_finder(find, pictures_of(s)) for spec, s in sets.items()}
    return {spec: evaluate(run, size, s.people) for spec, s in sets.items()}


def score_search(
    name: str, engine: str, specs: list[str], precision: str = "auto"
) -> dict[str, FoundScores]:
    """Scores by data set of what is found without boxes."""
    if name.endswith(".pt"):
        raise UsageError(f"--find: {name} is a checkpoint; export it first")
    sets = {spec: read_once(spec) for spec in specs}
    with PoseEstimator(name, engine, precision=precision, max_people=MOST_PEOPLE) as estimator:
        return {spec: score_found(estimator.estimate, s) for spec, s in sets.items()}


def print_scores(console: Console, title: str, scores: Scores | FinderScores | FoundScores) -> None:
    if not isinstance(scores, Scores):
        console.print(f"{title}: {scores}", soft_wrap=True)
        return
    table = Table(title=f"{title}: {scores.people} people, mean OKS {scores.oks:.3f}")
    table.add_column("joints")
    table.add_column("PCK@0.2", justify="right")
    table.add_column("PCKh@0.5", justify="right")
    for group in GROUPS:
        table.add_row(group, f"{scores.pck[group]:.3f}", f"{scores.pckh[group]:.3f}")
    console.print(table)
    said = "  ".join(f"{mean:.2f}:{share:.2f}" for mean, share, _ in scores.reliability)
    console.print(f"mean score : share of joints that is right, by score: {said}")


def export(words: list[str]) -> None:
    """Write the ONNX file and its card, its INT8 variant, or what it makes of the crossed out."""
    arguments = export_parser().parse_args(words)
    output = Path(arguments.output or arguments.checkpoint)
    if output.suffix != ".onnx":
        raise UsageError(f"{output}: the exported model's name ends in .onnx")
    for spec in (*arguments.calibrate, *arguments.int8, *arguments.score):
        read_once(spec)  # what cannot be read is told before minutes of work
    if arguments.crossed_out:
        crossed_out(arguments.crossed_out)
    if Path(arguments.checkpoint) != output:
        export_checkpoint(arguments, output)
    elif not arguments.int8 and not arguments.crossed_out:
        raise UsageError(
            f"{output} is exported already: give a checkpoint, --int8 SPEC or --crossed-out SPEC"
        )
    elif arguments.mix or arguments.calibrate:
        raise UsageError(f"{output} is exported already: --mix and --calibrate want a checkpoint")
    if arguments.int8:
        export_quantised(arguments, output)
    if arguments.crossed_out:
        count_answers(arguments.crossed_out, output)


def export_checkpoint(arguments: argparse.Namespace, output: Path) -> None:
    """The ONNX file and its card, with scores measured on the exported file itself."""
    state = load_checkpoint(Path(arguments.checkpoint))
    network = load_network(Path(arguments.checkpoint))
    config = json.loads(state["config"])
    task = config.get("task", "pose")
    if arguments.mix:
        network = mixed(network, task, arguments.mix)
    if arguments.stacks is not None:
        network = first_stacks(network, arguments.stacks)
    graph = GRAPHS[task](network)
    if arguments.calibrate:
        graph = calibrated_graph(network, task, arguments.calibrate)
    export_onnx(graph, output)
    reference = torch_runner(graph, torch.device("cpu"))
    checked: dict[str, Any] = {
        "task": task,
        "selftest": make_selftest(network.config.size, reference),
    }
    if isinstance(graph, PoseGraph) and graph.calibration is not None:
        checked["calibrated_on"] = arguments.calibrate
        checked["calibration"] = graph.calibration.tolist()
    card_path = write_card(network, output, checked)
    scored = score_model(str(output), "auto", arguments.score, "fp32")
    about = checked | {
        "exported": date.today().isoformat(),
        "command": shlex.join(["livepose", *sys.argv[1:]]),
        "note": arguments.note,
        "trained_on": {"steps": state["step"], "config": config},
        **({"mixed_with": arguments.mix} if arguments.mix else {}),
        "score_of": SCORE_OF[task],
        "scores": {spec: scores.as_dict() for spec, scores in scored.items()},
    }
    write_card(network, output, about)
    print(f"wrote {output} and {card_path}")


def calibrated_graph(network: StackedHourglass, task: str, specs: list[str]) -> PoseGraph:
    """The pose graph whose scores are right as often as they say on people of those sets."""
    if task != "pose":
        raise UsageError("--calibrate: only a pose model's scores are calibrated")
    people = [person for spec in specs for person in read_once(spec).people]
    runner = torch_runner(PoseGraph(network), torch.device("cpu"))
    return PoseGraph(network, torch.from_numpy(calibrate(runner, network.config.size, people)))


def export_quantised(arguments: argparse.Namespace, output: Path) -> None:
    """The INT8 variant, and what the card says of it, scores measured in INT8 among that."""
    from livepose.model.export_int8 import export_int8

    model = find_model(str(output))
    people = [person for spec in arguments.int8 for person in read_once(spec).people]
    spread = np.linspace(0, len(people) - 1, min(CALIBRATION, len(people))).round().astype(int)
    chosen = [people[i] for i in spread]
    path, apart_px = export_int8(model, true_crops(chosen, model.size))
    scored = score_model(str(output), "auto", arguments.score, "int8")
    about = {
        "file": path.name,
        "calibrated_on": {"data": arguments.int8, "people": len(chosen)},
        "median_px_off": round(apart_px, 3),
        "scores": {spec: scores.as_dict() for spec, scores in scored.items()},
    }
    card_path = add_to_card(output, {"int8": about})
    print(f"wrote {path} and {card_path}; half its joints are within {apart_px:.2f} px of fp32's")


def count_answers(specs: list[str], output: Path) -> None:
    """Onto the card: how many people who are crossed out the model takes for somebody, and their
    mean score."""
    people = crossed_out(specs)
    model = find_model(str(output))
    if model.card.get("task", "pose") != "pose":
        raise UsageError(f"--crossed-out: {output} is no pose model")
    with closing(open_engine(model, precision="fp32")) as engine:
        scores = predict(engine.run, model.size, people)[..., 2]
    each = best_scores(scores)
    answered, mean = float((each >= FOUND).mean()), float(each.mean())
    about = {"data": specs, "people": len(people), "answered": round(answered, 4)}
    card_path = add_to_card(output, {"crossed_out": about | {"mean_score": round(mean, 4)}})
    print(
        f"wrote {card_path}; of {len(people)} who are crossed out {answered:.1%} are taken for "
        f"somebody, mean score {mean:.3f}"
    )


def crossed_out(specs: list[str]) -> list[Person]:
    """Those of the data sets who have no joint in the picture."""
    everybody = [person for spec in specs for person in read_once(spec).people]
    people = [person for person in everybody if (person.joints[:, 2] < 0).all()]
    if not people:
        raise UsageError(f"--crossed-out {' '.join(specs)}: nobody there is nobody; try behind:400")
    return people


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
        "lsp, lspet, buffy, coco, mpii, synthetic, speaker, scene, behind",
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


def eval_parser() -> Parser:
    parser = Parser(
        prog="livepose eval",
        description="Scores a model on labelled people: true boxes, one crop, no flip; or --find.",
    )
    parser.add_argument("data", nargs="+", metavar="SPEC", help="KIND:PATH[:RANGE]")
    parser.add_argument(
        "--model", default="auto", help="a released model, an .onnx, or a checkpoint .pt"
    )
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--find",
        action="store_true",
        help="whole pictures, no boxes, up to 16 people: how many are posed at OKS >= 0.5",
    )
    parser.add_argument(
        "--plot", metavar="PATH", help="draw how many joints of each score are right (.png, .svg)"
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    return parser


def export_parser() -> Parser:
    parser = Parser(
        prog="livepose export",
        description="Writes a checkpoint's averaged weights as NAME.onnx with a model card.",
    )
    parser.add_argument(
        "checkpoint",
        help="checkpoint.pt of a run folder; with --int8 or --crossed-out also an exported "
        "NAME.onnx",
    )
    parser.add_argument("output", metavar="NAME.onnx", nargs="?")
    parser.add_argument(
        "--int8",
        action="append",
        default=[],
        metavar="SPEC",
        help="also write NAME.int8.onnx, calibrated on people of this data set; may be repeated",
    )
    parser.add_argument(
        "--score",
        action="append",
        default=[],
        metavar="SPEC",
        help="score the model on this data set for the card; may be repeated",
    )
    parser.add_argument(
        "--stacks", type=int, metavar="N", help="only the first N hourglasses (default: all)"
    )
    parser.add_argument(
        "--calibrate",
        action="append",
        default=[],
        metavar="SPEC",
        help="people never trained on, on whom scores become the chance of being right; may be "
        "repeated (default: scores are the heights of heatmap peaks)",
    )
    parser.add_argument(
        "--mix",
        action="append",
        default=[],
        metavar="MODEL",
        help="export the mean of its weights and those of this released name, .onnx or .pt, which "
        "it was trained on from or beside; may be repeated",
    )
    parser.add_argument(
        "--crossed-out",
        action="append",
        default=[],
        metavar="SPEC",
        help="note on the card whether it takes who is crossed out (behind:400) for somebody; "
        "where it does not, more of who stands behind others is believed; may be repeated",
    )
    parser.add_argument("--note", default="", help="a line for the card")
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    return parser
