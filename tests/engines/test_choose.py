"""The choice of an engine, and the sentence that explains it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from engines import choose
from engines.cuda import Gpu, gpus
from engines.engine import EngineOptions
from engines.errors import EngineError
from engines.gpu.context import Home


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


@pytest.fixture
def two_gpus(monkeypatch) -> None:
    one = Gpu(0, "RTX 4070", "sm89", 12 << 30, integrated=False, driver="13.0")
    found = [one, dataclasses.replace(one, index=1, name="GTX 1080", compute_capability="sm61")]
    monkeypatch.setattr("engines.cuda.gpus", lambda: found)


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_is_chosen_by_its_number_and_no_other_takes_its_place() -> None:
    pytest.importorskip("tensorrt_rtx")
    chosen = choose.choose_engine("auto:0")
    assert (chosen.name, chosen.device, chosen.address) == ("tensorrt-rtx", 0, "tensorrt-rtx:0")
    assert choose.choose_engine(chosen.address) == chosen
    assert choose.choose_engine("auto").device is None
    with pytest.raises(EngineError, match=r"device 1: .*sm61"):
        choose.choose_engine("auto:1")
    with pytest.raises(EngineError, match="there is no GPU 2 here, but 0 RTX 4070, 1 GTX 1080"):
        choose.choose_engine("tensorrt-rtx:2")


@without_gpu
def test_where_there_is_no_gpu_none_can_be_asked_for() -> None:
    with pytest.raises(EngineError, match=r"device 0: .*no NVIDIA GPU answered"):
        choose.choose_engine("auto:0")
    with pytest.raises(EngineError, match="openvino runs on the CPU; leave --device out"):
        choose.choose_engine(choose.engine_on("openvino", 0))
    with pytest.raises(EngineError, match="onnx: no such engine"):
        choose.choose_engine("onnx:0")
    with pytest.raises(EngineError, match="a GPU has a number"):
        choose.choose_engine("auto:first")


@pytest.mark.usefixtures("two_gpus")
def test_the_engine_is_opened_at_home_on_that_gpu(monkeypatch) -> None:
    pytest.importorskip("tensorrt_rtx")
    homes: list[Home | None] = []

    def from_model(_model, *, home, **_):
        homes.append(home)
        raise EngineError("enough")

    monkeypatch.setattr("engines.gpu.engine.TensorRtEngine.from_model", from_model)
    for name in ("auto", "auto:0"):
        with pytest.raises(EngineError, match="enough"):
            choose.open_engine(b"", engine=name, options=FP32)
    assert homes == [None, Home(0)]
