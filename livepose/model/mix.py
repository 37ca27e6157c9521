"""Several trainings of one network as one: the mean of their weights.

Weights that were trained on from the same start lie in one valley, and their mean often answers
better on new people than each of them (Izmailov et al., UAI 2018; Wortsman et al., ICML 2022).
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from livepose.errors import UsageError
from livepose.model.export import GRAPHS, export_onnx, write_card
from livepose.model.from_onnx import load_onnx, open_network
from livepose.model.hourglass import StackedHourglass
from livepose.models import find_model


def mixed(network: StackedHourglass, task: str, others: Sequence[str]) -> StackedHourglass:
    """The mean of a network and others, each a released name, an .onnx or a checkpoint .pt of the
    same layers; in evaluation mode, with weights of its own.

    Norms are folded into the convolutions before them first, as exporting does: norms of two
    trainings may share the work differently with what is beside them. task: see `TrainConfig`.
    """
    beside = []
    for other in others:
        one = open_network(other)
        if one.config != network.config:
            raise UsageError(f"--mix {other}: is of another network")
        beside.append(folded(one, task) if other.endswith(".pt") else one)
    networks = [folded(network, task), *beside]
    weights = [n.state_dict() for n in networks]
    mean = {
        name: sum(w[name] for w in weights) / len(weights) if value.is_floating_point() else value
        for name, value in weights[0].items()
    }
    networks[0].load_state_dict(mean)
    return networks[0].eval()


def folded(network: StackedHourglass, task: str) -> StackedHourglass:
    """The network as an exported file of it is read back."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        export_onnx(GRAPHS[task](network), path)
        write_card(network, path, {})
        return load_onnx(find_model(str(path)))
