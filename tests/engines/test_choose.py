"""The choice of an engine, and the sentence that explains it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from engines import choose
from engines.cuda import gpus
from engines.engine import EngineOptions
from engines.errors import EngineError


def _has_gpu() -> bool:
    try:
        return bool(gpus())
    except EngineError:
        return False


def _break(monkeypatch, name: str) -> None:
    broken = dataclasses.replace(choose.ENGINES[name], unavailable_reason=lambda: f"no {name}")
    monkeypatch.setitem(choose.ENGINES, name, broken)


FP32 = EngineOptions("fp32", threads=1)
without_gpu = pytest.mark.skipif(_has_gpu(), reason="this machine has an NVIDIA GPU")


@without_gpu
def test_auto_takes_openvino_and_says_tensorrt_unavailable_reason() -> None:
    chosen = choose.choose_engine()
    assert chosen.name == "openvino"
    assert chosen.reason.startswith("openvino: ")
    assert "tensorrt is not installed" in chosen.reason
    assert "tensorrt-rtx 1." in chosen.reason
    assert "no NVIDIA GPU answered" in chosen.reason
    assert "CUDA error" in chosen.reason


def test_auto_goes_down_the_list_and_remembers_each_reason(monkeypatch) -> None:
    for name in ("tensorrt", "tensorrt-rtx", "openvino"):
        broken = dataclasses.replace(
            choose.ENGINES[name], unavailable_reason=lambda name=name: f"no {name}"
        )
        monkeypatch.setitem(choose.ENGINES, name, broken)
    chosen = choose.choose_engine()
    assert chosen.name == "onnxruntime"
    assert chosen.reason == "onnxruntime: no tensorrt; no tensorrt-rtx; no openvino"


def test_no_engine_at_all_names_every_reason(monkeypatch) -> None:
    for name in choose.ENGINES:
        _break(monkeypatch, name)
    with pytest.raises(EngineError, match="no openvino; no onnxruntime"):
        choose.choose_engine()


@without_gpu
def test_an_engine_that_was_asked_for_is_never_replaced(inspector_graph) -> None:
    with pytest.raises(EngineError, match=r"cannot use tensorrt-rtx: .* no NVIDIA GPU"):
        choose.open_engine(inspector_graph(), engine="tensorrt-rtx", options=FP32)


def test_an_unknown_engine_is_answered_with_the_known_ones() -> None:
    with pytest.raises(EngineError, match="auto, tensorrt, tensorrt-rtx, openvino, onnxruntime"):
        choose.choose_engine("onnx")


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_an_opened_engine_is_the_one_that_was_asked_for(name, inspector_graph, images) -> None:
    opened = choose.open_engine(inspector_graph(), engine=name, options=FP32)
    with opened as engine:
        assert engine.name == name
        assert np.isfinite(engine.infer(images)[1]).all()
