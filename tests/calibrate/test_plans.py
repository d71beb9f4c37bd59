"""Whole inspectors through TensorRT-RTX: every precision, two architectures, and what is fused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_weights import resnet18

from calibrate.backbones.backbone import load_backbone
from calibrate.backbones.features_graph import features_graph
from calibrate.precision.convert import Conversion
from calibrate.precision.sensitivity import blocks_of
from calibrate.protoad.graph import inspector_graph
from engines.plans.compile import DEFAULTS, compile_plan
from engines.plans.layers import Layer, executes, kernels
from engines.plans.plan import Plan
from engines.plans.precision_proof import heavy_products, prove

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
PRECISIONS = ("fp32", "fp16", "int8")
SMALL, FULL = (96, 96), (256, 256)
PROTOTYPES = 2_000


@pytest.fixture(scope="module")
def full(directions) -> Plan:
    """ProtoAD on ResNet-18, stages 2 and 3, at 256 px in fp16, for an RTX 40."""
    graph = features_graph(resnet18(), size=FULL, layers=("layer2", "layer3"))
    graph = replace(graph, model=Conversion(graph.model, "fp16").model())
    model = inspector_graph(graph, directions(PROTOTYPES, graph.dimensions), precision="fp16")
    return compile_plan(model, gpu=("sm89",))


def computing(plan: Plan) -> list[Layer]:
    return [layer for layer in plan.layers if layer.kind == "convolution"]


def test_the_preprocessing_is_one_kernel(full) -> None:
    """Cast, transpose, order of channels, mean and deviation, half: the image is read once."""
    parts = [layer for layer in full.layers if any(n.startswith("pre/") for n in layer.nodes)]
    assert len(parts) == 1
    steps = {"pre/cast", "pre/planar", "pre/rgb", "pre/centre", "pre/scale"}
    assert steps <= set(parts[0].nodes)
    assert (parts[0].inputs, parts[0].outputs) == (("uint8",), ("fp16",))
    assert [layer.name for layer in full.layers if "uint8" in layer.inputs] == [parts[0].name]


def test_no_convolution_computes_in_fp32(full) -> None:
    found = computing(full)
    # Fifteen of the backbone to stage 3, and the prototypes' own of the finer stage; the coarser
    # stage's, 1x1, has become a matrix product.
    assert len(found) >= 16
    assert {layer.inputs[0] for layer in found} == {"fp16"}
    assert {output for layer in found for output in layer.outputs} == {"fp16"}


def test_bias_relu_and_residual_are_within_the_convolutions(full) -> None:
    """Nothing but convolutions and a pooling lies between the preprocessing and the stages."""
    within = [node for layer in computing(full) for node in layer.nodes]
    relus = {node for layer in full.layers for node in layer.nodes if node.startswith("Relu")}
    sums = {node for layer in full.layers for node in layer.nodes if node.startswith("Add")}
    assert len(relus) == 13 and relus <= set(within)
    assert len(sums) == 6 and sums <= set(within)
    with_residual = [layer for layer in computing(full) if sums & set(layer.nodes)]
    assert len(with_residual) == 6
    assert all(layer.inputs[:2] == ("fp16", "fp16") for layer in with_residual)


def test_the_number_of_kernels_is_what_the_documentation_says(full) -> None:
    """35 with 2 000 prototypes; a graph that splits a kernel more should be noticed."""
    assert kernels(full.layers) <= 30
    assert kernels(full.layers) == len(full.layers)  # no stream waits for another
    assert executes(full.layers) == "fp16"


@pytest.fixture(scope="module")
def small(pictures, directions) -> dict[str, bytes]:
    graph = features_graph(load_backbone("bundled"), size=SMALL, layers=("layer2", "layer3"))
    stages = tuple(replace(stage, weight=1.5) for stage in graph.stages)
    found = {}
    for precision in PRECISIONS:
        conversion = Conversion(graph.model, precision, calibration=[pictures(4, SMALL)])
        given = replace(graph, model=conversion.model(), stages=stages)
        rows = directions(32, given.dimensions)
        found[precision] = inspector_graph(given, rows, precision=precision)
    return found


@pytest.mark.parametrize("gpu", ["sm86", "sm120"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_protoad_compiles_as_its_graph_says(precision, gpu, small) -> None:
    plan = compile_plan(small[precision], gpu=(gpu,))
    proof = prove(plan.layers, small[precision])
    assert proof.problem() is None and not proof.unseen
    asked = {product.precision for product in proof.products if product.convolution}
    assert asked == {"int8": {"int8", "fp16"}}.get(precision, {precision})
    assert executes(plan.layers) == {"int8": "int8+fp16"}.get(precision, precision)


@pytest.mark.parametrize(
    ("method", "precision", "gpu"),
    [("small", "fp16", "sm75"), ("small", "int8", "sm89"), ("prn", "fp16", "sm89")],
)
def test_it_compiles_for_several_images(method, precision, gpu, request) -> None:
    model = request.getfixturevalue(method)[precision]
    one, several = (
        compile_plan(model, gpu=(gpu,), settings=DEFAULTS.with_images(batch)) for batch in (1, 8)
    )
    assert (one.images, several.images) == (1, 8)
    assert prove(several.layers, model).problem() is None
    assert executes(several.layers) == executes(one.layers)
    assert kernels(several.layers) <= kernels(one.layers) + 2


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_protoad_compiles_for_turing(precision, small) -> None:
    plan = compile_plan(small[precision], gpu=("sm75",))
    assert prove(plan.layers, small[precision]).problem() is None
    assert executes(plan.layers) in (precision, "fp16+fp32"), "the map's products, in FP32"


@pytest.fixture(scope="module")
def prn(small_backbone, pictures) -> dict[str, bytes]:
    """An untrained PRN: its graph is that of a trained one."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from calibrate.prn.graph.export import inspector_graph as prn_graph
    from calibrate.prn.network.network import PRN
    from calibrate.prn.options import shape_of
    from engines.cpu.onnxruntime import OnnxRuntimeEngine

    backbone, images = small_backbone().backbone, pictures(8, SMALL)
    shape = shape_of(backbone, image_size=SMALL, prototypes=(5, 3, 1), size="compact")
    graph = features_graph(backbone, size=SMALL, layers=shape.stages, pooled=False)
    with OnnxRuntimeEngine(graph.model, precision="fp32") as engine:
        stages = [torch.from_numpy(np.asarray(output)) for output in engine.infer(images)]
    torch.manual_seed(0)
    network = PRN(shape)
    maps = [stage[:count] for stage, count in zip(stages, (5, 3, 1), strict=True)]
    network.learn(maps, scale=torch.ones(len(stages)))
    model = prn_graph(graph, network.eval(), metadata={})
    return {name: Conversion(model, name, calibration=[images]).model() for name in PRECISIONS}


@pytest.mark.parametrize("gpu", ["sm86", "sm89"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_prn_compiles_as_its_graph_says(precision, gpu, prn) -> None:
    plan = compile_plan(prn[precision], gpu=(gpu,))
    proof = prove(plan.layers, prn[precision])
    assert proof.problem() is None and not proof.unseen
    assert set(executes(plan.layers).split("+")) == {"int8": {"int8", "fp16"}}.get(
        precision, {precision}
    )


@pytest.mark.parametrize("method", ["small", "prn"])
def test_each_block_that_can_be_kept_compiles_in_fp32(method, pictures, request) -> None:
    """A lone fp32 convolution between casts would be computed in fp16."""
    exact = request.getfixturevalue(method)["fp32"]
    conversion = Conversion(exact, "fp16")
    for block in blocks_of(exact):
        model = conversion.model(block.higher_nodes)
        proof = prove(compile_plan(model, gpu=("sm89",)).layers, model)
        assert proof.problem() is None, block.name
        assert "fp32" in {product.precision for product in proof.products}


def test_the_proof_knows_what_costs_time(small) -> None:
    products = heavy_products(small["fp16"])
    assert sum(product.share for product in products) > 0.9
    assert all(product.node for product in products)
    eight = [product for product in heavy_products(small["int8"]) if product.precision == "int8"]
    assert eight
    assert not any(product.node.startswith("head/") for product in eight)
