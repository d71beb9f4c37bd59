"""What importing costs and pulls in, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from packages import OF_TORCH, PACKAGES, ROOT, modules


def loaded_by(code: str) -> set[str]:
    """Top-level names of all modules that are loaded after running some code."""
    ending = "import json, sys; print(json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{code}\n{ending}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return set(json.loads(done.stdout))


def test_the_list_of_modules_is_whole() -> None:
    found = modules()
    assert len(found) > 80
    assert {"edge", "edge.cli.main", "engines.gpu.engine", "cameras.devices.v4l2"} <= set(found)
    assert set(found) >= OF_TORCH


def test_nothing_but_the_networks_of_torch_imports_torch() -> None:
    names = [name for name in modules() if name not in OF_TORCH]
    loaded = loaded_by("\n".join(f"import {name}" for name in names))
    assert "cv2" in loaded, "or nothing was imported"
    assert not loaded & {"torch", "torchvision", "tensorrt", "tensorrt_rtx", "openvino"}


def test_the_networks_of_torch_import() -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    assert "torch" in loaded_by("\n".join(f"import {name}" for name in sorted(OF_TORCH)))


ALONE = """
import importlib, sys
for name in {names!r}:
    for known in [n for n in sys.modules if n.split(".")[0] in {packages!r}]:
        del sys.modules[known]
    importlib.import_module(name)
"""


def test_each_module_imports_alone() -> None:
    """No module works only because another of ours was imported before it."""
    names = [name for name in modules() if name not in OF_TORCH]
    loaded_by(ALONE.format(names=names, packages=PACKAGES))


HEAVY = {"cv2", "onnx", "onnxruntime", "openvino", "scipy", "sklearn", "torch", "pandas"}


def test_edge_alone_is_light() -> None:
    assert not loaded_by("import edge; dir(edge)") & HEAVY


def test_the_command_line_is_light() -> None:
    assert not loaded_by("import edge.cli.main") & HEAVY


def test_loading_and_running_needs_neither_torch_nor_scikit_learn() -> None:
    loaded = loaded_by("import edge; edge.load; edge.draw; edge.Inspector; edge.Frame")
    assert "cv2" in loaded
    assert not loaded & {"torch", "sklearn", "openvino", "onnxruntime"}
