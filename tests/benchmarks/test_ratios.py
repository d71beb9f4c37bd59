"""Rates against one another, measured in turns in the same run; reported, never judged.

Run with `just benchmark`; on a machine that does nothing else.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from in_flight import infer_each

from calibrate.images import fit_image
from cameras.connect import open_source
from cameras.image_files import image_from_bytes
from edge.inspection.inspector import Inspector, load
from edge.sinks.json_lines import JsonLinesSink
from edge.stream.loop import stream
from engines.choose import open_engine
from engines.engine import Engine, EngineOptions

pytestmark = pytest.mark.benchmark

TURNS = 5
Tell = Callable[[str], None]


def rate_hz(engine: Engine, images: np.ndarray, *, count: int) -> float:
    begun = time.perf_counter()
    for _ in range(count):
        engine.infer(images)
    return count / (time.perf_counter() - begun)


def test_stream_against_bare_engine(line: Path, tmp_path: Path, tell: Tell) -> None:
    with load(line / "part.edge") as inspector:
        ratios = [stream_ratio(inspector, line / "conveyor.avi", tmp_path) for _ in range(TURNS)]
    tell(
        f"stream, results written / bare engine: {statistics.median(ratios):.3f} {rounded(ratios)}"
    )
    assert min(ratios) > 0


def stream_ratio(inspector: Inspector, video: Path, folder: Path) -> float:
    with open_source(video) as source:
        first = next(iter(source)).image
    assert first is not None
    fitted = fit_image(first, inspector.bundle.manifest.size)[None]
    before = rate_hz(inspector.engine, fitted, count=100)
    with open_source(video) as source, JsonLinesSink(folder / "results.jsonl") as sink:
        summary = stream(inspector.inspect, source, sinks=[sink])
    after = rate_hz(inspector.engine, fitted, count=100)
    return summary.rate_hz / ((before + after) / 2)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_openvino_against_onnxruntime_fp32(
    precision: str, tmp_path: Path, line: Path, tell: Tell
) -> None:
    from edge.building.build import build
    from edge.options import BuildOptions

    models = {}
    for name in ("fp32", precision):
        built = build(
            line / "images", tmp_path / f"{name}.edge", options=BuildOptions(precision=name)
        )
        models[name] = built.bundle.model()
    image = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)
    with (
        open_engine(models["fp32"], engine="onnxruntime", options=EngineOptions("fp32")) as slow,
        open_engine(models[precision], engine="openvino", options=EngineOptions(precision)) as fast,
    ):
        ratios = []
        for _ in range(TURNS):
            reference = rate_hz(slow, image, count=40)
            ratios.append(rate_hz(fast, image, count=40) / reference)
        executes = fast.executes
    median = statistics.median(ratios)
    tell(f"openvino {precision} ({executes}) / onnxruntime fp32: {median:.2f} {rounded(ratios)}")
    assert min(ratios) > 0


def test_inspect_against_the_bare_request(line: Path, tell: Tell) -> None:
    """On a good part at the model's size: what is not the engine's."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    with load(line / "part.edge", engine="openvino") as inspector:
        picture = golden(inspector)
        request = inspector.engine._alone._request  # its input is bound: it has the last picture
        ratios, hosts = [], []
        for turn in range(300):
            begun = time.perf_counter()
            request.infer(share_outputs=True)
            between = time.perf_counter()
            inspector.inspect(picture)
            ended = time.perf_counter()
            if turn >= 50:
                ratios.append((ended - between) / (between - begun))
                hosts.append((ended - between) - (between - begun))
    tell(
        f"inspect / bare request: {statistics.median(ratios):.3f}; "
        f"difference of medians {1e3 * statistics.median(hosts):.3f} ms"
    )
    assert min(ratios) > 0


def test_second_start_against_first(line: Path, tmp_path: Path, tell: Tell) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    ratios = []
    for turn in range(TURNS):
        bundle = shutil.copytree(line / "part.edge", tmp_path / f"{turn}.edge")
        shutil.rmtree(bundle / "engines", ignore_errors=True)
        seconds = []
        for _ in range(2):
            begun = time.perf_counter()
            load(bundle, engine="openvino").close()
            seconds.append(time.perf_counter() - begun)
        ratios.append(seconds[1] / seconds[0])
    tell(f"second start / first: {statistics.median(ratios):.3f} {rounded(ratios)}")
    assert min(ratios) > 0


def test_working_ahead_against_one_after_another(line: Path, tell: Tell) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    with load(line / "part.edge", engine="openvino") as inspector:
        images = golden(inspector)[None]
        ratios = []
        for _ in range(TURNS):
            one = rate_hz(inspector.engine, images, count=60)
            begun = time.perf_counter()
            count = sum(1 for _ in infer_each(inspector.engine, (images for _ in range(60))))
            ratios.append(count / (time.perf_counter() - begun) / one)
        tell(
            f"{inspector.engine.slots} in flight / one after another: "
            f"{statistics.median(ratios):.3f} {rounded(ratios)}"
        )
    assert min(ratios) > 0


def golden(inspector: Inspector) -> np.ndarray:
    bundle = inspector.bundle
    good = next(image for image in bundle.manifest.golden if image.kind == "good")
    return image_from_bytes(bundle.read(good.file))


def rounded(ratios: list[float]) -> list[float]:
    return [round(ratio, 3) for ratio in ratios]
