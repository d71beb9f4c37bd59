"""Triggered mode: each trigger has one result, in time, of a picture that was taken after it."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import threading
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from judging import judged
from replay import Replay
from waiting import wait_until

from cameras.errors import CameraError
from cameras.source import frame_now
from edge.health.checks import ImageChecks
from edge.inspection.verdict import DecisionSettings
from edge.result import Result, Verdict
from edge.stream.triggered import Triggered, TriggerOptions

LONG = 20_000.0  # ms


def image(value: int) -> np.ndarray:
    return np.full((8, 8, 3), value, np.uint8)


def inspector(inspect=judged):
    return SimpleNamespace(
        inspect=inspect, settings=DecisionSettings(0.5), health=ImageChecks(None)
    )


class Live:
    """A camera whose pictures come when the test wants."""

    live, name, dropped, rate_hz, length = True, "line", 0, None, None

    def __init__(self) -> None:
        self.ready = threading.Semaphore(0)
        self.values: list[object] = []
        self.taken = 0
        self.closed = threading.Event()
        self.picture = image
        self.period_s = 0.0  # by which each picture is later than the one before

    def show(self, *values: object) -> None:
        """Take pictures now: a number, None for a stall, or an error."""
        for value in values:
            self.values.append(value)
            self.ready.release()
        wait_until(lambda: self.taken >= len(self.values) or self.closed.is_set())

    def __iter__(self):
        for index in itertools.count():
            while not self.ready.acquire(timeout=0.01):
                if self.closed.is_set():
                    return
            value = self.values[index]
            if isinstance(value, Exception):
                self.taken += 1
                raise value
            if value is None:
                yield frame_now("line", index, None, "line: no frame for 1.0 s")
            else:
                taken = frame_now("line", index, self.picture(int(value)))
                later_ns = int(index * self.period_s * 1e9)
                yield dataclasses.replace(taken, monotonic_ns=taken.monotonic_ns + later_ns)
            self.taken += 1

    def close(self) -> None:
        self.closed.set()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()


@pytest.fixture(autouse=True)
def no_thread_stays():
    before = threading.active_count()
    yield
    wait_until(lambda: threading.active_count() <= before)


def test_a_part_gets_the_first_picture_after_its_trigger_and_no_other() -> None:
    camera = Live()
    with Triggered(inspector(), camera, options=TriggerOptions(deadline_ms=LONG)) as line:
        camera.show(1, 2)  # before: of no part
        first = line.trigger()
        camera.show(3)
        assert first.result(30).score == 3
        camera.show(4)
        second, third = line.trigger(), line.trigger(70)
        camera.show(5, 6, 7)
        assert [part.result(30).score for part in (second, third)] == [5, 6]
        assert [part.result().part for part in (first, second, third)] == [1, 2, 70]
    assert camera.closed.is_set()
    assert (line.counts.triggered, line.counts.overdue, line.counts.overflowed) == (3, 0, 0)


def test_a_picture_counts_only_when_the_camera_has_settled() -> None:
    camera = Live()
    options = TriggerOptions(deadline_ms=LONG, settle_ms=150)
    with Triggered(inspector(), camera, options=options) as line:
        part = line.trigger()
        camera.show(1)
        time.sleep(0.2)
        camera.show(2)
        assert part.result(30).score == 2


def test_files_give_one_picture_for_each_trigger_and_then_errors() -> None:
    source = Replay([image(n) for n in (1, 250)])
    with Triggered(inspector(), source, options=TriggerOptions(deadline_ms=LONG)) as line:
        got = [line.trigger().result(30) for _ in range(4)]
    assert [result.verdict.value for result in got] == ["OK", "NG", "ERROR", "ERROR"]
    assert "no more pictures" in got[3].reason


def test_one_part_too_many_is_an_error_at_once_and_the_others_are_inspected() -> None:
    camera, go_on = Live(), threading.Event()
    told: list[int | None] = []

    def slow(frame) -> Result:
        go_on.wait(30)
        return judged(frame)

    with Triggered(
        inspector(slow),
        camera,
        options=TriggerOptions(under_way=3, deadline_ms=LONG),
        on_result=lambda _, result: told.append(result.part),
    ) as line:
        parts = [line.trigger() for _ in range(3)]
        over = line.trigger()
        assert over.result(0).verdict is Verdict.ERROR
        assert "overflow: 3 parts" in over.result().reason
        camera.show(1, 2, 3)
        go_on.set()
        assert [part.result(30).score for part in parts] == [1, 2, 3]
        again = line.trigger()
        camera.show(9)
        assert again.result(30).score == 9
    assert told == [1, 2, 3, 4, 5]  # in the order of the triggers
    assert line.counts.overflowed == 1


def test_without_a_picture_it_is_an_error_at_the_deadline() -> None:
    with Triggered(inspector(), Live(), options=TriggerOptions(deadline_ms=150)) as line:
        began = time.monotonic()
        result = line.trigger().result(30)
        assert time.monotonic() - began > 0.14
    assert (result.verdict, result.part) == (Verdict.ERROR, 1)
    assert "no picture within 150 ms" in result.reason
    assert line.counts.overdue == 1


def test_what_hangs_costs_its_parts_and_no_other() -> None:
    camera, go_on = Live(), threading.Event()

    def hanging(frame) -> Result:
        if frame.index == 0:
            go_on.wait(30)
        return judged(frame)

    options = TriggerOptions(deadline_ms=300, under_way=2)
    with Triggered(inspector(hanging), camera, options=options) as line:
        first = line.trigger()
        camera.show(1)
        assert first.result(30).verdict is Verdict.ERROR
        second = line.trigger()
        camera.show(2)
        assert second.result(30).verdict is Verdict.ERROR
        go_on.set()
        verdicts = []

        def well() -> bool:
            part = line.trigger()
            camera.show(3)
            verdicts.append(part.result(30).verdict)
            return verdicts[-1] is Verdict.OK

        wait_until(well)


def test_a_camera_that_stalls_or_stops_is_an_error_with_its_reason() -> None:
    camera = Live()
    with Triggered(inspector(), camera, options=TriggerOptions(deadline_ms=LONG)) as line:
        stalled = [line.trigger(), line.trigger()]
        camera.show(None)
        assert {part.result(30).reason for part in stalled} == {"line: no frame for 1.0 s"}
        stopped = line.trigger()
        camera.show(CameraError("line: the device is gone"))
        assert stopped.result(30).reason == "line: the device is gone"
        assert line.trigger().result(30).reason == "line: the device is gone"


def test_the_end_waits_for_what_is_under_way_and_refuses_the_rest(caplog) -> None:
    camera = Live()
    heard: list[Result] = []

    def hear(_, result: Result) -> None:
        heard.append(result)
        raise ValueError("a mistake in a listener")

    options = TriggerOptions(deadline_ms=LONG)
    line = Triggered(inspector(), camera, options=options, on_result=hear)
    part = line.trigger()
    camera.show(1)
    line.close()
    line.close()
    assert part.result(0).score == 1
    assert line.trigger().result(0).verdict is Verdict.ERROR
    assert [result.part for result in heard] == [1]
    assert "a mistake in a listener" in caplog.text


def test_whatever_happens_each_trigger_has_one_result_in_order() -> None:
    random = np.random.default_rng(5)
    told: list[int | None] = []
    camera, over = Live(), threading.Event()

    def unsteady(frame) -> Result:
        kind = frame.index % 7
        if kind == 3:
            raise KeyError("a mistake")
        time.sleep(0.03 if kind == 5 else 0.001)
        return judged(frame)

    def show() -> None:
        for number in itertools.count():
            if over.is_set():
                return
            camera.show(None if number % 11 == 10 else number % 190)
            time.sleep(0.002)

    showing = threading.Thread(target=show)
    options = TriggerOptions(deadline_ms=20, under_way=3)
    with Triggered(
        inspector(unsteady), camera, options=options, on_result=lambda _, r: told.append(r.part)
    ) as line:
        showing.start()
        parts = []
        for _ in range(150):
            parts.append(line.trigger())
            time.sleep(float(random.uniform(0, 0.008)))
        results = [part.result(30) for part in parts]
        over.set()
        showing.join()
    assert [result.part for result in results] == told == list(range(1, 151))
    assert {result.verdict for result in results} <= {Verdict.OK, Verdict.ERROR}
    used = [result.frame for result in results if result.verdict is Verdict.OK]
    assert len(set(used)) == len(used)  # no picture twice


@pytest.mark.parametrize(
    "wrong", [{"under_way": 0}, {"deadline_ms": 0}, {"deadline_ms": 10, "settle_ms": 10}]
)
def test_options_that_make_no_sense_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match="must be"):
        TriggerOptions(**wrong)


def test_a_camera_that_freezes_gives_no_part_a_verdict(scene) -> None:
    """Between two triggers it is watched too: two pictures a part would prove nothing."""
    camera = Live()
    camera.picture = lambda value: scene  # the same, whatever was asked for
    with Triggered(inspector(), camera, options=TriggerOptions(deadline_ms=LONG)) as line:
        first = line.trigger()
        camera.show(0)
        assert first.result(20).verdict is Verdict.OK
        camera.period_s = 1.0
        camera.show(*range(15))
        second = line.trigger()
        camera.show(16)
        result = second.result(20)
    assert result.verdict is Verdict.ERROR
    assert result.reason.startswith("frozen: the picture has not changed for ")


def test_the_memory_of_a_part_is_free_when_its_result_is_known() -> None:
    """It may be one of a few places that a camera writes to: no collector is waited for."""
    images: list[weakref.ref[np.ndarray]] = []

    def fresh():
        for value in range(3):
            made = image(value)
            images.append(weakref.ref(made))
            yield made
            del made

    gc.disable()
    try:
        with Triggered(
            inspector(), Replay(fresh()), options=TriggerOptions(deadline_ms=LONG)
        ) as line:
            assert line.trigger().result(30).score == 0
            assert line.trigger().result(30).score == 1  # with it goes what still held the first
            wait_until(lambda: images[0]() is None)
    finally:
        gc.enable()
