"""`edge compile` and `edge info --layers`, with the real compiler of TensorRT-RTX."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from engines.plans.cache import PlanKey, load_plan, trusted_path

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")


@pytest.fixture
def bundle(built, tmp_path, monkeypatch) -> Path:
    """A copy of the bundle without plans, on a machine with a key of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "flange.edge"
    shutil.copytree(built, folder, ignore=shutil.ignore_patterns("engines"))
    return folder


def test_plans_for_several_gpus_and_their_layers(run, bundle) -> None:
    asked = ("--optimization-level", "1", "--workspace", "256", "--max-batch", "4")
    made = run("compile", bundle, "--gpu", "sm86", "--gpu", "sm89", *asked, "--json")
    assert made.code == 0, made.err
    plans = json.loads(made.out)["plans"]
    assert {(one["optimization_level"], one["workspace_mib"], one["batch"]) for one in plans} == {
        (1, 256, 4)
    }
    assert [plan["gpu"] for plan in plans] == [["sm86"], ["sm89"]]
    assert all(plan["executes"] == "fp32" and plan["typing"] == "strong" for plan in plans)
    assert "tensorrt-rtx sm86: " in made.err and "tensorrt-rtx sm89: " in made.err

    facts = json.loads(run("info", bundle, "--layers", "--json").out)
    assert facts["plans"] == ["tensorrt-rtx-sm86.plan", "tensorrt-rtx-sm89.plan"]
    assert set(facts["images_at_once"].values()) == {4} and facts["max_batch"] == 1
    assert isinstance(facts["layers"], list), "the stages, as ever"
    told = facts["plan_layers"]["tensorrt-rtx-sm89.plan"]
    assert told["mark"] == plans[1]["mark"]
    assert (
        told["kernels"] == plans[1]["kernels"] == sum(x["kind"] != "sync" for x in told["layers"])
    )
    convolutions = [layer for layer in told["layers"] if layer["kind"] == "convolution"]
    assert convolutions and all(layer["inputs"][0] == "fp32" for layer in convolutions)
    moved = {"activation_bytes", "constant_bytes"}
    assert {"name", "kind", "inputs", "outputs", "tactic", "nodes"} | moved == set(convolutions[0])
    assert all(layer[each] > 0 for layer in convolutions for each in moved)

    table = run("info", bundle, "--layers").out
    assert "layer" in table and "kernel" in table and "pre/cast" in table
    assert "fp32, tensorrt-rtx" in table and "strongly typed, 1 to 4 images" in table
    assert "tensorrt-rtx-sm89.plan  4" in run("info", bundle).out


def test_another_machine_loads_a_plan_once_it_has_listed_it(
    run, bundle, tmp_path, monkeypatch
) -> None:
    told = run("compile", bundle).out
    mark = next(word for word in told.split() if len(word) == 64)
    record = json.loads((bundle / "engines" / "tensorrt-rtx-portable.json").read_text())
    wanted = PlanKey("tensorrt-rtx", record["version"], (), record["onnx_sha256"])
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "line3"))
    with pytest.raises(RuntimeError, match="not compiled on this machine"):
        load_plan(bundle / "engines", wanted)
    trusted_path().parent.mkdir(parents=True)
    trusted_path().write_text(f"{mark}  # tensorrt-rtx-portable.plan\n")
    assert load_plan(bundle / "engines", wanted).layers


def test_what_cannot_be_compiled_is_one_line(run, bundle) -> None:
    assert "give one of sm75" in run("compile", bundle, "--gpu", "sm90").line()
    words = ("compile", bundle, "--engine", "tensorrt-rtx", "--version-compatible")
    assert "compiled again in seconds" in run(*words).line()
    assert "no such bundle" in run("compile", "nowhere.edge").line()
    assert "--max-batch" in run("compile", bundle, "--max-batch", "65").line()
    words = ("compile", bundle, "--engine", "tensorrt-rtx", "--device", "1")
    assert "name the kind with --gpu alone" in run(*words).line()
    assert "device 1: tensorrt: " in run("compile", bundle, "--device", "1").line()
    assert "DLA computes no fp32" in run("compile", bundle, "--dla", "0").line()
    assert "--optimization-level" in run("compile", bundle, "--optimization-level", "6").line()
    assert "cannot compile with tensorrt: " in run("compile", bundle, "--engine", "tensorrt").line()
    assert not (bundle / "engines").exists()


def test_a_bundle_without_plans_or_with_a_damaged_one_says_so(run, bundle) -> None:
    told = run("info", bundle, "--layers")
    assert told.code == 0 and "make one with `edge compile`" in told.err
    folder = bundle / "engines"
    folder.mkdir()
    (folder / "tensorrt-rtx-sm89.plan").write_bytes(b"rubbish")
    (folder / "tensorrt-rtx-sm89.json").write_bytes(b"{}")
    assert "tensorrt-rtx-sm89.json is damaged" in run("info", bundle, "--layers").out
    facts = json.loads(run("info", bundle, "--layers", "--json").out)
    assert facts["plan_layers"]["tensorrt-rtx-sm89.plan"] == {
        "problem": "tensorrt-rtx-sm89.json is damaged"
    }


def test_a_stale_plan_is_compiled_before_the_eyes_of_who_waits(bundle, capfd, monkeypatch) -> None:
    """From the command's way of loading down to the compiler; only running needs a GPU."""
    from edge.inspection.loading import load_with_progress
    from engines import choose
    from engines.cuda import Gpu
    from engines.errors import EngineError
    from engines.gpu import engine
    from engines.plans.find_or_compile import find_or_compile_plan

    gpu = Gpu(0, "NVIDIA GeForce RTX 4070", "sm89", 12 << 30, integrated=False, driver="13.0")

    def from_model(model: bytes, *, home: object, **given: object) -> None:
        def load(plan: object) -> None:
            raise EngineError("there is no GPU to run it")

        find_or_compile_plan(model, gpu=gpu, load=load, **given)

    monkeypatch.setattr(engine.TensorRtEngine, "from_model", from_model)
    monkeypatch.setattr(choose, "_tensorrt_unavailable_reason", lambda flavour: None)
    for line in ("there is none for tensorrt-rtx and sm89 yet", "is damaged"):
        with pytest.raises(EngineError, match="no GPU to run it"):
            load_with_progress(bundle, engine="tensorrt-rtx")
        told = capfd.readouterr().err
        assert f"tensorrt-rtx: compiling the plan: {line}" in told or f"{line}\n" in told
        assert told.splitlines()[-1].startswith("compiling the plan: ")
        plan = bundle / "engines" / "tensorrt-rtx-sm89.plan"
        plan.write_bytes(plan.read_bytes()[:-1])


def test_a_late_bar_is_one_of_those_on_the_screen(capfd) -> None:
    from edge import console

    with console.late_bar("plan"):
        pass
    assert capfd.readouterr().err == "", "nothing was compiled, nothing is shown"
    with console.stage_bars() as bars, console.late_bar("plan") as show:
        bars.show("images", 0.5)
        show(0.5)
        show(1.0)
        bars.show("images", 1.0)
    lines = capfd.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["plan", "images"]
