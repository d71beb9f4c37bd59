"""The time of each layer, as OpenVINO and ONNX Runtime tell it."""

from __future__ import annotations

import json

import pytest

from edge.evaluation.layer_times import shares_of_layers
from engines.engine import LayerTime


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_bench_tells_each_layer_of_an_engine(engine, run, built) -> None:
    pytest.importorskip(engine)
    words = ("bench", built, "--engine", engine, "--frames", "3", "--layers")
    told = run(*words, "--json")
    assert told.code == 0, told.err
    layers = json.loads(told.out)["layers"]
    assert sum(layer["share"] for layer in layers) == pytest.approx(1)
    times = [layer["ms"] for layer in layers]
    assert times == sorted(times, reverse=True) and times[-1] >= 0 < times[0]
    convolutions = [layer for layer in layers if "conv" in layer["kind"].lower()]
    assert sum(layer["share"] for layer in convolutions) > 0.1, "where the work is"
    assert len({layer["name"] for layer in layers}) == len(layers)


def test_a_slow_first_call_does_not_count_and_a_shared_name_counts_for_each() -> None:
    times = [90.0, *[1.0] * 9]
    told = [LayerTime("copy", "", "", ms) for ms in times for _ in range(2)]
    told += [LayerTime("conv", "", "", 6.0)] * 10
    shares = [(one.name, one.ms, one.share) for one in shares_of_layers(told, calls=10)]
    assert shares == [("conv", 6.0, 0.75), ("copy", 2.0, 0.25)]
