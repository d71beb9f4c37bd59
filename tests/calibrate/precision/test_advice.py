"""Whether fp16 is faster than int8, asked of the real TensorRT-RTX: kernels, bytes and FLOP."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_weights import resnet18

from calibrate.backbones.features_graph import features_graph
from calibrate.precision import advice
from calibrate.precision.advice import note_where_fp16_is_faster
from calibrate.precision.convert import Conversion
from calibrate.precision.fp16_from_int8 import fp16_from_int8
from calibrate.protoad.graph import inspector_graph
from engines.cpu.onnxruntime import OnnxRuntimeEngine
from engines.errors import EngineError
from engines.plans.compile import compile_plan
from engines.plans.plan import Plan
from engines.plans.roofline import work_of

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
GPU = ("sm89",)


@pytest.fixture(scope="module")
def inspectors(pictures, directions) -> dict[str, bytes]:
    """ProtoAD on ResNet-18, stages 2 and 3, at 256 px, with two blocks of prototypes."""
    features = features_graph(resnet18(), size=(256, 256), layers=("layer2", "layer3"))
    rows = directions(2_000, features.dimensions)
    found = {}
    for precision in ("fp16", "int8"):
        conversion = Conversion(features.model, precision, calibration=[pictures(2, (256, 256))])
        found[precision] = inspector_graph(
            replace(features, model=conversion.model()), rows, precision=precision
        )
    return found


def test_an_int8_graph_without_its_rounding_is_the_one_in_fp16(inspectors, pictures) -> None:
    half = fp16_from_int8(inspectors["int8"])
    images = pictures(1, (256, 256))
    scores = []
    for model in (inspectors["fp16"], half):
        with OnnxRuntimeEngine(model, precision="fp16") as engine:
            scores.append(engine.infer(images)[1])
    assert np.abs(scores[0] - scores[1]).max() < 0.02 * np.abs(scores[0]).max()
    given, found = (work_of(compile_plan(m, gpu=GPU).layers, m) for m in (inspectors["fp16"], half))
    assert (found.kernels, found.flop) == (given.kernels, given.flop)
    assert found.activation_bytes == pytest.approx(given.activation_bytes, rel=0.02)
    assert found.seconds == pytest.approx(given.seconds, rel=0.02)


def test_int8_that_moves_more_is_not_recommended_and_says_why(inspectors) -> None:
    plan = compile_plan(inspectors["int8"], gpu=GPU)
    work = work_of(plan.layers, inspectors["int8"])
    assert work.kernels <= 43 and work.activation_bytes < 44e6, "47 MB with casts"
    (note,) = note_where_fp16_is_faster(plan, inspectors["int8"]).notes
    assert note.startswith("fp16 is expected to be faster than int8 here: 30 kernels instead of 4")
    assert "build with --precision fp16" in note
    fp16 = compile_plan(inspectors["fp16"], gpu=GPU)
    assert note_where_fp16_is_faster(fp16, inspectors["fp16"]) is fp16


def test_a_comparison_that_fails_is_told_and_the_plan_stays(inspectors, monkeypatch) -> None:
    plan = compile_plan(inspectors["int8"], gpu=GPU)

    def refuse(model: bytes, **_: object) -> Plan:
        raise EngineError("no room")

    monkeypatch.setattr(advice, "compile_plan", refuse)
    found = advice.note_where_fp16_is_faster(plan, inspectors["int8"])
    assert found.notes == ("not compared with fp16: no room",)
    assert found.plan == plan.plan
