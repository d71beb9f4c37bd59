"""Real TensorRT-RTX, no GPU: every kind of graph compiles, and runs the types that it says."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import pytest

from engines.cpu.onnxruntime import OnnxRuntimeEngine
from engines.errors import EngineError
from engines.plans import compile as compiling
from engines.plans.builder import RTX_GPUS
from engines.plans.compile import compile_plan
from engines.plans.flavours import import_flavour, unsupported_gpu_reason
from engines.plans.layers import (
    executes,
    kernels,
    layers_from_inspector,
    layers_from_log,
    precision_problem,
)
from engines.plans.log import quiet_logger
from engines.plans.plan import CompileSettings, Plan
from engines.plans.precision_proof import Product, Proof, prove
from engines.plans.turing import graph_for_turing

trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")


@pytest.fixture(scope="module")
def plans(inspector_graph) -> dict[str, Plan]:
    return {
        precision: compile_plan(inspector_graph(precision), gpu=("sm89",))
        for precision in ("fp32", "fp16", "int8")
    }


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_convolutions_compute_in_the_precision_of_the_graph(precision, plans) -> None:
    plan = plans[precision]
    convolutions = [layer for layer in plan.layers if layer.kind == "convolution"]
    assert len(convolutions) == 3
    assert {layer.precision for layer in convolutions} == {precision}
    assert executes(plan.layers) == precision
    assert precision_problem(plan.layers, precision) is None


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_head_stays_fp32(precision, plans) -> None:
    tail = {"head/norm", "head/cosine", "head/distance", "head/rows", "pred_score"}
    found = [layer for layer in plans[precision].layers if tail & set(layer.nodes)]
    assert found
    assert all(set(layer.outputs) == {"fp32"} for layer in found)


def test_the_first_kernel_takes_the_bytes(plans) -> None:
    layer = next(layer for layer in plans["fp16"].layers if "cast" in layer.nodes)
    assert {"nchw", "centred", "normalised"} <= set(layer.nodes)
    assert layer.precision == "uint8"


def test_a_plan_knows_where_it_comes_from(plans, inspector_graph) -> None:
    plan = plans["fp32"]
    assert plan.version == trt.__version__
    assert plan.gpu == ("sm89",)
    assert plan.onnx_sha256 == hashlib.sha256(inspector_graph("fp32")).hexdigest()
    assert len(plan.plan) > 10_000
    assert "plan=" not in repr(plan)


def test_a_plan_of_another_precision_than_asked_is_noticed(plans) -> None:
    said = precision_problem(plans["fp32"].layers, "int8")
    assert said == "int8 was asked for, but of 3 convolutions run 3 in fp32"
    assert precision_problem((), "int8") is None


def test_the_table_says_types_in_and_out_and_the_kernel(plans) -> None:
    layers = plans["int8"].layers
    first = next(layer for layer in layers if "conv2" in layer.nodes and layer.kind != "other")
    assert first.inputs[0] == "int8"
    assert first.outputs
    assert kernels(layers) == len([layer for layer in layers if layer.kind != "sync"])
    assert any(layer.tactic.startswith("__myl_") for layer in layers), "generated kernels"
    assert all("STUB" not in layer.tactic for layer in layers)


def test_a_plan_compiled_while_another_one_lives_is_proven_too(inspector_graph) -> None:
    """TensorRT keeps to its first logger; the second plan's layers must not go astray."""
    builder = trt.Builder(quiet_logger(trt))
    plan = compile_plan(inspector_graph("fp16"), gpu=("sm86",))
    assert executes(plan.layers) == "fp16"
    del builder


@pytest.mark.parametrize("gpu", [(), ("sm86",), ("sm120",), ("sm86", "sm89")])
def test_each_target_compiles(gpu, features_graph) -> None:
    plan = compile_plan(
        features_graph("fp16"), gpu=gpu, settings=CompileSettings(workspace_mib=256)
    )
    assert plan.gpu == gpu
    assert executes(plan.layers) == "fp16"


def test_targets_that_cannot_be_are_refused(features_graph) -> None:
    with pytest.raises(EngineError, match="sm87 is not one of sm75"):
        compile_plan(features_graph(), gpu=("sm87",))
    with pytest.raises(EngineError, match="plan of its own"):
        compile_plan(features_graph(), gpu=("sm75", "sm89"))
    with pytest.raises(EngineError, match="sm121; TensorRT serves it"):
        compile_plan(features_graph(), gpu=("sm90",))
    with pytest.raises(EngineError, match="load with the version alone"):
        compile_plan(features_graph(), settings=CompileSettings(compatible=("version",)))
    with pytest.raises(EngineError, match="without a GPU's name"):
        compile_plan(
            features_graph(), gpu=("sm89",), settings=CompileSettings(compatible=("hardware",))
        )


def test_tensorrt_rtx_itself_has_no_hopper() -> None:
    """The list of GPUs is ours; this asks the library, which knows best."""
    config = trt.Builder(quiet_logger(trt)).create_builder_config()
    config.num_compute_capabilities = 1
    assert config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    assert not config.set_compute_capability(trt.ComputeCapability(90), 0)
    assert {f"sm{int(value)}" for value in trt.ComputeCapability.__members__.values()} - {
        "sm0",
        "sm1",
    } == set(RTX_GPUS)
    assert "not supported" in quiet_logger(trt).take_errors()


def test_too_little_workspace_says_which_option(features_graph) -> None:
    with pytest.raises(EngineError, match="raise --workspace"):
        compile_plan(
            features_graph(size=256), gpu=("sm89",), settings=CompileSettings(workspace_mib=1)
        )


def test_what_turing_lacks_is_said(inspector_graph) -> None:
    """A product of two values that are computed cannot be written as a convolution."""
    graph = onnx.load_model_from_string(inspector_graph("fp32"))
    rows = next(node for node in graph.graph.node if node.name == "head/rows")
    rows.input[0] = "computed"
    graph.graph.node.insert(0, onnx.helper.make_node("Identity", ["rows"], ["computed"]))
    with pytest.raises(EngineError, match="Turing has no FP32 MatMul") as caught:
        compile_plan(graph.SerializeToString(), gpu=("sm75",))
    assert "\n" not in str(caught.value)
    assert "head/rows" in str(caught.value)
    after = compile_plan(inspector_graph("int8"), gpu=("sm89",))
    assert executes(after.layers) == "int8", "a failed build for sm75 spoils the next one"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_turing_gets_convolutions_for_its_products(precision, inspector_graph) -> None:
    model = inspector_graph(precision)
    plan = compile_plan(model, flavour="tensorrt-rtx", gpu=("sm75",))
    assert plan.onnx_sha256 == hashlib.sha256(model).hexdigest(), "the bundle's graph, not ours"
    rows = next(layer for layer in plan.layers if "head/rows" in layer.nodes)
    assert rows.kind in ("convolution", "gemm") and rows.precision == "fp32"
    assert prove(plan.layers, model).problem() is None


def test_turings_graph_gives_the_same(inspector_graph, images) -> None:
    model = inspector_graph("fp32", batch=2)
    lowered = graph_for_turing(model)
    kinds = [node.op_type for node in onnx.load_model_from_string(lowered).graph.node]
    assert "MatMul" not in kinds and kinds.count("Conv") == 5
    with (
        OnnxRuntimeEngine(model, precision="fp32") as before,
        OnnxRuntimeEngine(lowered, precision="fp32") as after,
    ):
        for one, other in zip(before.infer(images), after.infer(images), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_turing_compiles_what_it_has(features_graph) -> None:
    plan = compile_plan(features_graph("fp16"), gpu=("sm75",))
    assert executes(plan.layers) == "fp16"
    with pytest.raises(EngineError, match=r"conv1 must run in int8 and runs in fp32 \(2 of 2"):
        compile_plan(features_graph("int8"), gpu=("sm75",))


def test_a_graph_that_the_parser_refuses_names_the_node() -> None:
    from onnx import TensorProto, helper

    taken = helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 8, 8, 3])
    given = helper.make_tensor_value_info("out", TensorProto.UINT8, [1, 3, 8, 8])
    node = helper.make_node("Transpose", ["image"], ["out"], name="too/early", perm=[0, 3, 1, 2])
    model = helper.make_model(
        helper.make_graph([node], "g", [taken], [given]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    with pytest.raises(EngineError, match="does not take this graph") as caught:
        compile_plan(model.SerializeToString())
    assert "too/early" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(EngineError, match="does not take this graph"):
        compile_plan(b"rubbish")


def test_progress_grows_to_the_end(features_graph) -> None:
    told: list[float] = []
    compile_plan(features_graph(), progress=told.append)
    assert len(told) > 10
    assert told == sorted(told)
    assert 0 < told[0] < 0.5
    assert told[-1] == 1.0


def test_whoever_watches_can_stop_the_compilation(features_graph) -> None:
    """Ctrl-C arrives in the monitor: TensorRT holds Python's main thread all the while."""

    def stop(share: float) -> None:
        if share > 0.1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compile_plan(features_graph(), progress=stop)
    assert compile_plan(features_graph()).layers, "the next one is as if nothing had been"


def test_the_inspectors_json_is_read_in_each_of_its_dialects() -> None:
    text = """{"Layers": [
      {"Name": "conv1", "LayerType": "CaskConvolution", "ParameterType": "Convolution",
       "Inputs": [{"Name": "a", "Format/Datatype": "Channel major FP16 format where channel % 8"}],
       "Outputs": [{"Name": "b", "Format/Datatype": "Half"}],
       "Metadata": "[ONNX Layer: conv1]\\u001e[ONNX Layer: relu1]"},
      {"Name": "conv2", "LayerType": "correlation",
       "Inputs": [{"Name": "a", "Datatype": "Int8"}], "Outputs": [{"Name": "b"}]},
      {"Name": "mm", "LayerType": "gemm", "Inputs": [{"DataType": "BFloat16"}], "Outputs": []},
      "a name alone"], "Bindings": ["image"]}"""
    layers = layers_from_inspector(text)
    assert [(layer.kind, layer.precision) for layer in layers] == [
        ("convolution", "fp16"),
        ("convolution", "int8"),
        ("gemm", "bf16"),
    ]
    assert layers[0].nodes == ("conv1", "relu1")
    assert layers[0].outputs == ("fp16",)
    assert layers_from_inspector('{"Layers": ["names", "alone"]}') == ()
    assert executes(layers) == "int8+fp16"


def test_a_layer_that_is_fused_when_the_plan_is_loaded_is_looked_into() -> None:
    def line(name: str, kind: str, number: str) -> str:
        tensor = (
            f"{{ Name: a, Dimensions: [-1,8,4,4], Strides: [1], Datatype: {number}, Format: x }}"
        )
        return (
            f"Name: {name}, LayerType: {kind}, Inputs: [ {tensor}], Constants: [], "
            f"Outputs: [ {tensor}], TacticName: t, StreamId: 0, Metadata: [ONNX Layer: conv1]"
        )

    said = "\n".join(
        (
            line("__myl_ConvAddRelu_myl0_1", "runtime_fusion", "Half"),
            line("__myl_Resi_myl0_2", "runtime_function", "Float"),
            line("__myl_ConvCast_myl0_3", "kgen", "Float"),
        )
    )
    layers = layers_from_log(said)
    assert [layer.kind for layer in layers] == ["convolution", "other", "other"]
    assert executes(layers) == "fp16"
    assert [layer.activation_bytes for layer in layers] == [512, 1024, 1024], "of one image"


def test_a_little_in_too_high_a_type_is_a_warning_and_in_too_low_a_one_never() -> None:
    def proof(share: float, *, asked: str, found: str) -> Proof:
        product = Product("conv9", asked, share, True)
        return Proof((product,), {"conv9": found}, ())

    little = proof(0.04, asked="int8", found="fp32")
    assert little.problem() is None
    assert "conv9 must run in int8 and runs in fp32" in str(little.warning())
    assert "4.0% of the multiplications" in str(little.warning())
    much, lower = (
        proof(0.06, asked="int8", found="fp32"),
        proof(0.01, asked="fp32", found="fp16"),
    )
    for one in (much, lower, proof(0.01, asked="int8", found="an unknown type")):
        assert one.problem() is not None and one.warning() is None


def test_a_little_in_too_high_a_type_is_noted_in_the_plan(features_graph, monkeypatch) -> None:
    product = Product("conv9", "int8", 0.04, True)
    little = Proof((product,), {"conv9": "fp32"}, ())
    monkeypatch.setattr(compiling, "prove", lambda layers, model: little)
    (note,) = compile_plan(features_graph(), gpu=("sm89",)).notes
    assert note == little.warning()


def test_a_broken_import_names_its_known_cause(monkeypatch, tmp_path) -> None:
    (tmp_path / "tensorrt.py").write_text(
        "raise ImportError('libnvdla_compiler.so: cannot open shared object file')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "tensorrt", raising=False)
    with pytest.raises(EngineError, match="nvidia-l4t-dla-compiler"):
        import_flavour("tensorrt")


@pytest.mark.parametrize(
    ("flavour", "gpu", "reason"),
    [
        ("tensorrt-rtx", "sm87", "tensorrt-rtx does not serve sm87; TensorRT does"),
        ("tensorrt-rtx", "sm90", "tensorrt-rtx does not serve sm90; TensorRT does"),
        ("tensorrt-rtx", "sm61", "tensorrt-rtx does not serve sm61; sm75 is its first"),
        ("tensorrt-rtx", "sm89", None),
        ("tensorrt", "sm87", None),
    ],
)
def test_rtx_does_not_serve_a_jetson(flavour, gpu, reason) -> None:
    assert unsupported_gpu_reason(flavour, gpu) == reason
