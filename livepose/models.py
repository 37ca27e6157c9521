"""The models that come with livepose or that a user names: ONNX files and their cards."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livepose.errors import ModelError

DEFAULT = "small"
"""The model that `--model auto` takes."""

FINDER = "finder"
"""The model that says where people are; no pose model."""


@dataclass(frozen=True, slots=True)
class Model:
    """An exported model. `card` is the JSON beside it; `size` the side of its crops in pixels."""

    name: str
    path: Path
    size: int
    card: dict[str, Any]


def engines_folder() -> Path:
    """Where the released models are: inside the installed package, or in the checkout."""
    package = Path(__file__).parent
    installed = package / "engines"
    return installed if installed.is_dir() else package.parent / "engines"


def released_models() -> list[str]:
    """Names of the pose models that come with livepose."""
    return sorted(p.stem for p in engines_folder().glob("*.onnx") if p.stem != FINDER)


def find_model(name: str = "auto") -> Model:
    """`auto`, a released model's name, or the path of an exported .onnx with its card."""
    wanted = DEFAULT if name == "auto" else name
    path = Path(wanted)
    if path.suffix != ".onnx":
        path = engines_folder() / f"{wanted}.onnx"
        if not path.is_file():
            known = ", ".join(released_models()) or "none"
            raise ModelError(f"no model {wanted!r}: give one of {known}, or the path of an .onnx")
    if not path.is_file():
        raise ModelError(f"{path}: no such model file; `livepose export` makes one")
    card = read_card(path.with_suffix(".json"))
    return Model(path.stem, path, int(card["size"]), card)


def read_card(path: Path) -> dict[str, Any]:
    """The model card, a JSON object that has at least the `size` of the crops."""
    try:
        card = json.loads(path.read_text())
    except OSError as e:
        raise ModelError(
            f"{path}: the card beside the model cannot be read ({e.strerror}); is "
            f"{path.with_suffix('.onnx').name} a livepose model? `livepose export` writes both"
        ) from e
    except ValueError as e:
        raise ModelError(f"{path}: the model's card is not JSON ({e})") from e
    if not isinstance(card, dict) or not isinstance(card.get("size"), int):
        raise ModelError(f"{path}: the model's card does not give the crops' `size`")
    return card
