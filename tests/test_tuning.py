"""Training a model on for a while: frozen parts, drawn pictures, and crops without a teacher."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import livepose.training
from livepose.cli import main
from livepose.errors import UsageError
from livepose.model.checkpoint import load_network
from livepose.model.from_onnx import idle_norms, load_onnx, norms_of
from livepose.models import find_model
from livepose.training.augment import PAINTED, Augmentation
from livepose.training.config import TrainConfig, read_settings
from livepose.training.loader import BatchLoader, Mixture
from livepose.training.loop import Trainer, load_mixture
from livepose.training.targets import taught

from .test_training import NETWORK, PLAIN, config, lsp, weights

__all__ = ["lsp"]


@pytest.fixture(scope="module")
def onnx(lsp: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A released model, its norms folded."""
    folder = tmp_path_factory.mktemp("first")
    Trainer(config(lsp), folder).run()
    assert main(["export", str(folder / "checkpoint.pt"), str(folder / "first.onnx")]) == 0
    return folder / "first.onnx"


def idle_names(network: torch.nn.Module) -> set[str]:
    idle = idle_norms(network)
    return {name for name, norm in norms_of(network).items() if any(norm is i for i in idle)}


@pytest.mark.parametrize("frozen", [(), ("folded",), ("stem",), ("folded", "stem")])
def test_what_is_frozen_stays_and_the_rest_learns(
    frozen: tuple[str, ...], lsp: Path, onnx: Path, tmp_path: Path
) -> None:
    """After three steps, and as many after a resume."""
    settings = config(lsp, init=str(onnx), frozen=frozen, steps=3, lr=1e-3)
    released = load_onnx(find_model(str(onnx)))
    idle = idle_names(released)
    assert idle and idle < set(norms_of(released))
    Trainer(settings, tmp_path).run()
    Trainer(replace(settings, steps=6), tmp_path).run()
    for key in ("model", "ema"):
        before = released.state_dict()
        for name, value in weights(tmp_path, key).items():
            module = name.rpartition(".")[0]
            folded, stem = module in idle, name.startswith("stem.")
            if "folded" not in frozen and folded and stem and "stem" in frozen:
                continue  # such a norm got this run's statistics before it was frozen
            if value.is_floating_point():
                stays = ("folded" in frozen and folded) or ("stem" in frozen and stem)
                assert torch.equal(value, before[name]) == stays, name


def test_in_a_step_folded_norms_are_none_and_the_others_take_the_batchs_statistics(
    lsp: Path, onnx: Path, tmp_path: Path
) -> None:
    trainer = Trainer(config(lsp, init=str(onnx), frozen=("folded",), steps=1), tmp_path)
    trainer.run()
    idle = idle_names(load_onnx(find_model(str(onnx))))
    for name, norm in norms_of(trainer.network).items():
        assert norm.training == (name not in idle)
        assert norm.weight.requires_grad == (name not in idle)


def test_folded_norms_come_back_when_a_run_goes_on_without_frozen_parts(
    lsp: Path, onnx: Path, tmp_path: Path
) -> None:
    """From its checkpoint as from the .onnx; in its own folder it is refused."""
    frozen = config(lsp, init=str(onnx), frozen=("folded",), steps=1)
    Trainer(frozen, tmp_path / "frozen").run()
    checkpoint = tmp_path / "frozen" / "checkpoint.pt"
    assert idle_norms(load_network(checkpoint))
    Trainer(config(lsp, init=str(checkpoint), steps=1), tmp_path / "on").run()
    assert not idle_norms(load_network(tmp_path / "on" / "checkpoint.pt"))
    with pytest.raises(UsageError, match="folded norms were frozen"):
        Trainer(replace(frozen, frozen=(), steps=2), tmp_path / "frozen")
    wide = replace(frozen, network=replace(NETWORK, width=16))
    with pytest.raises(UsageError, match="of the same network"):
        Trainer(wide, tmp_path / "wide").run()


@pytest.mark.parametrize(
    ("frozen", "init", "message"),
    [
        (["head"], "small", "give folded, stem"),
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


def test_drawn_pictures_are_augmented_in_their_own_way(lsp: Path, tmp_path: Path) -> None:
    crossed = replace(PLAIN, crossed=1.0)  # half of them are out then: -1
    assert states(f"lsp:{lsp}", PLAIN, drawn=crossed) == {1}
    assert states(f"lsp:{lsp}", crossed, drawn=PLAIN) == {-1, 1}
    mixture = Mixture(*load_mixture(("synthetic:10",)))
    made = [
        BatchLoader(mixture, 10, 64, usual, seed=0, drawn=drawn).make(0)
        for usual, drawn in ((PLAIN, None), (crossed, PLAIN), (crossed, None), (PLAIN, crossed))
    ]
    for one, other in (made[:2], made[2:]):
        assert all(map(np.array_equal, one, other))
    assert not np.array_equal(made[0][0], made[2][0])
    loader = Trainer(config(lsp, drawn=crossed), tmp_path).loader(mixture)
    assert (loader.augmentation, loader.drawn) == (Augmentation(), crossed)


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
