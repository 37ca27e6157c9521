"""The numbers on the panel and in the summary, against times we made up."""

import json

import numpy as np
import pytest

from livepose.stats import LatencyStats


def run(shown_s: np.ndarray, latency_s: np.ndarray | float, inference_ms: float = 10.0):
    stats = LatencyStats()
    latencies_s = np.broadcast_to(latency_s, shown_s.shape)
    for i, (shown, latency) in enumerate(zip(shown_s, latencies_s, strict=True)):
        stats.frame_shown(
            i, captured_s=shown - latency, inference_ms=inference_ms, shown_s=float(shown)
        )
    return stats


def test_fps_counts_intervals_not_frames():
    summary = run(100 + np.arange(31) / 30, 0.05).summary(dropped=4)
    assert summary["frames"] == 31
    assert summary["elapsed_s"] == pytest.approx(1.0)
    assert summary["fps"] == pytest.approx(30.0)
    assert summary["dropped"] == 4


def test_showing_a_frame_again_counts_once():
    stats = run(np.arange(3) / 10, 0.05)
    stats.frame_shown(2, captured_s=0.15, inference_ms=1.0, shown_s=5.0)
    assert stats.frames == 3
    assert stats.summary()["fps"] == pytest.approx(10.0)
    assert stats.summary()["latency_max_ms"] == pytest.approx(50.0)


def test_percentiles_are_numpys_with_the_outliers_in():
    latencies_s = np.append(np.random.default_rng(0).uniform(0.02, 0.09, 499), 7.5)
    summary = run(np.arange(500) / 30, latencies_s).summary()
    for name, percent in (("p50", 50), ("p90", 90), ("p99", 99), ("max", 100)):
        expected_ms = np.percentile(latencies_s * 1e3, percent)
        assert summary[f"latency_{name}_ms"] == pytest.approx(expected_ms, abs=1e-3)
    assert summary["latency_max_ms"] == pytest.approx(7500.0)
    assert summary["inference_p50_ms"] == pytest.approx(10.0)


def test_the_panel_forgets_what_is_older_than_its_window():
    slow_then_fast = np.concatenate([np.arange(10) / 5, 2 + np.arange(91) / 30])
    stats = run(slow_then_fast, np.where(slow_then_fast < 2, 0.5, 0.04))
    snapshot = stats.snapshot(now_s=float(slow_then_fast[-1]), dropped=2)
    assert snapshot.fps == pytest.approx(30.0)
    assert snapshot.latency_p50_ms == pytest.approx(40.0)
    assert snapshot.latency_p99_ms == pytest.approx(40.0)
    assert snapshot.inference_ms == pytest.approx(10.0)
    assert snapshot.dropped == 2
    assert stats.summary()["latency_max_ms"] == pytest.approx(500.0)


def test_a_source_that_stopped_shows_in_age_and_rate():
    stats = run(np.arange(30) / 30, 0.04)
    last_captured_s = 29 / 30 - 0.04
    assert stats.snapshot(now_s=1.5).frame_age_ms == pytest.approx((1.5 - last_captured_s) * 1e3)
    late = stats.snapshot(now_s=60.0)
    assert late.fps is None
    assert late.latency_p50_ms is None
    assert late.frame_age_ms == pytest.approx((60 - last_captured_s) * 1e3)


def test_a_pause_is_neither_time_nor_latency():
    stats = run(np.arange(30) / 30, 0.04)
    paused_s, on_s = 1.0, 4.0
    stats.leave_out(paused_s, on_s, waited=True)
    # Captured before the pause, during it, and after it.
    for i, captured_s in enumerate((0.98, 2.5, 4.01)):
        stats.frame_shown(30 + i, captured_s=captured_s, inference_ms=10.0, shown_s=4.02 + i / 30)
    latencies_ms = (40.0, 20 + 1000 / 30, 10 + 2000 / 30)
    assert stats.snapshot(now_s=4.1).latency_p99_ms == pytest.approx(max(latencies_ms), rel=0.02)
    assert stats.summary()["latency_max_ms"] == pytest.approx(max(latencies_ms), abs=1e-3)
    assert stats.summary()["elapsed_s"] == pytest.approx(4.02 + 2 / 30 - 3, abs=1e-3)


def test_a_pause_of_a_camera_takes_nothing_off_the_next_frame():
    stats = run(np.arange(30) / 30, 0.04)
    stats.leave_out(1.0, 4.0, waited=False)
    stats.frame_shown(30, captured_s=3.9, inference_ms=10.0, shown_s=4.05)
    assert stats.summary()["latency_max_ms"] == pytest.approx(150)
    assert stats.snapshot(now_s=4.05).frame_age_ms == pytest.approx(150)
    assert stats.summary()["elapsed_s"] == pytest.approx(1.05, abs=1e-3)


def test_nothing_or_one_frame_is_no_rate_and_valid_json():
    empty = LatencyStats()
    assert empty.snapshot(now_s=1.0).fps is None
    assert empty.snapshot(now_s=1.0).frame_age_ms is None
    assert empty.summary()["latency_p99_ms"] is None
    one = run(np.array([5.0]), 0.03)
    assert one.snapshot(now_s=5.0).fps is None
    assert one.snapshot(now_s=5.0).latency_p50_ms == pytest.approx(30.0)
    assert one.summary()["fps"] is None
    for stats in (empty, one):
        json.dumps(stats.summary(), allow_nan=False)


def test_an_hour_stays_small_and_exact():
    stats = run(np.arange(108_000) / 30, np.linspace(0.01, 0.02, 108_000))
    assert stats.frames == 108_000
    assert stats.summary()["latency_p50_ms"] == pytest.approx(15.0, abs=1e-3)
    assert len(stats._recent) <= 61
