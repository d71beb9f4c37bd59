"""A lost GPU costs ERROR verdicts until it is back, and never more than that."""

from __future__ import annotations

import gc
import threading
import time
from types import SimpleNamespace
from weakref import finalize

import numpy as np
import pytest
from fake_cuda import FOREIGN, Machine
from fake_pycuda import both_back_ends, machine_through, on_pycuda
from fake_tensorrt import expected, opened, same
from two_cameras import TwoCameras

from engines.cuda import BINDINGS, PYCUDA, DeviceLostError
from engines.engine import PipelinedEngine
from engines.errors import EngineError
from engines.gpu import reopen
from engines.gpu.engine import TensorRtEngine
from engines.gpu.reopen import WAITS_S, ReopeningEngine
from process.forks import Birthplace

IMAGES = np.full((1, 8, 16, 3), 51, np.uint8)


class Line:
    """A reviving engine on a fake GPU, with a clock that stands still."""

    def __init__(self, machine: Machine | None = None) -> None:
        self.machine = machine or Machine()
        self.now = 100.0
        self.said: list[str] = []
        self.openings = 0
        self.home = None
        self.compile = lambda progress: None
        self.engine = ReopeningEngine(self.opened, say=self.said.append, clock=lambda: self.now)

    def opened(self, progress) -> TensorRtEngine:
        self.openings += 1
        self.compile(progress)
        engine = opened(self.machine, device="Fake 1", home=self.home)
        self.home = engine.home
        return engine

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
def line(back_end):
    made = Line(machine_through(back_end))
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


@both_back_ends
def test_a_lost_gpu_is_back_after_the_first_wait(line) -> None:
    line.lose()
    line.fails(r"the GPU was lost \(.*700.*\); the next try is in 0\.5 s")
    line.now += WAITS_S[0]
    line.tried()
    assert right(line.engine)
    assert line.openings == 2
    assert line.machine.resets == 1
    assert "works again on Fake 1" in line.said[-1]


@both_back_ends
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


@both_back_ends
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


def test_closing_stops_a_compilation_that_is_under_way(line) -> None:
    """Whoever stops a station does not wait for the minutes that a plan takes."""
    compiles, ended = threading.Event(), threading.Event()

    def compile_for_ever(progress) -> None:
        compiles.set()
        try:
            while True:
                progress(0.5)
                time.sleep(0.001)
        finally:
            ended.set()

    line.lose()
    line.compile = compile_for_ever
    line.now += 1
    line.fails("it is being opened again")
    assert compiles.wait(60)
    line.engine.close()
    assert ended.is_set()
    assert line.said[-1].startswith("tensorrt: the GPU was lost")  # no failed try is told of


@both_back_ends
def test_what_is_opened_after_closing_is_closed_at_once(line, monkeypatch) -> None:
    monkeypatch.setattr(reopen, "CLOSING_S", 0.01)
    closed = threading.Event()
    line.compile = lambda progress: closed.wait(60)
    line.lose()
    line.now += 1
    line.fails("it is being opened again")
    thread = line.engine._thread
    line.engine.close()
    assert thread.is_alive()
    assert thread.daemon  # so the process can end
    closed.set()
    thread.join(60)
    assert line.openings == 2  # and the fixture finds nothing left of the second


@both_back_ends
def test_it_is_opened_again_in_the_context_where_it_was(back_end) -> None:
    """The thread that opens it has none current, and would take the first GPU's own."""
    machine = machine_through(back_end)
    machine.current.append(FOREIGN)
    line = Line(machine)
    machine.current.pop()
    line.lose()
    machine.gpu.lost = 0  # who made that context has mended it
    line.now += 1
    line.tried()
    machine.current.append(FOREIGN)
    assert right(line.engine)
    assert {block.context for block in machine.gpu.blocks.values()} == {FOREIGN}
    line.engine.close()
    machine.current.pop()
    machine.gpu.forget(FOREIGN)
    machine.check()


def test_an_inspector_closes_while_its_engine_is_tested_again(line) -> None:
    """The self-test of an engine that comes back must not wait for what closing holds."""
    from edge.inspection.inspector import Inspector

    tests, closing = threading.Event(), threading.Event()

    def test(engine, infer) -> None:
        tests.set()
        assert closing.wait(60)
        infer(IMAGES)

    inspector = object.__new__(Inspector)
    inspector.engine, inspector._lock, inspector._runners = line.engine, threading.Lock(), []
    inspector._test, inspector._birthplace = test, Birthplace()
    inspector._unclosed = finalize(inspector, lambda: None)
    inspector._test_engine_that_comes_back()
    line.lose()
    line.now += 1
    line.fails("it is being opened again")
    assert tests.wait(60)
    closer = threading.Thread(target=inspector.close)
    closer.start()
    while not line.engine._closed:
        time.sleep(0.001)
    closing.set()
    closer.join(2)
    assert not closer.is_alive()


def test_a_first_engine_that_does_not_open_is_an_error_at_once() -> None:
    def fails(progress) -> TensorRtEngine:
        raise EngineError("no GPU")

    with pytest.raises(EngineError, match="no GPU"):
        ReopeningEngine(fails)


def test_an_inspector_gives_error_verdicts_meanwhile(line) -> None:
    from edge.health.checks import ImageChecks
    from edge.health.measurements import ImageStatsReader
    from edge.inspection.inspector import Inspector
    from edge.inspection.verdict import DecisionSettings
    from edge.result import Verdict

    inspector = object.__new__(Inspector)  # without a bundle: only the engine matters here
    inspector.engine, inspector._lock = line.engine, threading.Lock()
    inspector._birthplace = Birthplace()
    inspector.health, inspector._learnt_roi = ImageChecks(None), None
    inspector._image_stats = ImageStatsReader((8, 16))
    inspector._settings = DecisionSettings(threshold=0.5, min_area=1, ignore=None, roi=None)
    inspector.bundle = type(
        "B",
        (),
        {"manifest": type("M", (), {"size": (8, 16), "bit_depth": None})},
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


@both_back_ends
def test_bench_says_what_a_frame_launches(line, back_end, capsys) -> None:
    from edge.cli.tables import print_bench
    from edge.evaluation.bench import bench
    from edge.result import Verdict

    report = bench(
        line.engine,
        precision="fp32",
        frames=[IMAGES[0]],
        prepare=lambda frame: frame[None],
        inspect=lambda frame: SimpleNamespace(verdict=Verdict.OK, speed={}),
        iterations=1,
    )
    told = {BINDINGS: "one CUDA graph a frame", PYCUDA: "pycuda has no CUDA graphs"}[back_end]
    assert told in report.launches
    print_bench("bottle.edge", report)
    assert "launches" in capsys.readouterr().out


@pytest.mark.parametrize("through", [lambda machine: machine, on_pycuda])
def test_two_cameras_a_loss_and_an_end_in_any_order(through) -> None:
    """In full, 1 000 of them, in `tests/soak`."""
    games = [TwoCameras(seed, through) for seed in range(8)]
    for game in games:
        game.play()
    assert sum(game.right for game in games) and sum(game.errors for game in games)
