"""Prototypes compared at once, as plans do it, are prototypes compared in blocks, as CPUs do it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from random_weights import resnet18

from calibrate.backbones.features_graph import features_graph
from calibrate.precision.convert import Conversion
from calibrate.protoad.graph import inspector_graph
from engines.batches import with_batch
from engines.plans import whole_head
from engines.plans.turing import graph_for_turing
from engines.plans.whole_head import graph_with_whole_head

IMAGES = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)


def inspector(precision: str, *, prototypes: int = 2_500, layers: tuple[str, ...]) -> bytes:
    graph = features_graph(resnet18(), size=(64, 64), layers=layers)
    graph = replace(graph, model=Conversion(graph.model, precision).model())
    unit = np.random.default_rng(2).standard_normal((prototypes, graph.dimensions))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return with_batch(inspector_graph(graph, unit.astype(np.float32), precision=precision), 1)


def outputs(model: bytes, count: int = 1) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": IMAGES[:count]})


def kinds(model: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_model_from_string(model).graph.node]


@pytest.mark.parametrize(
    "layers", [("layer3",), ("layer2", "layer3"), ("layer1", "layer2", "layer3")]
)
def test_it_is_the_same_to_the_last_bit(layers) -> None:
    model = inspector("fp32", layers=layers)
    whole = graph_with_whole_head(model)
    onnx.checker.check_model(onnx.load_model_from_string(whole), full_check=True)
    assert kinds(whole).count("ReduceMax") == kinds(model).count("ReduceMax") - 2
    assert kinds(whole).count("Conv") == kinds(model).count("Conv") - 2 * len(layers)
    for one, other in zip(outputs(model), outputs(whole), strict=True):
        assert np.array_equal(one, other)


def test_in_half_precision_it_differs_by_its_rounding_alone() -> None:
    """ONNX Runtime sums a half product of 2 500 rows in another order than one of 1 024."""
    model = inspector("fp16", layers=("layer2", "layer3"))
    for one, other in zip(outputs(model), outputs(graph_with_whole_head(model)), strict=True):
        np.testing.assert_allclose(one, other, atol=5e-4)


def test_of_any_number_of_images_it_is_the_same_to_the_last_bit() -> None:
    graph = features_graph(resnet18(), size=(64, 64), layers=("layer2", "layer3"))
    unit = np.random.default_rng(2).standard_normal((1_100, graph.dimensions))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    model = inspector_graph(graph, unit.astype(np.float32), precision="fp32")
    for lowered in (graph_with_whole_head(model), graph_for_turing(graph_with_whole_head(model))):
        assert kinds(lowered) != kinds(model)
        for one, other in zip(outputs(model, 3), outputs(lowered, 3), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)


def test_what_has_no_blocks_is_given_back() -> None:
    model = inspector("fp32", prototypes=100, layers=("layer2", "layer3"))
    assert graph_with_whole_head(model) is model
    features = features_graph(resnet18(), size=(64, 64), layers=("layer2",)).model
    assert graph_with_whole_head(features) is features


def test_blocks_stay_where_their_products_would_take_too_much_memory(monkeypatch) -> None:
    model = inspector("fp32", layers=("layer3",))
    monkeypatch.setattr(whole_head, "MAX_PRODUCT", 2_500 * 16 - 1)
    assert graph_with_whole_head(model) is model
    monkeypatch.setattr(whole_head, "MAX_PRODUCT", 2_500 * 16)
    assert graph_with_whole_head(model) is not model
