"""The roofline's sums, and its probes on real engines."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import roofline as roofline_module
from graph_costs import costs_from_onnx
from probes import CHANNELS, PRODUCTS, pools_graph, products_graph
from roofline import (
    arithmetic,
    bound_s,
    memory_bandwidth,
    peak_flops,
    quickest_s,
    roofline,
)

from edge.inspection.inspector import load
from engines.choose import open_engine
from engines.engine import EngineOptions
from engines.graph_cost import Cost


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr(roofline_module, "PROBE_S", 0.0)


def test_each_product_takes_the_longer_of_computing_and_moving() -> None:
    computes = Cost("a", "Conv", flop=2000, numbers=10, rounded=False)
    moves = Cost("b", "Conv", flop=10, numbers=1000, rounded=True)
    peaks = {"bf16": 100.0, "int8": 200.0}
    assert bound_s([computes], ["bf16"], peaks=peaks, bandwidth=50.0) == 20.0
    assert bound_s([moves], ["int8"], peaks=peaks, bandwidth=50.0) == 20.0
    assert bound_s([moves], ["bf16"], peaks=peaks, bandwidth=50.0) == 40.0
    both = bound_s([computes, moves], ["bf16", "int8"], peaks=peaks, bandwidth=50.0)
    assert both == 40.0


@pytest.mark.parametrize(
    ("rounded", "executes", "kind"),
    [
        (True, "int8+bf16", "int8"),
        (False, "int8+bf16", "bf16"),
        (True, "f32", "f32"),
        (False, "fp16", "fp16"),
        (False, "int8", "f32"),
        (True, "int8+f32", "int8"),
        (False, "something", "f32"),
    ],
)
def test_what_a_product_computes_in(rounded, executes, kind) -> None:
    assert arithmetic(Cost("a", "Conv", 1, 1, rounded), executes) == kind


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_probe_is_what_it_says(precision) -> None:
    """Counted by the same rules as a bundle's graph, and really executed at its precision."""
    model, flop = products_graph(precision, side=8)
    onnx.checker.check_model(onnx.load_model_from_string(model), full_check=True)
    costs = [cost for cost in costs_from_onnx(model) if cost.node.startswith("product")]
    assert sum(cost.flop for cost in costs) == flop == 2 * PRODUCTS * CHANNELS**2 * 64
    assert all(cost.rounded == (precision == "int8") for cost in costs)
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    scores = []
    for engine in ("openvino", "onnxruntime"):
        options = EngineOptions(precision, threads=1)
        with open_engine(model, engine=engine, options=options) as opened:
            scores.append(float(opened.infer(image)[0][0]))
            if engine == "openvino" and precision == "int8":
                assert "int8" in opened.executes
    assert np.isfinite(scores).all() and min(scores) > 0
    assert scores[0] == pytest.approx(scores[1], rel=0.05)


def test_poolings_differ_by_their_traffic_alone() -> None:
    kinds = [node.op_type for node in onnx.load_model_from_string(pools_graph(3)).graph.node]
    assert kinds.count("MaxPool") == 3
    options = EngineOptions("fp32", threads=1)
    with open_engine(pools_graph(2), engine="openvino", options=options) as opened:
        image = np.full((1, *opened.size, 3), 9, np.uint8)
        assert np.isfinite(opened.infer(image)[0]).all()


@pytest.mark.benchmark
def test_how_near_an_engine_is(line, tell, monkeypatch) -> None:
    monkeypatch.undo()
    with load(line / "part.edge") as inspector:
        engine, model = inspector.engine, inspector.bundle.model()
        image = np.full((1, *engine.size, 3), 127, np.uint8)
        found = roofline(model, engine, engine_ms=1e3 * quickest_s(lambda: engine.infer(image)))
    assert found.gflop * 1e9 == sum(cost.flop for cost in costs_from_onnx(model))
    peaks = ", ".join(f"{kind} {peak:.0f} GFLOP/s" for kind, peak in found.peak_gflops.items())
    tell(f"{found.gflop:.2f} GFLOP, {found.mib:.1f} MiB; {peaks}; {found.bandwidth_gb_s:.0f} GB/s")
    tell(f"roofline {found.bound_ms:.2f} ms: {found.share:.0%} of the engine's quickest time")


def test_probes_measure_something(monkeypatch) -> None:
    monkeypatch.setattr(roofline_module, "CPU_SIDE", 8)
    assert peak_flops("onnxruntime", "f32") > 1e8
    assert memory_bandwidth(1) > 1e6
