"""The fake GPU catches what it is there to catch: each runtime here is wrong in one way."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from fake_cuda import FOREIGN, PRIMARY, Machine
from fake_gpu import Violation
from fake_tensorrt import FakeTensorRt, expected, opened, pictures

from engines.gpu.context import GpuContext
from engines.gpu.memory import Resources
from engines.gpu.slot import Slot


def used(machine: Machine, trt: FakeTensorRt | None = None, **options) -> None:
    """What every wrong runtime is put through; the right one passes, see the first test."""
    with opened(machine, trt, slots=2, **options) as engine:
        for seed in range(3):
            tickets = [engine.submit(pictures(1, seed)), engine.submit(pictures(1, seed + 9))]
            for ticket, start in zip(tickets, (seed, seed + 9), strict=True):
                maps, _ = engine.collect(ticket)
                assert np.array_equal(maps, expected(pictures(1, start))[0])
    gc.collect()
    machine.check()


@pytest.mark.parametrize("capturable", [True, False])
@pytest.mark.parametrize("integrated", [True, False])
def test_the_right_runtime_passes(capturable, integrated) -> None:
    machine = Machine(integrated=integrated)
    used(machine, FakeTensorRt(machine, capturable=capturable))


class NoWait(Slot):
    def finish(self, count):
        outputs = zip(self._outputs, self._pools, strict=True)
        return [pool.copy(buffer.host)[:count] for buffer, pool in outputs]


class WaitsTooEarly(Slot):
    """Marks the end before the downloads are on the stream."""

    def _begin(self, way, bring, *, after=None, graph=None):
        self._cuda.run("cudaEventRecord", self._done, self._stream)
        if graph is not None:
            self._cuda.run("cudaGraphLaunch", graph, self._stream)
        else:
            self._issue(way, bring)


class WritesWhileUploading(Slot):
    def start(self, images):
        super().start(images)
        np.copyto(self._image.host[: len(images)], images)


class SharedOutput(Slot):
    """Downloads into one buffer for all slots."""

    first = None

    def _allocate(self, image, outputs, *, maps_input):
        super()._allocate(image, outputs, maps_input=maps_input)
        if SharedOutput.first is None or SharedOutput.first[0] is not self._cuda:
            SharedOutput.first = (self._cuda, self._outputs)
        self._outputs = SharedOutput.first[1]


class FreesBeforeTheGraph(Slot):
    """The execution's scratch memory goes while its graph may still be launched."""

    def start(self, images):
        self._ways[0].execution.close()
        gc.collect()
        super().start(images)


class FreesInFlight(Slot):
    def close(self, *, lost=False):
        super().close(lost=True)  # doesn't wait


class FreesTwice(Slot):
    def close(self, *, lost=False):
        again = list(self._resources._release)
        super().close(lost=lost)
        self._resources._release = again
        self._resources.release()


class Leaks(Slot):
    def _allocate(self, image, outputs, *, maps_input):
        super()._allocate(image, outputs, maps_input=maps_input)
        self._cuda.run("cudaMalloc", 64)


class LeaksAnEvent(Slot):
    def start(self, images):
        self._cuda.run("cudaEventCreateWithFlags", 2)
        super().start(images)


class SynchronisesInCapture(Slot):
    def _issue(self, way, bring, read_by=None):
        super()._issue(way, bring, read_by)
        self._cuda.run("cudaStreamSynchronize", self._stream)


class AllocatesInCapture(Slot):
    def _issue(self, way, bring, read_by=None):
        self._resources.buffer("more", (4,), np.uint8)
        super()._issue(way, bring, read_by)


class LaunchesInCapture(Slot):
    def _try_out(self):
        super()._try_out()
        graph = self._ways[0].graph
        self._captured.graph(
            self._stream, lambda: self._cuda.run("cudaGraphLaunch", graph, self._stream)
        )


class NeverEndsCapture(Slot):
    def _try_out(self):
        super()._try_out()
        mode = self._cuda.runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._cuda.run("cudaStreamBeginCapture", self._stream, mode)


class LaunchesADestroyedGraph(Slot):
    def start(self, images):
        self._captured.release()
        super().start(images)


class CopiesTooMuch(Slot):
    def _copy(self, target, source, size, kind):
        super()._copy(target, source, size + 8, kind)


class MixesUpDirections(Slot):
    def _upload(self, way):
        kind = self._cuda.runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._copy(self._image.device, self._image.address, self._image.size, kind)


WRONG = {
    NoWait: "the host reads pinned memory while the copy DeviceToHost",
    WaitsTooEarly: "the host reads pinned memory while the copy DeviceToHost",
    WritesWhileUploading: "the host writes pinned memory while the copy HostToDevice",
    SharedOutput: "while the copy DeviceToHost",
    FreesBeforeTheGraph: "was freed before",
    FreesInFlight: "free writes .* memory while|destroyed with work|destroyed while it runs",
    FreesTwice: "freed|is not there",
    Leaks: "left behind.*device 64",
    LeaksAnEvent: "left behind.*events",
    SynchronisesInCapture: "cudaStreamSynchronize during a capture",
    AllocatesInCapture: "cudaHostAlloc during a capture",
    LaunchesInCapture: "launched into a capture",
    NeverEndsCapture: "during a capture|destroyed while it captures|left behind",
    LaunchesADestroyedGraph: "launched that is destroyed",
    CopiesTooMuch: "beyond the end",
    MixesUpDirections: "but from host: True, to host: False",
}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda kind: kind.__name__)
def test_a_wrong_runtime_is_caught(wrong, monkeypatch) -> None:
    monkeypatch.setattr("engines.gpu.engine.Slot", wrong)
    machine = Machine()
    with pytest.raises(Violation, match=WRONG[wrong]):
        if wrong is FreesInFlight:
            engine = opened(machine)
            engine.submit(pictures(1))
            engine.close()
        else:
            used(machine)


def test_a_forgotten_context_is_caught(monkeypatch) -> None:
    monkeypatch.setattr(GpuContext, "__enter__", lambda self: self)
    monkeypatch.setattr(GpuContext, "__exit__", lambda *_: None)
    with pytest.raises(Violation, match="without a current context"):
        opened(Machine())


def test_a_context_left_current_is_caught(monkeypatch) -> None:
    monkeypatch.setattr(GpuContext, "__exit__", lambda *_: None)
    with pytest.raises(Violation, match="contexts left current"):
        used(Machine())


def test_a_context_that_is_never_released_is_caught(monkeypatch) -> None:
    monkeypatch.setattr(GpuContext, "close", lambda *_, **__: None)
    with pytest.raises(Violation, match="still held"):
        used(Machine())


def test_memory_of_another_context_is_caught() -> None:
    machine = Machine()
    GpuContext(machine.cuda)
    machine.current.append(PRIMARY)
    address = machine.cuda.run("cudaMalloc", 16)
    machine.current.append(FOREIGN)
    with pytest.raises(Violation, match="another context"):
        machine.cuda.run("cudaFree", address)


def test_an_error_that_is_left_for_the_next_library_is_caught() -> None:
    machine = Machine()
    GpuContext(machine.cuda).close()
    machine.current.append(PRIMARY)
    machine.fail("cudaMalloc", 2)
    machine.cuda.runtime.cudaMalloc(16)
    machine.current.pop()
    with pytest.raises(Violation, match="error 2 left"):
        machine.check()


def test_a_stream_that_waits_for_the_default_one_is_caught(monkeypatch) -> None:
    def blocking(self):
        return self._own("cudaStreamDestroy", self._cuda.run("cudaStreamCreateWithFlags", 0))

    monkeypatch.setattr(Resources, "stream", blocking)
    with pytest.raises(Violation, match="waits for the default stream"):
        opened(Machine())


def test_the_slots_of_a_plan_must_not_share_an_execution(monkeypatch) -> None:
    """Two streams would compute in one context's scratch memory at once."""
    from engines.gpu.loaded_plan import LoadedPlan

    made = LoadedPlan.execution
    first = []

    def shared(self, count, tell_layer):
        if not first:
            first.append(made(self, count, tell_layer))
        return first[0]

    monkeypatch.setattr(LoadedPlan, "execution", shared)
    with pytest.raises(Violation, match="the plan"):
        used(Machine())


def test_what_the_fake_does_not_know_is_no_silent_success() -> None:
    with pytest.raises(AttributeError, match="cudaMemset is not in the fake"):
        Machine().cuda.run("cudaMemset", 0, 0, 0)
