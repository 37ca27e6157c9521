"""`livepose bench`: from arguments to measurements to the report."""

import argparse
import shlex
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console

from livepose.bench.compare import BLOCK, Block, interleave, joined, ratio_of_medians, timed
from livepose.bench.contender import (
    Clip,
    Contender,
    Spec,
    open_contender,
    parse_spec,
    read_clip,
)
from livepose.bench.levels import (
    Pipeline,
    engine_level,
    known,
    live_level,
    make_estimator,
    open_live,
    pipeline_level,
)
from livepose.bench.measure import Budget, Row, machine
from livepose.bench.report import Report, print_report, write_json, write_plot
from livepose.bench.sweeps import SWEEPS
from livepose.errors import UsageError

if TYPE_CHECKING:
    from livepose.training.datasets import Person
    from livepose.training.evaluate import Scores

LEVELS = ("engine", "pipeline", "live")
PEER_NAME = "mediapipe"


PLAIN_WIDTH = 180
"""Columns of a table that goes to a file: as many as its figures need."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All options of `livepose bench`."""
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")

    what = parser.add_argument_group("what to measure")
    what.add_argument(
        "--level",
        action="append",
        choices=LEVELS,
        help="may be repeated (default: all three; with --compare and --peer: pipeline)",
    )
    what.add_argument("--model", default="auto", help="a released model or the path of an .onnx")
    what.add_argument("--engine", default="auto", help="also null:5ms, which only waits")
    what.add_argument("--device", default="auto")
    what.add_argument("--precision", default="auto")
    what.add_argument(
        "--source",
        action="append",
        metavar="SRC",
        help="where frames come from, see `livepose --help`; may be repeated (default: test)",
    )
    what.add_argument("--max-people", type=int, default=8, metavar="N")
    what.add_argument("--batch", type=numbers(int), default=[1], metavar="N,N", help="crops a call")
    what.add_argument(
        "--compare", metavar="A,B", help="contenders such as small@onnx/fp32, taking turns"
    )
    what.add_argument("--peer", choices=(PEER_NAME,), help="MediaPipe Pose takes turns as well")
    what.add_argument("--peer-python", metavar="PATH", help="python with mediapipe==0.10.21")
    what.add_argument(
        "--accuracy",
        metavar="SPEC",
        help="a labelled data set, KIND:PATH[:RANGE] as for `livepose eval`: adds PCK@0.2 of the "
        "limbs, one crop from each true box",
    )
    what.add_argument(
        "--sweep", type=names(*SWEEPS), default=[], metavar="X,Y", help=", ".join(SWEEPS)
    )
    what.add_argument(
        "--glass",
        action="store_true",
        help="glass to glass: point the camera (--source, default 0) at the flashing window",
    )
    what.add_argument("--flashes", type=int, default=30, metavar="N")

    how = parser.add_argument_group("how long and how fast")
    how.add_argument("--seconds", type=float, default=3.0, metavar="S", help="per row (default: 3)")
    how.add_argument("--count", type=int, metavar="N", help="samples per row, instead of seconds")
    how.add_argument("--warm-up", type=int, default=10, metavar="N", help="runs not counted")
    how.add_argument(
        "--pace",
        type=numbers(float),
        default=[0.0, 30.0, 60.0],
        metavar="FPS,FPS",
        help="0 is back to back (default: 0,30,60)",
    )

    output = parser.add_argument_group("what to keep")
    output.add_argument("--json", metavar="PATH", help="every sample; - is stdout")
    output.add_argument("--plot", metavar="PATH", help="histograms and timelines, .png or .svg")


def numbers(kind: Callable[[str], float]) -> Callable[[str], list[float]]:
    """Numbers between commas."""

    def read(text: str) -> list[float]:
        try:
            values = [kind(word) for word in text.split(",")]
        except ValueError:
            values = []
        if not values or min(values) < 0:
            raise argparse.ArgumentTypeError(f"{text!r}: give numbers from 0, as 1,2,4")
        return values

    return read


def names(*known_names: str) -> Callable[[str], list[str]]:
    """Known names between commas."""

    def read(text: str) -> list[str]:
        if not set(text.split(",")) <= set(known_names):
            raise argparse.ArgumentTypeError(f"{text!r}: choose from {', '.join(known_names)}")
        return text.split(",")

    return read


def main(words: list[str]) -> None:
    """Run `livepose bench` with these arguments. Raises LivePoseError."""
    from livepose.cli import Parser

    parser = Parser(
        prog="livepose bench",
        description="Measures latency at three levels that are never mixed up: engine (crops in, "
        "joints out), pipeline (frame in, poses out) and live (capture stamp to skeleton drawn).",
    )
    add_arguments(parser)
    bench(parser.parse_args(words), shlex.join(["livepose", "bench", *words]))


def bench(arguments: argparse.Namespace, command: str) -> None:
    """Measure what was asked for, print it, write it."""
    check(arguments)
    console = Console(stderr=arguments.json == "-")
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    report = Report(command, machine())
    if arguments.glass:
        run_glass(arguments, report)
    elif arguments.compare or arguments.peer:
        run_compared(arguments, report)
    else:
        run_levels(arguments, report)
    print_report(console, report)
    if arguments.json:
        write_json(arguments.json, report)
    if arguments.plot:
        write_plot(arguments.plot, report.rows or [r for s in report.sweeps for r in s.rows])


def check(arguments: argparse.Namespace) -> None:
    """Raise UsageError for what cannot be measured."""
    count, warm_up = arguments.count, arguments.warm_up
    if (count is not None and count < 2) or arguments.seconds <= 0 or warm_up < 0:
        raise UsageError("give --count from 2, --seconds above 0, --warm-up from 0")
    if min(arguments.batch) < 1 or arguments.max_people < 1 or arguments.flashes < 1:
        raise UsageError("give --batch, --max-people and --flashes from 1")
    if bool(arguments.peer) != bool(arguments.peer_python):
        raise UsageError("--peer mediapipe needs --peer-python PATH, and the other way round")
    compared = arguments.compare or arguments.peer
    if arguments.sweep and (compared or arguments.glass):
        raise UsageError("--sweep goes with neither --compare, --peer nor --glass")
    if compared and (arguments.glass or len(arguments.level or "1") > 1):
        raise UsageError("--compare and --peer are of one --level, and go not with --glass")
    if compared and arguments.level == ["live"]:
        raise UsageError("--compare live: threads cannot take turns; give engine or pipeline")
    if arguments.peer and arguments.level == ["engine"]:
        raise UsageError("--peer: MediaPipe takes whole frames, so the level is pipeline")


def main_spec(arguments: argparse.Namespace) -> Spec:
    """The contender that --model, --engine and so on name."""
    if arguments.engine.startswith("null:"):
        return parse_spec(arguments.engine)
    text = arguments.model
    if arguments.engine != "auto" or arguments.precision != "auto":
        text += f"@{arguments.engine}"
    if arguments.precision != "auto":
        text += f"/{arguments.precision}"
    return Spec(text, arguments.model, arguments.engine, arguments.device, arguments.precision)


def budget_of(arguments: argparse.Namespace) -> Budget:
    return Budget(arguments.seconds, arguments.count, arguments.warm_up)


def run_levels(arguments: argparse.Namespace, report: Report) -> None:
    """The levels asked for, at each pace, and the sweeps."""
    budget = budget_of(arguments)
    levels = arguments.level or (() if arguments.sweep else LEVELS)
    sources = arguments.source or ["test"]
    clip = read_clip(sources) if arguments.sweep or set(levels) != {"live"} else None
    spec = main_spec(arguments)
    if clip is not None:
        with ExitStack() as stack:
            contender = open_contender(spec)
            stack.callback(contender.close)
            for fps in (pace or None for pace in arguments.pace):
                if "engine" in levels:
                    for batch in arguments.batch:
                        report.rows.append(engine_level(contender, clip, budget, fps, batch))
                if "pipeline" in levels:
                    row = pipeline_level(contender, clip, budget, fps, arguments.max_people)
                    report.rows.append(row)
            report.rows.sort(key=lambda row: LEVELS.index(row.level))
            score(arguments.accuracy, report.rows, {spec.text: contender})
            for what in arguments.sweep:
                report.sweeps.append(SWEEPS[what](contender, clip, budget))
    if "live" in levels:
        for source in sources:
            opened = partial(open_live, source)
            report.rows.append(live_level(spec, opened, source, budget, arguments.max_people))


def run_compared(arguments: argparse.Namespace, report: Report) -> None:
    """Contenders, and the peer if asked for, taking turns on the same frames."""
    from livepose.bench.peer import Peer

    level = (arguments.level or ["pipeline"])[0]
    texts = arguments.compare.split(",") if arguments.compare else [main_spec(arguments).text]
    if len(set(texts)) != len(texts) or (len(texts) < 2 and not arguments.peer):
        raise UsageError("--compare: give at least two different contenders")
    clip = read_clip(arguments.source or ["test"])
    with ExitStack() as stack:
        contenders: dict[str, Contender] = {}
        pipelines: dict[str, Pipeline] = {}
        blocks: dict[str, Block] = {}
        for text in texts:
            contenders[text] = contender = open_contender(parse_spec(text, arguments.device))
            stack.callback(contender.close)
            if level == "pipeline":
                pipelines[text] = Pipeline(contender, clip, arguments.max_people)
                blocks[text] = timed(pipelines[text])
            else:
                blocks[text] = engine_block(contender, clip, arguments.batch[0])
        peer = stack.enter_context(Peer(arguments.peer_python)) if arguments.peer else None
        if peer is not None:
            peer.send_clip(clip)
            blocks[PEER_NAME] = partial(peer.block, clip)
        taken = interleave(blocks, budget_of(arguments), BLOCK)
        for name in blocks:
            row = joined(level, name, taken[name], {"source": clip.description, "block": BLOCK})
            if name in contenders:
                row.facts |= known(contenders[name])
            if name in pipelines:
                row.facts |= pipelines[name].facts_after(arguments.warm_up)
                row.stages = pipelines[name].stages_after(arguments.warm_up)
            report.rows.append(row)
        if peer is not None:
            report.rows[-1].facts |= peer.facts_after(arguments.warm_up)
        base = PEER_NAME if peer is not None else texts[0]
        report.ratios = [ratio_of_medians(n, base, taken) for n in blocks if n != base]
        score(arguments.accuracy, report.rows, contenders)
        if peer is not None and arguments.accuracy:
            note_score(report.rows[-1], arguments.accuracy, peer.score)


def engine_block(contender: Contender, clip: Clip, batch: int) -> Block:
    """One contender's turns at the engine level."""
    crops = clip.crops(batch, contender.model.size)
    return timed(lambda i: contender.engine.run(crops))


def score(data: str | None, rows: list[Row], contenders: dict[str, Contender]) -> None:
    """Put a contender's accuracy on that data beside every row of it."""
    if data is None:
        return
    for name, contender in contenders.items():

        def evaluated(people: "Sequence[Person]", contender: Contender = contender) -> "Scores":
            from livepose.training.evaluate import evaluate

            return evaluate(contender.engine.run, contender.model.size, people)

        own = [row for row in rows if row.name == name]
        for row in own[:1]:
            note_score(row, data, evaluated)
        for row in own[1:]:
            row.facts |= {key: own[0].facts[key] for key in ("pck", "oks", "accuracy")}


def note_score(row: Row, data: str, evaluated: "Callable[[Sequence[Person]], Scores]") -> None:
    """PCK@0.2 and mean OKS of the limbs on labelled people, one crop for each true box."""
    from livepose.training.datasets import load_set

    scores = evaluated(load_set(data).people)
    row.facts |= {"pck": scores.pck["limbs"], "oks": scores.oks}
    row.facts["accuracy"] = {"data": data} | scores.as_dict()


def run_glass(arguments: argparse.Namespace, report: Report) -> None:
    """Flash a window and wait for the camera to see it."""
    from livepose.bench.glass import MarkerWindow, measure_glass

    source = (arguments.source or ["0"])[0]
    spec = main_spec(arguments)
    report.glass = measure_glass(
        MarkerWindow(),
        partial(open_live, source),
        lambda: make_estimator(spec, arguments.max_people),
        arguments.flashes,
    )
