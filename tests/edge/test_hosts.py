"""A host with nothing of ours: same scores, same verdicts, and the other recipes of the page."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.health.checks import ImageChecks
from edge.inspection.inspector import load
from engines.batches import with_batch
from engines.bundle import Bundle

ROOT = Path(__file__).resolve().parents[2]
HOST = ROOT / "examples" / "host.py"
PAGE = ROOT / "docs" / "hosts.md"
ALLOWED = {"json", "sys", "pathlib", "typing", "cv2", "numpy", "onnxruntime"}
ALONE = """
import runpy, sys
for name in ("edge", "engines", "calibrate", "cameras"):
    sys.modules[name] = None  # importing it fails
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def host(bundle: Path, *images: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-I", "-c", ALONE, str(HOST), str(bundle), *map(str, images)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)


def verdicts(bundle: Path, *images: Path) -> list[tuple[str, float]]:
    ran = host(bundle, *images)
    assert (ran.returncode, ran.stderr) == (0, "")
    found = [line.split() for line in ran.stdout.splitlines()]
    assert [path for path, _, _ in found] == list(map(str, images))
    return [(verdict, float(score)) for _, verdict, score in found]


def test_it_needs_nothing_of_ours_and_is_short() -> None:
    text = HOST.read_text()
    imported = {
        (node.module or "").split(".")[0] if isinstance(node, ast.ImportFrom) else name.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    assert imported <= ALLOWED
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) <= 45  # with its docstring


def test_scores_and_verdicts_are_those_of_edge(built, drawn, tmp_path) -> None:
    """Of images at the model's size, much larger, smaller, and of odd proportions."""
    images = sorted(drawn.rglob("test/*/*.png"))[:6]
    picture = cv2.imread(str(images[-1]))
    for name, shape in (("large", (1280, 720)), ("small", (50, 90)), ("odd", (255, 401))):
        images.append(tmp_path / f"{name}.png")
        cv2.imwrite(str(images[-1]), cv2.resize(picture, shape))
    with load(built, engine="onnxruntime") as inspector:
        inspector.health = ImageChecks(None)  # a host judges whatever it is given
        results = [inspector.inspect(cv2.imread(str(path))) for path in images]
    found = verdicts(built, *images)
    assert [verdict for verdict, _ in found] == [str(result.verdict) for result in results]
    np.testing.assert_allclose(
        [score for _, score in found], [result.score for result in results], rtol=1e-6
    )
    assert len({verdict for verdict, _ in found}) == 2


@pytest.mark.usefixtures("light_builds")
def test_a_region_of_interest_is_cut_out(drawn, tmp_path) -> None:
    from edge.building.build import build
    from edge.options import BuildOptions

    options = BuildOptions(
        precision="fp32",
        size=(64, 64),
        prototypes=32,
        engine="onnxruntime",
        roi=(8, 16, 100, 90),
    )
    path = build(drawn / "train" / "good", tmp_path / "part.edge", options=options).bundle.path
    image = min((drawn / "train" / "good").iterdir())
    with load(path, engine="onnxruntime") as inspector:
        expected = inspector.inspect(cv2.imread(str(image))).score
    assert verdicts(path, image)[0][1] == pytest.approx(expected, rel=1e-6)
    cut = tmp_path / "cut.png"
    cv2.imwrite(str(cut), cv2.imread(str(image))[:50])
    assert "beyond the image" in host(path, cut).stderr


def test_what_is_no_image_is_said(built, tmp_path) -> None:
    (tmp_path / "text.png").write_text("no image")
    ran = host(built, tmp_path / "text.png")
    assert ran.returncode == 1
    assert "not an image" in ran.stderr


def test_the_page_says_what_a_bundle_has(built) -> None:
    """Names, types and shapes that the page's other recipes rely on."""
    import onnx

    graph = onnx.load_model_from_string(with_batch(Bundle.open(built).model(), 1)).graph
    page = PAGE.read_text()
    config = re.search(r"```proto\n(.*?)```", page, re.DOTALL)
    assert config is not None
    for value, kind in (
        (graph.input[0], "TYPE_UINT8"),
        (graph.output[0], "TYPE_FP32"),
        (graph.output[1], "TYPE_FP32"),
    ):
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        entry = re.search(
            rf'name: "{value.name}"\s+data_type: (\w+)\s+dims: \[([^\]]*)\]', config[1]
        )
        assert entry is not None, value.name
        assert entry[1] == kind
        # The page's bundle is of 256 px, this one is of 128.
        sizes = [int(size) for size in entry[2].split(",")]
        assert [size if size != 256 else 128 for size in sizes] == dims


def test_the_pages_cpp_is_well_formed(tmp_path) -> None:
    """Against declarations of what it uses: the headers of TensorRT are no part of this."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    snippet = re.search(r"```cpp\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert snippet is not None
    (tmp_path / "NvInfer.h").write_text(NVINFER)
    (tmp_path / "cuda_runtime_api.h").write_text(CUDA)
    (tmp_path / "host.cpp").write_text(snippet[1])
    ran = subprocess.run(
        [compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I.", "host.cpp"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


NVINFER = """
#pragma once
#include <cstddef>
#include <cstdint>
using cudaStream_t = struct CUstream_st*;
namespace nvinfer1 {
struct ILogger {
  enum class Severity : int32_t { kINTERNAL_ERROR, kERROR, kWARNING, kINFO, kVERBOSE };
  virtual void log(Severity, char const*) noexcept = 0;
  virtual ~ILogger() = default;
};
struct IExecutionContext {
  bool setTensorAddress(char const*, void*) noexcept;
  bool enqueueV3(cudaStream_t) noexcept;
};
struct ICudaEngine { IExecutionContext* createExecutionContext() noexcept; };
struct IRuntime { ICudaEngine* deserializeCudaEngine(void const*, std::size_t) noexcept; };
IRuntime* createInferRuntime(ILogger&) noexcept;
}
"""
CUDA = """
#pragma once
#include <cstddef>
using cudaStream_t = struct CUstream_st*;
enum cudaError_t { cudaSuccess };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
cudaError_t cudaMalloc(void**, std::size_t);
cudaError_t cudaMemcpyAsync(void*, void const*, std::size_t, cudaMemcpyKind, cudaStream_t);
cudaError_t cudaStreamCreate(cudaStream_t*);
cudaError_t cudaStreamSynchronize(cudaStream_t);
"""
