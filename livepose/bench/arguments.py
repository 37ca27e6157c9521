"""The options of `livepose bench`, and what of them makes no sense together. Measures nothing."""

import argparse
from collections.abc import Callable

from livepose.bench.contender import Spec, parse_spec
from livepose.bench.measure import Budget
from livepose.bench.sweeps import SWEEPS
from livepose.errors import UsageError

LEVELS = ("engine", "pipeline", "live")
PEER_NAME = "mediapipe"
ALL = "all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All options of `livepose bench`."""
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")

    what = parser.add_argument_group("what to measure")
    what.add_argument(
        "--level",
        action="append",
        choices=LEVELS,
        help="may be repeated (default: all three; with --compare and --peer: pipeline, "
        "with --compare all: engine)",
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
        "--compare",
        metavar="A,B",
        help="contenders such as small@onnx/fp32, taking turns; all: each released model on each "
        "engine in each precision that can run here, against torch/fp32",
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
        "--sweep",
        type=names(*SWEEPS, ALL),
        default=[],
        metavar="X,Y",
        help=f"what it costs to grow, a table each: {', '.join(SWEEPS)}, or {ALL}",
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
    if arguments.glass and arguments.plot:
        raise UsageError("--glass has no rows to plot: leave out --plot")
    alone = arguments.level == ["live"] or (arguments.sweep and not arguments.level)
    if arguments.accuracy and (arguments.glass or (alone and not compared)):
        raise UsageError("--accuracy stands beside the levels engine and pipeline: measure one")
    if arguments.sweep and (compared or arguments.glass):
        raise UsageError("--sweep goes with neither --compare, --peer nor --glass")
    if compared and (arguments.glass or len(arguments.level or "1") > 1):
        raise UsageError("--compare and --peer are of one --level, and go not with --glass")
    if compared and len(arguments.batch) > 1:
        raise UsageError("--compare and --peer are of one --batch")
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


def sweeps_of(arguments: argparse.Namespace) -> list[str]:
    """The sweeps that were asked for, each once."""
    return [what for what in SWEEPS if {what, ALL} & set(arguments.sweep)]
