"""Sinks in threads: nothing waits for a disk, and what is lost is counted."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

from edge.result import Result, Verdict
from edge.sinks import losses
from edge.sinks import threads as module
from edge.sinks.json_lines import JsonLinesSink
from edge.sinks.losses import LossCounter
from edge.sinks.threads import SinkThreads


def result_of(number: int) -> Result:
    return Result(
        source="cam",
        frame=number,
        captured_at_ns=number,
        verdict=Verdict.OK,
        score=0.1,
        threshold=0.5,
        image=np.zeros((4, 4, 3), np.uint8),
    )


class Sink:
    """A sink that waits for a gate, if it has one, and may fail."""

    def __init__(self, *, lossless: bool, gate: threading.Event | None = None) -> None:
        self.lossless = lossless
        self.losses = LossCounter("Sink", "results")
        self.gate = gate
        self.got: list[Result] = []
        self.flushed_at: list[int] = []
        self.threads: set[int] = set()

    def write(self, result: Result) -> None:
        if self.gate is not None:
            self.gate.wait(30)
        self.threads.add(threading.get_ident())
        self.got.append(result)

    def flush(self) -> None:
        self.flushed_at.append(len(self.got))


class Broken(Sink):
    def write(self, result: Result) -> None:
        super().write(result)
        raise ValueError("a mistake")


def wait_for(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def no_thread_stays():
    before = threading.active_count()
    yield
    wait_for(lambda: threading.active_count() == before)


def test_every_record_arrives_bare_and_in_order_and_is_flushed_at_the_end() -> None:
    records, drawing = Sink(lossless=True), Sink(lossless=False)
    with SinkThreads([records, drawing], live=False) as threads:
        for number in range(500):
            threads.put(result_of(number))
    assert [result.frame for result in records.got] == list(range(500))
    assert [result.frame for result in drawing.got] == list(range(500))
    assert records.got[0].image is None
    assert drawing.got[0].image is not None
    assert records.flushed_at[-1] == 500
    assert len(records.threads) == len(drawing.threads) == 1
    assert records.threads != drawing.threads
    assert (threads.dropped, threads.lost) == (0, 0)


def test_one_that_hangs_delays_no_other_and_no_camera(monkeypatch, caplog) -> None:
    monkeypatch.setattr(module, "MAX_RECORDS", 50)
    monkeypatch.setattr(module, "DRAIN_S", 0.1)
    gate = threading.Event()
    hung, picture = Sink(lossless=True, gate=gate), Sink(lossless=False, gate=gate)
    good = Sink(lossless=True)
    threads = SinkThreads([hung, good, picture], live=True)
    for number in range(200):
        threads.put(result_of(number))
        wait_for(lambda number=number: len(good.got) == number + 1)
    assert [result.frame for result in good.got] == list(range(200))
    threads.close()
    # What was in its hands when it was given up counts as lost.
    assert threads.lost == 200
    assert threads.dropped == 200
    assert tuple(sink.losses.total for sink in (hung, good, picture)) == (200, 0, 200)
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert "Sink" in errors[0].getMessage()
    gate.set()


def test_files_wait_for_a_slow_one_until_told_to_stop(monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_RECORDS", 5)
    monkeypatch.setattr(module, "DRAIN_S", 0.2)
    gate, stop = threading.Event(), threading.Event()
    slow = Sink(lossless=True, gate=gate)
    threads = SinkThreads([slow], live=False, stop=stop)
    put: list[int] = []

    def feed() -> None:
        for number in range(8):
            threads.put(result_of(number))
            put.append(number)

    feeder = threading.Thread(target=feed)
    feeder.start()
    wait_for(lambda: len(put) == 5)
    time.sleep(0.1)
    assert len(put) == 5
    stop.set()
    feeder.join(20)
    assert len(put) == 8
    threads.close()
    assert threads.lost == 8
    gate.set()


def test_one_that_raises_is_counted_live_and_ends_files(caplog) -> None:
    broken, good = Broken(lossless=True), Sink(lossless=True)
    with SinkThreads([broken, good], live=True) as threads:
        for number in range(20):
            threads.put(result_of(number))
    assert threads.lost == len(broken.got) == len(good.got) == 20
    assert len([record for record in caplog.records if record.exc_info]) == 1
    with pytest.raises(ValueError, match="a mistake"), SinkThreads([broken], live=False) as threads:
        for number in range(20):
            threads.put(result_of(number))


def test_no_sink_no_thread() -> None:
    before = threading.active_count()
    with SinkThreads([], live=True) as threads:
        threads.put(result_of(0))
        assert threading.active_count() == before


def test_a_write_that_does_not_return_is_a_trouble_while_it_lasts(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(losses, "HANGING_S", 0.05)
    pipe = tmp_path / "results"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with JsonLinesSink(pipe) as sink, SinkThreads([sink], live=True) as sinks:
        for number in range(1000):  # more than a pipe holds
            sinks.put(result_of(number))
        wait_for(lambda: sink.losses.trouble)
        assert sink.losses.trouble == f"{pipe}: one write has gone on for 0 s; result lines wait"
        os.set_blocking(reader, True)
        read = b""
        while read.count(b"\n") < 1000:
            read += os.read(reader, 1 << 16)
        wait_for(lambda: not sink.losses.trouble)
    os.close(reader)
    assert sink.losses.total == 0
