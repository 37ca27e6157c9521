"""`livepose export`: a checkpoint to NAME.onnx and its card, its INT8 variant among them."""

import argparse
import json
import shlex
import sys
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from livepose.cli import Parser
from livepose.errors import EngineError, UsageError
from livepose.estimator import best_scores
from livepose.search import FOUND

try:
    import torch
except ImportError as e:
    raise EngineError("torch is not installed: pip install 'livepose[train]'") from e

from livepose.model.checkpoint import first_stacks, load_checkpoint, load_network
from livepose.model.export import GRAPHS, add_to_card, export_onnx, write_card
from livepose.model.graph import PoseGraph
from livepose.model.hourglass import StackedHourglass
from livepose.model.mix import mixed
from livepose.models import find_model
from livepose.runtime import open_engine
from livepose.runtime.selftest import make_selftest
from livepose.training.calibrate import calibrate
from livepose.training.datasets import Person, read_once
from livepose.training.eval_command import score_model
from livepose.training.evaluate import predict, torch_runner, true_crops

CALIBRATION = 200
"""People whose crops INT8 is calibrated on, evenly spread over the data sets that are given."""

SCORE_OF = {
    "pose": "true boxes, one crop, no flip; PCK@0.2 of the torso, PCKh@0.5, mean OKS",
    "finder": "whole pictures; recall of labelled people at IoU >= 0.5, boxes a labelled person",
}


def export(words: list[str]) -> None:
    """Write the ONNX file and its card, its INT8 variant, or what more the card is to say."""
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
    elif not (arguments.int8 or arguments.crossed_out or arguments.score):
        raise UsageError(
            f"{output} is exported already: give a checkpoint, or --int8, --crossed-out or --score"
        )
    elif arguments.mix or arguments.calibrate:
        raise UsageError(f"{output} is exported already: --mix and --calibrate want a checkpoint")
    elif arguments.score and not arguments.int8:
        score_again(arguments.score, output)
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


def score_again(specs: list[str], output: Path) -> None:
    """Scores of an exported model, measured anew, in place of the card's for the same data."""
    known = find_model(str(output)).card.get("scores", {})
    scored = score_model(str(output), "auto", specs, "fp32")
    scores = {spec: scores.as_dict() for spec, scores in scored.items()}
    print(f"wrote {add_to_card(output, {'scores': known | scores})}")


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


def export_parser() -> Parser:
    parser = Parser(
        prog="livepose export",
        description="Writes a checkpoint's averaged weights as NAME.onnx with a model card.",
    )
    parser.add_argument(
        "checkpoint",
        help="checkpoint.pt of a run folder; with --int8, --crossed-out or --score also an "
        "exported NAME.onnx",
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
        help="score the model on this data set for the card (with --int8 and an exported NAME.onnx "
        "the variant alone); may be repeated",
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
