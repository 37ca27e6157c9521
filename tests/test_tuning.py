"""Training a model on for a while: frozen parts, drawn pictures, and crops without a teacher."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import livepose.training
from livepose.cli import main
from livepose.errors import UsageError
from livepose.model.from_onnx import load_onnx, norms_of
from livepose.models import find_model
from livepose.training.augment import PAINTED, Augmentation
from livepose.training.config import TrainConfig, read_settings
from livepose.training.loader import BatchLoader, Mixture
from livepose.training.loop import Trainer, load_mixture
from livepose.training.targets import taught

from .test_training import PLAIN, config, lsp, weights

__all__ = ["lsp"]


@pytest.fixture(scope="module")
def onnx(lsp: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A released model, its norms folded."""
    folder = tmp_path_factory.mktemp("first")
    Trainer(config(lsp), folder).run()
    assert main(["export", str(folder / "checkpoint.pt"), str(folder / "first.onnx")]) == 0
    return folder / "first.onnx"


@pytest.mark.parametrize("frozen", [(), ("norms",), ("stem",), ("norms", "stem")])
def test_what_is_frozen_stays_and_the_rest_learns(
    frozen: tuple[str, ...], lsp: Path, onnx: Path, tmp_path: Path
) -> None:
    """After three steps, and as many after a resume."""
    settings = config(lsp, init=str(onnx), frozen=frozen, steps=3, lr=1e-3)
    begun = Trainer(replace(settings, steps=1, lr=1e-12), tmp_path / "begun")
    begun.run()
    before = weights(tmp_path / "begun")
    Trainer(settings, tmp_path / "run").run()
    Trainer(replace(settings, steps=6), tmp_path / "run").run()
    norms = set(norms_of(begun.network))
    for key in ("model", "ema"):
        for name, value in weights(tmp_path / "run", key).items():
            if value.is_floating_point():
                norm, stem = name.rpartition(".")[0] in norms, name.startswith("stem.")
                stays = ("norms" in frozen and norm) or ("stem" in frozen and stem)
                same = torch.allclose(value, before[name], rtol=0, atol=1e-9)
                assert same == stays, name


def test_with_frozen_norms_the_first_answers_are_the_models(
    lsp: Path, onnx: Path, tmp_path: Path
) -> None:
    """While they are learnt from, too: there are no statistics of batches."""
    settings = config(lsp, init=str(onnx), frozen=("norms",), steps=1, lr=1e-12)
    trainer = Trainer(settings, tmp_path)
    trainer.run()
    x = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        expected = load_onnx(find_model(str(onnx)))(x)[-1]
        assert trainer.network.training  # as the step left it
        torch.testing.assert_close(trainer.network(x)[-1], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("frozen", "init", "message"),
    [
        (["head"], "small", "give norms, stem"),
        ("stem", "small", "list of texts"),
        ([1], "small", "list of texts"),
        (["stem"], "", "give init"),
    ],
)
def test_what_cannot_be_frozen_is_told(frozen: object, init: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainConfig.from_dict({"data": ["a"], "validate": "b", "frozen": frozen, "init": init})


def states(spec: str, usual: Augmentation, drawn: Augmentation | None = None) -> set[float]:
    """Of all joints in ten crops of that data set."""
    mixture = Mixture(*load_mixture((spec,)))
    loader = BatchLoader(mixture, 10, 64, usual, seed=0, drawn=drawn)
    return set(loader.make(0)[1][..., 2].flatten().tolist())


def test_crops_that_are_painted_say_so(lsp: Path) -> None:
    edge, crushed = replace(PLAIN, edge=1.0), replace(PLAIN, crushed=1.0)
    assert states(f"lsp:{lsp}", PLAIN) == {1}
    assert states(f"lsp:{lsp}", crushed) == {PAINTED}
    assert PAINTED in states(f"lsp:{lsp}", edge)
    assert states("synthetic:10", PLAIN) <= {-1, PAINTED}
    assert states(f"lsp:{lsp}", replace(PLAIN, crossed=1.0)) == {-1, 1}


def test_drawn_pictures_are_augmented_in_their_own_way(lsp: Path) -> None:
    """With an edge some joints of twelve people are absent, without none is."""
    edge = replace(PLAIN, edge=1.0)
    assert -1 in states("synthetic:10", edge)
    whole = states("synthetic:10", PLAIN)
    assert states("synthetic:10", edge, drawn=PLAIN) == whole
    assert -1 in states(f"lsp:{lsp}", edge, drawn=PLAIN)


def test_a_painted_joint_is_not_taught_where_it_should_not(
    lsp: Path, onnx: Path, tmp_path: Path
) -> None:
    targets, said = torch.rand(2, 16, 8, 8) + 0.1, torch.rand(2, 16, 8, 8)
    untaught = torch.rand(2, 16) < 0.5
    answer = taught(targets, said, 0.5, untaught)
    assert torch.equal(answer[untaught], targets[untaught])
    torch.testing.assert_close(answer[~untaught], (targets + said)[~untaught] / 2)

    settings = config(lsp, teacher=str(onnx), teaching=1.0)
    x, labels = torch.rand(4, 3, 32, 32), torch.full((4, 16, 3), 16.0)
    labels[..., 2] = 1
    with torch.no_grad():
        itself = [a.clamp(0, 1) for a in load_onnx(find_model(str(onnx)))(x)]
    for teach_painted, state, right in ((True, PAINTED, True), (False, 1, True), (False, 2, False)):
        labels[..., 2] = state
        trainer = Trainer(replace(settings, teach_painted=teach_painted), tmp_path)
        assert (trainer.loss(itself, labels, x) < 1e-9) == right


def test_settings_of_drawn_pictures_are_what_differs() -> None:
    values = {"data": ["a"], "validate": "b", "augmentation": {"hair": 0.3, "scale": 0.1}}
    read = TrainConfig.from_dict(values | {"drawn": {"hair": 0}})
    assert read.drawn == Augmentation(hair=0, scale=0.1)
    assert TrainConfig.from_dict(read.as_dict()) == read
    assert TrainConfig.from_dict(values).drawn is None
    for more, message in (
        ({"drawn": {"wings": 1}}, "wings"),
        ({"drawn": {"hair": "long"}}, "hair is 'long'"),
        ({"drawn": {}, "task": "finder"}, "leave teacher and drawn out"),
        ({"teach_painted": 1}, "true or false"),
    ):
        with pytest.raises(UsageError, match=message):
            TrainConfig.from_dict(values | more)


RECIPES = Path(livepose.training.__file__).parent / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.json")), ids=lambda path: path.stem)
def test_recipes_can_be_read(path: Path) -> None:
    TrainConfig.from_dict(read_settings(path))
