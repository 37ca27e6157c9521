"""`--compare` and `--peer`: contenders that take turns on the same frames, and their ratios."""

import argparse
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from livepose.bench.accuracy import note_score, score
from livepose.bench.arguments import ALL, PEER_NAME, budget_of, main_spec
from livepose.bench.compare import BLOCK, Block, interleave, joined, ratio_of_medians, timed
from livepose.bench.contender import Clip, Contender, open_contender, parse_spec, read_clip
from livepose.bench.everything import base_of, every_spec, open_possible
from livepose.bench.levels import known
from livepose.bench.machine import Neighbours
from livepose.bench.report import Report
from livepose.bench.stages import Pipeline
from livepose.errors import EngineError, UsageError

if TYPE_CHECKING:
    from livepose.bench.peer import Peer


def run_compared(arguments: argparse.Namespace, report: Report) -> None:
    """Contenders, and the peer if asked for, taking turns on the same frames."""
    from livepose.bench.peer import Peer

    every = arguments.compare == ALL
    level = (arguments.level or ["engine" if every and not arguments.peer else "pipeline"])[0]
    clip = read_clip(arguments.source or ["test"])
    with ExitStack() as stack:
        opened, report.left_out = open_possible(every_spec(arguments.device)) if every else ([], {})
        for contender in opened:
            stack.callback(contender.close)
        for text in [] if every else chosen(arguments):
            opened.append(open_contender(parse_spec(text, arguments.device)))
            stack.callback(opened[-1].close)
        if not opened:
            raise EngineError(f"--compare all: nothing can run here: {report.left_out}")
        contenders = {contender.spec.text: contender for contender in opened}
        peer = stack.enter_context(Peer(arguments.peer_python)) if arguments.peer else None
        run_contest(arguments, report, level, clip, contenders, peer)


def chosen(arguments: argparse.Namespace) -> list[str]:
    """The contenders that were named."""
    texts = arguments.compare.split(",") if arguments.compare else [main_spec(arguments).text]
    if len(set(texts)) != len(texts) or (len(texts) < 2 and not arguments.peer):
        raise UsageError("--compare: give at least two different contenders")
    return texts


def run_contest(
    arguments: argparse.Namespace,
    report: Report,
    level: str,
    clip: Clip,
    contenders: Mapping[str, Contender],
    peer: "Peer | None",
) -> None:
    """Measure them, and put rows, ratios and scores into the report."""
    pipelines: dict[str, Pipeline] = {}
    blocks: dict[str, Block] = {}
    for name, contender in contenders.items():
        if level == "pipeline":
            pipelines[name] = Pipeline(contender, clip, arguments.max_people)
            blocks[name] = timed(pipelines[name])
        else:
            blocks[name] = engine_block(contender, clip, arguments.batch[0])
    if peer is not None:
        peer.send_clip(clip)
        blocks[PEER_NAME] = partial(peer.block, clip)
    neighbours = Neighbours(*([peer.pid] if peer else []))
    taken = interleave(blocks, budget_of(arguments), BLOCK)
    report.cpu_others = neighbours.share()
    for name in blocks:
        facts = {"source": clip.description, "block": BLOCK}
        row = joined(level, name, taken[name], facts)
        if level == "engine":
            row.items = arguments.batch[0]
        if name in contenders:
            row.facts |= known(contenders[name])
        if name in pipelines:
            row.facts |= pipelines[name].facts_after(arguments.warm_up)
            row.stages = pipelines[name].stages_after(arguments.warm_up)
        if peer is not None and name == PEER_NAME:
            row.facts |= peer.facts_after(arguments.warm_up)
        report.rows.append(row)
    report.ratios = [
        ratio_of_medians(name, base, taken)
        for name in blocks
        if name != (base := PEER_NAME if peer else base_for(arguments, name, list(contenders)))
    ]
    score(arguments.accuracy, report.rows, contenders)
    if peer is not None and arguments.accuracy:
        note_score(report.rows[-1], arguments.accuracy, peer.score)


def base_for(arguments: argparse.Namespace, name: str, names: Sequence[str]) -> str:
    """Whom its median is divided by that of: the first named, or eager PyTorch for all."""
    return base_of(name, names) if arguments.compare == ALL else names[0]


def engine_block(contender: Contender, clip: Clip, batch: int) -> Block:
    """One contender's turns at the engine level."""
    crops = clip.crops(batch, contender.model.size)
    return timed(lambda i: contender.engine.run(crops))
