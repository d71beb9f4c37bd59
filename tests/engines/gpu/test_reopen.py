"""A lost GPU costs ERROR verdicts until it is back, and never more than that."""

from __future__ import annotations

import gc
import threading
import time

import numpy as np
import pytest
from fake_cuda import Machine
from fake_tensorrt import expected, opened, same

from engines.cuda import DeviceLostError
from engines.engine import PipelinedEngine
from engines.errors import EngineError
from engines.gpu.engine import TensorRtEngine
from engines.gpu.reopen import WAITS_S, ReopeningEngine

IMAGES = np.full((1, 8, 16, 3), 51, np.uint8)


class Line:
    """A reviving engine on a fake GPU, with a clock that stands still."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.now = 100.0
        self.said: list[str] = []
        self.openings = 0
        self.engine = ReopeningEngine(self.opened, say=self.said.append, clock=lambda: self.now)

    def opened(self) -> TensorRtEngine:
        self.openings += 1
        return opened(self.machine, device="Fake 1")

    def fails(self, match: str) -> None:
        with pytest.raises(EngineError, match=match):
            self.engine.infer(IMAGES)

    def lose(self, *, for_good: bool = False) -> None:
        self.machine.gpu.lost = 700
        self.machine.broken_for_good = for_good
        with pytest.raises(DeviceLostError, match="700"):
            self.engine.infer(IMAGES)

    def tried(self) -> None:
        """Have a due try made, and wait for it."""
        said = len(self.said)
        self.fails("it is being opened again")
        deadline = time.monotonic() + 60
        while len(self.said) == said and time.monotonic() < deadline:
            time.sleep(0.001)
        thread = self.engine._thread
        if thread is not None:
            thread.join()


@pytest.fixture
def line():
    made = Line()
    yield made
    made.machine.broken_for_good = False
    made.engine.close()
    made.engine.close()
    gc.collect()
    if made.machine.gpu.lost:
        made.machine.gpu.forget(0xC0DE)
    made.machine.check()


def right(engine: PipelinedEngine) -> bool:
    return same(engine.infer(IMAGES), IMAGES)


def test_it_is_the_engine_that_it_opened(line) -> None:
    assert isinstance(line.engine, PipelinedEngine)
    assert right(line.engine)
    assert (line.engine.name, line.engine.device) == ("tensorrt", "Fake 1")
    assert (line.engine.size, line.engine.batch, line.engine.slots) == ((8, 16), 1, 2)
    ticket = line.engine.submit(IMAGES)
    assert np.array_equal(line.engine.collect(ticket)[0], expected(IMAGES)[0])
    with pytest.raises(EngineError, match="not in flight"):
        line.engine.collect(ticket)


def test_a_lost_gpu_is_back_after_the_first_wait(line) -> None:
    line.lose()
    line.fails(r"the GPU was lost \(.*700.*\); the next try is in 0\.5 s")
    line.now += WAITS_S[0]
    line.tried()
    assert right(line.engine)
    assert line.openings == 2
    assert line.machine.resets == 1
    assert "works again on Fake 1" in line.said[-1]


def test_each_failed_try_waits_longer_and_it_never_gives_up(line) -> None:
    line.lose(for_good=True)
    line.now += WAITS_S[0]
    for wait in [*WAITS_S[1:], WAITS_S[-1], WAITS_S[-1]]:
        line.tried()
        assert f"the next is in {wait:g} s" in line.said[-1]
        line.fails(rf"the next try is in {wait:.1f} s")
        line.now += wait
    line.machine.broken_for_good = False
    line.machine.gpu.lost = 0
    line.tried()
    assert right(line.engine)


def test_tickets_of_the_lost_engine_are_lost_and_never_mixed_up(line) -> None:
    old = line.engine.submit(IMAGES)
    line.lose()
    line.now += 1
    line.tried()
    new = line.engine.submit(IMAGES)
    assert new != old
    with pytest.raises(EngineError, match="was lost with the GPU"):
        line.engine.collect(old)
    assert np.array_equal(line.engine.collect(new)[0], expected(IMAGES)[0])


def test_an_engine_that_fails_the_self_test_is_not_used(line) -> None:
    def check(engine) -> None:
        assert right(engine)
        raise EngineError("golden/bad.png has another score")

    line.engine.check_with(check)
    line.lose()
    line.now += 1
    line.tried()
    line.fails("golden/bad.png has another score.*next try is in")


def test_an_ordinary_failure_changes_nothing(line) -> None:
    line.machine.fail("cudaGraphLaunch", 701)
    line.fails("701")
    assert right(line.engine)
    assert line.openings == 1
    assert line.said == []


def test_closed_means_closed(line) -> None:
    line.lose()
    line.engine.close()
    line.now += 99
    line.fails("closed; open it again")
    assert line.openings == 1


def test_a_first_engine_that_does_not_open_is_an_error_at_once() -> None:
    def fails() -> TensorRtEngine:
        raise EngineError("no GPU")

    with pytest.raises(EngineError, match="no GPU"):
        ReopeningEngine(fails)


def test_an_inspector_gives_error_verdicts_meanwhile(line) -> None:
    from edge.health.checks import ImageChecks
    from edge.inspection.inspector import Inspector
    from edge.inspection.verdict import DecisionSettings
    from edge.result import Verdict

    inspector = object.__new__(Inspector)  # without a bundle: only the engine matters here
    inspector.engine, inspector._lock = line.engine, threading.Lock()
    inspector.health, inspector._learnt_roi = ImageChecks(None), None
    inspector.settings = DecisionSettings(threshold=0.5, min_area=1, ignore=None, roi=None)
    inspector.bundle = type(
        "B",
        (),
        {"manifest": type("M", (), {"size": (8, 16)})},
    )
    picture = np.full((8, 16, 3), 51, np.uint8)
    assert inspector.inspect(picture).verdict is Verdict.OK
    line.machine.gpu.lost = 719
    verdicts = [inspector.inspect(picture) for _ in range(3)]
    assert {result.verdict for result in verdicts} == {Verdict.ERROR}
    assert "719" in verdicts[0].reason
    assert "next try" in verdicts[1].reason
    line.now += 1
    line.tried()
    assert inspector.inspect(picture).verdict is Verdict.OK
