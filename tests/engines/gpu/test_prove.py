"""`edge doctor --prove`, whole, on fakes: a healthy GPU proves all, each sick one fails its row."""

from __future__ import annotations

import inspect
import json
import stat
from collections.abc import Callable
from functools import partial

import pytest

pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")

from fake_pycuda import on_pycuda
from proof_world import ProofDriver, ProofRuntime, ProofWorld

from calibrate.progress import Stages
from edge.prove import answers, frames
from edge.prove.claim import Claim, try_claim
from edge.prove.errors import REPORT_IT, DisprovenError, NotPossibleError
from edge.prove.ground import ProvingGround
from edge.prove.prove import CLAIMS, ProofReport, prove
from engines.gpu.slot import Slot
from engines.plans import find_or_compile

# What does not touch the GPU is tried once, with the healthy one.
OF_GPU = tuple(claim for claim in CLAIMS if claim.needs_card)
IN_FP16 = tuple(claim for claim in OF_GPU if not claim.name.startswith(("fp32", "int8")))
TRTEXEC = """#!/bin/sh
echo '[I] H2D Latency: min = 0.1 ms, max = 2 ms, mean = 1 ms, median = 1 ms'
echo '[I] Latency: min = 0.1 ms, max = 900 ms, mean = 5 ms, median = 90 ms'
"""


@pytest.fixture
def made(tmp_path, monkeypatch, inspector_graph) -> Callable[..., ProofWorld]:
    monkeypatch.setattr(answers, "find_spec", lambda module: None)  # torch: see tests/soak
    for name in ("TIMED", "FRAMES", "WARM_UP"):
        monkeypatch.setattr(frames, name, 4)
    (tmp_path / "trtexec").write_text(TRTEXEC)
    (tmp_path / "trtexec").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "ground").mkdir()
    return partial(ProofWorld, monkeypatch, tmp_path / "ground", inspector_graph)


@pytest.fixture
def world(made) -> ProofWorld:
    return made()


def failed(world: ProofWorld) -> set[str]:
    tried = world.try_all(IN_FP16)
    for claim in tried.values():
        assert (claim.state == "failed") == bool(claim.next), claim
    return {name for name, claim in tried.items() if claim.state == "failed"}


def test_a_healthy_gpu_proves_every_claim(world) -> None:
    tried = world.try_all(CLAIMS)
    states = {name: claim.state for name, claim in tried.items()}
    assert states.pop("PRN agrees with ONNX Runtime") == "not possible here"
    assert set(states.values()) == {"proven"}, tried
    assert "0 of 9 verdicts differ" in tried["int8 agrees with ONNX Runtime"].detail
    assert "runtime 12.9" in tried["versions"].detail
    assert len(world.compiled) == 4  # one a precision, and one for several images
    world.machine.check()


@pytest.mark.parametrize("library", [ProofRuntime, ProofDriver])
def test_what_the_proof_calls_besides_has_the_real_names_and_parameters(library) -> None:
    names = [name for name in vars(library) if name.startswith("cu")]
    assert names
    for name in names:
        real = inspect.signature(getattr(library.real, name))
        fake = list(inspect.signature(vars(library)[name]).parameters)[1:]
        assert list(real.parameters) == fake, name


def test_wrong_scores(world) -> None:
    world.error = 1.0
    several = "four images at once agree with ONNX Runtime"
    assert failed(world) == {"fp16 agrees with ONNX Runtime", several}


def test_wrong_scores_of_images_that_are_computed_at_once_alone(world, monkeypatch) -> None:
    """The others' results go to whoever is second."""
    done = Slot.finish
    monkeypatch.setattr(Slot, "finish", lambda slot, count: [x[::-1] for x in done(slot, count)])
    assert failed(world) == {"four images at once agree with ONNX Runtime"}


@pytest.mark.parametrize(
    ("sick", "told"),
    [
        ({"error": float("nan")}, "scores off by at most nan"),
        ({"map_error": 0.5}, "maps by 0."),
        ({"error": 1.0}, "5 of 9 verdicts differ"),
    ],
)
def test_answers_that_are_not_the_references(world, sick, told) -> None:
    for name, value in sick.items():
        setattr(world, name, value)
    agrees = [claim for claim in CLAIMS if claim.name.startswith("fp16 agrees")]
    (tried,) = world.try_all(agrees).values()
    assert tried.state == "failed"
    assert told in tried.detail


def test_a_plan_in_another_precision(world) -> None:
    world.executed = "fp32"
    tried = world.try_all(IN_FP16)
    assert "fp16 was asked for, but" in tried["fp16 compiled and executed"].detail
    tried.pop("versions")
    tried.pop("fp16 compiled and executed")
    assert {claim.state for claim in tried.values()} == {"not possible here"}


def test_an_answer_to_another_picture(world) -> None:
    cameras = [claim for claim in CLAIMS if claim.name.startswith("two cameras")]
    world.confuses = 25  # when the cameras have begun
    tried = world.try_all(cameras)["two cameras without growth"]
    assert "it got the answer to another picture" in tried.detail


def test_an_allocation_a_frame(world, monkeypatch) -> None:
    def start(slot: Slot, images: object) -> None:
        slot._cuda.run("cudaFree", slot._cuda.run("cudaMalloc", 16))
        begin(slot, images)

    begin = Slot.start
    monkeypatch.setattr(Slot, "start", start)
    assert failed(world) == {"no allocation a frame"}


def test_a_copy_beside_the_graph(world, monkeypatch) -> None:
    def finish(slot: Slot, count: int) -> object:
        given = done(slot, count)
        slot._upload(slot._way(count))
        slot._drain()
        return given

    done = Slot.finish
    monkeypatch.setattr(Slot, "finish", finish)
    assert failed(world) == {"one launch a frame"}


def test_no_graph(made) -> None:
    assert failed(made(capturable=False)) == {"CUDA graph captured"}


def test_a_plan_that_the_library_captures_itself_is_no_failure(made) -> None:
    tried = made(capturable=False, rtx=True).try_all(IN_FP16[5:8])
    assert {name: claim.state for name, claim in tried.items()} == {
        "CUDA graph captured": "not possible here",
        "one launch a frame": "not possible here",
        "no allocation a frame": "proven",
    }
    assert "a graph of its own" in tried["CUDA graph captured"].detail


def test_through_pycuda_what_needs_a_graph_is_not_possible_and_all_else_is_proven(made) -> None:
    world = made(through=on_pycuda)
    tried = world.try_all(IN_FP16)
    rest = {name: claim for name, claim in tried.items() if claim.state != "proven"}
    assert {claim.state for claim in rest.values()} == {"not possible here"}, rest
    assert rest.keys() == {
        "PRN agrees with ONNX Runtime",
        "CUDA graph captured",
        "one launch a frame",
    }
    assert "pycuda has no CUDA graphs" in rest["CUDA graph captured"].detail
    # The image up; the map and the score down.
    assert rest["one launch a frame"].detail.startswith("no graph: 3 copies a frame")
    world.machine.check()


def test_a_gpu_that_shares_the_hosts_memory(made) -> None:
    assert failed(made(integrated=True)) == set()


def test_a_leak(world) -> None:
    world.leaks = 64 << 20
    assert failed(world) == {"two cameras without growth"}


def test_a_loss_for_good(world) -> None:
    world.machine.broken_for_good, world.revival_s = True, 0.2
    assert failed(world) == {"a lost GPU comes back"}


def test_a_plan_that_is_compiled_at_each_start(world, monkeypatch) -> None:
    monkeypatch.setattr(find_or_compile, "store_plan", lambda folder, plan: None)
    assert failed(world) == {"plan reloaded without compiling"}


def test_a_slow_engine(world, monkeypatch) -> None:
    monkeypatch.setattr(frames, "median_ms", lambda *_: 200.0)
    assert failed(world) == {"as quick as trtexec"}


def test_without_a_card_nothing_is_tried_on_it_and_the_next_step_is_told() -> None:
    report = prove("auto", seconds=1, stages=Stages(), claims=OF_GPU)
    assert report.outcome == "no card"
    assert "docs/gpu_install.md" in report.why_no_card
    assert {claim.state for claim in report.claims} == {"not possible here"}
    json.dumps(report.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("error", "state", "detail", "following"),
    [
        (DisprovenError("it is; slow", "buy another"), "failed", "it is; slow", "buy another"),
        (NotPossibleError("no tool"), "not possible here", "no tool", ""),
        (KeyError("x"), "failed", "KeyError: 'x'", REPORT_IT),
    ],
)
def test_whatever_is_raised_is_a_row(tmp_path, error, state, detail, following) -> None:
    def fail(_: ProvingGround) -> str:
        raise error

    tried = try_claim(Claim("it", fail), ProvingGround(tmp_path, "tensorrt"))
    assert (tried.state, tried.detail, tried.next) == (state, detail, following)
    report = ProofReport("tensorrt", "", {}, (tried,), 1.0)
    assert report.outcome == ("failed" if state == "failed" else "proven")
