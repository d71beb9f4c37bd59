"""Whatever our code touches of TensorRT exists in each version that it may meet.

`api/` holds what the versions offer, as their own bindings told scripts/record_tensorrt_api.py.
What we touch is read from our source: a new use is noticed here, not on somebody's line.
"""

from __future__ import annotations

import ast
import json
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from engines.errors import EngineError
from engines.plans.flavours import import_flavour

HERE = Path(__file__).parent
ENGINES = HERE.parents[2] / "engines"
SOURCES = sorted(ENGINES.rglob("*.py"))
RECORDS = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((HERE / "api").glob("*.json"))
}
OLD = "tensorrt-8.6"
SUPPORTED = [name for name in RECORDS if name != OLD]
TENSORRT = {"tensorrt-10.3", "tensorrt-10.13", "tensorrt-10.16", "tensorrt-11.4"}
BEFORE_11 = TENSORRT - {"tensorrt-11.4"}
RTX = "tensorrt-rtx-1.7"

PARAMETERS = {
    "trt": "module",
    "builder": "Builder",
    "network": "INetworkDefinition",
    "config": "IBuilderConfig",
    "runtime_config": "IRuntimeConfig",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
}
"""What parameters and attributes annotated `Any` are, by name; `OURS` are no part of TensorRT."""
OURS = frozenset({"log", "severity", "monitor", "given", "tensor", "code", "libraries"})

OUR_METHODS = frozenset({"take_errors", "collect"})

RETURNS = {
    ("module", "Builder"): "Builder",
    ("module", "OnnxParser"): "OnnxParser",
    ("module", "Runtime"): "Runtime",
    ("Builder", "create_network"): "INetworkDefinition",
    ("Builder", "create_builder_config"): "IBuilderConfig",
    ("Builder", "build_serialized_network"): "IHostMemory",
    ("IBuilderConfig", "create_timing_cache"): "ITimingCache",
    ("IBuilderConfig", "get_timing_cache"): "ITimingCache",
    ("INetworkDefinition", "get_layer"): "ILayer",
    ("ILayer", "get_input"): "ITensor",
    ("ILayer", "get_output"): "ITensor",
    ("OnnxParser", "get_error"): "ParserError",
    ("Runtime", "deserialize_cuda_engine"): "ICudaEngine",
    ("ICudaEngine", "create_engine_inspector"): "EngineInspector",
    ("ICudaEngine", "create_execution_context"): "IExecutionContext",
    ("ICudaEngine", "create_runtime_config"): "IRuntimeConfig",
    ("IRuntimeConfig", "create_runtime_cache"): "IRuntimeCache",
    ("IRuntimeCache", "serialize"): "IHostMemory",
}

OUR_FUNCTIONS = {
    "import_flavour": "module",
    "builder_config": "IBuilderConfig",
    "_create_builder": "Builder",
    "_runtime_config": "IRuntimeConfig",
}

ONLY_RTX = TENSORRT
WEAK = {RTX, "tensorrt-11.4"}
"""Weak typing, `plans.builder.allow_lower`: reached on 10.3 alone."""
GUARDED: dict[tuple[str, str], set[str]] = {
    ("BuilderFlag", "FP16"): WEAK,
    ("BuilderFlag", "INT8"): WEAK,
    ("BuilderFlag", "OBEY_PRECISION_CONSTRAINTS"): WEAK,
    ("ILayer", "precision"): WEAK,
    ("ILayer", "set_output_type"): WEAK,
    ("BuilderFlag", "REQUIRE_USER_ALLOCATION"): ONLY_RTX,
    ("module", "ComputeCapability"): ONLY_RTX,
    ("IBuilderConfig", "num_compute_capabilities"): ONLY_RTX,
    ("IBuilderConfig", "set_compute_capability"): ONLY_RTX,
    ("ICudaEngine", "create_runtime_config"): {"tensorrt-10.3"},
    ("module", "CudaGraphStrategy"): ONLY_RTX,
    ("CudaGraphStrategy", "WHOLE_GRAPH_CAPTURE"): ONLY_RTX,
    ("IRuntimeConfig", "cuda_graph_strategy"): ONLY_RTX,
    ("IRuntimeConfig", "create_runtime_cache"): ONLY_RTX,
    ("IRuntimeConfig", "set_runtime_cache"): ONLY_RTX,
    ("IRuntimeCache", "deserialize"): ONLY_RTX,
    ("IRuntimeCache", "serialize"): ONLY_RTX,
    ("IExecutionContext", "is_stream_capturable"): ONLY_RTX,
}
"""What a version may lack, because our code doesn't reach it there; each with its guard:
a check of the flavour, `hasattr`, or `plans.compile.WEAK_UNTIL`."""
LACKS_86 = {
    ("IProgressMonitor", "phase_finish"),
    ("IProgressMonitor", "phase_start"),
    ("IProgressMonitor", "step_complete"),
    ("IBuilderConfig", "progress_monitor"),
    ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"),
    ("module", "IProgressMonitor"),
    ("ParserError", "node_name"),
}
"""Why `import_flavour` refuses 8.6: JetPack 6.0 and older."""


@dataclass
class Uses:
    """What one file touches: class and attribute, with the lines."""

    tree: ast.Module
    touched: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    unknown: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.types: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.arg) and _says_any(node.annotation):
                self._declare(node.arg, node.lineno)
        while self._assignments():
            pass
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Attribute):
                self._touch(node.value, node.attr)
            elif isinstance(node, ast.Call) and _name(node.func) in ("hasattr", "getattr"):
                if isinstance(node.args[1], ast.Constant):
                    self._touch(node.args[0], str(node.args[1].value))
            elif isinstance(node, ast.ClassDef):
                self._subclass(node)

    def _touch(self, owner: ast.expr, attribute: str) -> None:
        kind = self.type_of(owner)
        if kind and attribute != "__init__":
            self.touched[kind, attribute].append(owner.lineno)

    def _declare(self, name: str, line: int) -> None:
        if name in PARAMETERS:
            self.types[name] = PARAMETERS[name]
        elif name not in OURS:
            self.unknown.append(f"line {line}: {name} is Any: say in PARAMETERS or OURS what it is")

    def _assignments(self) -> bool:
        """Learn what variables are from what they are given; True if something was learnt."""
        before = len(self.types)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Assign):
                pairs = [pair for target in node.targets for pair in _pairs(target, node.value)]
            elif isinstance(node, ast.AnnAssign) and node.value is not None:
                pairs = [(node.target, node.value)]
            else:
                continue
            for target, value in pairs:
                kind, name = self.type_of(value), _name(target)
                if kind and name:
                    self.types.setdefault(name, kind)
        return len(self.types) > before

    def type_of(self, node: ast.expr) -> str:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            return RETURNS.get((self.type_of(node.func.value), node.func.attr), "")
        name = _name(node)
        if name in self.types:
            return self.types[name]
        if isinstance(node, ast.Call):
            return OUR_FUNCTIONS.get(_name(node.func), "")
        if isinstance(node, ast.Attribute):
            if self.type_of(node.value) == "module":
                return node.attr  # a class or an enumeration
            if node.attr in ("trt", "_trt"):
                return "module"
        return ""

    def _subclass(self, node: ast.ClassDef) -> None:
        methods = [
            method
            for method in node.body
            if isinstance(method, ast.FunctionDef)
            and not method.name.startswith("_")
            and method.name not in OUR_METHODS
        ]
        for base in node.bases:
            if isinstance(base, ast.Attribute) and self.type_of(base.value) == "module":
                for method in methods:
                    self.touched[base.attr, method.name].append(method.lineno)


def _says_any(annotation: ast.expr | None) -> bool:
    return isinstance(annotation, ast.Name) and annotation.id == "Any"


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and _name(node.value) == "self":
        return f"self.{node.attr}"
    return ""


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        return list(zip(target.elts, value.elts, strict=True))
    return [(target, value)]


def uses_tensorrt(path: Path) -> bool:
    text = path.read_text(encoding="utf-8")
    return "trt" in text or "import_flavour" in text


@pytest.fixture(scope="module")
def uses() -> dict[str, Uses]:
    return {
        str(path.relative_to(ENGINES)): Uses(ast.parse(path.read_text(encoding="utf-8")))
        for path in SOURCES
        if uses_tensorrt(path)
    }


@pytest.fixture(scope="module")
def touched(uses) -> dict[tuple[str, str], str]:
    """Class and attribute: the first place."""
    return {
        use: f"{name}:{lines[0]}"
        for name, found in uses.items()
        for use, lines in found.touched.items()
    }


def offers(record: dict[str, object], kind: str, attribute: str) -> bool:
    if kind == "module":
        return attribute in record["names"]
    found = record["classes"].get(kind, record["enums"].get(kind))
    if found is None:
        # A plain value of the module, such as `float32`, has no class of its own.
        return False
    return attribute in found


def lacking(name: str, touched: dict[tuple[str, str], str]) -> dict[tuple[str, str], str]:
    return {use: place for use, place in touched.items() if not offers(RECORDS[name], *use)}


def test_everything_any_is_declared(uses) -> None:
    told = [f"{name} {line}" for name, found in uses.items() for line in found.unknown]
    assert not told


def test_the_uses_are_found(touched) -> None:
    """So that a change of style in our source does not silence this test."""
    assert len(touched) > 60
    for use in [
        ("module", "Builder"),
        ("BuilderFlag", "TF32"),
        ("INetworkDefinition", "num_layers"),
        ("ITensor", "dtype"),
        ("IBuilderConfig", "set_timing_cache"),
        ("ITimingCache", "serialize"),
        ("ICudaEngine", "get_tensor_name"),
        ("IExecutionContext", "execute_async_v3"),
        ("ILogger", "ERROR"),
        ("IProgressMonitor", "step_complete"),
    ]:
        assert use in touched, use


@pytest.mark.parametrize("name", SUPPORTED)
def test_a_supported_version_has_all_that_is_touched(name, touched) -> None:
    guarded = {use for use, versions in GUARDED.items() if name in versions}
    missing = {use: place for use, place in lacking(name, touched).items() if use not in guarded}
    assert not missing, f"{name} ({RECORDS[name]['source']}) lacks {missing}"


@pytest.mark.parametrize("name", SUPPORTED)
def test_no_guard_is_left_over(name, touched) -> None:
    gone = {use for use in GUARDED if use not in touched}
    assert not gone, "nothing touches these any more"
    have = {use for use, at in GUARDED.items() if name in at and offers(RECORDS[name], *use)}
    assert not have, f"{name} has these"


def test_what_8_6_lacks_is_why_it_is_refused(touched) -> None:
    ours = {use for use in lacking(OLD, touched) if RTX not in GUARDED.get(use, ())}
    only_newer = {use for use in ours if use not in GUARDED}
    assert only_newer == LACKS_86


def test_values_of_enumerations_are_not_taken_for_granted() -> None:
    values = {
        name: record["enums"]["NetworkDefinitionCreationFlag"]["STRONGLY_TYPED"]
        for name, record in RECORDS.items()
        if name != OLD
    }
    assert set(values.values()) == {0, 1}, "the name is the same, its value is not"


def test_each_record_says_where_it_comes_from() -> None:
    assert {"tensorrt-8.6", "tensorrt-rtx-1.7", *TENSORRT} == set(RECORDS)
    for name, record in RECORDS.items():
        assert record["source"].endswith(record["version"])
        version = name.rpartition("-")[2]
        assert record["version"].startswith(version)


def test_the_installed_module_is_as_recorded(touched) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    for kind, attribute in touched:
        if RTX in GUARDED.get((kind, attribute), ()):
            continue
        owner = trt if kind == "module" else getattr(trt, kind)
        assert hasattr(owner, attribute), (kind, attribute)


def test_the_module_of_8_6_is_refused_in_words(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="8.6.2"))
    with pytest.raises(EngineError, match=r"TensorRT 8\.6\.2 is too old: 10\.3"):
        import_flavour("tensorrt")
