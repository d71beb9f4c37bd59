"""OpenVINO against ONNX Runtime on one and the same graph, with the bundled backbone."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibrate.backbones.backbone import load_backbone
from calibrate.progress import Stages
from calibrate.protoad.learn import prepare_protoad
from calibrate.protoad.options import Form, ProtoadOptions
from engines.cpu.onnxruntime import OnnxRuntimeEngine

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")

SIZE = (128, 128)


@pytest.fixture(scope="module", params=["fp32", "fp16", "int8"])
def outputs(request: pytest.FixtureRequest, drawn: Path):
    """precision, and (maps, scores) of both engines for every labelled image."""
    from engines.cpu.openvino import OpenVinoEngine, has_bf16, shared_core

    precision = request.param
    prepared = prepare_protoad(
        load_backbone("bundled"),
        sorted((drawn / "train" / "good").iterdir()),
        options=ProtoadOptions(
            precision=precision,
            size=SIZE,
            layers=("layer2", "layer3"),
            form=Form(prototypes=256),
        ),
        open_engine=lambda model, precision: OnnxRuntimeEngine(model, precision=precision),
        stages=Stages(),
    )
    inspector = prepared.rebuild({})
    model = inspector.model
    images = np.stack([cv2.imread(str(path)) for path in sorted((drawn / "test").rglob("*.png"))])
    with OnnxRuntimeEngine(model, precision=precision) as engine:
        found = engine.infer(images)
    with OpenVinoEngine(model, precision=precision) as engine:  # no node makes all of it f32
        expected = {"fp32": "f32", "fp16": "bf16", "int8": "int8+bf16"}[precision]
        native = has_bf16(shared_core(openvino))
        assert engine.executes == (expected if native else engine.executes)
        other = engine.infer(images)
    return precision, found, other, inspector.score_rule


# Largest difference of a map's value and of a score; they lie in 0..1 and good images near 0.02.
# fp32: sums in another order; 7e-7 measured. fp16: where the processor has the instructions,
# OpenVINO runs convolutions in bf16, whose 8 bits change a cosine by up to 4e-3; 2.6e-3 measured.
# int8: rounding differs at every requantisation, besides bf16; 4.7e-3 measured.
MOST = {"fp32": 1e-4, "fp16": 0.01, "int8": 0.02}


def test_maps_and_scores_agree(outputs) -> None:
    precision, (maps, scores), (other_maps, other_scores), _ = outputs
    assert maps.shape == other_maps.shape
    assert np.abs(maps - other_maps).max() < MOST[precision]
    assert np.abs(scores - other_scores).max() < MOST[precision]
    assert scores.max() > 4 * MOST[precision], "or the tolerance hides everything"
    # What is a pixel's noise must not be a shift: the threshold is one number.
    assert abs(float((maps - other_maps).mean())) < MOST[precision] / 5


def test_the_worst_spot_is_the_same(outputs) -> None:
    """Where a defect is clear, both engines point at it."""
    _, (maps, scores), (other_maps, _), _ = outputs
    clear = scores > 2 * np.median(scores)
    assert clear.any()
    for one, other in zip(maps[clear], other_maps[clear], strict=True):
        first = np.unravel_index(one.argmax(), one.shape)
        second = np.unravel_index(other.argmax(), other.shape)
        assert np.hypot(*np.subtract(first, second)) <= 8  # px: a patch


def test_scores_are_what_the_rule_makes_of_the_maps(outputs) -> None:
    """Also where the rest runs in bf16: what makes map and score is float32."""
    *found, rule = outputs[1:]
    for maps, scores in found:
        expected = [rule.score(one[rule.step, rule.step].ravel()) for one in maps]
        np.testing.assert_allclose(scores, expected, rtol=1e-5)
