"""The models that come with livepose or that a user names: ONNX files and their cards."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livepose.errors import EngineError, ModelError

DEFAULT = "small"
"""The model that `--model auto` takes where no larger one is suited (`runtime.choice`)."""

FINDER = "finder"
"""The model that says where people are; no pose model."""

MARK = "livepose_float32_sha256"
"""In a variant's metadata: the hash of the float32 file that it was made from."""


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
    stems = {p.stem for p in engines_folder().glob("*.onnx")}
    return sorted(stem for stem in stems if stem != FINDER and "." not in stem)


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


def variant_path(path: Path, precision: str) -> Path:
    """`NAME.fp16.onnx` or `NAME.int8.onnx` beside `NAME.onnx`; it has no card of its own."""
    return path.with_name(f"{path.stem}.{precision}.onnx")


def source_mark(path: Path) -> bytes:
    """The hash of a float32 file, in ASCII, as its variants hold it."""
    return hashlib.sha256(path.read_bytes()).hexdigest().encode()


def is_made_from(variant: Path, path: Path) -> bool:
    """Whether a variant is there and was made from exactly this float32 file."""
    return variant.is_file() and source_mark(path) in variant.read_bytes()


def int8_file(model: Model) -> Path:
    """The model's INT8 variant; EngineError where there is none, or one of another model."""
    path = variant_path(model.path, "int8")
    if is_made_from(path, model.path):
        return path
    why = f"made from another {model.path.name}" if path.is_file() else "not there"
    raise EngineError(f"{path.name} is {why}; `livepose export {model.path} --int8 SPEC` makes it")


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
