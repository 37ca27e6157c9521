"""Contenders take turns and their ratios are right; what it costs to grow."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livepose import runtime
from livepose.bench import everything, sweeps
from livepose.bench.command import main
from livepose.bench.compare import interleave, ratio_of_medians, timed
from livepose.bench.contender import Contender, parse_spec
from livepose.bench.everything import base_of
from livepose.bench.measure import Budget, Row, Samples
from livepose.bench.stages import Pipeline
from livepose.bench.sweeps import Sweep, places, sweep_people, sweep_size, sweep_stacks
from livepose.errors import EngineError
from livepose.models import Model, released_models
from tests.bench_doubles import CLIP, null_contender, write_video


def test_contenders_take_turns_in_rotated_order_on_the_same_frames() -> None:
    log: list[tuple[str, int]] = []

    def block(name: str, turns: Sequence[int]) -> Samples:
        log.extend((name, i) for i in turns)
        return Samples(np.ones(len(turns)), np.ones(len(turns)))

    taken = interleave({n: partial(block, n) for n in "abc"}, Budget(count=6, warm_up=0), block=2)
    assert "".join(name for name, _ in log) == "aabbcc" + "bbccaa" + "ccaabb"
    for name in "abc":
        assert [i for n, i in log if n == name] == list(range(6))
        assert [len(b.ms) for b in taken[name]] == [2, 2, 2]


def test_the_interval_of_a_ratio_covers_the_truth_and_survives_drift() -> None:
    rng = np.random.default_rng(0)
    drift = np.linspace(1, 3, 80)[:, None]
    blocks = {
        name: [Samples(ms, ms) for ms in drift * scale * rng.gamma(50, 1 / 50, (80, 5))]
        for name, scale in (("base", 10.0), ("twice", 20.0), ("same", 10.0))
    }
    twice = ratio_of_medians("twice", "base", blocks)
    assert twice.low < 2 < twice.high
    assert twice.ratio == pytest.approx(2, rel=0.08)
    same = ratio_of_medians("same", "base", blocks)
    assert same.low < 1 < same.high
    assert twice.high - twice.low < 0.5
    few = {name: taken[:2] for name, taken in blocks.items()}
    assert np.isnan(ratio_of_medians("twice", "base", few).low), "two rounds tell no interval"


def test_null_engines_compare_as_their_delays() -> None:
    slow, quick = (null_contender(ms) for ms in (9, 3))
    blocks = {c.spec.text: timed(Pipeline(c, CLIP)) for c in (slow, quick)}
    taken = interleave(blocks, Budget(count=20, warm_up=4))
    ratio = ratio_of_medians("null:9ms", "null:3ms", taken)
    assert 1.3 < ratio.ratio < 4


def test_more_people_cost_more(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = places(8, 640, 480)
    assert boxes.shape == (8, 4)
    assert (boxes[:, 2] > boxes[:, 0]).all()
    contender = null_contender(0)
    looked_at: list[int] = []
    run = contender.engine.run

    def two_ms_a_crop(crops: np.ndarray) -> np.ndarray:
        looked_at.append(len(crops))
        time.sleep(0.002 * len(crops))
        return run(crops)

    monkeypatch.setattr(contender.engine, "run", two_ms_a_crop)
    sweep = sweep_people(contender, CLIP, Budget(count=2, warm_up=0))
    assert [len(row.samples.ms) for row in sweep.rows] == [2] * 8
    assert set(looked_at) >= set(range(1, 9)), "every person's crop reaches the engine"
    _, slope_ms = sweep.line
    assert slope_ms > 1.5


def test_the_slope_is_that_of_the_straight_line_through_the_medians() -> None:
    ms = {1: (3.0, 5.0, 90.0), 2: (7.0, 7.5, 8.0), 4: (12.0, 13.0, 14.0)}
    rows = [Row("engine", "made up", "", Samples(np.array(m), np.arange(3.0))) for m in ms.values()]
    sweep = Sweep("batch", "crop", list(ms), rows)
    start_ms, slope_ms = sweep.line
    medians = np.array([5, 7.5, 13])
    assert (slope_ms, start_ms) == pytest.approx(tuple(np.polyfit(list(ms), medians, 1)))
    off = np.abs(medians - start_ms - slope_ms * np.array(list(ms)))
    assert sweep.off_ms == pytest.approx(off.max())
    assert sweep.as_dict()["fit"] == sweeps.FIT


def test_larger_frames_are_followed_through_the_whole_pipeline() -> None:
    sweep = sweep_size(null_contender(1), CLIP, Budget(count=2, warm_up=1))
    assert [row.name for row in sweep.rows] == [
        f"null:1ms, {size}" for size in ("640x480", "1280x720", "1920x1080", "3840x2160")
    ]
    assert sweep.values[-1] == pytest.approx(3840 * 2160 / 1e6)


@pytest.fixture
def tiny(tmp_path: Path) -> Contender:
    """A null engine that says it is of a tiny network of two stacks; exports are run for real."""
    card = {"size": 64, "network": {"stacks": 2, "width": 8, "depth": 2, "size": 64}}
    card["network"]["stem"] = [8, 8, 8]  # type: ignore[index]
    model = Model("tiny", tmp_path / "tiny.onnx", 64, card)
    return replace(null_contender(1), model=model, spec=parse_spec("tiny@onnx/fp32"))


def test_networks_of_more_stacks_are_made_on_the_fly(
    tiny: Contender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "STACKS", (1, 3))
    folders: list[Path] = []
    write = sweeps.write_random

    def kept(config: dict[str, Any], path: Path) -> None:
        write(config, path)
        card = json.loads(path.with_suffix(".json").read_text())
        assert card["network"] == tiny.model.card["network"] | {
            "stacks": config["stacks"],
            "joints": 16,
        }
        folders.append(path.parent)

    monkeypatch.setattr(sweeps, "write_random", kept)
    sweep = sweep_stacks(tiny, CLIP, Budget(count=2, warm_up=1))
    assert sweep.values == [1, 3]
    assert [row.name for row in sweep.rows] == [f"tiny@onnx/fp32, stacks {n}" for n in (1, 3)]
    assert "onnxruntime" in sweep.rows[0].facts["engine"]
    assert len(folders) == 2
    assert not folders[0].exists()


def test_without_torch_stacks_are_refused_in_a_line(
    tiny: Contender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "find_spec", lambda name: None if name == "torch" else name)
    with pytest.raises(EngineError, match=r"needs torch: pip install 'livepose\[train\]'"):
        sweep_stacks(tiny, CLIP, Budget(count=2))


def test_one_command_prints_what_it_costs_to_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.json"
    words = ["--engine", "null:1ms", "--count", "2", "--warm-up", "0", "--json", str(path)]
    main([*words, "--sweep", "all", "--source", write_video(tmp_path / "clip.mkv")])
    report = json.loads(path.read_text())
    assert [sweep["what"] for sweep in report["sweeps"]] == ["batch", "people", "frame size"]
    # A null engine has no stacks; with one that has, they are the fourth.
    assert "no network" in report["left_out"]["--sweep stacks"]
    out = capsys.readouterr().out
    assert out.count("straight line through the medians") == 3
    assert "not measured: --sweep stacks" in out
    with pytest.raises(EngineError, match="no network"):
        main([*words, "--sweep", "stacks", "--source", str(tmp_path / "clip.mkv")])


def test_all_that_can_run_here_is_compared_with_eager_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A precision that an engine is given later comes in by itself."""
    open_onnx = runtime.OPENERS["onnx"]

    def with_int8(model: Model, device: str, precision: str) -> runtime.Engine:
        if precision == "int8":
            return open_onnx(model, device, "fp32")
        return open_onnx(model, device, precision)

    monkeypatch.setitem(runtime.OPENERS, "onnx", with_int8)
    path = tmp_path / "out.json"
    main(["--compare", "all", "--count", "5", "--warm-up", "1", "--json", str(path)])
    report = json.loads(path.read_text())
    names = [row["name"] for row in report["rows"]]
    assert {"small@torch/fp32", "small@onnx/fp32", "small@onnx/int8"} <= set(names)
    assert {row["level"] for row in report["rows"]} == {"engine"}
    eager = {f"{model}@torch/fp32" for model in released_models()}
    assert {ratio["base"] for ratio in report["ratios"]} == eager
    assert len(report["ratios"]) == len(names) - len(eager)
    left_out = report["left_out"]
    assert "tensorrt" in left_out["small@tensorrt/fp32|bf16|fp16|int8"]
    everyone = [spec.text for spec in everything.every_spec()]
    assert len(everyone) == len(names) + sum(len(key.split("|")) for key in left_out)


def test_without_pytorch_a_models_first_engine_is_the_base() -> None:
    texts = ["a@onnx/fp32", "b@onnx/fp32", "b@torch/fp32"]
    assert base_of("a@openvino/fp32", texts) == "a@onnx/fp32"
    assert base_of("b@openvino/fp32", texts) == "b@torch/fp32"
