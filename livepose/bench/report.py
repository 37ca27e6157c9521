"""The report: tables for people, JSON with every sample, a picture of both. Measures nothing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from livepose.bench.compare import Ratio
from livepose.bench.glass import Glass
from livepose.bench.measure import PERCENTILES, Row, percentiles
from livepose.bench.stages import APART, STAGES
from livepose.bench.sweeps import FIT, Sweep
from livepose.errors import EngineError, OutputError
from livepose.sinks import TextFile

LEVELS = (
    "engine: crops in, joints out. pipeline: frame in, poses out. live: capture stamp to "
    "skeleton drawn. All samples count; percentiles are numpy's; rates are (N-1)/elapsed. MiB: of "
    "the process, which contenders share."
)


@dataclass(slots=True, eq=False)
class Report:
    """One run of `livepose bench`. `command`: the line that repeats it. `left_out`: what could
    not be measured, and why. `cpu_others`: the share of all cores' time that other processes took
    while it was measured.
    """

    command: str
    machine: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    sweeps: list[Sweep] = field(default_factory=list)
    glass: Glass | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    cpu_others: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Everything, raw samples included, ready for JSON."""
        return {
            "command": self.command,
            "machine": self.machine,
            "rows": [row.as_dict() for row in self.rows],
            "ratios": [ratio.as_dict() for ratio in self.ratios],
            "sweeps": [sweep.as_dict() for sweep in self.sweeps],
            "glass": self.glass.as_dict() if self.glass else None,
            "left_out": self.left_out,
            "cpu_others": self.cpu_others,
        }


def print_report(console: Console, report: Report) -> None:
    """All of it as tables."""

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    def say_contenders(rows: Sequence[Row]) -> None:
        for line in contender_lines(rows):
            say(line)

    say(f"$ {report.command}")
    say(", ".join(f"{key} {value}" for key, value in report.machine.items()))
    if report.cpu_others is not None:
        say(others(report.cpu_others))
    if report.rows:
        console.print(rows_table(report.rows))
        say(LEVELS)
        say_contenders(report.rows)
        if any(row.stages for row in report.rows):
            console.print(stages_table(report.rows))
            for line in stage_lines(report.rows):
                say(line)
    if report.ratios:
        console.print(ratios_table(report.ratios))
    say_contenders([row for sweep in report.sweeps for row in sweep.rows])
    for sweep in report.sweeps:
        console.print(sweep_table(sweep))
        say(slope_line(sweep))
    if report.glass:
        console.print(glass_table(report.glass))
    for what, reason in report.left_out.items():
        say(f"not measured: {what}: {reason}")


def others(share: float) -> str:
    return f"other processes took {share:.1%} of the processor meanwhile"


def new_table(title: str, words: Sequence[str], figures: Sequence[str], caption: str = "") -> Table:
    """Columns of words, then columns of figures."""
    table = Table(title=title, caption=caption or None)
    for heading in words:
        table.add_column(heading)
    for heading in figures:
        table.add_column(heading, justify="right")
    return table


def rows_table(rows: Sequence[Row]) -> Table:
    """A line a row."""
    scored = ["PCK@0.2"] if any("pck" in row.facts for row in rows) else []
    table = new_table(
        "latency in ms",
        ("level", "what", "pace"),
        ("n", *HEADINGS, "items/s", "first", "load", "MiB", "people", *scored),
    )
    for row in rows:
        name = row.name if row.items == 1 else f"{row.name} x{row.items}"
        facts = [number(row.facts.get(key), 0) for key in ("first_ms", "load_ms", "rss_mib")]
        table.add_row(
            row.level,
            name,
            row.pace,
            str(len(row.samples.ms)),
            *figures(row.samples.ms),
            number(row.samples.per_s * row.items, 1),
            *facts,
            number(row.facts.get("mean_people"), 2),
            *(number(row.facts.get("pck"), 3) for _ in scored),
        )
    return table


HEADINGS = tuple(name.removesuffix("_ms") for name in PERCENTILES)


def contender_lines(rows: Sequence[Row]) -> list[str]:
    """What each name stands for, on which data it was scored, and what became of live frames."""
    lines = {}
    for row in rows:
        if row.level == "live":
            facts = row.facts
            lines[f"live {facts['source']}"] = (
                f"live, {facts['source']}: the first frame shown "
                f"{facts['start_to_first_shown_ms']:.0f} ms after the start; {facts['captured']} "
                f"frames captured, {facts['used']} used, {facts['dropped']} dropped"
            )
        if "engine" in row.facts:
            lines[row.name] = f"{row.name}: model {row.facts['model']}, {row.facts['engine']}"
            if row.facts.get("compiled_before"):
                lines[row.name] += "; loaded from what was compiled before"
        elif "mediapipe" in row.facts:
            lines[row.name] = f"{row.name}: MediaPipe Pose Full {row.facts['mediapipe']}"
        if "accuracy" in row.facts:
            scored = row.facts["accuracy"]
            lines[row.name] += f"; limbs of {scored['people']} people of {scored['data']}"
    return list(lines.values())


def stages_table(rows: Sequence[Row]) -> Table:
    """What the samples are made of, a line a stage; `share`: of all samples' time together."""
    table = new_table(
        "stages, ms", ("level", "what", "pace", "stage"), ("n", *HEADINGS, "share of time")
    )
    for row in rows:
        for stage, ms in row.stages.items():
            share = "apart" if stage in APART else f"{np.sum(ms) / row.samples.ms.sum():.1%}"
            table.add_row(row.level, row.name, row.pace, stage, str(len(ms)), *figures(ms), share)
    return table


def stage_lines(rows: Sequence[Row]) -> list[str]:
    """What the stages are, and which of them an engine does not have."""
    met = {stage for row in rows for stage in row.stages}
    lines = [f"{stage}: {what}" for stage, what in (STAGES | APART).items() if stage in met]
    for row in rows:
        for stage, why in row.facts.get("no_stages", {}).items():
            line = f"no {stage} of {row.name}: {why}"
            if line not in lines:
                lines.append(line)
    return lines


def ratios_table(ratios: Sequence[Ratio]) -> Table:
    """A line a ratio."""
    table = new_table("ratios of medians", ("what", "to"), ("ratio", "95 % interval"))
    for ratio in ratios:
        few = np.isnan(ratio.low)
        interval = "too few rounds" if few else f"{ratio.low:.3f} to {ratio.high:.3f}"
        table.add_row(ratio.name, ratio.base, f"{ratio.ratio:.3f}", interval)
    return table


def sweep_table(sweep: Sweep) -> Table:
    """A line a step."""
    headings = (f"{sweep.unit}s", "n", *HEADINGS, f"ms a {sweep.unit}")
    title = f"cost of {sweep.what}, level {sweep.rows[0].level}, ms"
    table = new_table(title, ("what",), headings)
    for value, row in zip(sweep.values, sweep.rows, strict=True):
        each_ms = float(np.median(row.samples.ms)) / value
        count = str(len(row.samples.ms))
        table.add_row(row.name, f"{value:.4g}", count, *figures(row.samples.ms), f"{each_ms:.2f}")
    return table


def slope_line(sweep: Sweep) -> str:
    """What one unit more costs, and how well that says it."""
    start_ms, slope_ms = sweep.line
    line = (
        f"p50 = {start_ms:.2f} ms + {slope_ms:.3f} ms a {sweep.unit}: {FIT}; a median is off it "
        f"by {sweep.off_ms:.2f} ms at most"
    )
    return line if sweep.cpu_others is None else f"{line}; {others(sweep.cpu_others)}"


def glass_table(glass: Glass) -> Table:
    """The loop and its two parts."""
    missed = f"{glass.missed} flashes never came back"
    table = new_table("glass to glass, ms", ("part",), ("n", *HEADINGS), missed)
    for part, ms in (
        ("whole loop", glass.loop_ms),
        ("livepose", glass.livepose_ms),
        ("screen and camera", glass.outside_ms),
    ):
        if ms:
            table.add_row(part, str(len(ms)), *figures(ms))
    return table


def figures(ms: npt.ArrayLike) -> list[str]:
    return [number(value, 2) for value in percentiles(ms).values()]


def number(value: float | None, digits: int) -> str:
    return "" if value is None or value != value else f"{value:.{digits}f}"


def write_json(path: str, report: Report) -> None:
    """The whole report; `-` is stdout. Numbers that are unknown are null."""
    text = json.dumps(without_nan(report.as_dict()), indent=1, allow_nan=False) + "\n"
    file = TextFile(path)
    file.write(text)
    file.close()


def without_nan(value: Any) -> Any:
    """JSON knows no nan."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value


STYLES = ("-", "--", "-.", ":")
"""Of the lines at p50, p90, p99 and the maximum."""


def write_plot(path: str, rows: Sequence[Row]) -> None:
    """A histogram and a timeline of each row's samples, outliers and all."""
    try:
        import matplotlib
    except ImportError as e:
        raise EngineError("--plot needs matplotlib: pip install 'livepose[train]'") from e
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        len(rows), 2, figsize=(11, 2.4 * len(rows)), layout="constrained", squeeze=False
    )
    for row, (left, right) in zip(rows, axes, strict=True):
        ms, ends_s = row.samples.ms, row.samples.ends_s
        left.hist(ms, bins=60, log=True)
        for (name, value), style in zip(percentiles(ms).items(), STYLES, strict=True):
            label = f"{name.removesuffix('_ms')} {value:.1f}"
            left.axvline(value, color="black", linewidth=0.9, linestyle=style, label=label)
        left.set_ylim(bottom=0.7)
        left.legend(fontsize=7, loc="upper right")
        left.set(title=f"{row.level}, {row.name}, {row.pace}", xlabel="ms", ylabel="samples")
        right.plot(ends_s - ends_s[0], ms, ".", markersize=2)
        right.set(xlabel="s", ylabel="ms", ylim=(0, None))
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as e:
        raise OutputError(f"{path}: the picture cannot be written ({e})") from e
    finally:
        plt.close(figure)
