"""What `--compare all` compares: every released model on every engine in every precision."""

from collections.abc import Iterable

from livepose.bench.contender import Contender, Spec, open_contender
from livepose.errors import ModelError, OutputError
from livepose.models import released_models
from livepose.runtime import ENGINES

PRECISIONS = ("fp32", "bf16", "fp16", "int8")
"""All that any engine may have: each engine is asked for each, and says what it does not do."""

EAGER = "torch/fp32"
"""What the ratios of a model are against: PyTorch, eagerly on a CPU, on a GPU as a CUDA graph."""

LeftOut = dict[str, str]
"""By what was not measured, the reason."""


def every_spec(device: str = "auto") -> list[Spec]:
    """`MODEL@ENGINE/PRECISION`, whether it can run here or not."""
    return [
        Spec(f"{model}@{engine}/{precision}", model, engine, device, precision)
        for model in released_models()
        for engine in ENGINES[1:]
        for precision in PRECISIONS
    ]


def open_possible(specs: Iterable[Spec]) -> tuple[list[Contender], LeftOut]:
    """Those that can be opened here, self-test passed, and why not the others."""
    opened: list[Contender] = []
    failures: dict[tuple[str, str], list[str]] = {}
    for spec in specs:
        try:
            opened.append(open_contender(spec))
        except (ModelError, OutputError) as e:
            failures.setdefault((f"{spec.model}@{spec.engine}", str(e)), []).append(spec.precision)
    return opened, {
        f"{place}/{'|'.join(precisions)}": why for (place, why), precisions in failures.items()
    }


def base_of(text: str, texts: Iterable[str]) -> str:
    """Whom a contender is compared with: PyTorch with its model, or the model's first."""
    model = text.partition("@")[0]
    same = [other for other in texts if other.partition("@")[0] == model]
    eager = f"{model}@{EAGER}"
    return eager if eager in same else same[0]
