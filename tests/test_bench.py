"""The meter is right: percentiles, a null engine, rates, stages, the report."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from livepose import estimator
from livepose.bench import command, levels
from livepose.bench.command import main
from livepose.bench.contender import (
    Clip,
    Contender,
    NullEngine,
    NullFinder,
    open_contender,
    parse_spec,
)
from livepose.bench.levels import (
    RealTime,
    engine_level,
    live_level,
    make_estimator,
    pipeline_level,
)
from livepose.bench.machine import Neighbours, cpu_s
from livepose.bench.measure import Budget, Samples, measure, percentiles
from livepose.bench.stages import STAGES, StagedEstimator
from livepose.errors import UsageError
from tests.bench_doubles import (
    CLIP,
    PICTURE,
    QUICK,
    FixedRate,
    null_contender,
    until_true,
    write_video,
)


@pytest.fixture
def null() -> Contender:
    return null_contender(5)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mkv")


def test_a_null_engine_of_5_ms_is_measured_within_0_3_ms(null: Contender) -> None:
    def check() -> bool:
        row = engine_level(null, CLIP, Budget(count=100, warm_up=5))
        assert row.samples.ms.min() >= 5
        return abs(row.as_dict()["p50_ms"] - 5) < 0.3

    assert until_true(check)


def test_percentiles_are_numpys_on_all_samples() -> None:
    ms = np.random.default_rng(0).exponential(5, 1001)
    ms[500] = 1e4
    found = percentiles(ms)
    assert list(found.values()) == [*np.percentile(ms, (50, 90, 99)), 1e4]


def test_the_rate_is_of_intervals_not_of_samples() -> None:
    ends_s = 5 + np.arange(31) / 10
    assert Samples(np.ones(31), ends_s).per_s == pytest.approx(10.0, abs=1e-9)
    assert np.isnan(Samples(np.ones(1), ends_s[:1]).per_s)


def test_a_source_paced_at_10_fps_reads_10_fps() -> None:
    def check() -> bool:
        budget = Budget(count=21, warm_up=1)
        row = live_level(parse_spec("null:5ms"), lambda: FixedRate(10), "made up", budget)
        facts = row.facts
        assert facts["captured"] == facts["used"] + facts["dropped"]
        assert len(row.samples.ms) == 21
        assert row.samples.ms.min() >= 5
        return abs(row.samples.per_s - 10) < 0.1

    assert until_true(check, tries=2)


def test_paced_runs_begin_on_the_beat_and_the_wait_is_not_counted() -> None:
    starts_s: list[float] = []
    samples = measure(lambda i: starts_s.append(time.perf_counter()), QUICK, pace_fps=100)
    gaps_s = np.diff(starts_s[QUICK.warm_up :])
    # The first may itself be late, by less than a beat; later ones are not brought forward.
    assert gaps_s.sum() >= 18 / 100
    assert np.median(gaps_s) == pytest.approx(0.01, abs=0.005)
    assert np.median(samples.ms) < 5


@pytest.mark.parametrize(("budget", "least"), [(Budget(count=7), 7), (Budget(0.001), 2)])
def test_the_budget_is_kept(budget: Budget, least: int) -> None:
    calls: list[int] = []
    samples = measure(calls.append, budget)
    assert len(samples.ms) >= least
    assert calls == list(range(budget.warm_up + len(samples.ms)))


def test_the_stages_add_up_and_warm_up_is_in_none(null: Contender) -> None:
    row = pipeline_level(null, CLIP, QUICK)
    assert list(row.stages) == ["find", "crop", "compute", "track", "new scene", "draw"]
    parts = sum(np.sum(row.stages[stage]) for stage in ("find", "crop", "compute", "track"))
    # What is in no stage is the meter's own bookkeeping.
    assert 0 <= row.samples.ms.sum() - parts < 0.3 * len(row.samples.ms)
    assert row.samples.ms.shape == (20,)
    assert len(row.stages["compute"]) == len(row.stages["track"]) == 20
    assert min(row.stages["compute"]) >= 5
    # The finder looks at every sixth frame; a frame without a look is no look of 0 ms.
    assert len(row.stages["find"]) == len([i for i in range(3, 23) if (i - 1) % 6 == 0])
    assert len(row.stages["new scene"]) == levels.FINDS
    # A scene is searched with two calls: what is found is looked at again.
    assert min(row.stages["new scene"]) >= 10
    assert row.facts["mean_people"] >= 1


def test_what_a_cpu_engine_does_not_do_is_absent_and_not_zero(null: Contender) -> None:
    row = pipeline_level(null, CLIP, QUICK)
    assert not {"upload", "download", "launch"} & set(row.stages)
    assert set(row.facts["no_stages"]) == {"upload", "download"}


class DeviceDouble(NullEngine):
    """Says of each run of 5 ms what a device's events would."""

    device_ms: ClassVar = {"upload": 0.5, "compute": 3.0, "download": 0.25}


def test_a_devices_events_are_the_stages_and_the_rest_is_launching(null: Contender) -> None:
    row = pipeline_level(replace(null, engine=DeviceDouble(0.005)), CLIP, QUICK)
    assert list(row.stages) == [*STAGES, "new scene", "draw"]
    for stage, ms in DeviceDouble.device_ms.items():
        assert row.stages[stage] == [ms] * 20
    assert min(row.stages["launch"]) >= 5 - 3.75
    assert "no_stages" not in row.facts


def test_who_else_used_the_processor_is_told(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu 100 0 0 100 0 0 0 0 0 0\ncpu0 1\n")
    neighbours = Neighbours(stat=stat)
    used_s = time.process_time()
    while time.process_time() < used_s + 0.2:
        pass
    # 60 ticks of 10 ms busy, 10 of them stolen, and 40 idle; 20 were this process's own.
    stat.write_text("cpu 150 0 0 140 0 0 0 10 0 0\ncpu0 1\n")
    assert neighbours.share() == pytest.approx(0.4, abs=0.05)
    stat.unlink()
    assert neighbours.share() is None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")
def test_a_processs_time_is_read() -> None:
    used_s = time.process_time()
    while time.process_time() < used_s + 0.1:
        pass
    assert cpu_s(os.getpid()) == pytest.approx(time.process_time(), abs=0.05)


def test_a_clip_has_no_jump() -> None:
    turns = [CLIP.position(i) for i in range(12)]
    assert turns == [0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2, 3]
    assert Clip([PICTURE], 30.0, "one").position(5) == 0


def test_a_file_is_played_at_its_rate_for_ever(video: str) -> None:
    source = RealTime(video)
    begin_s = time.monotonic()
    frames = [source.read() for _ in range(8)]
    source.close()
    assert [f.index for f in frames if f] == list(range(8))
    times_s = [f.time_s for f in frames if f]
    assert times_s == sorted(times_s)
    late_s = [f.captured_s - begin_s - f.time_s for f in frames if f]
    assert min(late_s) > -0.001
    np.testing.assert_array_equal(frames[5].image, frames[0].image)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("small", ("small", "auto", "auto")),
        ("small@onnx", ("small", "onnx", "auto")),
        ("a/b.onnx@onnx/fp32", ("a/b.onnx", "onnx", "fp32")),
        ("@onnx", ("auto", "onnx", "auto")),
    ],
)
def test_contenders_have_names(text: str, expected: tuple[str, str, str]) -> None:
    spec = parse_spec(text)
    assert (spec.model, spec.engine, spec.precision) == expected
    assert spec.text == text


@pytest.mark.parametrize("text", ["null:5", "null", "small@", "null:.ms"])
def test_a_contender_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="MODEL@ENGINE"):
        parse_spec(text)


def test_the_report_holds_every_sample_and_the_machine(
    video: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--engine", "null:1ms", "--source", video, "--count", "5", "--pace", "0,100"]
    main([*words, "--batch", "1,4", "--json", "-", "--plot", str(tmp_path / "plot.png")])
    out, table = capsys.readouterr()
    report = json.loads(out)
    assert report["command"].startswith("livepose bench --engine null:1ms")
    assert {"cpu", "cores", "os", "python", "numpy", "onnxruntime", "date"} <= set(
        report["machine"]
    )
    rows = report["rows"]
    assert [row["level"] for row in rows] == ["engine"] * 4 + ["pipeline"] * 2 + ["live"]
    assert [row["items"] for row in rows[:4]] == [1, 4, 1, 4]
    for row in rows:
        assert row["p90_ms"] == pytest.approx(np.percentile(row["samples_ms"], 90))
        assert row["count"] == len(row["samples_ms"]) == 5
    assert rows[1]["items_per_s"] == pytest.approx(4 * rows[1]["samples_per_s"])
    assert {"load_ms", "first_ms", "compiled_before"} <= set(rows[0])
    assert "p99" in table
    assert "no upload of null:1ms" in table
    assert (tmp_path / "plot.png").stat().st_size > 5000


@pytest.mark.parametrize(
    "words",
    [
        ["--count", "1"],
        ["--peer", "mediapipe"],
        ["--compare", "null:1ms,null:2ms", "--level", "live"],
        ["--compare", "null:1ms"],
        ["--compare", "null:1ms,null:2ms", "--batch", "1,2"],
        ["--sweep", "batch", "--glass"],
        ["--batch", "0"],
        ["--glass", "--plot", "a.png"],
        ["--glass", "--accuracy", "synthetic:2"],
        ["--level", "live", "--accuracy", "synthetic:2"],
        ["--sweep", "batch", "--accuracy", "synthetic:2"],
    ],
)
def test_arguments_that_make_no_sense_are_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        main(words)


def test_a_wrong_data_set_is_told_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command, "run_levels", lambda *words: pytest.fail("was measured"))
    with pytest.raises(UsageError, match="/nowhere"):
        main(["--engine", "null:1ms", "--accuracy", "lspet:/nowhere"])


def test_the_finder_beside_a_contender_runs_as_it_was_asked_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def open_finder(*words: str) -> NullFinder:
        asked.append(words)
        return NullFinder()

    monkeypatch.setattr(estimator, "open_finder", open_finder)
    contender = open_contender(parse_spec("small@onnx/fp32", "cpu"))
    for made in (
        StagedEstimator(contender, 1),
        make_estimator(parse_spec("small@onnx/fp32", "cpu"), 1),
    ):
        made.track(PICTURE, 0.0)
        made.close()
    assert asked == [("onnx", "cpu", "fp32")] * 2
