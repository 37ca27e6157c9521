"""`livepose import`: a public checkpoint to NAME.onnx and its card; `importer.py` does the work."""

import argparse
import hashlib
import shlex
from collections import Counter
from datetime import date
from pathlib import Path

from livepose.errors import EngineError, UsageError

try:
    import torch  # noqa: F401
except ImportError as e:
    raise EngineError("torch is not installed: pip install 'livepose[train]'") from e

from livepose.model.export import export_onnx, write_card
from livepose.model.graph import PoseGraph
from livepose.model.importer import convert, read_public


def parse(words: list[str]) -> argparse.Namespace:
    from livepose.cli import Parser

    parser = Parser(
        prog="livepose import",
        description="Turns a PyTorch checkpoint of princeton-vl/pytorch_stacked_hourglass, "
        "bearpaw/pytorch-pose or anibali/pytorch-stacked-hourglass into NAME.onnx with a model "
        "card. Nothing in the checkpoint is run; every weight must fit.",
    )
    parser.add_argument("checkpoint", help=".pth, .pt or .pth.tar")
    parser.add_argument("output", metavar="NAME.onnx")
    parser.add_argument("--name", help="the model's name on the card (default: the file's)")
    parser.add_argument("--note", default="", help="a line for the card")
    parser.add_argument(
        "--size", type=int, default=256, metavar="PX", help="side of the crops (default: 256)"
    )
    parser.add_argument("--keys", action="store_true", help="print every weight and its place")
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    return parser.parse_args(words)


def main(words: list[str]) -> None:
    """Read, compare, convert, export. With --keys the comparison is printed even if it fails."""
    arguments = parse(words)
    source, output = Path(arguments.checkpoint), Path(arguments.output)
    if output.suffix != ".onnx":
        raise UsageError(f"{output}: the exported model's name ends in .onnx")
    checkpoint = read_public(source, arguments.size)
    if arguments.keys:
        print(*checkpoint.keys, sep="\n")
    network = convert(checkpoint)
    found = Counter(key.status for key in checkpoint.keys)
    config = checkpoint.config
    print(
        f"{source}: {checkpoint.layout.source}, {config.stacks} stacks of {config.width} channels; "
        f"{found['mapped']} weights mapped, {found['unused']} unused, none missing"
    )
    export_onnx(PoseGraph(network), output)
    about = {
        "name": arguments.name or output.stem,
        "imported": date.today().isoformat(),
        "command": shlex.join(["livepose", "import", *words]),
        "note": arguments.note,
        "imported_from": {
            "layout": checkpoint.layout.source,
            "file": source.name,
            "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        },
        "scores": {},
    }
    print(f"wrote {output} and {write_card(network, output, about)}")
