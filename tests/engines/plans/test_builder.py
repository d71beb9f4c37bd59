"""The same code path with TensorRT's 10.3, 10.16 and 11: flags, fallback, caches, limits, proof."""

from __future__ import annotations

import sys

import pytest
from fake_compiler import TimingCache
from fake_tensorrt import FakeTensorRt

from engines.cuda import MIB, Gpu
from engines.errors import EngineError
from engines.plans import builder
from engines.plans.caches import read_cache, timing_path, write_cache
from engines.plans.compile import compile_plan
from engines.plans.layers import executes
from engines.plans.plan import CompileSettings, Plan

rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
ORIN = Gpu(0, "Orin", "sm87", 8 << 30, integrated=True, driver="12.6")
DESKTOP = Gpu(0, "NVIDIA RTX 4000", "sm89", 20 << 30, integrated=False, driver="13.0")
FREE = 3 << 30


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A Jetson with 3 GiB free; cache and state folders of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(builder, "gpus", lambda: [ORIN])
    memory = tmp_path / "meminfo"
    memory.write_text(f"MemTotal: 8000000 kB\nMemFree: 1 kB\nMemAvailable: {FREE >> 10} kB\n")
    monkeypatch.setattr(builder, "MEMORY", memory)
    return tmp_path


@pytest.fixture
def tensorrt(monkeypatch):
    """Put a TensorRT of a version in place of the module `tensorrt`."""

    def install(version: str, **options: object) -> FakeTensorRt:
        double = FakeTensorRt(compiler=rtx, version=version, **options)
        monkeypatch.setitem(sys.modules, "tensorrt", double)
        return double

    return install


def compiled(model: bytes, **options: object) -> Plan:
    gpu = options.pop("gpu", ())
    return compile_plan(model, flavour="tensorrt", gpu=gpu, settings=CompileSettings(**options))


@pytest.mark.parametrize("version", ["10.3.0", "10.13.2.6", "10.16.1.11", "11.4.0.106"])
def test_every_version_builds_strongly_typed(version, tensorrt, features_graph) -> None:
    double = tensorrt(version)
    plan = compiled(features_graph("fp16"))
    assert double.calls.strong == [True]
    assert double.calls.flags == [], "precision is the graph's; 11 has no such flag"
    assert (plan.typing, plan.version, plan.gpu) == ("strong", version, ("sm87",))
    assert executes(plan.layers) == "fp16"
    assert double.calls.deserialised == [plan.plan]
    assert {layer.tactic for layer in plan.layers if layer.kind == "convolution"} == {"sm80_xmma"}


def test_10_3_falls_back_to_weak_typing_bound_to_the_graph(tensorrt, inspector_graph) -> None:
    double = tensorrt("10.3.0", refuses_strong=True)
    plan = compiled(inspector_graph("fp16"))
    assert double.calls.strong == [True, False]
    assert double.calls.flags == ["FP16", "OBEY_PRECISION_CONSTRAINTS"]
    assert double.calls.bound["conv2"] == str(rtx.float16)
    assert double.calls.bound["head/rows"] == str(rtx.float32), "what is FP32 stays FP32"
    assert plan.typing == "weak"
    assert "no implementation for node" in plan.notes[0]


def test_10_3_allows_int8_only_where_the_graph_rounds(tensorrt, features_graph) -> None:
    double = tensorrt("10.3.0", refuses_strong=True)
    plan = compiled(features_graph("int8"))
    assert double.calls.flags == ["FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"]
    assert "conv2" not in double.calls.bound, "a convolution of rounded values is left to be INT8"
    assert executes(plan.layers) == "int8"


@pytest.mark.parametrize("version", ["10.4.0", "10.16.1.11", "11.4.0.106"])
def test_newer_versions_never_fall_back(version, tensorrt, features_graph) -> None:
    double = tensorrt(version, refuses_strong=True)
    with pytest.raises(EngineError, match="no implementation for node"):
        compiled(features_graph("fp16"))
    assert double.calls.strong == [True]


def test_a_plan_in_another_precision_fails_and_names_the_layer(tensorrt, features_graph) -> None:
    def spoil(entry: dict[str, object]) -> None:
        if "conv2" in str(entry["Metadata"]) and entry["LayerType"] == "convolution":
            entry["Inputs"] = [{"Format/Datatype": "Float"}]

    tensorrt("11.4.0.106", spoil=spoil)
    with pytest.raises(EngineError, match="conv2 must run in fp16 and runs in fp32") as caught:
        compiled(features_graph("fp16"))
    assert "\n" not in str(caught.value)


def test_layers_without_names_are_no_proof_of_a_weakly_typed_plan(tensorrt, features_graph) -> None:
    def spoil(entry: dict[str, object]) -> None:
        entry["Metadata"] = ""

    tensorrt("10.3.0", refuses_strong=True, spoil=spoil)
    with pytest.raises(EngineError, match="can't be proven"):
        compiled(features_graph("fp16"))
    tensorrt("10.3.0", spoil=spoil)
    assert compiled(features_graph("fp16")).typing == "strong", "types are its word then"


def test_timings_are_kept_for_a_version_and_a_gpu(
    tensorrt, features_graph, machine, monkeypatch
) -> None:
    model = features_graph("fp16")
    double = tensorrt("10.3.0")
    compiled(model)
    compiled(model)
    assert double.calls.caches == [b"", b"cache timed"]
    folder = machine / "cache" / "protoedge" / "timing"
    assert [path.name for path in folder.iterdir()] == ["tensorrt-10.3.0-orin.cache"]
    assert tensorrt("10.16.1.11").calls.caches == []
    monkeypatch.setattr(builder, "gpus", lambda: [DESKTOP])
    compiled(model)
    assert len(list(folder.iterdir())) == 2
    assert timing_path(flavour="tensorrt", version="10.3.0", gpu="Orin").parent == folder


@pytest.mark.filterwarnings("error")
def test_a_timing_cache_that_is_no_good_is_made_anew(tensorrt, features_graph) -> None:
    path = timing_path(flavour="tensorrt", version="11.4.0", gpu="Orin")
    write_cache(path, b"damaged")
    double = tensorrt("11.4.0")
    plan = compiled(features_graph("fp16"))
    assert double.calls.caches == [b"damaged", b""]
    assert "made anew" in plan.notes[0]
    assert path.read_bytes() == b"cache timed"
    path.unlink()
    path.symlink_to("/etc/hostname")
    compiled(features_graph("fp16"))
    assert double.calls.caches[2:] == [b""], "a link is not followed"
    assert not path.is_symlink()


def test_a_cache_folder_that_cannot_be_written_is_said(tensorrt, features_graph, machine) -> None:
    (machine / "cache").write_bytes(b"a file where the folder should be")
    tensorrt("11.4.0")
    plan = compiled(features_graph("fp16"))
    assert "the timing cache is not kept" in plan.notes[-1]


def test_a_kill_while_timings_are_written_leaves_the_old_ones(monkeypatch) -> None:
    path = timing_path(flavour="tensorrt", version="1", gpu="x")
    write_cache(path, TimingCache(b"").serialize())

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("engines.atomic_files.os.fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        write_cache(path, b"half")
    assert read_cache(path) == b"cache"
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_tensorrt_rtx_has_no_timing_cache(features_graph, machine) -> None:
    compile_plan(features_graph("fp16"))
    assert not (machine / "cache").exists()


@pytest.mark.parametrize(
    ("gpu", "asked", "given"),
    [
        (ORIN, None, FREE // 2),
        (ORIN, 256, 256 * MIB),
        (ORIN, 100_000, FREE),
        (DESKTOP, None, None),
        (DESKTOP, 512, 512 * MIB),
        (DESKTOP, 100_000, 5 << 30),
    ],
)
def test_scratch_memory_is_bounded_by_what_is_free(
    gpu, asked, given, tensorrt, features_graph, monkeypatch
) -> None:
    monkeypatch.setattr(builder, "gpus", lambda: [gpu])
    monkeypatch.setattr(builder, "runtime", lambda: _Cuda)
    double = tensorrt("11.4.0")
    compiled(features_graph("fp16"), workspace_mib=asked)
    assert double.calls.workspace == ([] if given is None else [given])


class _Cuda:
    @staticmethod
    def cudaMemGetInfo() -> tuple[int, int, int]:  # noqa: N802 - CUDA's name
        return 0, 5 << 30, 20 << 30


def test_compatible_plans(tensorrt, features_graph, monkeypatch) -> None:
    double = tensorrt("10.16.1.11")
    desktop = Gpu(0, "RTX A4000", "sm86", 16 << 30, integrated=False, driver="12.6")
    monkeypatch.setattr(builder, "gpus", lambda: [desktop])
    plan = compiled(features_graph("fp16"), compatible=("version", "hardware"))
    assert plan.compatible == ("version", "hardware")
    assert plan.gpu == (), "Ampere and newer"
    assert double.calls.flags == ["VERSION_COMPATIBLE"]
    assert double.calls.hardware == [rtx.HardwareCompatibilityLevel.AMPERE_PLUS]
    assert double.calls.host_code == [True], "to inspect it, the runtime in it must be let in"
    turing = Gpu(0, "T4", "sm75", 16 << 30, integrated=False, driver="12.6")
    monkeypatch.setattr(builder, "gpus", lambda: [turing])
    with pytest.raises(EngineError, match="sm75 is older than Ampere"):
        compiled(features_graph("fp16"), compatible=("hardware",))
    orin = Gpu(0, "Orin", "sm87", 16 << 30, integrated=True, driver="12.6")
    monkeypatch.setattr(builder, "gpus", lambda: [orin])
    with pytest.raises(EngineError, match="on a Jetson no plan is for other GPUs too"):
        compiled(features_graph("fp16"), compatible=("hardware",))


def test_tensorrt_compiles_for_its_own_gpu_alone(tensorrt, features_graph) -> None:
    tensorrt("11.4.0")
    with pytest.raises(EngineError, match="only for the GPU that is here, sm87"):
        compiled(features_graph("fp16"), gpu=("sm89",))
    with pytest.raises(EngineError, match="give 1 or more"):
        compiled(features_graph("fp16"), workspace_mib=0)


def test_a_core_of_dla_takes_what_it_can_and_the_plan_says_so(tensorrt, features_graph) -> None:
    double = tensorrt("10.3.0", dla_cores=2)
    plan = compiled(features_graph("fp16"), dla=1, optimization_level=4)
    assert double.calls.flags == ["GPU_FALLBACK"]
    asked = {"default_device_type": rtx.DeviceType.DLA, "DLA_core": 1}
    assert double.calls.set == {**asked, "builder_optimization_level": 4}
    assert (plan.dla, plan.optimization_level) == (1, 4)
    assert double.calls.loaded_on_dla == [1]
    assert "DLA core 1 can take " in plan.notes[0] and "the GPU the rest" in plan.notes[0]


def test_layers_that_dla_took_are_not_listed_which_is_noted(tensorrt, features_graph) -> None:
    def spoil(entry: dict[str, object]) -> None:
        entry["Metadata"] = ""

    tensorrt("10.3.0", refuses_strong=True, spoil=spoil, dla_cores=1)
    plan = compiled(features_graph("fp16"), dla=0)
    assert plan.typing == "weak" and "heavy layers are not listed" in plan.notes[-1]


def test_where_there_is_no_dla_it_is_refused(tensorrt, features_graph, monkeypatch) -> None:
    model = features_graph("fp16")
    tensorrt("10.3.0", dla_cores=2)
    with pytest.raises(EngineError, match="no DLA core 2: it sees 0, 1"):
        compiled(model, dla=2)
    with pytest.raises(EngineError, match="DLA takes none of the graph's"):
        compiled(features_graph("fp32"), dla=0)
    with pytest.raises(EngineError, match="for this machine and this TensorRT alone"):
        compiled(model, dla=0, compatible=("version",))
    tensorrt("10.16.1.11")
    with pytest.raises(EngineError, match="not every TensorRT serves them"):
        compiled(model, dla=0)
    for name, kind, integrated in (("NVIDIA RTX 4000", "sm89", False), ("Thor", "sm110", True)):
        gpu = Gpu(0, name, kind, 8 << 30, integrated=integrated, driver="13.0")
        monkeypatch.setattr(builder, "gpus", lambda gpu=gpu: [gpu])
        with pytest.raises(EngineError, match=f"{name} has no DLA"):
            compiled(model, dla=0)
    with pytest.raises(EngineError, match="tensorrt-rtx: it has no DLA"):
        compile_plan(model, settings=CompileSettings(dla=0))
