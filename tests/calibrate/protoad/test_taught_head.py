"""Prototypes that are added to a graph: the same as if it had been built with them."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import onnx
import pytest
from random_weights import resnet18

from calibrate.backbones.features_graph import features_graph
from calibrate.precision.convert import Conversion
from calibrate.protoad.graph import inspector_graph
from calibrate.protoad.prototypes import unit_rows
from calibrate.protoad.taught_head import (
    NotTeachableError,
    add_prototypes,
    choose_prototypes,
    count_taught,
    distances_with,
    read_patches,
)
from engines.cpu.onnxruntime import OnnxRuntimeEngine
from engines.plans.whole_head import graph_with_whole_head

SIZE = (64, 96)
BACKBONE = resnet18()
HALF = 2e-3  # products in float16


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Patterns of ever larger squares."""
    random = np.random.default_rng(0)
    sides = (1, 2, 8, 32)
    coarse = [random.integers(0, 256, (64 // n, 96 // n, 3), np.uint8) for n in sides]
    return np.stack(
        [np.kron(part, np.ones((n, n, 1), np.uint8)) for n, part in zip(sides, coarse, strict=True)]
    )


def inspector(precision: str, count: int, images: np.ndarray, *, whitened: bool) -> bytes:
    features = features_graph(BACKBONE, size=SIZE, layers=("layer2", "layer3"))
    converted = Conversion(features.model, precision, calibration=[images]).model({})
    random = np.random.default_rng(1)
    stages = [
        replace(stage, weight=weight)
        for stage, weight in zip(features.stages, itertools.cycle((1.0, 0.6, 1.7)), strict=False)
    ]
    features = replace(features, model=converted, stages=tuple(stages))
    prototypes = unit_rows(random.normal(size=(count, features.dimensions)).astype(np.float32))
    matrices = tuple(
        np.eye(stage.channels, dtype=np.float32)
        + random.normal(scale=0.05, size=(stage.channels,) * 2).astype(np.float32)
        for stage in stages
    )
    return inspector_graph(
        features,
        prototypes,
        precision=precision,
        whitening=matrices if whitened else (),
        metadata={"protoedge.prototypes": str(count)},
    )


def maps_of(model: bytes, images: np.ndarray) -> np.ndarray:
    with OnnxRuntimeEngine(model, precision="fp32") as engine:
        return np.concatenate([np.array(engine.infer(image[None])[0]) for image in images])


@pytest.mark.parametrize(
    ("precision", "count", "whitened"),
    [("fp32", 1_100, True), ("fp16", 40, False), ("int8", 40, True), ("fp32", 40, False)],
)
def test_the_taught_images_come_near_and_no_patch_goes_farther(
    images, precision, count, whitened
) -> None:
    model = onnx.load_model_from_string(inspector(precision, count, images, whitened=whitened))
    parts = list(read_patches(model, images))
    near = 0.02
    prototypes = choose_prototypes(parts[:2], near=near)
    taught = add_prototypes(model, prototypes)
    found = list(read_patches(onnx.load_model_from_string(taught), images))
    tolerance = 1e-5 if precision == "fp32" else HALF
    for before, after in zip(parts, found, strict=True):
        assert np.allclose(after.distances, distances_with(before, prototypes), atol=tolerance)
        assert (after.distances <= before.distances + tolerance).all()
    assert max(part.distances.mean() for part in found[:2]) < near + tolerance
    assert found[3].distances.mean() > 1.5 * near  # another pattern
    (count_after,) = (e.value for e in onnx.load_model_from_string(taught).metadata_props)
    assert int(count_after) == count + len(prototypes)


def test_it_is_taught_again_and_compared_at_once_where_a_gpu_runs_it(images) -> None:
    model = onnx.load_model_from_string(inspector("fp32", 40, images, whitened=True))
    count = 0
    for image in images[:2]:
        (part,) = read_patches(model, [image])
        prototypes = choose_prototypes([part], near=0.05, most=30)
        taught = add_prototypes(model, prototypes)
        model = onnx.load_model_from_string(taught)
        count += len(prototypes)
        assert count_taught(model) == count
    whole = graph_with_whole_head(taught)
    maxima = [
        sum(node.op_type == "ReduceMax" for node in onnx.load_model_from_string(one).graph.node)
        for one in (taught, whole)
    ]
    assert maxima == [4, 2]  # three blocks and the score; one and the score
    assert (maps_of(whole, images) == maps_of(taught, images)).all()


def test_patches_that_are_near_teach_nothing(images) -> None:
    model = onnx.load_model_from_string(inspector("fp32", 40, images, whitened=True))
    assert len(choose_prototypes(read_patches(model, images), near=2.0)) == 0


def test_another_graph_is_refused() -> None:
    model = onnx.load_model_from_string(
        features_graph(BACKBONE, size=SIZE, layers=("layer2", "layer3")).model
    )
    with pytest.raises(NotTeachableError, match="no prototypes"):
        add_prototypes(model, np.zeros((1, 8), np.float32))
