"""`livepose bench`: from arguments to measurements to the report."""

import argparse
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from livepose.bench.accuracy import people_of, score
from livepose.bench.arguments import LEVELS, add_arguments, budget_of, check, main_spec, sweeps_of
from livepose.bench.contender import Clip, Contender, open_contender, read_clip
from livepose.bench.contest import run_compared
from livepose.bench.levels import (
    engine_level,
    live_level,
    make_estimator,
    open_live,
    pipeline_level,
)
from livepose.bench.machine import Neighbours, machine
from livepose.bench.report import Report, print_report, write_json, write_plot
from livepose.bench.sweeps import SWEEPS
from livepose.console import Printing
from livepose.errors import EngineError

PLAIN_WIDTH = 180
"""Columns of a table that goes to a file: as many as its figures need."""


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
    if arguments.accuracy:
        people_of(arguments.accuracy)  # a wrong name is told before minutes of work
    console = Printing(stderr=arguments.json == "-")
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


def run_levels(arguments: argparse.Namespace, report: Report) -> None:
    """The levels asked for, at each pace, and the sweeps."""
    levels = arguments.level or (() if arguments.sweep else LEVELS)
    sources = arguments.source or ["test"]
    spec = main_spec(arguments)
    with ExitStack() as stack:
        contender: Contender | None = None
        if arguments.sweep or set(levels) != {"live"}:
            clip = read_clip(sources)
            contender = open_contender(spec)
            stack.callback(contender.close)
        neighbours = Neighbours()
        if contender is not None:
            measure_levels(arguments, report, levels, contender, clip)
        if "live" in levels:
            for source in sources:
                opened = partial(open_live, source)
                row = live_level(spec, opened, source, budget_of(arguments), arguments.max_people)
                report.rows.append(row)
        if report.rows:
            report.cpu_others = neighbours.share()
        if contender is not None:
            measure_sweeps(arguments, report, contender, clip)
            scored = [row for row in report.rows if row.level != "live"]
            score(arguments.accuracy, scored, {spec.text: contender})


def measure_levels(
    arguments: argparse.Namespace,
    report: Report,
    levels: Sequence[str],
    contender: Contender,
    clip: Clip,
) -> None:
    """Engine and pipeline at each pace."""
    budget = budget_of(arguments)
    for fps in (pace or None for pace in arguments.pace):
        if "engine" in levels:
            for batch in arguments.batch:
                report.rows.append(engine_level(contender, clip, budget, fps, batch))
        if "pipeline" in levels:
            row = pipeline_level(contender, clip, budget, fps, arguments.max_people)
            report.rows.append(row)
    report.rows.sort(key=lambda row: LEVELS.index(row.level))


def measure_sweeps(
    arguments: argparse.Namespace, report: Report, contender: Contender, clip: Clip
) -> None:
    """What was asked for by name must be measured; of all, what can be."""
    for what in sweeps_of(arguments):
        try:
            report.sweeps.append(SWEEPS[what](contender, clip, budget_of(arguments)))
        except EngineError as e:
            if what in arguments.sweep:
                raise
            report.left_out[f"--sweep {what}"] = str(e)


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
