"""An inspection that always answers in time, whatever the engine does."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from waiting import wait_until

import edge
from cameras.source import frame_now
from edge.inspection.deadline import DeadlineRunner
from edge.result import Result, Verdict, error_from_frame
from process.threads import FAILURES

IMAGE = np.full((8, 8, 3), 20, np.uint8)


def frame(index: int = 0):
    return frame_now("line", index, IMAGE)


def answer(frame, *, score: float | None = 0.1, verdict: Verdict = Verdict.OK) -> Result:
    return Result(frame.source, frame.index, frame.captured_at_ns, verdict, score, 0.5)


class Hanging:
    """Hangs at the frames that it is told, until it is let go."""

    def __init__(self, *indices: int) -> None:
        self.indices = indices
        self.go_on = threading.Event()

    def __call__(self, frame) -> Result:
        if frame.index in self.indices:
            self.go_on.wait(30)
        return answer(frame)


@pytest.fixture(autouse=True)
def no_thread_stays():
    before = threading.active_count()
    yield
    assert threading.active_count() <= before, threading.enumerate()


def test_results_come_through_whole_and_in_order() -> None:
    with DeadlineRunner(answer, deadline_ms=20_000, threshold=0.5) as within:
        results = [within(frame(index)) for index in range(50)]
    assert [result.frame for result in results] == list(range(50))
    assert {result.verdict for result in results} == {Verdict.OK}
    assert within.late == 0


def test_what_hangs_is_an_error_at_the_deadline_and_what_follows_at_once() -> None:
    inspect = Hanging(1)
    with DeadlineRunner(inspect, deadline_ms=200, threshold=0.5) as within:
        assert within(frame(0), deadline_ms=20_000).verdict is Verdict.OK
        began = time.monotonic()
        hung = within(frame(1))
        assert time.monotonic() - began > 0.19
        assert (hung.verdict, hung.score, hung.frame) == (Verdict.ERROR, None, 1)
        assert "no answer within 200" in hung.reason
        after = [within(frame(index), deadline_ms=20_000) for index in (2, 3, 4)]
        assert {result.verdict for result in after} == {Verdict.ERROR}
        assert "earlier inspection hangs" in after[0].reason
        inspect.go_on.set()
        wait_until(lambda: within.late == 1)
        again = within(frame(5), deadline_ms=20_000)
        assert (again.verdict, again.frame) == (Verdict.OK, 5)  # and not the late one of frame 1


@pytest.mark.parametrize(
    ("score", "verdict"), [(float("nan"), Verdict.OK), (None, Verdict.OK), (np.inf, Verdict.NG)]
)
def test_no_verdict_without_a_finite_score_comes_through(score, verdict) -> None:
    with DeadlineRunner(
        lambda frame: answer(frame, score=score, verdict=verdict), deadline_ms=20_000, threshold=0.5
    ) as within:
        assert within(frame()).verdict is Verdict.ERROR


def test_a_mistake_and_a_lack_of_memory_are_errors_with_their_reason(caplog) -> None:
    FAILURES.forget("")  # what another test failed with a moment ago would be told no more

    def failing(frame) -> Result:
        if frame.index:
            raise MemoryError("no memory left")
        raise KeyError("a mistake")

    with DeadlineRunner(failing, deadline_ms=20_000, threshold=0.5) as within:
        assert "KeyError" in within(frame(0)).reason
        assert "out of memory" in within(frame(1)).reason
    assert "an inspection failed" in caplog.text


def test_an_error_keeps_its_own_reason() -> None:
    lost = frame_now("line", 3, None, "no frame for 1.0 s")

    def inspect(frame) -> Result:
        return error_from_frame(frame, threshold=0.7)

    with DeadlineRunner(inspect, deadline_ms=20_000, threshold=0.5) as within:
        result = within(lost)
    assert (result.verdict, result.reason) == (Verdict.ERROR, "no frame for 1.0 s")


def test_several_threads_are_served_one_after_the_other() -> None:
    def slowly(frame) -> Result:
        time.sleep(0.002)
        return answer(frame)

    with (
        DeadlineRunner(slowly, deadline_ms=20_000, threshold=0.5) as within,
        ThreadPoolExecutor(8) as pool,
    ):
        results = list(pool.map(lambda index: within(frame(index)), range(80)))
    assert [result.frame for result in results] == list(range(80))
    assert {result.verdict for result in results} == {Verdict.OK}


def test_an_inspector_answers_within_a_deadline(built, good) -> None:
    with edge.load(built, engine="onnxruntime") as inspector:
        image = cv2.imread(str(next(good.iterdir())))
        plain = inspector.inspect(image)
        timed = inspector.inspect(image, deadline_ms=20_000)
        assert (timed.verdict, timed.score) == (plain.verdict, plain.score)
        infer, go_on = inspector.engine.infer, threading.Event()

        def hanging(images):
            go_on.wait(30)
            return infer(images)

        inspector.engine.infer = hanging
        late = inspector.inspect(image, deadline_ms=50)
        assert late.verdict is Verdict.ERROR
        assert "no answer within" in late.reason
        go_on.set()


@pytest.mark.parametrize("deadline_ms", [0, -1, float("nan"), float("inf")])
def test_a_deadline_that_makes_no_sense_is_refused(deadline_ms) -> None:
    with DeadlineRunner(answer, deadline_ms=20_000, threshold=0.5) as within:
        with pytest.raises(ValueError, match="must be positive"):
            within(frame(), deadline_ms=deadline_ms)
        assert within(frame()).verdict is Verdict.OK


def test_an_interrupted_wait_leaves_its_answer_to_nobody(request) -> None:
    """As when a cell of a notebook is stopped and run again: the next part gets its own verdict."""
    # A command that ran in this process before has its own idea of Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    inspect, waits = Hanging(1), threading.Event()

    def inspecting(frame) -> Result:
        waits.set()
        return inspect(frame)

    def interrupt() -> None:
        assert waits.wait(20)
        time.sleep(0.1)  # a signal just before the wait would be noticed after it
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    with DeadlineRunner(inspecting, deadline_ms=20_000, threshold=0.5) as within:
        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
        with pytest.raises(KeyboardInterrupt):
            within(frame(1))
        interrupting.join()
        assert "an earlier inspection hangs" in within(frame(2)).reason
        inspect.go_on.set()
        wait_until(lambda: within.late == 1)
        assert (within(frame(3)).frame, within.late) == (3, 1)
