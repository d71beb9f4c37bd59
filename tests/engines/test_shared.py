"""One engine for several callers: right answers, fair turns, one's failure is nobody else's."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from waiting import wait_until

import engines.shared
from engines.cpu.onnxruntime import OnnxRuntimeEngine
from engines.cpu.openvino import OpenVinoEngine
from engines.engine import Ticket
from engines.errors import EngineError
from engines.shared import SharedEngine, Turns

CALLERS = 4


class Slow:
    """An engine that takes its time; answers with the first byte of each image."""

    name, device, executes, outputs, size = "slow", "none", "f32", ("map", "score"), (4, 4)

    def __init__(self, *, batch: int = 1, wait_s: float = 0.002) -> None:
        self.batch = batch
        self.wait_s = wait_s
        self.calls: list[int] = []
        self.closed = False
        self.go_on = threading.Event()
        self.go_on.set()

    def infer(self, images):
        assert not self.closed
        self.calls.append(len(images))
        time.sleep(self.wait_s)
        self.go_on.wait(20)
        if (images == 13).any():
            raise EngineError("slow: thirteen")
        values = images[:, 0, 0, 0].astype(np.float32)
        return np.repeat(values, 16).reshape(-1, 4, 4), values

    def close(self) -> None:
        self.closed = True

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()


class Pipelined(Slow):
    """The same with two slots, which complains if it is used as no engine may be."""

    slots = 2

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.pool = ThreadPoolExecutor(self.slots)
        self.flying: dict[Ticket, object] = {}
        self.most = 0
        self.submitting = self.collecting = 0

    def submit(self, images):
        self.submitting += 1
        assert self.submitting == 1 and len(self.flying) < self.slots
        ticket = Ticket(len(self.calls))
        self.flying[ticket] = self.pool.submit(super().infer, images.copy())
        self.most = max(self.most, len(self.flying))
        self.calls.append(0)
        self.submitting -= 1
        return ticket

    def collect(self, ticket):
        self.collecting += 1
        assert self.collecting == 1
        try:
            return self.flying[ticket].result()
        finally:
            del self.flying[ticket]
            self.collecting -= 1

    def close(self) -> None:
        super().close()
        self.pool.shutdown()


def image(value: int) -> np.ndarray:
    return np.full((1, 4, 4, 3), value, np.uint8)


def together(*works) -> list:
    """Run each in a thread of its own, begun at the same moment."""
    start = threading.Barrier(len(works))

    def begun(work):
        start.wait(20)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result(60) for future in [pool.submit(begun, work) for work in works]]


@pytest.mark.parametrize("engine", [OnnxRuntimeEngine, OpenVinoEngine])
@pytest.mark.parametrize("batch", [1, 3])
def test_every_caller_gets_the_answers_of_his_own_images(
    engine, batch, inspector_graph, images
) -> None:
    with engine(inspector_graph(), precision="fp32") as alone:
        maps, scores = alone.infer(images)
    shared = SharedEngine(engine(inspector_graph(batch=batch), precision="fp32"))
    shares = [shared.share() for _ in range(CALLERS)]

    def ask(number: int) -> None:
        for turn in range(25):
            which = (number + turn) % len(images)
            got_map, got_score = shares[number].infer(images[which : which + 1])
            np.testing.assert_allclose(got_map[0], maps[which], atol=2e-5)
            np.testing.assert_allclose(got_score[0], scores[which], atol=2e-5)
        several = shares[number].infer(images)
        np.testing.assert_allclose(several[1], scores, atol=2e-5)

    together(*(lambda number=number: ask(number) for number in range(CALLERS)))
    for share in shares:
        share.close()


def test_the_engine_is_closed_with_its_last_share_and_not_before() -> None:
    engine = Slow()
    shared = SharedEngine(engine)
    first, second = shared.share(), shared.share()
    first.close()
    first.close()
    assert not engine.closed
    with pytest.raises(EngineError, match="closed"):
        first.infer(image(1))
    assert second.infer(image(2))[1] == [2]
    second.close()
    assert engine.closed
    with pytest.raises(EngineError, match="closed"):
        shared.share()


def test_images_that_come_together_are_one_call() -> None:
    engine = Slow(batch=CALLERS, wait_s=0.01)
    shared = SharedEngine(engine, within_ms=2000)
    shares = [shared.share() for _ in range(CALLERS)]
    for _ in range(5):
        asks = [lambda n=n: shares[n].infer(image(n))[1].tolist() for n in range(CALLERS)]
        assert together(*asks) == [[0], [1], [2], [3]]
    assert engine.calls == [CALLERS] * 5


def test_one_image_waits_no_longer_than_the_bound() -> None:
    engine = Slow(batch=8, wait_s=0)
    shared = SharedEngine(engine, within_ms=50)
    shares = [shared.share() for _ in range(2)]
    began = time.monotonic()
    assert shares[0].infer(image(7))[1] == [7]
    assert time.monotonic() - began > 0.04
    shares[1].close()  # nobody is left to wait for
    shared._within_s = 3600
    assert shares[0].infer(image(7))[1] == [7]


def test_what_comes_while_the_engine_works_is_its_next_call() -> None:
    engine = Slow(batch=8, wait_s=0)
    shared = SharedEngine(engine, within_ms=0)
    shares = [shared.share() for _ in range(CALLERS)]
    engine.go_on.clear()
    with ThreadPoolExecutor(CALLERS) as pool:
        answers = [pool.submit(shares[0].infer, image(0))]
        wait_until(lambda: engine.calls == [1])
        answers += [pool.submit(shares[n].infer, image(n)) for n in (1, 2, 3)]
        wait_until(lambda: shared._open is not None and shared._open.count == 3)
        engine.go_on.set()
        assert [int(answer.result(20)[1][0]) for answer in answers] == [0, 1, 2, 3]
    assert engine.calls == [1, 3]


@pytest.mark.parametrize("make", [Slow, Pipelined])
@pytest.mark.parametrize("batch", [1, CALLERS])
def test_one_bad_image_fails_its_caller_alone(make, batch) -> None:
    engine = make(batch=batch)
    shared = SharedEngine(engine, within_ms=1000)
    shares = [shared.share() for _ in range(CALLERS)]

    def ask(number: int) -> list[str]:
        told = []
        for _ in range(10):
            try:
                told.append(str(int(shares[number].infer(image(12 + number))[1][0])))
            except EngineError as error:
                told.append(str(error))
        return told

    got = together(*(lambda number=number: ask(number) for number in range(CALLERS)))
    assert got == [["12"] * 10, ["slow: thirteen"] * 10, ["14"] * 10, ["15"] * 10]
    for share in shares:
        share.close()
    assert engine.closed


def test_a_wrong_picture_is_refused_without_company(inspector_graph, images) -> None:
    shared = SharedEngine(OnnxRuntimeEngine(inspector_graph(batch=2), precision="fp32"))
    shares = [shared.share() for _ in range(2)]

    def wrong() -> str:
        with pytest.raises(EngineError, match="must be") as refused:
            shares[0].infer(images[:1, :32])
        return str(refused.value)

    assert "(N, 64, 64, 3)" in together(wrong, lambda: shares[1].infer(images[:1]))[0]
    for share in shares:
        share.close()


def test_all_slots_of_a_pipelined_engine_are_used_and_none_too_many() -> None:
    engine = Pipelined()
    shared = SharedEngine(engine)
    shares = [shared.share() for _ in range(CALLERS)]

    def ask(number: int) -> None:
        for _ in range(20):
            assert shares[number].infer(image(number))[1] == [number]

    together(*(lambda number=number: ask(number) for number in range(CALLERS)))
    assert engine.most == engine.slots
    for share in shares:
        share.close()


@pytest.mark.parametrize("make", [Slow, Pipelined])
def test_who_is_always_there_again_takes_no_more_than_his_share(make) -> None:
    engine = make(wait_s=0.001)
    shared = SharedEngine(engine)
    shares = [shared.share() for _ in range(CALLERS)]
    served: Counter[int] = Counter()
    over = threading.Event()

    def ask(number: int) -> None:
        while not over.is_set():
            shares[number].infer(image(number))
            served[number] += 1
            if served[number] == 100:
                over.set()

    together(*(lambda number=number: ask(number) for number in range(CALLERS)))
    for share in shares:
        share.close()
    assert min(served.values()) >= 80, served


def test_places_are_given_in_the_order_of_coming() -> None:
    turns = Turns()
    came: list[int] = []

    def come(number: int) -> None:
        with turns:
            came.append(number)

    with ThreadPoolExecutor(8) as pool, turns:
        for number in range(8):
            pool.submit(come, number)
            wait_until(lambda number=number: len(turns._line) == number + 1)
    assert came == list(range(8))
    with turns:  # free again
        pass


def test_a_hung_call_is_left_to_itself(monkeypatch, caplog) -> None:
    monkeypatch.setattr(engines.shared, "HUNG_S", 0.05)
    engine = Slow()
    engine.go_on.clear()
    share = SharedEngine(engine).share()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(share.infer, image(3))
        wait_until(lambda: engine.calls == [1])
        share.close()
        assert not engine.closed
        assert "does not end" in caplog.text
        engine.go_on.set()
        assert answer.result(20)[1] == [3]
