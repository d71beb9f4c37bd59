"""Blocks of a graph, their order, and what a kept block looks like in the graph and the engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, shape_inference

from calibrate.backbones.backbone import load_backbone
from calibrate.backbones.features_graph import FeaturesGraph, features_graph
from calibrate.precision.convert import Conversion
from calibrate.precision.int8 import PrecisionError
from calibrate.precision.sensitivity import (
    MAX_BLOCKS,
    Block,
    RankedBlock,
    blocks_needed,
    blocks_of,
    nodes_of_blocks,
    rank_blocks,
    root_mean_square,
    to_next_precision,
    within_work_budget,
)
from calibrate.protoad.graph import inspector_graph
from engines.cpu.onnxruntime import OnnxRuntimeEngine
from engines.engine import EXACT

SIZE = (64, 64)


@pytest.fixture(scope="module")
def features() -> FeaturesGraph:
    return features_graph(load_backbone("bundled"), size=SIZE, layers=("layer2", "layer3"))


@pytest.fixture(scope="module")
def inspector(features, directions) -> bytes:
    return inspector_graph(features, directions(2100, features.dimensions), precision="fp32")


@pytest.fixture(scope="module")
def eight(features, pictures) -> Conversion:
    return Conversion(features.model, "int8", calibration=[pictures(4, SIZE)])


def nodes_of(model: bytes) -> dict[str, onnx.NodeProto]:
    return {node.name: node for node in onnx.load_model_from_string(model).graph.node}


def pairs_in(model: bytes) -> int:
    graph = onnx.load_model_from_string(model).graph
    return sum(node.op_type == "QuantizeLinear" for node in graph.node)


def types_of(model: bytes) -> dict[str, int]:
    graph = shape_inference.infer_shapes(
        onnx.load_model_from_string(model), strict_mode=True, data_prop=True
    ).graph
    found = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        found[value.name] = value.type.tensor_type.elem_type
    return found


def test_blocks_divide_the_convolutions(inspector) -> None:
    """Stem, six residual blocks, the stages' own with the prototypes: each convolution once."""
    blocks = blocks_of(inspector)
    assert len(blocks) == 8 <= MAX_BLOCKS
    named = [name for block in blocks for name in block.nodes]
    assert len(named) == len(set(named))
    nodes = nodes_of(inspector)
    assert {n for n, node in nodes.items() if node.op_type == "Conv"} <= set(named)
    assert not any(name.startswith("pre/") for name in named)
    assert sum(block.cost for block in blocks) == pytest.approx(1)
    heads = [block for block in blocks if any(name.startswith("head/") for name in block.nodes)]
    assert len(heads) == 1, "all blocks of prototypes are kept together"
    pools = {name for name, node in nodes.items() if node.op_type == "AveragePool"}
    assert pools <= set(heads[0].nodes), "between the stages' own convolutions and the prototypes"


def test_what_is_quantised_goes_one_step_up_and_the_rest_to_fp32(inspector, eight) -> None:
    blocks = to_next_precision(blocks_of(inspector), eight.quantised)
    assert len(blocks) == 8
    half = {name for block in blocks if block.precision == "fp16" for name in block.nodes}
    assert half == eight.quantised
    rest = [block.name for block in blocks if block.precision == "fp32"]
    assert rest == [blocks[0].name], "the stem; of the last block what is quantised"


def test_blocks_that_remove_most_for_their_cost_come_first() -> None:
    blocks = [Block("a", ("a",), 0.4), Block("b", ("b",), 0.1, "fp16"), Block("c", ("c",), 0.3)]
    errors = {(): 1.0, ("a",): 0.5, ("b",): 0.7, ("c",): 1.1}
    order = rank_blocks(blocks, error_of=lambda kept: errors[tuple(kept)])
    assert [entry.block.name for entry in order] == ["b", "a", "c"]
    assert [entry.removed for entry in order] == pytest.approx([0.3, 0.5, -0.1])
    assert [entry.block.name for entry in within_work_budget(order, most=0.45)] == ["b", "c"]
    assert nodes_of_blocks(order[:2]) == {"b": "fp16", "a": "fp32"}
    record = order[0].record
    assert (record.name, record.nodes, record.precision, record.cost) == ("b", ("b",), "fp16", 0.1)


def test_as_many_blocks_as_the_error_asks_for() -> None:
    order = [RankedBlock(Block(name, (name,), 0.1), 0.3) for name in "abc"]
    seen = []

    def error_of(kept) -> float:
        seen.append(len(kept))
        return 1.0 - 0.3 * len(kept)

    assert blocks_needed(order, error_of=error_of, share=0.5) == 2
    assert blocks_needed(order, error_of=error_of, share=0.01) == 3
    assert max(seen) == 2, "all of them are measured in full anyway"
    assert blocks_needed([], error_of=error_of, share=0.5) == 0


def test_an_error_that_is_no_number_counts_as_a_large_one() -> None:
    assert root_mean_square(np.array([0.0, np.nan])) == pytest.approx(np.sqrt(0.5))


def test_a_convolution_kept_in_an_int8_graph_is_that_of_a_graph_quantised_without_it(
    features, eight, inspector, pictures
) -> None:
    """Taking pairs away afterwards leaves nothing of them, and the ranges of the others alone."""
    blocks = to_next_precision(blocks_of(inspector), eight.quantised)
    whole, kept = eight.model(), eight.model(blocks[1].higher_nodes)
    after = nodes_of(kept)
    source = {node.output[0]: node for node in onnx.load_model_from_string(kept).graph.node}
    for name in eight.quantised:
        spared = name in blocks[1].nodes
        wanted = "Cast" if spared else "DequantizeLinear"
        assert source[after[name].input[0]].op_type == wanted, name
    assert 0 < pairs_in(kept) < pairs_in(whole)
    onnx.checker.check_model(onnx.load_model_from_string(kept), full_check=True)
    kinds = types_of(kept)
    assert all(kinds[after[name].input[1]] == TensorProto.FLOAT16 for name in blocks[1].nodes)


def test_all_kept_is_the_graph_without_any_pair(features, eight, pictures) -> None:
    kept = eight.model(dict.fromkeys(eight.quantised, "fp32"))
    assert not pairs_in(kept)
    images = pictures(1, SIZE)
    with OnnxRuntimeEngine(features.model, precision="fp32") as engine:
        exact = engine.infer(images)
    with OnnxRuntimeEngine(kept, precision="int8") as engine:
        for one, other in zip(exact, engine.infer(images), strict=True):
            # The stem and another narrow convolution are in half precision still.
            np.testing.assert_allclose(one, other, atol=0.02 * np.abs(one).max())


def test_nodes_kept_in_fp32_are_called_exact_and_compute_so(features, inspector, eight) -> None:
    (block, *_) = [b for b in blocks_of(inspector) if set(b.nodes) & eight.quantised]
    half = Conversion(features.model, "fp16")
    for conversion in (half, eight):
        model = conversion.model(block.higher_nodes)
        nodes, kinds = nodes_of(model), types_of(model)
        for name in block.nodes:
            assert name not in nodes
            node = nodes[f"{EXACT}{name}"]
            if node.op_type == "Conv":
                assert {kinds[each] for each in (*node.input, *node.output)} == {TensorProto.FLOAT}
        onnx.checker.check_model(onnx.load_model_from_string(model), full_check=True)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_openvino_runs_kept_blocks_in_f32_and_no_others(precision, features, eight) -> None:
    openvino = pytest.importorskip("engines.cpu.openvino", reason="OpenVINO is not installed")
    from engines.cpu.openvino_precision import (
        EXECUTED_CONVOLUTIONS,
        _text,
        choose_f32_nodes,
        compile_mixed,
    )

    core = openvino.shared_core(openvino.import_openvino())
    if not openvino.has_bf16(core):
        pytest.skip("bf16 is not native here: everything that is not int8 is f32 anyway")
    conversion = Conversion(features.model, "fp16") if precision == "fp16" else eight
    for block in blocks_of(features.model):
        model = conversion.model(block.higher_nodes)
        graph = core.read_model(model)
        compiled = compile_mixed(core, graph, {"NUM_STREAMS": "1"}, kept=choose_f32_nodes(graph))
        seen = {}
        for node in compiled.get_runtime_model().get_ordered_ops():
            info = node.get_rt_info()
            if _text(info, "layerType") in EXECUTED_CONVOLUTIONS:
                for name in _text(info, "originalLayersNames").split(","):
                    seen[name.split("/WithoutBiases")[0]] = _text(info, "primitiveType")
        kinds = {n for n in block.nodes if nodes_of(features.model)[n].op_type == "Conv"}
        for name in kinds:
            assert seen[f"{EXACT}{name}"].endswith("f32"), (block.name, seen)
        low = "bf16" if precision == "fp16" else "8"
        assert any(kind.endswith(low) for kind in seen.values()), "the others stay as they were"


def test_a_graph_without_names_gets_them_and_the_prototypes_can_be_exact(
    features, directions
) -> None:
    half = replace(features, model=Conversion(features.model, "fp16").model())
    exact = inspector_graph(
        half, directions(8, features.dimensions), precision="fp16", fp32_head=True
    )
    heads = [n for name, n in nodes_of(exact).items() if name.startswith(f"{EXACT}head/")]
    kinds = types_of(exact)
    assert len(heads) == 2
    assert all(kinds[node.output[0]] == TensorProto.FLOAT for node in heads)
    model = onnx.load_model_from_string(features.model)
    for node in model.graph.node:
        node.name = ""
    assert all(nodes_of(Conversion(model.SerializeToString(), "fp16").fp32))


def test_a_name_that_no_node_has_is_refused(features) -> None:
    with pytest.raises(PrecisionError, match="no node 'layer9'"):
        Conversion(features.model, "fp16").model({"layer9": "fp32"})
