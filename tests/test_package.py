"""What is installed: its surface, its data, and what it must not need."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys

import pytest
from packages import PACKAGES, ROOT

OPTIONAL = ("torch", "openvino", "tensorrt", "tensorrt_rtx", "safetensors", "huggingface_hub")


def python(code: str, *words: str) -> str:
    """Run code in a Python of its own, in which no optional package can be imported."""
    block = f"""
import sys
from importlib.machinery import PathFinder
found = PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in {OPTIONAL!r} else found(name, path, target)
PathFinder.find_spec = find_spec
"""
    done = subprocess.run(
        [sys.executable, "-c", block + code, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_public_surface() -> None:
    import edge

    assert edge.__all__ == [
        "AsyncInspector",
        "BuildOptions",
        "Built",
        "BundleError",
        "CameraError",
        "DecisionSettings",
        "EngineError",
        "Frame",
        "Inspector",
        "Region",
        "Result",
        "Station",
        "TriggerOptions",
        "Triggered",
        "Verdict",
        "build",
        "change_settings",
        "draw",
        "load",
        "open_source",
    ]
    assert dir(edge) == sorted([*edge.__all__, "__version__"])
    assert edge.__version__ == importlib.metadata.version("protoedge")
    for name in edge.__all__:
        assert getattr(edge, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = edge.lod


def test_build_and_inspect_without_the_extras(tmp_path) -> None:
    code = """
from pathlib import Path
from edge.building import build as building
from edge.options import BuildOptions
from edge.demo import draw_dataset
import edge, cv2
building.find_drawn_defects = lambda *_, **__: None  # for time's sake
home = Path(sys.argv[1])
draw_dataset(home / "data", good=8, test_good=1, defects_each=1, size=64)
options = BuildOptions(size=(64, 64), prototypes=16)
done = building.build(home / "data", home / "x.edge", options=options)
with edge.load(done.bundle.path) as inspector:
    result = inspector.inspect(cv2.imread(str(home / "data/test/good/000.png")))
print(inspector.engine.name, result.verdict.value, "torch" in sys.modules)
"""
    engine, verdict, torch = python(code, str(tmp_path)).split()
    assert engine == "onnxruntime"
    assert verdict in ("OK", "NG")
    assert torch == "False"


def test_prn_without_torch_says_what_to_install(drawn) -> None:
    code = """
from pathlib import Path
from calibrate.prn.options import TrainingError
from edge.building.build import build
from edge.options import BuildOptions
try:
    build(Path(sys.argv[1]), Path(sys.argv[1]) / "x.edge", options=BuildOptions(model="prn"))
except TrainingError as error:
    print(error)
"""
    told = python(code, str(drawn / "train" / "good"))
    assert "torch, safetensors not installed; pip install 'protoedge[train]'" in told


def test_what_must_be_in_the_package_is_there() -> None:
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").exists()
    assert (ROOT / "edge/drawing/report.html").stat().st_size > 0
    assert (ROOT / "calibrate/backbones/bundled.onnx").stat().st_size > 100_000
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_the_version_is_the_one_of_the_changelog() -> None:
    newest = re.search(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == importlib.metadata.version("protoedge")


def test_links_in_the_documents_lead_somewhere() -> None:
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
