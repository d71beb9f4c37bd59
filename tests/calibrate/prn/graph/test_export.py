"""PRN's graph: torch, ONNX Runtime, OpenVINO and TensorRT-RTX mean the same network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, shape_inference

torch = pytest.importorskip("torch", reason="torch is not installed")

from calibrate.backbones.features_graph import FeaturesGraph, features_graph  # noqa: E402
from calibrate.node_names import HEAVY_TAILED  # noqa: E402
from calibrate.precision.convert import Conversion  # noqa: E402
from calibrate.prn.graph.export import inspector_graph, matched_index  # noqa: E402
from calibrate.prn.network.network import PRN  # noqa: E402
from calibrate.prn.options import shape_of  # noqa: E402
from calibrate.prn.training import image_scores  # noqa: E402
from engines.batches import with_batch  # noqa: E402
from engines.cpu.onnxruntime import OnnxRuntimeEngine  # noqa: E402
from engines.engine import (  # noqa: E402
    EXACT,
    Engine,
    Precision,
)
from engines.plans.layers import executes, precision_problem  # noqa: E402

SIZE = (64, 96)
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
PROTOTYPES = (5, 3, 1)


def lively(network: PRN, stages: dict[str, torch.Tensor]) -> PRN:
    """Batch norms with statistics of these stages, attention that is not the identity."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith(("query_scale", "value_scale")):
                value.normal_(1, 0.3)
            elif name.endswith(("query_bias", "value_bias", "logit.bias")):
                value.normal_(0, 0.3)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
                module.momentum = None  # the mean over all batches
        network.train()
        network(stages)
    return network.eval()


class Made:
    """A network, its graph, and images."""

    def __init__(self, backbone, images: np.ndarray, size: str) -> None:
        self.images = images
        self.shape = shape_of(backbone, image_size=SIZE, prototypes=PROTOTYPES, size=size)
        self.features: FeaturesGraph = features_graph(
            backbone, size=SIZE, layers=self.shape.stages, pooled=False
        )
        with OnnxRuntimeEngine(self.features.model, precision="fp32") as engine:
            outputs = engine.infer(images)
        self.stages = dict(
            zip(self.shape.stages, map(torch.from_numpy, map(np.asarray, outputs)), strict=True)
        )
        torch.manual_seed(0)
        network = PRN(self.shape)
        maps = [
            stage[:count] for stage, count in zip(self.stages.values(), PROTOTYPES, strict=True)
        ]
        scale = torch.tensor([1 / float(s.square().mean().sqrt()) for s in self.stages.values()])
        network.learn(maps, scale=scale)
        self.network = lively(network, self.stages)
        self.model = inspector_graph(self.features, self.network, metadata={"a": "b"})

    def at(self, precision: Precision) -> bytes:
        return Conversion(self.model, precision, calibration=[self.images]).model()


@pytest.fixture(scope="module", params=["compact", "paper"])
def made(request, small_backbone, pictures) -> Made:
    return Made(small_backbone().backbone, pictures(12, SIZE), request.param)


@pytest.fixture(scope="module")
def graphs(made) -> dict[str, bytes]:
    return {precision: made.at(precision) for precision in PRECISIONS}


def openvino_engine(model: bytes, *, precision: Precision) -> Engine:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    from engines.cpu.openvino import OpenVinoEngine

    return OpenVinoEngine(model, precision=precision)


OPEN: dict[str, Callable[..., Engine]] = {
    "onnxruntime": OnnxRuntimeEngine,
    "openvino": openvino_engine,
}


def with_indices(model: bytes, stages: tuple[str, ...]) -> bytes:
    """The same graph that also gives the chosen prototypes."""
    told = onnx.load_model_from_string(model)
    for stage in stages:
        told.graph.output.append(
            helper.make_tensor_value_info(matched_index(stage), TensorProto.INT64, [1, 1])
        )
    return told.SerializeToString()


def types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    found = {tensor.name: tensor.data_type for tensor in inferred.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        found[value.name] = value.type.tensor_type.elem_type
    return found


@pytest.mark.parametrize("engine", OPEN)
def test_engines_agree_with_torch_to_a_thousandth(made, engine) -> None:
    with torch.no_grad():
        maps = torch.sigmoid(made.network(made.stages)).squeeze(1)
    with OPEN[engine](with_indices(made.model, made.shape.stages), precision="fp32") as running:
        outputs = running.infer(made.images)
        told = dict(zip(running.outputs, outputs, strict=True))
    assert told["anomaly_map"].dtype == told["pred_score"].dtype == np.float32
    assert maps.max() - maps.min() > 0.3, "or the tolerance hides everything"
    assert np.abs(told["anomaly_map"] - maps.numpy()).max() < 1e-3
    assert np.abs(told["pred_score"] - image_scores(maps).numpy()).max() < 1e-3
    for stage, matching, factor in zip(
        made.shape.stages, made.network.matching, made.network.scale, strict=True
    ):
        wanted = matching.nearest(made.stages[stage] * factor).numpy()
        assert np.array_equal(np.asarray(told[matched_index(stage)]).reshape(-1), wanted)
    assert len(set(np.asarray(told[matched_index(made.shape.stages[0])]).ravel().tolist())) > 1


def test_matching_is_gemm_add_argmax_gather_of_constants(made) -> None:
    graph = onnx.load_model_from_string(made.model).graph
    name = f"{EXACT}match/{made.shape.stages[0]}/"
    kinds = [node.op_type for node in graph.node if node.name.startswith(name)]
    assert [kind for kind in kinds if kind != "Reshape"] == [
        *("Gemm", "Add", "ArgMax", "Gather", "Sub", "Mul", "Mul")
    ]
    stored = {weight.name: weight for weight in graph.initializer}
    assert next(iter(stored[f"{name}prototypes"].dims)) == PROTOTYPES[0]
    assert sum(weight.name.endswith("prototypes") for weight in graph.initializer) == 3


@pytest.mark.parametrize("precision", PRECISIONS)
def test_exact_nodes_compute_in_float32(graphs, precision) -> None:
    model = onnx.load_model_from_string(graphs[precision])
    onnx.checker.check_model(model, full_check=True)
    kinds, floats = types(model), (TensorProto.FLOAT, TensorProto.FLOAT16)
    dequantised = {n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}
    exact = [node for node in model.graph.node if node.name.startswith(EXACT)]
    assert len(exact) > 30
    for node in exact:
        assert node.op_type not in ("QuantizeLinear", "DequantizeLinear")
        assert not dequantised & set(node.input), node.name
        used = {kinds[name] for name in (*node.input, *node.output) if kinds[name] in floats}
        assert used <= {TensorProto.FLOAT}, node.name
    assert {kinds[output.name] for output in model.graph.output} == {TensorProto.FLOAT}
    attention = {kinds[n.output[0]] for n in model.graph.node if n.op_type == "Softmax"}
    assert attention == {TensorProto.FLOAT16 if precision == "fp16" else TensorProto.FLOAT}


def test_int8_quantises_the_wide_convolutions_and_no_product(graphs) -> None:
    graph = onnx.load_model_from_string(graphs["int8"]).graph
    dequantised = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    eight = [n for n in graph.node if n.op_type == "Conv" and n.input[1] in dequantised]
    every = [n for n in graph.node if n.op_type == "Conv"]
    assert len(eight) > 0.5 * len(every)
    assert any(node.name.startswith("attend/") for node in eight)
    tailed = [node for node in every if node.name.startswith(HEAVY_TAILED)]
    assert len(tailed) >= 6, "the residuals' fusion"
    assert not any(node in eight for node in tailed)
    products = [n for n in graph.node if n.op_type in ("MatMul", "Gemm")]
    assert products
    assert not any(dequantised & set(node.input) for node in products)


def test_half_and_eight_bits_stay_near_and_match_the_same(made, graphs) -> None:
    found = {}
    for precision in PRECISIONS:
        told = with_indices(graphs[precision], made.shape.stages)
        with OnnxRuntimeEngine(told, precision=precision) as engine:
            found[precision] = engine.infer(made.images)
    exact = found["fp32"]
    for precision, most in (("fp16", 0.02), ("int8", 0.2)):
        near = found[precision]
        assert np.isfinite(near[0]).all()
        assert np.abs(near[0] - exact[0]).mean() < most
        for ours, theirs in zip(near[2:], exact[2:], strict=True):
            assert np.array_equal(ours, theirs), "a flipped match changes the whole residual"


def test_two_images_at_once_have_the_maps_and_scores_of_each_alone(graphs) -> None:
    import onnxruntime

    images = np.random.default_rng(5).integers(0, 256, (2, *SIZE, 3), np.uint8)
    for model in graphs.values():
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        both = session.run(None, {"image": images})
        alone = [session.run(None, {"image": one[None]}) for one in images]
        for index, found in enumerate(both):
            np.testing.assert_allclose(found, [one[index][0] for one in alone], atol=2e-5)


def test_openvino_runs_the_convolutions_low_and_exact_nodes_in_float32(graphs) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    from engines.cpu.openvino import has_bf16, import_openvino, shared_core
    from engines.cpu.openvino_precision import choose_f32_nodes, compile_mixed, find_low_precision
    from engines.cpu.openvino_precision import executes as arithmetic

    core = shared_core(import_openvino())
    if not has_bf16(core):
        pytest.skip("this processor has no bf16 instructions")
    for precision, wanted in (("fp16", "bf16"), ("int8", "int8+bf16")):
        graph = core.read_model(with_batch(graphs[precision], 1))
        kept = choose_f32_nodes(graph)
        assert any(name.startswith(f"{EXACT}match/") for name in kept)
        compiled = compile_mixed(core, graph, {"NUM_STREAMS": "1"}, kept=kept)
        assert arithmetic(compiled) == wanted
        assert find_low_precision(compiled, kept) == []


@pytest.mark.parametrize("made", ["paper"], indirect=True)  # `test_plans` has a compact one
@pytest.mark.parametrize("precision", PRECISIONS)
def test_tensorrt_compiles_the_precision_of_the_graph(graphs, precision) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    from engines.plans.compile import compile_plan

    layers = compile_plan(graphs[precision]).layers
    assert precision_problem(layers, precision) is None
    ran = set(executes(layers).split("+"))
    assert ran == {"int8": {"int8", "fp16"}}.get(precision, {precision})
    matches = [layer for layer in layers if any("/product" in node for node in layer.nodes)]
    assert matches
    assert {layer.precision for layer in matches if layer.kind == "gemm"} <= {"fp32"}
    tails = [la for la in layers if any("pred_score" in n for n in la.nodes)]
    assert tails
    assert not {out for layer in tails for out in layer.outputs} & {"fp16", "bf16", "int8"}


def test_attention_in_half_precision_neither_overflows_nor_vanishes(made, graphs) -> None:
    """An image of the harshest contrast: residuals and products are as large as they get."""
    harsh = np.zeros((1, *SIZE, 3), np.uint8)
    harsh[:, ::2, ::2] = 255
    with OnnxRuntimeEngine(graphs["fp16"], precision="fp16") as engine:
        maps, scores = engine.infer(harsh)
    assert np.isfinite(maps).all() and np.isfinite(scores).all()


def test_what_does_not_fit_is_refused(made, small_backbone) -> None:
    other = features_graph(
        small_backbone().backbone, size=(64, 64), layers=made.shape.stages, pooled=False
    )
    with pytest.raises(ValueError, match="the network's"):
        inspector_graph(other, made.network)
    made.network.train()
    try:
        with pytest.raises(ValueError, match="training mode"):
            inspector_graph(made.features, made.network)
    finally:
        made.network.eval()
