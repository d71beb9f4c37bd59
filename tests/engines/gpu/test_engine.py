"""The runtime of TensorRT plans, driven on a fake GPU that forgives nothing."""

from __future__ import annotations

import gc
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fake_cuda import E, Machine
from fake_pycuda import both_back_ends
from fake_tensorrt import (
    LAYERS_MS,
    PLAN,
    FakeTensorRt,
    expected,
    fake_plan,
    opened,
    pictures,
    same,
)
from in_flight import infer_each

from engines.cuda import DeviceLostError
from engines.engine import EngineOptions, LayerTime, PipelinedEngine
from engines.errors import EngineError
from engines.gpu.engine import Libraries, TensorRtEngine
from engines.plans.layers import Layer
from engines.shared import SharedEngine


@pytest.mark.parametrize("integrated", [False, True])
@pytest.mark.parametrize("rtx", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_any_number_of_images_gives_what_the_plan_computes(integrated, rtx, batch, count) -> None:
    machine = Machine(integrated=integrated)
    with opened(machine, FakeTensorRt(machine, rtx=rtx, batch=batch)) as engine:
        assert same(engine.infer(pictures(count)), pictures(count))
        assert same(engine.infer(pictures(count, 1)[:, :, ::-1]), pictures(count, 1)[:, :, ::-1])
    gc.collect()
    machine.check()


@pytest.mark.parametrize("capturable", [True, False])
@pytest.mark.parametrize("rtx", [False, True])
def test_a_plan_for_several_computes_no_more_images_than_its_callers_are(rtx, capturable) -> None:
    machine = Machine()
    trt = FakeTensorRt(machine, rtx=rtx, batch=8, any_number=True, capturable=capturable)
    for together, batch in ((1, 1), (3, 3), (9, 8)):
        with opened(machine, trt, together=together) as engine:
            assert engine.batch == batch
            for count in (1, 2, 3, 8, 11):
                assert same(engine.infer(pictures(count)), pictures(count))
    gc.collect()
    machine.check()


def test_an_image_alone_is_not_filled_up_to_a_batch() -> None:
    """It is uploaded, computed and downloaded by itself: others' places cost it nothing."""
    machine = Machine()
    trt = FakeTensorRt(machine, batch=8, any_number=True)
    computed: list[int] = []
    trt.computes[PLAN] = lambda images: (computed.append(len(images)), expected(images))[1]
    with opened(machine, trt, together=4) as engine:
        for count, taken in ((1, 1), (2, 4), (4, 4)):
            computed.clear()
            machine.order.clear()
            assert same(engine.collect(engine.submit(pictures(count))), pictures(count))
            assert computed == [taken] and machine.count("cudaGraphLaunch") == 1


def test_two_cameras_are_computed_together_within_the_bound_of_latency(machine) -> None:
    trt = FakeTensorRt(machine, batch=8, any_number=True)
    computed: list[int] = []
    trt.computes[PLAN] = lambda images: (computed.append(len(images)), expected(images))[1]
    shared = SharedEngine(opened(machine, trt, together=2), within_ms=30)
    shares = [shared.share() for _ in range(2)]
    both = threading.Barrier(2)

    def watch(number: int) -> bool:
        given = []
        for turn in range(5):
            both.wait(10)
            given.append(same(shares[number].infer(pictures(1, turn)), pictures(1, turn)))
        return all(given)

    computed.clear()
    with ThreadPoolExecutor(2) as cameras:
        assert all(cameras.map(watch, range(2)))
    assert computed.count(2) >= 4, "they came together"
    times = []
    for turn in range(5):
        begun = time.monotonic()
        assert same(shares[0].infer(pictures(1, turn)), pictures(1, turn))
        times.append(time.monotonic() - begun)
    assert computed[-5:] == [1] * 5
    assert 0.03 <= min(times) < 0.06, "the other one did not come, and was not waited for longer"
    for share in shares:
        share.close()


def test_a_frame_costs_one_launch_and_no_allocation_call(machine) -> None:
    with opened(machine) as engine:
        engine.infer(pictures(1))
        machine.order.clear()
        engine.infer(pictures(1))
        assert machine.order == [
            "cuCtxPushCurrent",
            "cudaGraphLaunch",
            "cudaEventRecord",
            "cudaEventSynchronize",
            "cuCtxPopCurrent",
        ]
        assert engine.why_no_graph == ""


def test_the_next_batch_is_on_its_way_before_the_first_is_waited_for(machine) -> None:
    with opened(machine, slots=2) as engine:
        machine.order.clear()
        engine.infer(pictures(4))
        work = [name for name in machine.order if name.startswith("cuda")]
        launch, record, wait = "cudaGraphLaunch", "cudaEventRecord", "cudaEventSynchronize"
        begin = [launch, record]
        assert work == [*begin, *begin, wait, *begin, wait, *begin, wait, wait]


def test_an_integrated_gpu_reads_the_image_where_the_host_wrote_it() -> None:
    machine = Machine(integrated=True)
    with opened(machine, FakeTensorRt(machine, capturable=False)) as engine:
        machine.order.clear()
        assert same(engine.infer(pictures(1)), pictures(1))
        assert machine.count("cudaMemcpyAsync") == 2  # the two outputs, and no upload
        kinds = sorted(block.kind for block in machine.gpu.blocks.values())
        assert kinds.count("mapped") == engine.slots
    gc.collect()
    machine.check()


def test_a_capture_that_is_refused_leaves_the_engine_working_and_the_reason(machine) -> None:
    with opened(machine, FakeTensorRt(machine, capturable=False)) as engine:
        assert "not permitted when stream is capturing" in engine.why_no_graph
        assert same(engine.infer(pictures(5)), pictures(5))
        assert not machine.count("cudaGraphLaunch")


def test_a_graph_that_cannot_be_instantiated_is_no_failure(machine) -> None:
    machine.fail("cudaGraphInstantiate", E.cudaErrorNotSupported, E.cudaErrorNotSupported)
    with opened(machine) as engine:
        assert "cudaGraphInstantiate" in engine.why_no_graph
        assert same(engine.infer(pictures(2)), pictures(2))


def test_rtx_captures_itself_what_we_cannot(machine) -> None:
    trt = FakeTensorRt(machine, rtx=True, capturable=False)
    with opened(machine, trt, flavour="tensorrt-rtx") as engine:
        assert "a graph of its own" in engine.why_no_graph
        assert not machine.count("cudaStreamBeginCapture")
        assert trt.contexts_made == engine.slots + 1  # the first was asked, and given back
        assert same(engine.infer(pictures(2)), pictures(2))


@both_back_ends
def test_tickets_come_back_in_any_order_and_only_once(machine) -> None:
    with opened(machine, slots=3) as engine:
        assert isinstance(engine, PipelinedEngine)
        tickets = [engine.submit(pictures(1, seed)) for seed in range(3)]
        with pytest.raises(EngineError, match="all 3 slots are in flight; collect"):
            engine.submit(pictures(1))
        with pytest.raises(EngineError, match="all 3 slots"):
            engine.infer(pictures(1))
        for seed in (1, 0, 2):
            assert same(engine.collect(tickets[seed]), pictures(1, seed))
        with pytest.raises(EngineError, match="not in flight; collect it once"):
            engine.collect(tickets[0])
        assert engine.submit(pictures(1)) not in tickets  # still in flight when it closes


@both_back_ends
def test_the_images_are_the_callers_again_after_submit(machine) -> None:
    with opened(machine) as engine:
        images = pictures(1)
        ticket = engine.submit(images)
        images[:] = 0
        assert same(engine.collect(ticket), pictures(1))


@both_back_ends
def test_results_stay_as_they_are_however_many_follow(machine) -> None:
    with opened(machine) as engine:
        kept = [engine.infer(pictures(1, seed)) for seed in range(30)]
    assert all(same(given, pictures(1, seed)) for seed, given in enumerate(kept))


def test_the_steady_state_allocates_nothing_of_a_frames_size() -> None:
    machine = Machine()
    size = (512, 512)  # a frame of 768 KiB: nothing of the fake's own is as large
    with opened(machine, FakeTensorRt(machine, size=size)) as engine:
        images = np.zeros((1, *size, 3), np.uint8)
        slot = engine._all[0]
        for _ in range(3):
            engine.infer(images)
        tracemalloc.start()
        held = [slot._pools[0].copy(slot._outputs[0].host.seen(write=False)) for _ in range(2)]
        del held
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(5):
            np.copyto(slot._image.host, images)
            slot._pools[0].copy(slot._outputs[0].host)
        peak = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()
    assert peak < images.nbytes // 4


@both_back_ends
def test_all_slots_are_busy_and_the_order_is_kept(machine) -> None:
    batches = [pictures(count, seed) for seed, count in enumerate([2, 1, 2, 2, 2, 1])]
    with opened(machine, FakeTensorRt(machine, batch=2), slots=3) as engine:
        for images, given in zip(batches, infer_each(engine, batches), strict=True):
            assert same(given, images)
        for _ in infer_each(engine, batches):
            break  # what is in flight then is collected
        assert same(engine.infer(pictures(9)), pictures(9))


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 8, 16, 3), np.float32),
        np.zeros((0, 8, 16, 3), np.uint8),
        np.zeros((8, 16, 3), np.uint8),
        np.zeros((1, 16, 8, 3), np.uint8),
        [[0]],
    ],
)
def test_wrong_images_are_refused_before_anything_is_launched(machine, wrong) -> None:
    with opened(machine) as engine:
        launches = machine.gpu.launches
        for work in (engine.infer, engine.submit):
            with pytest.raises(EngineError, match="images must be"):
                work(wrong)
        assert machine.gpu.launches == launches


def test_a_ticket_takes_no_more_than_a_batch(machine) -> None:
    with (
        opened(machine, FakeTensorRt(machine, batch=2)) as engine,
        pytest.raises(EngineError, match=r"3 images, and a ticket takes 2; .* use infer"),
    ):
        engine.submit(pictures(3))


@both_back_ends
def test_a_closed_engine_says_so(machine) -> None:
    engine = opened(machine)
    engine.close()
    engine.close()
    for call in (lambda: engine.infer(pictures(1)), lambda: engine.collect(0)):
        with pytest.raises(EngineError, match="closed; open it again"):
            call()


@both_back_ends
@pytest.mark.parametrize("name", ["cudaHostAlloc", "cudaMalloc", "cudaEventCreateWithFlags"])
@pytest.mark.parametrize("after", range(4))
def test_no_memory_at_birth_leaves_nothing_behind(machine, name, after) -> None:
    machine.fail(name, *[0] * after, E.cudaErrorMemoryAllocation)
    with pytest.raises(EngineError, match=f"error 2 in {name}: out of memory; the GPU's memory"):
        opened(machine)


def test_a_plan_that_does_not_load_says_why_and_leaves_nothing(machine) -> None:
    with pytest.raises(EngineError, match="does not load: the magic tag is wrong"):
        opened(machine, plan=b"something else")


@pytest.mark.parametrize("slots", [0, -1])
def test_an_engine_without_slots_is_refused(machine, slots) -> None:
    with pytest.raises(EngineError, match="give 1 or more"):
        opened(machine, slots=slots)


@both_back_ends
@pytest.mark.parametrize("capturable", [True, False])
@pytest.mark.parametrize(
    "name", ["cudaGraphLaunch", "cudaMemcpyAsync", "cudaEventRecord", "cudaEventSynchronize"]
)
def test_a_call_that_fails_once_costs_one_answer(machine, name, capturable) -> None:
    with opened(machine, FakeTensorRt(machine, capturable=capturable)) as engine:
        machine.fail(name, E.cudaErrorLaunchOutOfResources)
        count = machine.count(name)
        try:
            engine.infer(pictures(1))
        except EngineError as error:
            assert name in str(error)
        else:
            assert machine.count(name) == count  # it isn't called in this mode
        for seed in range(4):
            machine.failures.clear()
            assert same(engine.infer(pictures(3, seed)), pictures(3, seed))


@both_back_ends
def test_a_plan_that_refuses_once_says_what_tensorrt_said(machine) -> None:
    trt = FakeTensorRt(machine, capturable=False)
    with opened(machine, trt) as engine:
        trt.refuse = 1
        with pytest.raises(EngineError, match="the plan did not run: it was refused"):
            engine.infer(pictures(1))
        assert same(engine.infer(pictures(1)), pictures(1))


@both_back_ends
@pytest.mark.parametrize("code", ["cudaErrorIllegalAddress", "cudaErrorECCUncorrectable"])
@pytest.mark.parametrize("capturable", [True, False])
def test_a_lost_gpu_is_told_apart_and_its_context_is_made_anew(machine, code, capturable) -> None:
    trt = FakeTensorRt(machine, capturable=capturable)
    with opened(machine, trt) as engine:
        machine.gpu.lost = int(getattr(E, code))
        with pytest.raises(DeviceLostError, match=rf"error {machine.gpu.lost} in .*; "):
            engine.infer(pictures(1))
    assert machine.resets == 1
    del trt, engine
    with opened(machine) as again:
        assert same(again.infer(pictures(1)), pictures(1))


@both_back_ends
def test_a_refusal_of_tensorrt_on_a_lost_gpu_is_a_lost_gpu(machine) -> None:
    trt = FakeTensorRt(machine, capturable=False)
    with opened(machine, trt) as engine:
        trt.refuse, trt.refuse_with = 1, int(E.cudaErrorLaunchFailure)
        with pytest.raises(DeviceLostError, match="error 719"):
            engine.infer(pictures(1))


@both_back_ends
def test_a_context_that_others_have_too_is_never_reset(machine) -> None:
    machine.active = True  # torch, say, was here before
    with opened(machine) as engine:
        machine.gpu.lost = 700
        with pytest.raises(DeviceLostError):
            engine.infer(pictures(1))
    assert machine.resets == 0
    machine.gpu.lost = 0
    machine.gpu.forget(0xC0DE)


@both_back_ends
def test_a_context_that_stays_after_our_first_engine_is_still_ours(machine) -> None:
    for resets in (1, 2):
        with opened(machine) as engine:
            engine.infer(pictures(1))
        assert machine.active  # the CUDA runtime holds it
        with opened(machine) as engine:
            machine.gpu.lost = 700
            with pytest.raises(DeviceLostError):
                engine.infer(pictures(1))
        assert machine.resets == resets


@both_back_ends
@pytest.mark.parametrize("code", [0, 2, 700])
def test_from_a_model_the_context_is_held_from_before_the_compiler(
    machine, monkeypatch, code
) -> None:
    from engines.cuda import Gpu
    from engines.gpu import engine

    trt = FakeTensorRt(machine)
    gpu = Gpu(0, "Fake 1", "sm89", 1 << 33, False, "13.0")

    def find_or_compile_plan(model, **asked):
        assert machine.current == [0xC0DE]
        assert asked["gpu"] is gpu
        machine.gpu.lost = 700 if code == 700 else 0
        machine.fail("cudaMalloc", code)
        if asked["options"].progress:
            asked["options"].progress(1.0)
        return asked["load"](fake_plan())

    monkeypatch.setattr(engine, "gpus", lambda: [gpu])
    monkeypatch.setattr(engine, "find_or_compile_plan", find_or_compile_plan)
    monkeypatch.setattr(
        Libraries, "installed", classmethod(lambda cls, flavour: cls(machine.cuda, trt))
    )
    if code:
        with pytest.raises(DeviceLostError if code == 700 else EngineError, match=str(code)):
            TensorRtEngine.from_model(b"", flavour="tensorrt", options=EngineOptions("fp32"))
        assert machine.resets == (code == 700)
        return
    shares: list[float] = []
    options = EngineOptions("fp32", progress=shares.append)
    with TensorRtEngine.from_model(b"", flavour="tensorrt", options=options) as engine:
        assert shares == [1.0]
        assert engine.device == "Fake 1"
        assert same(engine.infer(pictures(2)), pictures(2))


@both_back_ends
def test_two_engines_on_a_lost_gpu_wait_for_each_other(machine) -> None:
    one, other = opened(machine), opened(machine)
    machine.gpu.lost = 700
    with pytest.raises(DeviceLostError):
        one.infer(pictures(1))
    one.close()
    assert machine.resets == 0  # the other's handles are still in use
    with pytest.raises(DeviceLostError):
        other.infer(pictures(1))
    other.close()
    assert machine.resets == 1


@pytest.mark.parametrize("rtx", [False, True])
def test_each_layers_time_is_told_and_no_graph_is_launched(machine, rtx) -> None:
    conv = Layer(
        name="conv1",
        kind="convolution",
        inputs=("fp16",),
        outputs=("fp16",),
        tactic="sm80_xmma",
        nodes=(),
    )
    told: list[LayerTime] = []
    plan = fake_plan().model_copy(update={"layers": (conv,)})
    libraries = Libraries(machine.cuda, FakeTensorRt(machine, rtx=rtx))
    with TensorRtEngine(plan, libraries=libraries, tell_layer=told.append) as engine:
        assert "timed" in engine.why_no_graph
        told.clear()
        for seed in range(4):
            assert same(engine.infer(pictures(1, seed)), pictures(1, seed))
    assert told[:2] == [
        LayerTime("conv1", "convolution", "sm80_xmma", 0.75),
        LayerTime("head", "", "", 0.25),
    ]
    assert len(told) == 4 * len(LAYERS_MS)


def test_a_plan_for_dla_is_loaded_on_its_core(machine) -> None:
    trt = FakeTensorRt(machine)
    plan = fake_plan().model_copy(update={"dla": 1})
    with TensorRtEngine(plan, libraries=Libraries(machine.cuda, trt)) as engine:
        assert same(engine.infer(pictures(1)), pictures(1))
    assert trt.calls.loaded_on_dla == [1]
