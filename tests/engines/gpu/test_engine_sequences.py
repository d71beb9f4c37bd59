"""Any order of calls and failures: right answers or an `EngineError`, and nothing left behind."""

from __future__ import annotations

import gc

import numpy as np
from fake_cuda import E
from fake_pycuda import machine_through
from fake_tensorrt import FakeTensorRt, opened, pictures, same
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from engines.cuda import BINDINGS, PYCUDA, DeviceLostError
from engines.errors import EngineError
from engines.gpu.engine import TensorRtEngine

SIZE = (4, 8)
ONCE = [E.cudaErrorMemoryAllocation, E.cudaErrorInvalidValue, E.cudaErrorLaunchOutOfResources]
FOR_GOOD = [E.cudaErrorIllegalAddress, E.cudaErrorECCUncorrectable, E.cudaErrorUnknown]
CALLS = [
    "cudaGraphLaunch",
    "cudaMemcpyAsync",
    "cudaEventRecord",
    "cudaEventSynchronize",
    "cudaMalloc",
    "cudaHostAlloc",
    "cudaStreamCreateWithFlags",
    "cudaStreamBeginCapture",
    "cudaStreamEndCapture",
    "cudaGraphInstantiate",
    "cudaGetDeviceProperties",
]


class Sequences(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.engine: TensorRtEngine | None = None
        self.tickets: dict[int, np.ndarray] = {}
        self.kept: list[tuple[tuple[np.ndarray, ...], np.ndarray]] = []
        self.injected = False

    @initialize(
        back_end=st.sampled_from([BINDINGS, PYCUDA]),
        integrated=st.booleans(),
        rtx=st.booleans(),
        capturable=st.booleans(),
        batch=st.integers(1, 3),
        any_number=st.booleans(),
        slots=st.integers(1, 3),
    )
    def begin(self, back_end, integrated, rtx, capturable, batch, any_number, slots) -> None:
        self.machine = machine_through(back_end, integrated=integrated)
        self.options = {"rtx": rtx, "capturable": capturable, "batch": batch, "size": SIZE}
        self.options["any_number"] = any_number
        self.slots = slots
        self.open_again()

    def open_again(self) -> None:
        self.trt = FakeTensorRt(self.machine, **self.options)
        self.engine = opened(
            self.machine, self.trt, slots=self.slots, together=self.options["batch"]
        )

    def guarded(self, work) -> None:
        """Do something that fails only if a failure was put in, and with nothing but our error."""
        was_lost = bool(self.machine.gpu.lost)  # opening may have reset it
        try:
            work()
        except EngineError as error:
            is_lost = was_lost or bool(self.machine.gpu.lost)
            assert self.injected or is_lost, error
            assert is_lost >= isinstance(error, DeviceLostError)
        finally:
            if not self.machine.gpu.lost:
                self.machine.failures.clear()
                self.trt.refuse, self.injected = 0, False

    @precondition(lambda self: self.engine is not None)
    @rule(count=st.integers(1, 5), seed=st.integers(0, 99))
    def infer(self, count, seed) -> None:
        def work() -> None:
            given = self.engine.infer(images)
            assert same(given, images)
            self.kept.append((given, images))

        images = pictures(count, seed, SIZE)
        if len(self.tickets) < self.slots:
            self.guarded(work)

    @precondition(lambda self: self.engine is not None)
    @rule(seed=st.integers(0, 99), part=st.integers(1, 3))
    def submit(self, seed, part) -> None:
        images = pictures(min(part, self.options["batch"]), seed, SIZE)
        if len(self.tickets) == self.slots:
            try:
                self.engine.submit(images)
            except EngineError:
                return
            raise AssertionError("a slot too many")

        def work() -> None:
            self.tickets[self.engine.submit(images)] = images.copy()
            images[:] = 0

        self.guarded(work)

    @precondition(lambda self: self.engine is not None and self.tickets)
    @rule(data=st.data())
    def collect(self, data) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.tickets)))
        images = self.tickets.pop(ticket)

        def work() -> None:
            given = self.engine.collect(ticket)
            assert same(given, images)
            self.kept.append((given, images))

        self.guarded(work)

    @rule(name=st.sampled_from(CALLS), code=st.sampled_from(ONCE), after=st.integers(0, 3))
    def fails_once(self, name, code, after) -> None:
        self.machine.fail(name, *[0] * after, int(code))
        self.injected = True

    @rule()
    def tensorrt_refuses(self) -> None:
        self.trt.refuse, self.injected = 1, True

    @rule(code=st.sampled_from(FOR_GOOD))
    def is_lost(self, code) -> None:
        self.machine.gpu.lost = int(code)

    @rule()
    def close(self) -> None:
        self.guarded(lambda: self.engine and self.engine.close())
        self.engine, self.tickets = None, {}
        gc.collect()
        if self.machine.gpu.lost:  # it was closed before anybody noticed
            self.machine.gpu.forget(0xC0DE)
            self.machine.gpu.lost, self.machine.active = 0, False
        self.machine.check()

    @precondition(lambda self: self.engine is None)
    @rule()
    def open(self) -> None:
        self.guarded(self.open_again)

    @invariant()
    def what_was_given_stays(self) -> None:
        for given, images in self.kept[-5:]:
            assert same(given, images)

    def teardown(self) -> None:
        self.close()


def test_any_sequence_of_calls_and_failures() -> None:
    run_state_machine_as_test(
        Sequences, settings=settings(max_examples=15, stateful_step_count=20, deadline=None)
    )
