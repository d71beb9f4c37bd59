"""ONNX Runtime and OpenVINO: same answers, same refusals, nothing printed, nothing sent."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from in_flight import infer_each
from memory import peak_bytes

from engines.cpu.onnxruntime import OnnxRuntimeEngine
from engines.cpu.openvino import OpenVinoEngine, has_bf16, import_openvino, shared_core
from engines.cpu.openvino_precision import choose_f32_nodes, find_low_precision
from engines.engine import PipelinedEngine, Ticket
from engines.errors import EngineError

ENGINES = [OnnxRuntimeEngine, OpenVinoEngine]
TOLERANCE = {"fp32": 2e-5, "fp16": 0.02, "int8": 0.02}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_map_and_score_agree_with_the_reference(engine, precision, inspector_graph, images) -> None:
    model = inspector_graph(precision)
    with OnnxRuntimeEngine(model, precision=precision) as reference:
        expected_maps, expected_scores = reference.infer(images)
    with engine(model, precision=precision) as opened:
        maps, scores = opened.infer(images)
        assert opened.outputs == ("anomaly_map", "pred_score")
        assert opened.size == (64, 64)
        assert opened.device
    assert maps.shape == (5, 64, 64)
    assert scores.shape == (5,)
    assert maps.dtype == scores.dtype == np.float32
    assert np.abs(maps - expected_maps).max() < TOLERANCE[precision]
    assert np.abs(scores - expected_scores).max() < TOLERANCE[precision]
    assert np.ptp(scores) > 0


@pytest.mark.parametrize("engine", ENGINES)
def test_any_number_of_images_gives_the_answers_of_one_by_one(
    engine, inspector_graph, images
) -> None:
    with engine(inspector_graph(batch=1), precision="fp32") as single:
        maps, scores = single.infer(images)
    with engine(inspector_graph(batch=2), precision="fp32") as pairs:
        for count in (1, 2, 3, 5):
            some_maps, some_scores = pairs.infer(images[:count])
            assert some_scores.shape == (count,)
            np.testing.assert_allclose(some_maps, maps[:count], atol=2e-5)
            np.testing.assert_allclose(some_scores, scores[:count], atol=2e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_features_come_in_the_order_of_the_graph(engine, features_graph, images) -> None:
    with engine(features_graph(), precision="fp32") as opened:
        first, second = opened.infer(images[:2])
        assert opened.outputs == ("relu1", "relu2")
    assert first.shape == (2, 32, 32, 32)
    assert second.shape == (2, 64, 16, 16)


@pytest.mark.parametrize("engine", ENGINES)
def test_arrays_outlive_the_next_call_and_the_engine(engine, inspector_graph, images) -> None:
    with engine(inspector_graph(), precision="fp32") as opened:
        maps, scores = opened.infer(images[:1])
        kept = maps.copy(), scores.copy()
        opened.infer(images[1:2])
    np.testing.assert_array_equal(maps, kept[0])
    np.testing.assert_array_equal(scores, kept[1])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_view_of_a_larger_picture_gives_the_same_answer(engine, inspector_graph, images) -> None:
    larger = np.zeros((1, 80, 80, 3), np.uint8)
    larger[:, 8:72, 8:72] = images[:1]
    with engine(inspector_graph(), precision="fp32") as opened:
        expected = opened.infer(images[:1])[1]
        given = opened.infer(larger[:, 8:72, 8:72])[1]
    np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.zeros((1, 64, 64, 3), np.float32), "uint8, not float32"),
        (np.zeros((64, 64, 3), np.uint8), r"\(N, 64, 64, 3\)"),
        (np.zeros((1, 64, 65, 3), np.uint8), "resize them"),
        (np.zeros((1, 64, 64, 1), np.uint8), r"\(N, 64, 64, 3\)"),
        (np.zeros((0, 64, 64, 3), np.uint8), "N >= 1"),
        ([[0]], "uint8, not list"),
    ],
)
def test_wrong_images_are_refused(engine, wrong, said, inspector_graph) -> None:
    with (
        engine(inspector_graph(), precision="fp32") as opened,
        pytest.raises(EngineError, match=said),
    ):
        opened.infer(wrong)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_closed_engine_says_so(engine, inspector_graph, images) -> None:
    opened = engine(inspector_graph(), precision="fp32")
    opened.close()
    opened.close()
    with pytest.raises(EngineError, match="closed"):
        opened.infer(images)


@pytest.mark.parametrize("engine", ENGINES)
def test_rubbish_is_refused_in_one_line(engine) -> None:
    with pytest.raises(EngineError, match="does not take this graph") as caught:
        engine(b"rubbish", precision="fp32")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_graph_that_takes_something_else_is_refused(engine) -> None:
    from onnx import TensorProto, helper

    for name, kind, shape in (
        ("image", TensorProto.FLOAT, [1, 3, 64, 64]),
        ("image", TensorProto.UINT8, [1, "H", 64, 3]),
        ("pixels", TensorProto.UINT8, [1, 64, 64, 3]),
        ("image", TensorProto.UINT8, [1, 64, 64, 1]),
    ):
        taken = helper.make_tensor_value_info(name, kind, shape)
        given = helper.make_tensor_value_info("out", kind, shape)
        nodes = [helper.make_node("Identity", [name], ["out"])]
        model = helper.make_model(
            helper.make_graph(nodes, "g", [taken], [given]),
            opset_imports=[helper.make_opsetid("", 18)],
            ir_version=9,
        )
        with pytest.raises(EngineError, match="the graph takes"):
            engine(model.SerializeToString(), precision="fp32")


def _fp16_graph_in_bf16(inspector_graph):
    """Core, graph and compiled graph of an fp16 inspector, or skip where bf16 isn't native."""
    from engines.cpu.openvino_precision import compile_mixed

    core = shared_core(import_openvino())
    if not has_bf16(core):
        pytest.skip("this processor has no bf16 instructions")
    graph = core.read_model(inspector_graph("fp16"))
    kept = choose_f32_nodes(graph)
    return core, kept, compile_mixed(core, graph, {"PERFORMANCE_HINT": "LATENCY"}, kept=kept)


def test_bf16_stops_at_the_head(inspector_graph) -> None:
    _, kept, compiled = _fp16_graph_in_bf16(inspector_graph)
    assert {"head/nearest", "head/energy", "head/distance", "head/resized", "head/rows"} <= kept
    assert not {"conv1", "conv2", "head/prototypes", "normalised"} & kept
    assert find_low_precision(compiled, kept) == []


def test_without_the_marks_the_head_would_run_in_bf16(inspector_graph) -> None:
    """The control: if the plugin ever keeps our head in f32 by itself, the marks can go."""
    core, kept, _ = _fp16_graph_in_bf16(inspector_graph)
    graph = core.read_model(inspector_graph("fp16"))
    plain = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    assert find_low_precision(plain, kept)


def test_a_full_disk_is_named_as_the_cause(inspector_graph) -> None:
    if not has_bf16(shared_core(import_openvino())):
        pytest.skip("this processor has no bf16 instructions")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    model = inspector_graph("fp16")
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(EngineError, match=r"temporary copy of the graph.*free some space"):
            OpenVinoEngine(model, precision="fp16")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_openvino_says_what_it_executes(inspector_graph) -> None:
    native = has_bf16(shared_core(import_openvino()))
    expected = {"fp32": "f32", "fp16": "bf16" if native else "f32"}
    for precision, arithmetic in expected.items():
        with OpenVinoEngine(inspector_graph(precision), precision=precision) as opened:
            assert opened.executes == arithmetic
    with OpenVinoEngine(inspector_graph("int8"), precision="int8") as opened:
        assert "int8" in opened.executes


QUIET = """
import socket, sys
def refused(*args, **kwargs):
    raise SystemExit("a connection was opened")
socket.socket.connect = refused
socket.getaddrinfo = refused
from engines.choose import open_engine
from engines.engine import EngineOptions
import numpy
for name in ("openvino", "onnxruntime"):
    model = open(sys.argv[1], "rb").read()
    with open_engine(model, engine=name, options=EngineOptions("fp16")) as engine:
        engine.infer(numpy.zeros((1, 64, 64, 3), numpy.uint8))
    unwanted = {"torch", "cv2", "openvino_telemetry.main"} & set(sys.modules)
    assert not unwanted, unwanted
    assert name != "openvino" or "onnx" not in sys.modules
"""


def test_nothing_is_sent_written_or_printed(tmp_path, inspector_graph) -> None:
    """The import of either reports usage and leaves files at home; through us it does not.

    The environment has no CI variable, since its telemetry switches itself off under CI.
    """
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    model = tmp_path / "model.onnx"
    model.write_bytes(inspector_graph("fp16"))
    environment = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
    ran = subprocess.run(
        [sys.executable, "-c", QUIET, str(model)],
        env={**environment, "HOME": str(home)},
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert list(home.rglob("*")) == []
    assert list(here.iterdir()) == []


def test_working_ahead_gives_the_answers_of_one_by_one(inspector_graph, images) -> None:
    model = inspector_graph("fp16", batch=2)
    chunks = [images[:2], images[2:4], images[4:5], images[1:3], images[:1], images[3:5]]
    with OpenVinoEngine(model, precision="fp16", threads=2) as engine:
        assert isinstance(engine, PipelinedEngine)
        expected = [engine.infer(chunk) for chunk in chunks]
        found = list(infer_each(engine, iter(chunks)))
        for one, other in zip(expected, found, strict=True):
            for first, second in zip(one, other, strict=True):
                np.testing.assert_allclose(first, second, atol=1e-6)


def test_slots_run_out_and_come_back_in_any_order(inspector_graph, images) -> None:
    with OpenVinoEngine(inspector_graph(), precision="fp32", threads=2) as engine:
        singles = [images[index : index + 1] for index in range(engine.slots)]
        expected = [engine.infer(image) for image in singles]
        buffer = np.empty_like(singles[0])
        tickets = []
        for image in singles:
            np.copyto(buffer, image)
            tickets.append(engine.submit(buffer))
            buffer[:] = 0  # it is the caller's again
        with pytest.raises(EngineError, match="slots are taken"):
            engine.submit(images[:1])
        found = {index: engine.collect(tickets[index]) for index in reversed(range(engine.slots))}
        for index, (maps, scores) in found.items():
            np.testing.assert_allclose(maps, expected[index][0], atol=1e-6)
            np.testing.assert_allclose(scores, expected[index][1], atol=1e-6)
        with pytest.raises(EngineError, match="collected before"):
            engine.collect(tickets[0])
        with pytest.raises(EngineError, match="up to 1 image"):
            engine.submit(images[:2])
        engine.collect(engine.submit(images[:1]))
        engine.submit(images[:1])  # and closed while it is under way
    for call in (lambda: engine.submit(images[:1]), lambda: engine.collect(Ticket(99))):
        with pytest.raises(EngineError, match=r"closed|unknown"):
            call()


@pytest.mark.parametrize("engine", ENGINES)
def test_the_steady_state_allocates_nothing_of_a_frames_size(engine, inspector_graph) -> None:
    size = 256  # other threads' few kB are little beside it
    images = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    with engine(inspector_graph(size=size), precision="fp32", threads=1) as opened:
        kept = [opened.infer(images) for _ in range(3)]
        del kept
        peak = peak_bytes(lambda: opened.infer(images), times=20)
    assert peak < images.nbytes / 4, peak


@pytest.mark.parametrize("engine", ENGINES)
def test_two_threads_do_not_mix_their_images(engine, inspector_graph, images) -> None:
    with engine(inspector_graph(), precision="fp32", threads=1) as opened:
        expected = [opened.infer(images[index : index + 1])[1][0] for index in range(4)]

        def scores(index: int) -> set[float]:
            return {float(opened.infer(images[index : index + 1])[1][0]) for _ in range(50)}

        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(scores, range(4)))
    for index, score in enumerate(expected):
        np.testing.assert_allclose(list(found[index]), score, atol=1e-6)
