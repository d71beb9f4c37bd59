"""What importing costs and pulls in, each in a process of its own."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from graphlib import TopologicalSorter

import pytest
from packages import OF_TORCH, ROOT, modules

OF_EXTRAS = {"torch", "openvino", "tensorrt", "tensorrt_rtx", "safetensors", "huggingface_hub"}


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


def test_nothing_but_the_networks_of_torch_imports_what_is_of_an_extra() -> None:
    names = [name for name in modules() if name not in OF_TORCH]
    loaded = loaded_by("\n".join(f"import {name}" for name in names))
    assert "cv2" in loaded, "or nothing was imported"
    assert not loaded & {*OF_EXTRAS, "torchvision"}


def test_learning_protoad_loads_no_torch() -> None:
    """Nor does a library that would load it for itself."""
    loaded = loaded_by(
        "from calibrate.backbones.backbone import load_backbone\n"
        "from calibrate.backbones.features_graph import features_graph\n"
        "features_graph(load_backbone('bundled'), size=(64, 64), layers=('layer2', 'layer3'))"
    )
    assert "onnxsim" in loaded and "torch" not in loaded


def test_the_networks_of_torch_import() -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    assert "torch" in loaded_by("\n".join(f"import {name}" for name in sorted(OF_TORCH)))


def imported_by(name: str, known: frozenset[str]) -> set[str]:
    """Ours that have to be there while a module is read, of what it imports at once."""
    path = ROOT / f"{name.replace('.', '/')}.py"
    path = path if path.exists() else path.with_suffix("") / "__init__.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named: set[str] = set()
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            named |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{one.name}" for one in node.names} & known
            named |= (
                submodules if len(submodules) == len(node.names) else {node.module, *submodules}
            )
        elif isinstance(node, ast.Try):
            waiting += node.body
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            waiting += [*node.body, *node.orelse]
    parents = {
        ".".join(one.split(".")[:end]) for one in named for end in range(1, one.count(".") + 1)
    }
    own = {".".join(name.split(".")[:end]) for end in range(1, name.count(".") + 1)}
    return ((named | (parents - own)) & known) - {name}


def test_modules_import_in_any_order() -> None:
    """No module works only because another of ours was imported before it.

    mypy sees that each imports what it uses; a circle alone could still want an order.
    """
    known = frozenset(modules())
    graph = {name: imported_by(name, known) for name in known}
    assert "edge.options" in graph["edge.building.build"]
    assert "edge.building.build" in graph["edge.demo.demo"]
    TopologicalSorter(graph).prepare()  # raises what is a circle


HEAVY = {"cv2", "onnx", "onnxruntime", "openvino", "scipy", "sklearn", "torch", "pandas"}


def test_edge_alone_is_light() -> None:
    assert not loaded_by("import edge; dir(edge)") & HEAVY


def test_the_command_line_is_light() -> None:
    assert not loaded_by("import edge.cli.main") & HEAVY


def test_loading_and_running_needs_neither_torch_nor_scikit_learn() -> None:
    loaded = loaded_by("import edge; edge.load; edge.draw; edge.Inspector; edge.Frame")
    assert "cv2" in loaded
    assert not loaded & {"torch", "sklearn", "openvino", "onnxruntime"}
