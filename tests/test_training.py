"""Training on a tiny made data set: loading, augmenting, resuming, the command."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from livepose.cli import main
from livepose.crops import NEITHER
from livepose.errors import DataError, ModelError, OutputError, UsageError
from livepose.model.checkpoint import load_checkpoint, load_network, save_checkpoint
from livepose.model.from_onnx import load_onnx
from livepose.model.hourglass import HourglassConfig
from livepose.model.widen import widen
from livepose.models import find_model
from livepose.skeleton import FLIP_ORDER
from livepose.training.augment import Augmentation, crop_matrix, degrade, random_crop
from livepose.training.config import TrainConfig, read_settings
from livepose.training.datasets import load_set
from livepose.training.loader import BatchLoader, Mixture, boxes_by_picture
from livepose.training.loop import LENGTHS, Trainer, load_mixture
from livepose.training.readers_common import PoseSet

NETWORK = HourglassConfig(stacks=1, width=8, depth=2, stem=(4, 8, 8), size=32)
PLAIN = Augmentation(**dict.fromkeys(Augmentation.__slots__, 0.0))


@pytest.fixture(scope="session")
def lsp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures in LSP's layout, a bright dot at every joint."""
    folder = tmp_path_factory.mktemp("lsp")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    joints = np.zeros((12, 14, 3), np.float32)
    for i in range(12):
        joints[i, :, :2] = rng.uniform(20, 100, (14, 2)).round()
        joints[i, :, 2] = 1
        image = rng.integers(0, 60, (120, 120, 3)).astype(np.uint8)
        for x, y, _ in joints[i]:
            cv2.circle(image, (int(x), int(y)), 3, (255, 255, 255), -1)
        cv2.imwrite(str(folder / "images" / f"im{i + 1:04d}.jpg"), image)
    np.savez(folder / "joints.npz", joints=joints)
    return folder


def config(lsp: Path, **changes: object) -> TrainConfig:
    settings = {"steps": 6, "batch": 4, "warmup": 2, "decay": 2, "precision": "fp32"} | changes
    return TrainConfig(data=(f"lsp:{lsp}",), validate=f"lsp:{lsp}", network=NETWORK, **settings)  # type: ignore[arg-type]


def weights(folder: Path, key: str = "model") -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(folder / "checkpoint.pt")[key])


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_resumed_run_gives_the_same_weights_as_an_uninterrupted_one(
    lsp: Path, tmp_path: Path, clip: float
) -> None:
    settings = config(lsp, clip=clip)
    Trainer(settings, tmp_path / "whole").run()
    first = Trainer(settings, tmp_path / "cut")
    first.run(minutes=1e-9)  # the clock stops it after one step
    assert first.step == 1
    second = Trainer(settings, tmp_path / "cut")
    assert second.step == 1
    second.run()
    for key in ("model", "ema"):
        whole, cut = weights(tmp_path / "whole", key), weights(tmp_path / "cut", key)
        assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_a_gradient_much_longer_than_usual_is_shortened(lsp: Path, tmp_path: Path) -> None:
    trainer = Trainer(config(lsp, clip=1.5), tmp_path)

    def shortened(length: float) -> float:
        gradients = [torch.tensor([0.6 * length, 0.0]), torch.tensor([[0.8 * length]])]
        trainer._shorten(gradients)
        return float(torch.cat([g.ravel() for g in gradients]).norm())

    for trainer.step, length, after in (
        (0, 2.0, 2.0),
        (1, 1e6, 3.0),  # an outlier is none of the usual, at the beginning either
        (2, 2.0, 2.0),
        (3, 2.5, 2.5),
        (4, 4.0, 3.75),
    ):
        assert shortened(length) == pytest.approx(after)
    for trainer.step in range(5, 5 + LENGTHS):  # the usual length may grow
        shortened(8.0)
    trainer.step += 1
    assert shortened(11.0) == pytest.approx(11.0)
    with pytest.raises(ModelError, match="gradient is inf"):
        shortened(float("inf"))


def test_training_lowers_the_loss(lsp: Path, tmp_path: Path) -> None:
    losses = []
    trainer = Trainer(config(lsp, steps=60, lr=3e-3, decay=1), tmp_path / "run")
    trainer.run(report=lambda line: losses.append(line["loss"]) if "lr" not in line else None)
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])


def test_another_network_in_the_folder_is_refused(lsp: Path, tmp_path: Path) -> None:
    Trainer(config(lsp), tmp_path).run(minutes=1e-9)
    other = TrainConfig.from_dict(
        config(lsp).as_dict() | {"network": NETWORK.as_dict() | {"stacks": 2}}
    )
    with pytest.raises(UsageError, match="another network"):
        Trainer(other, tmp_path)


def test_learning_rate_rises_stays_and_falls() -> None:
    c = TrainConfig(data=("x",), validate="x", steps=100, warmup=10, decay=20, lr=1.0)
    assert [c.learning_rate(s) for s in (0, 9, 50, 80, 90, 99)] == pytest.approx(
        [0.1, 1, 1, 1, 0.5, 0.05]
    )


def test_config_file_round_trip_and_its_errors(lsp: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps(config(lsp).as_dict()))
    assert TrainConfig.from_dict(read_settings(path)) == config(lsp)
    for text, message in (
        ("{", "not JSON"),
        ("[]", "JSON object"),
        ('{"data": ["a"], "validate": "b", "step": 1}', "unknown training settings: step"),
        ('{"data": [], "validate": "b"}', "no training data"),
        ('{"data": ["a"], "validate": "b", "network": {"size": 100}}', "multiple"),
        ('{"data": ["a"], "validate": "b", "network": {"size": -64}}', "from 1 on"),
        ('{"data": ["a"], "validate": "b", "teaching": 0}', "above 0, up to 1"),
        ('{"data": ["a"], "validate": "b", "teacher": null}', "are texts"),
        ('{"data": ["a"], "validate": "b", "teacher": "c", "task": "finder"}', "labels alone"),
        ('{"data": ["behind:9"], "validate": "b", "task": "finder"}', "is not to be found"),
        ('{"data": ["among:9"], "validate": "b", "task": "finder"}', "is not to be found"),
        ('{"data": ["followed:9:small"], "validate": "b", "task": "finder"}', "not to be found"),
        ('{"data": "lsp:a", "validate": "b"}', "list of texts"),
        ('{"data": null, "validate": "b"}', "list of texts"),
        ('{"data": ["a"], "validate": null}', "are texts"),
        ('{"data": ["a"], "validate": "b", "lr": -1}', "lr"),
        ('{"data": ["a"], "validate": "b", "clip": 0.5}', "0 or a number from 1"),
        ('{"data": ["a"], "validate": "b", "seed": -1}', "seed is -1"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=message):
            TrainConfig.from_dict(read_settings(path))


def test_a_folder_that_cannot_be_one_is_named(
    lsp: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """And settings in a file may leave to the command line what it gives."""
    path = tmp_path / "c.json"
    values = config(lsp).as_dict()
    del values["data"], values["validate"]
    path.write_text(json.dumps(values))
    words = ["train", "--config", str(path), "--data", f"lsp:{lsp}", "--validate", f"lsp:{lsp}"]
    assert main([*words, "--run-dir", str(path)]) == 5
    assert f"{path}: cannot be written" in capfd.readouterr().err


def test_the_settings_count_not_those_of_the_checkpoint(lsp: Path, tmp_path: Path) -> None:
    Trainer(config(lsp), tmp_path).run()
    again = Trainer(config(lsp, steps=9, weight_decay=0.5), tmp_path)
    decays = {group["weight_decay"] for group in again.optimizer.param_groups}
    assert again.step > 0 and decays == {0.5, 0.0}


def test_mixture_follows_the_weights(lsp: Path) -> None:
    sets, shares = load_mixture((f"lsp:{lsp}:1-2*3", f"lsp:{lsp}:5-9"))
    assert shares == [3.0, 1.0]
    rng = np.random.default_rng(0)
    names = [Mixture(sets, shares).draw(rng).name for _ in range(400)]
    first = sum(name in {p.name for p in sets[0].people} for name in names)
    assert 260 < first < 340
    with pytest.raises(UsageError, match="above 0"):
        load_mixture((f"lsp:{lsp}*0",))


def test_batches_depend_on_the_step_alone(lsp: Path) -> None:
    sets, shares = load_mixture((f"lsp:{lsp}",))
    loaders = [
        BatchLoader(Mixture(sets, shares), 3, 32, Augmentation(), seed=1, workers=w) for w in (1, 3)
    ]
    straight = list(loaders[0].steps(0, 5))
    for (crops, joints), (crops2, joints2) in zip(
        straight[2:], loaders[1].steps(2, 5), strict=True
    ):
        assert np.array_equal(crops, crops2)
        assert np.array_equal(joints, joints2)


FORKED = """
import sys
import numpy as np
from livepose.training.augment import Augmentation
from livepose.training.loader import BatchLoader, Mixture
from livepose.training.loop import load_mixture

mixture = Mixture(*load_mixture((sys.argv[1],)))
threads, processes = (
    BatchLoader(mixture, 3, 32, Augmentation(), 1, forked=forked).steps(2, 5)
    for forked in (False, True)
)
for one, other in zip(threads, processes, strict=True):
    assert all(map(np.array_equal, one, other))
print("the same")
"""


def test_forked_processes_make_the_same_batches(lsp: Path) -> None:
    """In a process of its own, as training is: engines of other tests bear no fork beside them."""
    command = [sys.executable, "-c", FORKED, f"lsp:{lsp}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.stdout == "the same\n", done.stderr[-2000:]


def test_joints_stay_on_their_pixels_under_augmentation(lsp: Path) -> None:
    """Scale, shift, rotation and mirror: a labelled joint is still a bright dot."""
    sets, _ = load_mixture((f"lsp:{lsp}",))
    how = Augmentation(colour=0, occlude=0, degrade=0, half_body=0, cut_off=0, nobody=0)
    rng = np.random.default_rng(5)
    checked = 0
    for person in sets[0].people:
        image = person.image.load()
        crop, joints = random_crop(image, person.joints, person.box_xyxy, 96, rng, how)
        for x, y, _ in joints[[0, 1, 2, 3, 4, 5, 8, 9, 10, 15]]:
            if 2 <= x < 94 and 2 <= y < 94:
                assert crop[round(y), round(x)].mean() > 120
                checked += 1
    assert checked > 60


def test_a_crop_of_nobody_shows_nobody_who_is_labelled() -> None:
    """People who stand about in rooms: none is in a crop that is said to be empty."""
    people = load_set("scene:80").people
    everybody = boxes_by_picture([PoseSet("scene", people)])
    how = replace(PLAIN, nobody=1.0, scale=0.1)
    empty = 0
    for i, person in enumerate(people):
        rng = np.random.default_rng(i)
        others = [p for p in people if p.image is person.image]
        dots = np.zeros((*person.image.load().shape[:2], 3), np.uint8)
        for other in others:
            for x, y, state in other.joints:
                if state > 0:
                    cv2.circle(dots, (round(x), round(y)), 3, (255, 255, 255), -1)
        where = everybody[person.image]
        crop, joints = random_crop(dots, person.joints, person.box_xyxy, 64, rng, how, where)
        if (joints == -1)[:, 2].all():
            empty += 1
            assert not crop.any()
    assert empty > 20


def test_motion_blur_moves_nothing() -> None:
    dot = np.zeros((65, 65, 3), np.uint8)
    dot[32, 32] = 255
    moved = []
    for seed in range(60):
        blurred = degrade(dot, np.random.default_rng(seed)).astype(float).sum(axis=2)
        if np.random.default_rng(seed).integers(5) == 1:
            y, x = np.indices(blurred.shape)
            moved.append(np.hypot((blurred * x).sum(), (blurred * y).sum()) / blurred.sum())
    assert len(moved) > 5
    assert np.allclose(moved, np.hypot(32, 32), atol=0.3)


def test_mirroring_swaps_left_and_right(lsp: Path) -> None:
    person = load_mixture((f"lsp:{lsp}",))[0][0].people[0]
    image = person.image.load()
    rng = np.random.default_rng(0)
    plain = random_crop(image, person.joints, person.box_xyxy, 64, rng, PLAIN)
    mirror = Augmentation(**{**{f: 0.0 for f in Augmentation.__slots__}, "flip": 1.0})
    mirrored = random_crop(image, person.joints, person.box_xyxy, 64, rng, mirror)
    assert np.array_equal(mirrored[0], plain[0][:, ::-1])
    assert np.allclose(mirrored[1][list(FLIP_ORDER), 0], 63 - plain[1][:, 0], atol=1e-3)
    assert np.allclose(mirrored[1][list(FLIP_ORDER), 1], plain[1][:, 1], atol=1e-3)


def test_a_person_crossed_out_is_nobody_and_behind_somebody_crossed_out_the_same() -> None:
    person = load_set("synthetic:1").people[0]
    image = person.image.load()

    def crop(how: Augmentation, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        return random_crop(image, person.joints, person.box_xyxy, 64, rng, how)

    whole, joints = crop(PLAIN, 0)
    seen = joints[:, 2] > 0
    assert seen.sum() > 12
    x, y = np.rint(joints[seen, :2]).astype(int).T
    kinds = set()
    for seed in range(12):
        crossed, left = crop(replace(PLAIN, crossed=1.0), seed)
        assert not np.array_equal(crossed, whole)
        if (left == -1).all():
            kinds.add("nobody")
            grey = (crossed == NEITHER).all(axis=2)[y, x]
            assert grey.mean() > 0.7  # joints are thought to be a little off
        else:
            kinds.add("behind")
            assert np.array_equal(left, joints)
    assert kinds == {"nobody", "behind"}


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 1e4}, {"seed": 1.5}, {"network": {"width": 8.0}}, {"augmentation": {"flip": "1"}}],
    ids=str,
)
def test_numbers_of_the_wrong_kind_are_told(lsp: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        TrainConfig.from_dict(config(lsp).as_dict() | wrong)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_told_and_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"weights": torch.zeros(8)})
    (tmp_path / "checkpoint.pt.part").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"checkpoint\.pt: cannot be written"):
        save_checkpoint(path, {"weights": torch.ones(100_000)})
    assert torch.load(path, weights_only=True)["weights"].sum() == 0
    assert not (tmp_path / "checkpoint.pt.part").is_symlink()


def test_crop_matrix_by_hand() -> None:
    matrix = crop_matrix(np.array([50.0, 20.0]), 32, 90, False, 64)
    assert matrix @ [50, 20, 1] == pytest.approx([31.5, 31.5])
    # A quarter turn takes "right" to "up".
    assert matrix @ [58, 20, 1] == pytest.approx([31.5, 15.5])


def test_train_eval_export_commands(
    lsp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The three commands one after the other, as a user would."""
    path = tmp_path / "c.json"
    path.write_text(json.dumps(config(lsp, steps=3).as_dict()))
    run = tmp_path / "run"
    assert main(["train", "--run-dir", str(run), "--config", str(path)]) == 0
    assert {p.name for p in run.iterdir()} == {
        "config.json",
        "log.jsonl",
        "checkpoint.pt",
        "curve.png",
    }
    assert main(["train", "--run-dir", str(run), "--steps", "4"]) == 0  # prolonged
    assert load_checkpoint(run / "checkpoint.pt")["step"] == 4
    onnx = tmp_path / "tiny.onnx"
    spec = f"lsp:{lsp}"
    checkpoint = str(run / "checkpoint.pt")
    calibrate = ["--calibrate", spec]
    assert main(["export", checkpoint, str(onnx), "--score", spec, *calibrate]) == 0
    card = json.loads(onnx.with_suffix(".json").read_text())
    assert card["trained_on"]["steps"] == 4
    assert card["calibrated_on"] == [spec]
    counted = sum(row[2] for row in card["scores"][spec]["reliability"])
    assert counted == 12 * 16
    assert main(["export", str(onnx), "--crossed-out", "behind:12"]) == 0
    about = json.loads(onnx.with_suffix(".json").read_text())["crossed_out"]
    assert (about["data"], about["people"]) == (["behind:12"], 3)  # every fourth is alone
    assert about["answered"] in (0, 0.3333, 0.6667, 1)
    assert 0 <= about["mean_score"] <= 1
    assert main(["export", str(onnx), "--crossed-out", spec]) == 2  # there nobody is
    capsys.readouterr()
    for model in (checkpoint, str(onnx)):
        assert main(["eval", spec, "--model", model, "--json", "--precision", "fp32"]) == 0
        scores = json.loads(capsys.readouterr().out)[spec]
        assert scores["people"] == 12
        assert scores["pck"]["all14"] == pytest.approx(card["scores"][spec]["pck"]["all14"])
    curve = tmp_path / "reliability.png"
    assert main(["eval", spec, "--model", str(onnx), "--plot", str(curve)]) == 0
    assert cv2.imread(str(curve)).std() > 10
    assert main(["eval", spec, "--model", str(onnx), "--plot", "/nowhere/curve.png"]) == 5


def test_a_run_begins_with_a_models_weights(lsp: Path, tmp_path: Path) -> None:
    """From an .onnx and from a checkpoint; not from another network's."""
    Trainer(config(lsp), tmp_path / "first").run()
    checkpoint = tmp_path / "first" / "checkpoint.pt"
    onnx = tmp_path / "first.onnx"
    assert main(["export", str(checkpoint), str(onnx)]) == 0
    trained = weights(tmp_path / "first", "ema")
    for i, init in enumerate((checkpoint, onnx)):
        # A rate of next to nothing: the weights stay what they were at the start.
        settings = config(lsp, steps=1, lr=1e-9, init=str(init))
        Trainer(settings, tmp_path / f"next{i}").run()
        found = weights(tmp_path / f"next{i}", "model")
        name = "hourglasses.0.stay.body.0.2.weight"
        if init is checkpoint:  # exporting folds a norm into it
            assert torch.allclose(found[name], trained[name], atol=1e-6)
        assert torch.allclose(found["heads.0.heatmaps.weight"], trained["heads.0.heatmaps.weight"])
    other = replace(config(lsp, init=str(onnx)), network=replace(NETWORK, stacks=2))
    with pytest.raises(UsageError, match=r"first\.onnx: is of another network"):
        Trainer(other, tmp_path / "other").run()
    slimmer = replace(config(lsp, init=str(onnx)), network=replace(NETWORK, width=4))
    with pytest.raises(UsageError, match=r"first\.onnx: is of another network"):
        Trainer(slimmer, tmp_path / "slimmer").run()


def test_a_teachers_heatmaps_are_learnt(lsp: Path, tmp_path: Path) -> None:
    """With all of the targets from the teacher, it is itself without a loss."""
    Trainer(config(lsp), tmp_path / "first").run()
    onnx = tmp_path / "first.onnx"
    assert main(["export", str(tmp_path / "first" / "checkpoint.pt"), str(onnx)]) == 0
    taught = config(lsp, teacher=str(onnx), teaching=1.0)
    trainer = Trainer(taught, tmp_path / "taught")
    x = torch.rand(4, 3, 32, 32)
    labels = torch.full((4, 16, 3), 16.0)
    labels[..., 2] = torch.tensor([1, 0, 1, 0])[:, None]
    with torch.no_grad():
        said = [a.clamp(0, 1) for a in load_onnx(find_model(str(onnx)))(x)]
    assert trainer.loss(said, labels, x) == pytest.approx(0, abs=1e-9)
    assert Trainer(config(lsp), tmp_path / "plain").loss(said, labels, x) > 1e-4
    assert trainer.run().people == 12
    larger = replace(taught, network=replace(NETWORK, size=64))
    with pytest.raises(UsageError, match="another size"):
        Trainer(larger, tmp_path / "larger")


def test_a_wider_network_begins_with_a_narrower_ones_answers(lsp: Path, tmp_path: Path) -> None:
    """And its new channels take part: they learn from the first step on."""
    Trainer(config(lsp), tmp_path / "first").run()
    first = tmp_path / "first" / "checkpoint.pt"
    wide = replace(NETWORK, width=16, stem=(8, 16, 16))
    trainer = Trainer(replace(config(lsp, init=str(first)), network=wide), tmp_path / "wide")
    narrow = load_network(first)
    widen(narrow, trainer.network)
    crops = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(
            trainer.network.eval()(crops)[-1], narrow(crops)[-1], rtol=1e-5, atol=1e-6
        )
    drawn = trainer.network.state_dict()["hourglasses.0.stay.body.1.2.weight"].clone()
    assert drawn[:4, 4:].abs().max() == 0 < drawn[4:].abs().min()
    trainer.run()
    learnt = weights(tmp_path / "wide")["hourglasses.0.stay.body.1.2.weight"]
    assert learnt[:4, 4:].abs().max() > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "lsp:/nowhere", "--validate", "lsp:/nowhere"], "/nowhere"),
        (["--data", "cats:/tmp", "--validate", "x"], "cats:/tmp"),
        ([], "give --config, or --data and --validate"),
        (["--config", "/nowhere.json"], "/nowhere.json"),
        (["--data", "a:b", "--validate", "a:b", "--lr", "0"], "above 0"),
    ],
)
def test_wrong_arguments_end_in_one_line(
    words: list[str], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--run-dir", str(tmp_path / "r"), *words]) == 2
    error = capfd.readouterr().err
    assert message in error
    assert sum(line.startswith("livepose: ") for line in error.splitlines()) == 1
    assert "Traceback" not in error


def test_a_missing_picture_is_named(lsp: Path, tmp_path: Path) -> None:
    broken = PoseSet("broken", load_mixture((f"lsp:{lsp}",))[0][0].people)
    ref = broken.people[0].image
    object.__setattr__(ref, "path", tmp_path / "gone.jpg")
    loader = BatchLoader(Mixture([broken], [1]), 30, 32, PLAIN, seed=0)
    with pytest.raises(DataError, match=r"gone\.jpg"):
        next(loader.steps(0, 1))


def test_two_processes_train_one_model(lsp: Path, tmp_path: Path) -> None:
    """torchrun with two CPU processes: both finish, the second writes nothing of its own."""
    path = tmp_path / "c.json"
    path.write_text(json.dumps(config(lsp, steps=3).as_dict()))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    command += ["--standalone", "-m", "livepose", "train", "--device", "cpu"]
    command += ["--run-dir", str(tmp_path / "run"), "--config", str(path)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-2000:]
    assert load_checkpoint(tmp_path / "run" / "checkpoint.pt")["step"] == 3
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 1
