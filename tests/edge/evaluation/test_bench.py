"""What `edge bench` reports, on a real engine and a graph of one node's worth of work."""

from __future__ import annotations

import dataclasses
import json

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper

from edge.evaluation.bench import bench
from edge.result import Result, Verdict
from engines.cpu.onnxruntime import OnnxRuntimeEngine
from engines.errors import EngineError


@pytest.fixture(scope="module")
def engine():
    """Mean of the channels as the map, its maximum as the score."""
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 32, 32, 3])
    given = [
        helper.make_tensor_value_info("anomaly_map", TensorProto.FLOAT, [1, 32, 32]),
        helper.make_tensor_value_info("pred_score", TensorProto.FLOAT, [1]),
    ]
    constants = [
        helper.make_tensor("last", TensorProto.INT64, [1], [3]),
        helper.make_tensor("plane", TensorProto.INT64, [2], [1, 2]),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "last"], ["anomaly_map"], keepdims=0),
        helper.make_node("ReduceMax", ["anomaly_map", "plane"], ["pred_score"], keepdims=0),
    ]
    graph = helper.make_graph(nodes, "mean", [image], given, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    with OnnxRuntimeEngine(model.SerializeToString(), precision="fp32", threads=1) as opened:
        yield opened


def prepare(frame):
    return cv2.resize(frame, (32, 32))[None]


def inspector(engine, verdict=Verdict.OK, reason=""):
    def inspect(frame):
        _, scores = engine.infer(prepare(frame))
        return Result(
            source="bench",
            frame=0,
            captured_at_ns=0,
            verdict=verdict,
            score=float(scores[0]),
            threshold=300.0,
            reason=reason,
        )

    return inspect


FRAMES = [np.full((480, 640, 3), value, np.uint8) for value in (0, 80, 160)]


def test_the_report_has_what_machines_rely_on(engine) -> None:
    report = bench(
        engine,
        precision="fp32",
        frames=FRAMES,
        prepare=prepare,
        inspect=inspector(engine),
        iterations=40,
    )
    content = json.loads(json.dumps(report.to_json()))
    assert {"engine", "precision", "engine_ms", "end_to_end_ms", "rate_hz", "ratio_to_engine"} <= (
        set(content)
    )
    assert (content["engine"], content["precision"], content["executes"]) == (
        "onnxruntime",
        "fp32",
        "f32",
    )
    for step in ("engine_ms", "end_to_end_ms"):
        assert 0 < content[step]["p50"] <= content[step]["p95"] <= content[step]["p99"]
    assert content["iterations"] == 40
    assert content["ratio_to_engine"] == pytest.approx(
        content["end_to_end_ms"]["p50"] / content["engine_ms"]["p50"]
    )
    assert content["rate_hz"] > 0


def test_every_frame_is_used_and_the_warm_up_is_not_counted(engine) -> None:
    seen = []
    judge = inspector(engine)

    def inspect(frame):
        seen.append(int(frame[0, 0, 0]))
        return judge(frame)

    bench(
        engine,
        precision="fp32",
        frames=FRAMES,
        prepare=prepare,
        inspect=inspect,
        iterations=6,
    )
    assert set(seen) == {0, 80, 160}
    assert len(seen) > 6


def test_an_error_is_not_timed_as_if_it_were_a_verdict(engine) -> None:
    with pytest.raises(EngineError, match="no verdict: black frame"):
        bench(
            engine,
            precision="fp32",
            frames=FRAMES,
            prepare=prepare,
            inspect=inspector(engine, Verdict.ERROR, "black frame"),
            iterations=3,
        )


@pytest.mark.parametrize(("frames", "iterations"), [([], 5), (FRAMES, 0)])
def test_nothing_to_measure_is_said(engine, frames, iterations) -> None:
    with pytest.raises(EngineError, match="nothing to measure"):
        bench(
            engine,
            precision="fp32",
            frames=frames,
            prepare=prepare,
            inspect=inspector(engine),
            iterations=iterations,
        )


def test_the_hosts_part_is_what_the_engine_did_not_take(engine) -> None:
    judge = inspector(engine)

    def inspect(frame):
        result = judge(frame)
        return dataclasses.replace(result, speed={"engine": 0.0})

    report = bench(
        engine, precision="fp32", frames=FRAMES, prepare=prepare, inspect=inspect, iterations=20
    )
    assert report.host_ms == report.end_to_end_ms
