"""The loop: one camera alone, and several of which each has its own verdicts and troubles."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections import Counter
from functools import partial

import cv2
import numpy as np
import pytest
from judging import Kept
from replay import Replay
from waiting import wait_until

import edge.stream.loop
import edge.stream.reopening
from cameras.errors import CameraError, SourceError
from cameras.files.path import open_path
from edge.inspection.verdict import DecisionSettings, decide
from edge.result import Result, Verdict, error_from_frame
from edge.service.result_counts import ResultCounts
from edge.sinks.json_lines import JsonLinesSink
from edge.sinks.losses import LossCounter
from edge.stream.loop import Camera, stream, stream_cameras


def inspect(frame) -> Result:
    """A small inspector: what is brighter than its surroundings is anomalous."""
    if frame.image is None:
        return error_from_frame(frame, threshold=0.5)
    anomaly_map = cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY).astype(np.float32) / 255
    found = decide(
        anomaly_map,
        float(anomaly_map.max()),
        settings=DecisionSettings(0.5),
        frame_shape=frame.image.shape,
    )
    return Result(
        source=frame.source,
        frame=frame.index,
        captured_at_ns=frame.captured_at_ns,
        verdict=found.verdict,
        score=found.score,
        threshold=0.5,
        regions=found.regions,
        reason=found.reason,
        defect_mask=found.defect_mask,
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
def no_thread_stays(monkeypatch):
    monkeypatch.setattr(edge.stream.reopening, "PAUSES_S", (0.01, 0.02))
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


class Endless(Replay):
    """A camera with its own rate, which does not end by itself."""

    live = True

    def __init__(self, images, *, rate_hz: float = 200.0, **options) -> None:
        super().__init__(images, **options)
        self.rate_hz = rate_hz

    def __iter__(self):
        for frame in super().__iter__():
            time.sleep(1 / self.rate_hz)
            yield frame
        while not self._closed:
            time.sleep(0.002)


def camera(name: str, source, inspect=inspect, *, live: bool | None = None, **options) -> Camera:
    """A camera around a source, or around what opens one."""

    @contextlib.contextmanager
    def opened():
        with source() if callable(source) else source as frames:
            yield frames, inspect

    live = getattr(source, "live", True) if live is None else live
    return Camera(name=name, open=opened, threshold=0.5, live=live, **options)


def test_every_file_of_every_camera_is_inspected_in_its_order(tmp_path) -> None:
    for name, bad in {"left": 2, "right": 5}.items():
        (tmp_path / name).mkdir()
        for number in range(12):
            image = images(1, bad=int(number < bad))[0]
            cv2.imwrite(str(tmp_path / name / f"{number:02d}.png"), image)
    with JsonLinesSink(tmp_path / "out.jsonl") as sink:
        summary = stream_cameras(
            [
                camera(name, partial(open_path, tmp_path / name), live=False)
                for name in ("left", "right")
            ],
            sinks=[sink],
        )
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for name, bad in {"left": 2, "right": 5}.items():
        own = [line for line in lines if line["camera"] == name]
        assert [line["frame"] for line in own] == list(range(12))
        assert [line["verdict"] for line in own] == ["NG"] * bad + ["OK"] * (12 - bad)
        assert (summary.cameras[name].ng, summary.cameras[name].frames) == (bad, 12)
    assert (summary.frames, summary.ng, summary.error, summary.not_written) == (24, 7, 0, 0)
    text = json.loads(json.dumps(summary.to_json(), allow_nan=False))
    assert list(text["cameras"]) == ["left", "right"]
    assert "cameras" not in text["cameras"]["left"]


def test_a_camera_keeps_its_own_sinks_and_listener() -> None:
    sinks = {"a": Kept(), "b": Kept()}
    heard: Counter[str] = Counter()

    def hear(frame, result: Result) -> None:
        assert frame.index == result.frame
        heard[result.camera] += 1

    stream_cameras(
        [camera(n, Replay(images(9)), sinks=[sinks[n]], on_result=hear) for n in ("a", "b")]
    )
    assert {name: {r.camera for r in sink.got} for name, sink in sinks.items()} == {
        "a": {"a"},
        "b": {"b"},
    }
    assert heard == {"a": 9, "b": 9}


def _raising(frame) -> Result:
    raise KeyError("a mistake")


def _dead():
    raise CameraError("dead: does not answer")


def _dies():
    source = Endless(images(1))
    source.close()
    return source


@pytest.mark.parametrize(
    ("source", "inspect", "reason"),
    [
        (_dead, inspect, "dead: does not answer"),
        (_dies, inspect, "the camera ended"),
        (lambda: Endless(images(10_000)), _raising, "KeyError"),
        (lambda: Endless(itertools.chain(images(3), _broken_images())), inspect, "ValueError"),
    ],
)
def test_what_fails_gives_errors_of_its_own_and_the_others_go_on(source, inspect, reason) -> None:
    kept, stop = Kept(), threading.Event()

    def enough(_, result: Result) -> None:
        if result.frame == 100:
            stop.set()

    summary = stream_cameras(
        [
            camera("ill", source, inspect),
            camera("well", Endless(images(10_000)), on_result=enough),
        ],
        sinks=[kept],
        stop=stop,
    )
    ill, well = summary.cameras["ill"], summary.cameras["well"]
    assert (well.ok, well.ng, well.error) == (well.frames, 0, 0)
    assert well.frames >= 101
    assert ill.error > 1
    assert ill.error + ill.ok == ill.frames
    told = {r.reason for r in kept.got if r.camera == "ill" and r.verdict is Verdict.ERROR}
    assert all(reason in why for why in told), told


def _broken_images():
    raise ValueError("a mistake in a source")
    yield


def test_a_camera_that_comes_back_is_taken_up_again() -> None:
    tries = itertools.count()
    stop = threading.Event()
    kept = Kept()

    def source():
        if next(tries) < 3:
            raise CameraError("line3: does not answer")
        return Endless(images(10_000))

    def enough(_, result: Result) -> None:
        if result.verdict is Verdict.OK:
            stop.set()

    stream_cameras([camera("line3", source, on_result=enough)], sinks=[kept], stop=stop)
    assert [r.verdict for r in kept.got[:3]] == [Verdict.ERROR] * 3
    assert kept.got[3].verdict is Verdict.OK


def test_what_was_named_wrongly_ends_it_at_once() -> None:
    def wrong():
        raise SourceError("nowhere: no such file")

    with pytest.raises(SourceError, match="nowhere"):
        stream_cameras([camera("a", wrong), camera("b", Endless(images(10_000)))])
    with pytest.raises(ValueError, match="a name of its own"):
        stream_cameras([camera("a", Replay([])), camera("a", Replay([]))])


def test_files_that_break_are_not_inspected_twice() -> None:
    def breaking():
        return Replay(itertools.chain(images(4), _broken_images()))

    summary = stream_cameras([camera("files", breaking, live=False)])
    assert (summary.ok, summary.error) == (4, 1)


def test_a_number_of_frames_is_each_cameras() -> None:
    summary = stream_cameras(
        [camera(name, Replay(images(50))) for name in ("a", "b")], max_frames=7
    )
    assert {name: one.frames for name, one in summary.cameras.items()} == {"a": 7, "b": 7}


def test_a_hung_inspection_does_not_hold_up_the_end(monkeypatch, caplog) -> None:
    before = threading.active_count()
    monkeypatch.setattr(edge.stream.loop, "STOP_S", 0.2)
    go_on, stop = threading.Event(), threading.Event()

    def hanging(frame) -> Result:
        go_on.wait(30)
        return inspect(frame)

    def enough(_, result: Result) -> None:
        if result.frame == 20:
            stop.set()

    cameras = [
        camera("hung", Endless(images(10_000)), hanging),
        camera("well", Endless(images(10_000)), on_result=enough),
    ]
    summary = stream_cameras(cameras, stop=stop)
    assert summary.cameras["well"].ok >= 21
    assert summary.cameras["hung"].frames == 0
    assert "hung: did not stop; abandoning its thread" in caplog.text
    go_on.set()
    wait_until(lambda: threading.active_count() <= before)


def test_what_a_camera_dropped_is_counted_on_when_it_is_opened_again() -> None:
    counts, stop, told = ResultCounts(), threading.Event(), []

    class Dropping(Replay):
        live, dropped = True, 0

        def __iter__(self):
            for frame in super().__iter__():
                self.dropped += 2
                yield frame
            self.dropped += 1  # after its last

    def enough(_, result: Result) -> None:
        told.append(counts.dropped)
        if len([dropped for dropped in told if dropped > 7]) == 2:
            stop.set()

    line = camera("line3", lambda: Dropping(images(3)), live=True, counts=counts, on_result=enough)
    summary = stream_cameras([line], stop=stop)
    assert told == [2, 4, 6, 7, 9, 11]  # the fourth is the ERROR between the two
    assert summary.dropped == summary.cameras["line3"].dropped == counts.dropped == 11


def test_several_folders_wait_for_a_slow_sink_of_all() -> None:
    shared = Collecting(lossless=False, wait_s=0.005)
    folders = [camera(name, Replay(images(30))) for name in ("a", "b")]
    assert stream_cameras(folders, sinks=[shared]).not_drawn == 0
    assert len(shared.got) == 60


def test_a_mistake_in_a_sink_of_all_ends_folders() -> None:
    folders = [camera(name, Replay(images(200))) for name in ("a", "b")]
    with pytest.raises(ValueError, match="a mistake in a sink"):
        stream_cameras(folders, sinks=[Broken(lossless=True)])
