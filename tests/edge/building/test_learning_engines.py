"""A build on a GPU compiles what it must, once, and keeps the plan that it ships."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from calibrate.progress import Stages
from edge.building.build import build
from edge.building.learning_engines import BorrowedEngine, HeadEngine, LearningEngines, split_head
from edge.options import BuildOptions
from engines import choose
from engines.bundle import Bundle
from engines.cpu.onnxruntime import OnnxRuntimeEngine
from engines.engine import Engine, EngineOptions
from engines.errors import EngineError

PLAN = "tensorrt-sm87.plan"


class CountingTensorRt:
    """A TensorRT that keeps plans as the real one does, counts compiles, and runs the graph."""

    def __init__(self) -> None:
        self.compiles: Counter[str] = Counter()
        self.keeps = True  # whether there is a place for the key that seals a plan
        self.stops_at = 0  # the compilation that Ctrl-C ends

    def open(self, model: bytes, options: EngineOptions) -> Engine:
        plan = None if options.plans is None else options.plans / PLAN
        digest = hashlib.sha256(model).hexdigest()
        if plan is None or not plan.exists() or plan.read_text() != digest:
            self.compiles[options.precision] += 1
            if self.compiles.total() == self.stops_at:
                raise KeyboardInterrupt
            if options.progress:
                options.progress(1.0)
            if plan is not None and self.keeps:
                plan.parent.mkdir(exist_ok=True)
                plan.write_text(digest)
                plan.with_suffix(".json").write_text("{}")
        engine = OnnxRuntimeEngine(model, precision=options.precision)
        engine.name = "tensorrt"
        return engine


@pytest.fixture
def tensorrt(monkeypatch) -> CountingTensorRt:
    counting = CountingTensorRt()
    backend = choose.Backend(
        unavailable_reason=lambda: None, open=counting.open, how_to_get=lambda: ""
    )
    monkeypatch.setitem(choose.ENGINES, "tensorrt", backend)
    return counting


def build_on(drawn: Path, output: Path, stages: Stages | None = None, **changes) -> Bundle:
    options = BuildOptions(**{"size": (64, 64), "prototypes": 64, **changes})
    return build(drawn, output, options=options, stages=stages).bundle


@pytest.mark.parametrize(
    ("precision", "compiles"),
    [
        ("fp16", {"fp32": 1, "fp16": 2}),
        # One more for each of the four times that layers are kept in a higher precision.
        pytest.param("int8", {"fp32": 1, "int8": 6}, marks=pytest.mark.soak),
    ],
)
def test_a_build_compiles_twice_a_precision_and_a_stream_not_at_all(
    drawn, tmp_path, tensorrt, precision, compiles
) -> None:
    stages = Stages()
    given = {"engine": "tensorrt", "precision": precision, "score": "top", "size": (128, 128)}
    bundle = build_on(drawn, tmp_path / "a.edge", stages, **given)
    assert tensorrt.compiles == compiles
    told = [name for name in stages.seconds if name.startswith("tensorrt ")]
    assert len(told) == sum(compiles.values())
    assert f"tensorrt inspector {precision}" in told
    options = EngineOptions(precision, bundle.plans)
    choose.open_engine(bundle.model(), engine="tensorrt", options=options).close()
    assert tensorrt.compiles == compiles


def test_what_is_learnt_is_what_the_reference_learns(built, drawn, tmp_path, tensorrt) -> None:
    whole = Bundle.open(built).manifest  # by ONNX Runtime alone
    same = {"size": (128, 128), "engine": "tensorrt", "precision": "fp32"}
    split = build_on(drawn, tmp_path / "a.edge", **same).manifest
    assert tensorrt.compiles == {"fp32": 2}
    assert split.threshold.value == pytest.approx(whole.threshold.value, rel=1e-4)
    assert split.held_out and whole.held_out
    assert np.allclose(split.held_out.highest, whole.held_out.highest, rtol=1e-4)
    assert split.prototypes == whole.prototypes


def test_a_compiled_inspector_that_computes_otherwise_is_not_shipped(
    drawn, tmp_path, tensorrt, monkeypatch
) -> None:
    monkeypatch.setattr(LearningEngines, "difference", lambda *_: 1.0)
    with pytest.raises(EngineError, match="the compiled inspector's scores are off by"):
        build_on(drawn, tmp_path / "a.edge", engine="tensorrt", precision="fp32")
    assert not (tmp_path / "a.edge").exists()


def test_a_head_of_its_own_computes_what_the_whole_graph_does(built_bundle, good_image) -> None:
    model = built_bundle.model()
    body, head = split_head(model)
    assert head is not None
    assert split_head(body) == (body, None)
    images = np.stack([good_image, good_image[::-1]])
    with (
        OnnxRuntimeEngine(model, precision="fp32") as whole,
        HeadEngine(OnnxRuntimeEngine(body, precision="fp32"), head) as split,
    ):
        for one, other in zip(whole.infer(images), split.infer(images), strict=True):
            assert np.allclose(one, other, atol=1e-6)


def test_a_head_that_fails_is_one_engine_error(built_bundle, good_image) -> None:
    body, head = split_head(built_bundle.model())
    with pytest.raises(EngineError, match="onnxruntime: its head: "):
        HeadEngine(OnnxRuntimeEngine(body, precision="fp32"), b"rubbish")
    with HeadEngine(OnnxRuntimeEngine(body, precision="fp32"), head) as split:
        split._body = BorrowedEngine(split._body, split._body.outputs)
        split._body.infer = lambda images: [np.zeros((1, 2), np.float32)] * len(split._body.outputs)
        with pytest.raises(EngineError, match=r"onnxruntime: its head: .*rank") as failed:
            split.infer(good_image[None])
        assert "\n" not in str(failed.value)


@pytest.fixture
def built_bundle(bundle) -> Bundle:
    return Bundle.open(bundle)


def test_two_heads_have_one_body(built_bundle) -> None:
    model = onnx.load_model_from_string(built_bundle.model())
    for weight in model.graph.initializer:
        if weight.name.endswith("/prototypes"):
            values = onnx.numpy_helper.to_array(weight)
            weight.CopyFrom(onnx.numpy_helper.from_array(values[::-1].copy(), weight.name))
    other = model.SerializeToString()
    assert other != built_bundle.model()
    assert split_head(other)[0] == split_head(built_bundle.model())[0]


def test_on_a_cpu_every_graph_has_an_engine_of_its_own(built_bundle) -> None:
    with LearningEngines(Stages()) as engines:
        with engines.open("onnxruntime", built_bundle.model(), "fp32") as engine:
            assert isinstance(engine, OnnxRuntimeEngine)
        assert engines.plans_of(built_bundle.model()) == []


def test_outputs_come_in_the_order_of_the_graph_whatever_their_names(tensorrt) -> None:
    """A backbone's stages may have any names; patches are made of them from the finest on."""
    image = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, [1, 8, 8, 3])
    outputs = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, *shape])
        for name, shape in (("stage9", (8, 8, 3)), ("stage10", (3, 8, 8)))
    ]
    nodes = [
        onnx.helper.make_node("Cast", ["image"], ["stage9"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Transpose", ["stage9"], ["stage10"], perm=[0, 3, 1, 2]),
    ]
    graph = onnx.helper.make_graph(nodes, "features", [image], outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    with LearningEngines(Stages()) as engines:
        engine = engines.open("tensorrt", model.SerializeToString(), "fp32")
        assert list(engine.outputs) == ["stage9", "stage10"]
        shapes = [one.shape for one in engine.infer(np.zeros((2, 8, 8, 3), np.uint8))]
    assert shapes == [(2, 8, 8, 3), (2, 3, 8, 8)]


def test_without_a_place_for_plans_a_graph_is_compiled_once_all_the_same(
    built_bundle, good_image, tensorrt
) -> None:
    tensorrt.keeps = False
    model = built_bundle.model()
    with LearningEngines(Stages()) as engines:
        for _ in range(3):
            with engines.open("tensorrt", model, "fp32") as engine:
                engine.infer(good_image[None])
            engines.open_whole("tensorrt", model, "fp32").close()
        assert tensorrt.compiles == {"fp32": 2}
        assert engines.plans_of(model) == []


def test_a_stop_while_a_plan_is_compiled_leaves_the_old_bundle(
    built, drawn, tmp_path, tensorrt
) -> None:
    output = tmp_path / "a.edge"
    shutil.copytree(built, output)
    tensorrt.stops_at = 1
    with pytest.raises(KeyboardInterrupt):
        build_on(drawn, output, engine="tensorrt", precision="fp32")
    assert Bundle.open(output).manifest == Bundle.open(built).manifest
    assert [path.name for path in tmp_path.iterdir()] == ["a.edge"]


def test_an_inspector_without_a_head_is_compiled_once(built_bundle, good_image, tensorrt) -> None:
    """PRN's network scores what was held out, and is what is shipped."""
    model = onnx.load_model_from_string(built_bundle.model())
    for node in model.graph.node:
        node.name = ""
    whole = model.SerializeToString()
    with LearningEngines(Stages()) as engines:
        engines.open("tensorrt", whole, "fp32").infer(good_image[None])
        engines.open_whole("tensorrt", whole, "fp32").close()
        assert tensorrt.compiles == {"fp32": 1}
        plan, sidecar = engines.plans_of(whole)
        sidecar.unlink()  # as where the disk was full between the two
        assert plan.name == PLAN and engines.plans_of(whole) == []
