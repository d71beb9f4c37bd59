"""Rates against one another, measured in turns in the same run; reported, never judged.

Run with `just benchmark`; on a machine that does nothing else.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from calibrate.images import fit_image
from cameras.connect import open_source
from edge.inspector import Inspector, load
from edge.sinks import ResultsSink
from edge.stream import stream
from engines.choose import open_engine
from engines.engine import Engine

pytestmark = pytest.mark.benchmark

TURNS = 5
Tell = Callable[[str], None]


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Print past pytest's capture."""

    def print_line(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}")

    return print_line


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
    with open_source(video) as source, ResultsSink(folder / "results.jsonl") as sink:
        summary = stream(inspector.inspect, source, sinks=[sink])
    after = rate_hz(inspector.engine, fitted, count=100)
    return summary.rate_hz / ((before + after) / 2)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_openvino_against_onnxruntime_fp32(
    precision: str, tmp_path: Path, line: Path, tell: Tell
) -> None:
    from edge.build import Options, build

    models = {}
    for name in ("fp32", precision):
        built = build(line / "images", tmp_path / f"{name}.edge", options=Options(precision=name))
        models[name] = built.bundle.model()
    image = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)
    with (
        open_engine(models["fp32"], engine="onnxruntime", precision="fp32") as slow,
        open_engine(models[precision], engine="openvino", precision=precision) as fast,
    ):
        ratios = []
        for _ in range(TURNS):
            reference = rate_hz(slow, image, count=40)
            ratios.append(rate_hz(fast, image, count=40) / reference)
        executes = fast.executes
    median = statistics.median(ratios)
    tell(f"openvino {precision} ({executes}) / onnxruntime fp32: {median:.2f} {rounded(ratios)}")
    assert min(ratios) > 0


def rounded(ratios: list[float]) -> list[float]:
    return [round(ratio, 3) for ratio in ratios]
