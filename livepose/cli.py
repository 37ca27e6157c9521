"""The command line: the main job's arguments, and where the other commands are.

The work is in `app.py`; `livepose train` and the like parse their own arguments.
"""

import argparse
import contextlib
import errno
import importlib
import logging
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from typing import NoReturn

from livepose import __version__
from livepose.errors import LivePoseError

STARTED_S = time.monotonic()

COMMANDS = {
    "bench": ("livepose.bench.command:main", "measure latency"),
    "train": ("livepose.training.train_command:train", "train the network"),
    "eval": ("livepose.training.eval_command:evaluate_model", "score a model on labelled people"),
    "export": ("livepose.training.export_command:export", "a checkpoint to NAME.onnx and its card"),
    "doctor": ("livepose.doctor:main", "what is there, what is missing, and how to get it"),
    "build": ("livepose.runtime.build:main", "a model's TensorRT engine for this GPU"),
    "import": ("livepose.model.import_command:main", "a public checkpoint to NAME.onnx"),
}
"""Name -> the function that parses the rest of the words and does the work, and a line of help."""

EXIT_CODES = """\
exit codes: 0 done; 2 wrong usage; 3 the source could not be opened or was lost for good;
4 no usable model or engine; 5 output could not be written; 130 interrupted
"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"livepose: {message}; see `{self.prog} --help`\n")


def size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT")
    return int(match[1]), int(match[2])


def command_list() -> str:
    lines = [f"  livepose {name:8} {about}" for name, (_, about) in COMMANDS.items()]
    return "\n".join(["commands (each has its own --help):", *lines, ""])


def run_parser() -> Parser:
    parser = Parser(
        prog="livepose",
        description="Shows the skeletons of people, live, with honest figures.",
        epilog=command_list() + "\n" + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"livepose {__version__}")
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")

    source = parser.add_argument_group("what to look at")
    which = source.add_mutually_exclusive_group()
    which.add_argument("--camera", metavar="N", type=int, help="camera by number (default: 0)")
    which.add_argument(
        "--source",
        metavar="SRC",
        help="a video, an image, a folder or glob of images, http(s):// or rtsp(s)://, "
        "/dev/videoN, or `test`, the built-in synthetic camera",
    )
    source.add_argument("--size", type=size, metavar="WxH", help="ask the camera for this size")
    source.add_argument("--fps", type=float, help="ask the camera for this rate")
    source.add_argument("--max-frames", type=int, metavar="N", help="end after N frames")
    source.add_argument("--duration", type=float, metavar="S", help="end after S seconds")
    source.add_argument(
        "--give-up-after",
        type=float,
        metavar="S",
        help="end when a camera stays lost for S seconds (default: never)",
    )

    output = parser.add_argument_group("what to show and keep")
    output.add_argument("--save", metavar="PATH", help="annotated video, image, or folder/")
    output.add_argument(
        "--keypoints",
        metavar="PATH",
        help=".ndjson, .json (COCO results), folder/ (OpenPose files), or - (NDJSON on stdout)",
    )
    output.add_argument("--headless", action="store_true", help="no window")
    output.add_argument(
        "--mirror",
        action=argparse.BooleanOptionalAction,
        help="show as in a mirror (default: for cameras)",
    )
    output.add_argument(
        "--min-score",
        type=float,
        default=0.3,
        metavar="X",
        help="draw joints from this score on (default: 0.3)",
    )

    model = parser.add_argument_group("how to find poses")
    model.add_argument("--model", default="auto", help="a released model or the path of an .onnx")
    model.add_argument(
        "--engine", default="auto", help="auto, tensorrt, torch, openvino or onnx (default: auto)"
    )
    model.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    model.add_argument(
        "--precision",
        default="auto",
        help="auto, fp32, fp16, bf16 or int8, as far as the engine has it (default: auto)",
    )
    model.add_argument(
        "--max-people", type=int, default=8, metavar="N", help="follow so many at most (default: 8)"
    )
    model.add_argument("--no-smooth", action="store_true", help="joints as the network gives them")
    return parser


def run_command(arguments: argparse.Namespace) -> None:
    from livepose.app import RunOptions, run, stderr_console

    source = arguments.source
    if source is None:
        source = str(arguments.camera or 0)
    options = RunOptions(
        source=source,
        save=arguments.save,
        keypoints=arguments.keypoints,
        model=arguments.model,
        engine=arguments.engine,
        device=arguments.device,
        precision=arguments.precision,
        max_people=arguments.max_people,
        min_score=arguments.min_score,
        mirror=arguments.mirror,
        headless=arguments.headless,
        max_frames=arguments.max_frames,
        duration_s=arguments.duration,
        smooth=not arguments.no_smooth,
        size_wh=arguments.size,
        fps=arguments.fps,
        give_up_after_s=arguments.give_up_after,
    )
    run(options, stderr_console(), STARTED_S)


def hint(arguments: argparse.Namespace, word: str) -> str:
    """What was probably meant by a word that is no option's."""
    if word.startswith("-"):
        return ""
    if word in COMMANDS:
        return f"; the command comes first: livepose {word}"
    if arguments.source is not None:
        return "; put a pattern in quotes"
    return f"; a source is given as --source {word}"


def dispatch(words: Sequence[str]) -> None:
    """Run the command that the first word names, or the main job."""
    if words and words[0] in COMMANDS:
        module, _, function = COMMANDS[words[0]][0].partition(":")
        getattr(importlib.import_module(module), function)(list(words[1:]))
    else:
        parser = run_parser()
        arguments, rest = parser.parse_known_args(words)
        if rest:
            parser.error(f"unrecognized arguments: {' '.join(rest)}{hint(arguments, rest[0])}")
        run_command(arguments)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. No traceback without --debug."""
    words = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(format="livepose: %(message)s", level=logging.WARNING)
    try:
        dispatch(words)
    except KeyboardInterrupt:
        return 130
    except LivePoseError as error:
        complain(str(error), "--debug" in words)
        return error.exit_code
    except ImportError as error:
        # OpenCV's wheel takes some libraries from the system; a server may not have them.
        hint = "on Debian and Ubuntu: apt-get install libgl1 libglib2.0-0"
        why = hint if "cannot open shared object" in str(error) else "pip install livepose again"
        complain(f"a library is missing: {error}; {why}", "--debug" in words)
        return 1
    except OSError as error:
        # What was printed, for files have errors of their own. Anything else is a bug.
        if error.errno not in (errno.EPIPE, errno.ENOSPC, errno.EIO):
            return bug(error, "--debug" in words)
        return stdout_failed(error, "--debug" in words)
    except Exception as error:
        # Whatever a thread died of is a bug: still one line, and all of it with --debug.
        return bug(error, "--debug" in words)
    return 0


def script() -> NoReturn:
    """The installed program. A thread that is still inside a library, loading a model as it may
    be, would crash while Python takes itself down: then the process ends at once.
    """
    try:
        code = main()
    except SystemExit as end:  # argparse's
        code = end.code if isinstance(end.code, int) else 0
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        code = code or stdout_failed(error, "--debug" in sys.argv)
    if any(t.daemon for t in threading.enumerate()):
        background = sys.modules.get("livepose.runtime.background")
        if background is not None:
            background.kill_builds()
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def bug(error: Exception, debug: bool) -> int:
    complain(f"{type(error).__name__}: {error} (a bug; --debug shows where)", debug)
    return 1


def stdout_failed(error: OSError, debug: bool) -> int:
    """Whoever read standard output has gone, or the disk is full."""
    from livepose.sinks import cannot_write, drop

    drop(sys.stdout)
    failure = cannot_write("standard output", error)
    complain(str(failure), debug)
    return failure.exit_code


def complain(message: str, debug: bool) -> None:
    """One line on stderr, after the traceback if that was asked for."""
    with contextlib.suppress(OSError):  # the terminal may have been closed
        if debug:
            traceback.print_exc()
        print(f"livepose: {' '.join(message.split())}", file=sys.stderr)
