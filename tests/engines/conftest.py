"""Small inspector graphs, built node by node: what an engine gets, without a backbone's weights."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from engines.bundle import Bundle


@dataclass
class Writer:
    """Collects nodes and initializers; `half` stores convolutions and their input as FP16."""

    precision: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, name: str, value: np.ndarray) -> str:
        self.initializers.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def node(self, kind: str, inputs: list[str], name: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def quantised(self, value: str, range_of: float | np.ndarray) -> str:
        """Q and DQ with one scale, or with one per output channel of a weight.

        The one scale has no dimensions: from shape (1,) TensorRT-RTX makes FP32 kernels.
        """
        scale = np.float32(range_of)
        if isinstance(range_of, np.ndarray):
            scale = (np.abs(range_of).max(axis=(1, 2, 3)) / 127).astype(np.float32)
        step = self.constant(f"{value}.scale", scale)
        zero = self.constant(f"{value}.zero", np.zeros_like(scale, np.int8))
        axis = {"axis": 0} if scale.ndim else {}
        stored = self.node("QuantizeLinear", [value, step, zero], f"{value}.q", **axis)
        return self.node("DequantizeLinear", [stored, step, zero], f"{value}.dq", **axis)

    def convolution(self, value: str, name: str, weight: np.ndarray, **shape: object) -> str:
        if self.precision == "fp16":
            kernel = self.constant(f"{name}.weight", weight.astype(np.float16))
        elif self.precision == "int8":
            value = self.quantised(value, 0.05)
            kernel = self.quantised(self.constant(f"{name}.weight", weight), weight)
        else:
            kernel = self.constant(f"{name}.weight", weight)
        size = weight.shape[2:]
        return self.node("Conv", [value, kernel], name, kernel_shape=list(size), **shape)


def backbone(write: Writer, random: np.random.Generator, channels: int) -> str:
    value = write.node("Cast", ["image"], "cast", to=TensorProto.FLOAT)
    value = write.node("Transpose", [value], "nchw", perm=[0, 3, 1, 2])
    mean = np.array([104, 116, 124], np.float32).reshape(1, 3, 1, 1)
    value = write.node("Sub", [value, write.constant("mean", mean)], "centred")
    value = write.node("Mul", [value, write.constant("inverse", np.float32(1 / 58))], "normalised")
    if write.precision == "fp16":
        value = write.node("Cast", [value], "half", to=TensorProto.FLOAT16)
    before = 3
    for number, after in enumerate((channels, channels * 2), start=1):
        weight = random.normal(0, np.sqrt(2 / (before * 9)), (after, before, 3, 3))
        value = write.convolution(
            value, f"conv{number}", weight.astype(np.float32), strides=[2, 2], pads=[1, 1, 1, 1]
        )
        value, before = write.node("Relu", [value], f"relu{number}"), after
    return value


def head(write: Writer, value: str, prototypes: np.ndarray, size: int) -> None:
    kernel = prototypes[:, :, None, None]
    cosines = write.convolution(value, "head/prototypes", kernel)
    if write.precision == "fp16":
        cosines = write.node("Cast", [cosines], "head/cosines", to=TensorProto.FLOAT)
        value = write.node("Cast", [value], "head/features", to=TensorProto.FLOAT)
    channels = write.constant("channels", np.array([1], np.int64))
    nearest = write.node("ReduceMax", [cosines, channels], "head/nearest", keepdims=1)
    squares = write.node("Mul", [value, value], "head/squares")
    energy = write.node("ReduceSum", [squares, channels], "head/energy", keepdims=1)
    smallest = write.constant("smallest", np.float32(1e-12))
    norm = write.node("Sqrt", [write.node("Max", [energy, smallest], "head/clipped")], "head/norm")
    cosine = write.node("Div", [nearest, norm], "head/cosine")
    one = write.constant("one", np.float32(1))
    distance = write.node("Sub", [one, cosine], "head/distance")
    scales = write.constant("scales", np.array([1, 1, 2, 2], np.float32))
    distance = write.node("Resize", [distance, "", scales], "head/resized", mode="linear")
    rows = np.kron(np.eye(size // 2, dtype=np.float32), np.ones((2, 1), np.float32))
    rows = (rows + np.roll(rows, 1, axis=0)) / 2
    smooth = write.node("MatMul", [write.constant("rows", rows), distance], "head/rows")
    columns = write.constant("columns", np.ascontiguousarray(rows.T))
    smooth = write.node("MatMul", [smooth, columns], "head/columns")
    write.node("Squeeze", [smooth, channels], "anomaly_map")
    plane = write.constant("plane", np.array([1, 2], np.int64))
    write.node("ReduceMax", ["anomaly_map", plane], "pred_score", keepdims=0)


def inspector(
    precision: str = "fp32", *, size: int = 64, batch: int = 1, channels: int = 32, seed: int = 0
) -> bytes:
    """A whole inspector's graph, serialised: two convolutions, 24 prototypes, map and score."""
    random = np.random.default_rng(seed)
    write = Writer(precision)
    features = backbone(write, random, channels)
    prototypes = np.abs(random.normal(size=(24, channels * 2))).astype(np.float32)
    prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True)
    head(write, features, prototypes, size)
    outputs = [("anomaly_map", [batch, size, size]), ("pred_score", [batch])]
    return serialised(write, outputs, size, batch)


def features(precision: str = "fp32", *, size: int = 64, batch: int = 1) -> bytes:
    """A backbone's graph alone: outputs of two stages, (N, C, h, w) float."""
    write = Writer(precision)
    backbone(write, np.random.default_rng(0), 32)
    names = ["relu1", "relu2"]
    if precision == "fp16":
        names = [
            write.node("Cast", [name], f"stage/{name}", to=TensorProto.FLOAT) for name in names
        ]
    shapes = ([batch, 32, size // 2, size // 2], [batch, 64, size // 4, size // 4])
    return serialised(write, list(zip(names, shapes, strict=True)), size, batch)


def serialised(write: Writer, outputs: list[tuple[str, list[int]]], size: int, batch: int) -> bytes:
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, size, size, 3])
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, s) for name, s in outputs]
    graph = helper.make_graph(write.nodes, "inspector", [image], given, write.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


@pytest.fixture(scope="session")
def inspector_graph() -> Callable[..., bytes]:
    return inspector


@pytest.fixture(scope="session")
def features_graph() -> Callable[..., bytes]:
    return features


@pytest.fixture
def images() -> np.ndarray:
    """(5, 64, 64, 3) uint8: smooth blobs of noise, so that a convolution answers strongly."""
    random = np.random.default_rng(7)
    coarse = random.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, 8, axis=1), 8, axis=2)


@pytest.fixture
def back_end() -> str:
    """What the fake GPU's CUDA is called through; `both_back_ends` has a test tried with each."""
    return "cuda-bindings"


@pytest.fixture
def machine(back_end) -> Iterator[object]:
    """A fake GPU and its CUDA; at the end nothing of it may be held."""
    from fake_pycuda import machine_through  # needs cuda-bindings

    made = machine_through(back_end)
    yield made
    gc.collect()
    made.check()


@pytest.fixture(autouse=True)
def a_process_without_gpu_engines(monkeypatch) -> None:
    """What this process knows of its GPU's context is true of one fake GPU only."""
    from engines.gpu import context

    monkeypatch.setattr(context, "_OPEN", Counter())
    monkeypatch.setattr(context, "_OURS", {})


@pytest.fixture(autouse=True)
def home_of_its_own(monkeypatch, tmp_path_factory) -> None:
    """Neither caches nor the machine's key of whoever runs the tests."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))


@pytest.fixture(scope="session")
def contents(inspector_graph) -> dict[str, bytes]:
    """The files of a small bundle."""
    return {
        "model.onnx": inspector_graph(channels=2),
        "golden/good.png": b"\x89PNG not really, but the bundle does not look inside",
        "report.html": b"<p>report</p>",
    }


@pytest.fixture
def bundle(tmp_path, contents) -> Bundle:
    """A small bundle that may be changed."""
    from bundle_files import manifest

    from engines.bundle import write_bundle

    return write_bundle(tmp_path / "bottle.edge", manifest=manifest(), files=contents)
