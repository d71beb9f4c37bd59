"""Record what the Python module of a TensorRT version offers: tests/engines/plans/api/NAME.json.

The bindings come in a small wheel of their own and load without a GPU once the libraries that they
link against exist; none of their functions is called, so empty ones serve. How to record a version:

    pip download --no-deps tensorrt-cu13-bindings==11.4.0.106
    unzip -d bindings tensorrt_cu13_bindings-11.4.0.106-*.whl
    python scripts/record_tensorrt_api.py bindings/tensorrt_bindings \
        --source tensorrt-cu13-bindings==11.4.0.106 \
        --output tests/engines/plans/api/tensorrt-11.4.json

An installed module, such as `tensorrt_rtx`, is recorded by its name in place of a folder.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

UNDEFINED = re.compile(
    r"\b(\w*(?:_INTERNAL|PluginRegistry|OnnxParserVersion|InferPlugins)|_ZN\d+nv\w+parser\w+)\b"
)


def main() -> None:
    """Record one module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("module", help="folder of unpacked bindings, or an installed module's name")
    parser.add_argument("--source", required=True, help="such as tensorrt-cu12-bindings==10.3.0")
    parser.add_argument("--output", required=True, type=Path)
    given = parser.parse_args()
    folder = Path(given.module)
    module = _loaded(folder) if folder.is_dir() else importlib.import_module(given.module)
    record = {"source": given.source, "version": str(module.__version__), **_offered(module)}
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(_text(record), encoding="utf-8")


def _loaded(folder: Path) -> types.ModuleType:
    """Import bindings whose libraries are missing, with empty ones in their place."""
    library = folder / "tensorrt.so"
    dynamic = _output("readelf", "-d", str(library))
    needed = re.findall(r"NEEDED.*\[(libnv\w+\.so\.\d+)\]", dynamic)
    names = set(UNDEFINED.findall(_output("nm", "-D", "--undefined-only", str(library))))
    with tempfile.TemporaryDirectory() as made:
        source = Path(made, "empty.c")
        source.write_text(
            "".join(f"void *{name}(void) {{ return 0; }}\n" for name in sorted(names))
        )
        for name in needed:
            target = Path(made, name)
            command = ("cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", target, source)
            subprocess.run(command, check=True)
        package = Path(made, "bindings", folder.name)
        shutil.copytree(folder, package)
        return _imported(package, [Path(made, name) for name in needed])


def _imported(package: Path, libraries: list[Path]) -> types.ModuleType:
    import ctypes

    for library in libraries:
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    sys.path.insert(0, str(package.parent))
    return importlib.import_module(package.name)


def _offered(module: types.ModuleType) -> dict[str, Any]:
    """Names of the module; of its classes the attributes; of its enumerations the values."""
    classes: dict[str, list[str]] = {}
    enums: dict[str, dict[str, int]] = {}
    for name in dir(module):
        found = getattr(module, name)
        if name.startswith("_") or not isinstance(found, type):
            continue
        members = getattr(found, "__members__", None)
        if members is not None:
            enums[name] = {member: int(value) for member, value in members.items()}
        else:
            classes[name] = [word for word in dir(found) if not word.startswith("_")]
    names = [name for name in dir(module) if not name.startswith("_")]
    plain = [name for name in names if not isinstance(getattr(module, name), types.ModuleType)]
    return {"names": [*plain, "__version__"], "classes": classes, "enums": enums}


def _text(record: dict[str, Any]) -> str:
    """JSON with a line for each class, so that a difference between versions can be read."""
    lines = [f"{json.dumps(key)}: {json.dumps(record[key])}" for key in ("source", "version")]
    lines.append(f'"names": {json.dumps(record["names"])}')
    for key in ("classes", "enums"):
        inside = [f" {json.dumps(n)}: {json.dumps(v)}" for n, v in sorted(record[key].items())]
        lines.append(f'"{key}": {{\n' + ",\n".join(inside) + "\n}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
