from __future__ import annotations

import itertools
import json
import threading
import time

import cv2
import numpy as np
import pytest

from cameras.files.replay import Replay
from cameras.files.source import open_path
from edge.inspection.verdict import DecisionSettings, decide
from edge.result import Result, Verdict, error_from_frame
from edge.sinks.json_lines import JsonLinesSink
from edge.sinks.losses import LossCounter
from edge.stream.loop import stream


def inspect(frame) -> Result:
    """A small inspector: what is brighter than its surroundings is anomalous."""
    if frame.image is None:
        return error_from_frame(frame, threshold=0.5)
    anomaly_map = cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY).astype(np.float32) / 255
    verdict, score, regions, reason = decide(
        anomaly_map,
        float(anomaly_map.max()),
        settings=DecisionSettings(0.5),
        frame_shape=frame.image.shape,
    )
    return Result(
        source=frame.source,
        frame=frame.index,
        captured_at_ns=frame.captured_at_ns,
        verdict=verdict,
        score=score,
        threshold=0.5,
        regions=regions,
        reason=reason,
        speed={"prepare": 1.0, "engine": 2.0, "decide": 0.5},
        anomaly_map=anomaly_map,
        image=frame.image,
    )


def images(count: int, *, bad: int = 0) -> list[np.ndarray]:
    return [np.full((16, 16, 3), 200 if n < bad else 20, np.uint8) for n in range(count)]


class Live(Replay):
    live = True


class Collecting:
    """A sink that is as slow as it is told."""

    def __init__(self, *, lossless: bool, wait_s: float = 0.0) -> None:
        self.losses = LossCounter("kept", "results")
        self.lossless = lossless
        self.wait_s = wait_s
        self.got: list[Result] = []

    def write(self, result: Result) -> None:
        time.sleep(self.wait_s)
        self.got.append(result)


@pytest.fixture(autouse=True)
def no_thread_stays():
    before = threading.active_count()
    yield
    assert threading.active_count() <= before, threading.enumerate()


def test_every_file_is_inspected_and_recorded_in_order(tmp_path) -> None:
    for number, image in enumerate(images(30, bad=4)):
        cv2.imwrite(str(tmp_path / f"{number:02d}.png"), image)
    (tmp_path / "99.png").write_bytes(b"broken")
    seen: list[int] = []
    with open_path(tmp_path) as source, JsonLinesSink(tmp_path / "out.jsonl") as sink:
        summary = stream(
            inspect, source, sinks=[sink], on_result=lambda _, result: seen.append(result.frame)
        )
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert seen == [line["frame"] for line in lines] == list(range(31))
    assert [line["verdict"] for line in lines] == ["NG"] * 4 + ["OK"] * 26 + ["ERROR"]
    assert "not an image" in lines[-1]["reason"]
    text = json.loads(json.dumps(summary.to_json(), allow_nan=False))
    assert {name: text[name] for name in ("frames", "ok", "ng", "error", "dropped")} == {
        "frames": 31,
        "ok": 26,
        "ng": 4,
        "error": 1,
        "dropped": 0,
    }
    assert text["latency_ms"] == {"p50": 3.5, "p95": 3.5, "p99": 3.5}
    assert text["rate_hz"] > 0


def test_files_wait_for_a_slow_sink_and_nothing_is_left_out() -> None:
    drawing = Collecting(lossless=False, wait_s=0.005)
    summary = stream(inspect, Replay(images(60)), sinks=[drawing])
    assert [result.frame for result in drawing.got] == list(range(60))
    assert drawing.got[0].image is not None
    assert summary.not_drawn == 0


def test_a_live_camera_waits_for_nobody_but_every_result_is_recorded() -> None:
    drawing = Collecting(lossless=False, wait_s=0.05)
    records = Collecting(lossless=True)
    summary = stream(inspect, Live(images(100)), sinks=[drawing, records])
    assert [result.frame for result in records.got] == list(range(100))
    assert all(result.image is None for result in records.got)
    assert summary.frames == 100
    assert summary.not_drawn > 0
    assert summary.not_drawn + len(drawing.got) == 100


def test_a_number_of_frames_a_stop_and_an_end_are_kept() -> None:
    assert stream(inspect, Replay(itertools.cycle(images(1))), max_frames=7).frames == 7
    assert stream(inspect, Replay(images(3)), max_frames=0).frames == 0
    stop = threading.Event()

    def after_five(_, result: Result) -> None:
        if result.frame == 4:
            stop.set()

    endless = Replay(itertools.cycle(images(1)))
    assert stream(inspect, endless, on_result=after_five, stop=stop).frames == 5
    assert stream(inspect, []).latency_ms is None


def test_a_failing_inspector_ends_the_stream_with_what_was_recorded_kept() -> None:
    records = Collecting(lossless=True)

    def failing(frame) -> Result:
        if frame.index == 5:
            raise RuntimeError("the device is gone")
        return inspect(frame)

    with pytest.raises(RuntimeError, match="device is gone"):
        stream(failing, Replay(images(20)), sinks=[records])
    assert len(records.got) == 5


class Broken(Collecting):
    def write(self, result: Result) -> None:
        raise ValueError("a mistake in a sink")


def test_a_sink_that_raises_ends_a_stream_of_files() -> None:
    with pytest.raises(ValueError, match="a mistake in a sink"):
        stream(inspect, Replay(images(200)), sinks=[Broken(lossless=False)])


def test_a_sink_that_raises_is_counted_while_a_camera_goes_on(caplog) -> None:
    summary = stream(inspect, Live(images(50)), sinks=[Broken(lossless=True)])
    assert (summary.frames, summary.not_written) == (50, 50)
    assert "a mistake in a sink" in caplog.text


def test_a_stop_ends_a_source_that_waits_for_its_next_frame() -> None:
    class Waiting(Replay):
        def __iter__(self):
            yield from super().__iter__()
            self.waits.set()
            self.closed.wait(20)

        def close(self) -> None:
            self.closed.set()

    source = Waiting(images(2))
    source.waits, source.closed, stop = threading.Event(), threading.Event(), threading.Event()
    ending = threading.Thread(target=lambda: source.waits.wait(20) and stop.set())
    ending.start()
    assert stream(inspect, source, stop=stop).frames == 2
    assert source.closed.is_set()
    ending.join()


def test_what_a_sink_lost_is_in_the_summary() -> None:
    with JsonLinesSink("/dev/full") as sink:
        assert stream(inspect, Replay(images(5)), sinks=[sink]).not_written == 5


def test_live_latency_counts_from_capture() -> None:
    def slow(frame) -> Result:
        time.sleep(0.02)
        return inspect(frame)

    summary = stream(slow, Live(images(5)))
    assert summary.latency_ms is not None
    assert summary.latency_ms["p50"] >= 20


def test_verdicts_keep_their_meaning_in_the_summary() -> None:
    summary = stream(inspect, Replay(images(5, bad=2)))
    assert (summary.ok, summary.ng, summary.error) == (3, 2, 0)
    assert Verdict("NG") is Verdict.NG
