"""Any number of images in one call: the same maps and scores as one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from random_weights import resnet18

from calibrate.backbones.features_graph import features_graph
from calibrate.precision.convert import Conversion
from calibrate.protoad.graph import inspector_graph
from calibrate.protoad.prototypes import unit_rows
from calibrate.symbolic_batch import with_symbolic_batch
from engines.batches import BATCH, with_batch
from engines.score_rule import ScoreRule, ScoreTerm

SIZE = (64, 96)
CLOSE = 1e-6
RULE = ScoreRule(
    terms=(
        ScoreTerm(count=1),
        ScoreTerm(count=9, gain=1.2, offset=-0.01),
        ScoreTerm(count=40, gain=1.5, offset=0.02),
    ),
    stride=4,
)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, *SIZE, 3), np.uint8)


@pytest.fixture(scope="module", params=["fp32", "fp16", "int8"])
def model(request, images) -> bytes:
    features = features_graph(resnet18(), size=SIZE, layers=("layer2", "layer3"))
    converted = Conversion(features.model, request.param, calibration=[images]).model({})
    vectors = np.random.default_rng(1).normal(size=(40, features.dimensions))
    return inspector_graph(
        replace(features, model=converted),
        unit_rows(vectors.astype(np.float32)),
        precision=request.param,
        score="top",
        rule=RULE,
    )


Run = Callable[[np.ndarray], list[np.ndarray]]


def on_onnxruntime(model: bytes) -> Run:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"image": images})


def on_openvino(model: bytes) -> Run:
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    core = openvino.Core()

    @cache
    def compiled(shape: tuple[int, ...]) -> Any:
        graph = core.read_model(model)
        graph.reshape({0: shape})
        return core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    return lambda images: [np.array(one) for one in compiled(images.shape)([images]).values()]


@pytest.mark.parametrize("engine", [on_onnxruntime, on_openvino])
def test_one_two_and_eight_images_have_the_scores_of_each_alone(model, images, engine) -> None:
    run = engine(model)
    alone = [run(images[index : index + 1]) for index in range(len(images))]
    maps, scores = (np.concatenate(parts) for parts in zip(*alone, strict=True))
    for count in (2, 8):
        found = run(images[:count])
        np.testing.assert_allclose(found[0], maps[:count], atol=CLOSE)
        np.testing.assert_allclose(found[1], scores[:count], atol=CLOSE)


def test_it_is_made_for_so_many_and_then_stays(model, images) -> None:
    two = with_batch(model, 2)
    (given,) = onnx.load_model_from_string(two).graph.input
    assert [dim.dim_value for dim in given.type.tensor_type.shape.dim] == [2, *SIZE, 3]
    assert with_batch(two, 1) is two
    for one, other in zip(
        on_onnxruntime(two)(images[:2]), on_onnxruntime(model)(images[:2]), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=CLOSE)


def test_with_tiles_it_stays_one_image_at_a_time() -> None:
    features = features_graph(resnet18(), size=SIZE, layers=("layer2",), tiles=(2, 1)).model
    assert with_symbolic_batch(features) == features
    whole = features_graph(resnet18(), size=SIZE, layers=("layer2",)).model
    (given,) = onnx.load_model_from_string(with_symbolic_batch(whole)).graph.input
    assert given.type.tensor_type.shape.dim[0].dim_param == BATCH
