"""`livepose eval`: scores of a model on labelled people, as tables, JSON or a picture."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from livepose.cli import Parser
from livepose.console import Printing
from livepose.errors import EngineError, UsageError
from livepose.estimator import PoseEstimator
from livepose.finder import Finder
from livepose.skeleton import GROUPS

try:
    import torch
except ImportError as e:
    raise EngineError("torch is not installed: pip install 'livepose[train]'") from e

from livepose.model.checkpoint import load_checkpoint, load_network
from livepose.model.export import GRAPHS
from livepose.model.finder import MOST_PEOPLE
from livepose.runtime import open_engine
from livepose.runtime.choice import suited_model
from livepose.training.datasets import read_once
from livepose.training.evaluate import Scores, evaluate, torch_runner
from livepose.training.finder import pictures_of
from livepose.training.finder_trainer import FinderScores, RunnerEngine, score_finder
from livepose.training.found import FoundScores, filmed, score_found
from livepose.training.plot import plot_reliability


def evaluate_model(words: list[str]) -> None:
    """Scores of a model on each data set, as a table or JSON on stdout."""
    arguments = eval_parser().parse_args(words)
    if arguments.find and arguments.plot:
        raise UsageError("--plot draws the scores of joints in true boxes: leave out --find")
    if arguments.frames is not None and (not arguments.find or arguments.frames < 1):
        raise UsageError("--frames: give at least 1, with --find")
    asked = arguments.model, arguments.engine, arguments.data, arguments.precision
    scored = score_search(*asked, arguments.frames) if arguments.find else score_model(*asked)
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
    name: str, engine: str, specs: list[str], precision: str = "auto", frames: int | None = None
) -> dict[str, FoundScores]:
    """Scores by data set of what is found without boxes; followed for so many frames, if given."""
    if name.endswith(".pt"):
        raise UsageError(f"--find: {name} is a checkpoint; export it first")
    sets = {spec: read_once(spec) for spec in specs}
    with PoseEstimator(name, engine, precision=precision, max_people=MOST_PEOPLE) as estimator:
        estimate = estimator.estimate if frames is None else filmed(estimator.track, frames)
        return {spec: score_found(estimate, s) for spec, s in sets.items()}


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
        "--frames",
        type=int,
        metavar="N",
        help="with --find: each picture filmed for N frames, with noise, and people followed",
    )
    parser.add_argument(
        "--plot", metavar="PATH", help="draw how many joints of each score are right (.png, .svg)"
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    return parser
