"""Whatever an engine and a camera do: no OK from a faulty state, and each frame is answered."""

from __future__ import annotations

import threading
import time

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

import edge
from cameras.source import frame_now
from edge.inspection.deadline import DeadlineRunner
from edge.result import Verdict
from engines.errors import EngineError

NAN, INF = float("nan"), float("inf")


def _raise(error: BaseException):
    raise error


FAULTS = {
    "score is not a number": lambda maps, scores: (maps, scores * NAN),
    "score is infinite": lambda maps, scores: (maps, scores + INF),
    "map is not a number": lambda maps, scores: (np.where(maps > -1, NAN, maps), scores),
    "one pixel is not a number": lambda maps, scores: (_spotted(maps), scores),
    "empty map": lambda maps, scores: (maps[:, :0], scores),
    "device lost": lambda maps, scores: _raise(EngineError("the device is gone")),
    "out of memory": lambda maps, scores: _raise(MemoryError("no memory left")),
    "a mistake": lambda maps, scores: _raise(KeyError("a mistake")),
}


def _spotted(maps):
    spotted = maps.copy()
    spotted[:, 3, 5] = NAN
    return spotted


@pytest.fixture(scope="module")
def inspector(built):
    with edge.load(built, engine="onnxruntime") as opened:
        yield opened


@pytest.fixture(scope="module")
def shown(drawn):
    return cv2.imread(str(sorted((drawn / "train" / "good").iterdir())[0]))


class Line(RuleBasedStateMachine):
    """A camera and an engine that fall ill and get well."""

    def __init__(self, inspector, shown, truth) -> None:
        super().__init__()
        self.inspector, self.shown, self.truth = inspector, shown, truth
        self.true_infer = inspector.engine.infer
        self.fault: str | None = None
        self.hung: threading.Event | None = None
        self.index = 0
        inspector.engine.infer = self.infer
        self.within = DeadlineRunner(
            inspector.inspect, deadline_ms=60_000, threshold=truth.threshold
        )

    def infer(self, images):
        if self.hung is not None:
            self.hung.wait(60)
        maps, scores = self.true_infer(images)
        return FAULTS[self.fault](maps, scores) if self.fault else (maps, scores)

    def judge(self, image, *, deadline_ms: float | None = None, reason: str = ""):
        self.index += 1
        frame = frame_now("line", self.index, image, reason)
        result = self.within(frame, deadline_ms=deadline_ms)
        assert result.frame == self.index  # never the last answer again
        return result

    @rule(fault=st.sampled_from([None, *FAULTS]))
    def changes(self, fault: str | None) -> None:
        self.fault = fault

    @precondition(lambda self: self.hung is None)
    @rule()
    def hangs(self) -> None:
        self.hung = threading.Event()
        result = self.judge(self.shown, deadline_ms=20)
        assert result.verdict is Verdict.ERROR  # and here while it still hangs
        assert not self.hung.is_set()

    @precondition(lambda self: self.hung is not None)
    @rule()
    def comes_back(self) -> None:
        late, hung, self.hung = self.within.late, self.hung, None
        hung.set()
        deadline = time.monotonic() + 60
        while self.within.late == late:
            assert time.monotonic() < deadline
            time.sleep(0.001)

    @rule()
    def shows_a_part(self) -> None:
        result = self.judge(self.shown)
        if self.fault or self.hung:
            assert (result.verdict, result.score) == (Verdict.ERROR, None)
            assert result.reason
        else:
            assert (result.verdict, result.score) == (self.truth.verdict, self.truth.score)

    @rule(
        image=st.sampled_from(
            [np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3))]
        )
    )
    def shows_what_is_no_picture(self, image) -> None:
        assert self.judge(image).verdict is Verdict.ERROR

    @rule()
    def shows_nothing(self) -> None:
        result = self.judge(None, reason="line: no frame for 1.0 s")
        assert (result.verdict, result.reason) == (Verdict.ERROR, "line: no frame for 1.0 s")

    def teardown(self) -> None:
        if self.hung is not None:
            self.hung.set()
        self.within.close()
        self.inspector.engine.infer = self.true_infer


def test_no_ok_comes_from_a_faulty_state(inspector, shown) -> None:
    truth = inspector.inspect(shown)

    run_state_machine_as_test(
        lambda: Line(inspector, shown, truth),
        settings=settings(
            max_examples=30,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
