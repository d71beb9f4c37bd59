from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def servers():
    """The test cameras' module, which no package path leads to."""
    path = Path(__file__).parents[1] / "cameras" / "servers.py"
    spec = importlib.util.spec_from_file_location("camera_servers", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["http", "rtsp"])
def scheme(request) -> str:
    return request.param


@pytest.fixture(scope="session")
def bundle(tmp_path_factory) -> Path:
    from edge.build import Options, build
    from edge.line import draw_dataset

    folder = tmp_path_factory.mktemp("bundle")
    draw_dataset(folder / "images", good=12, test_good=2, defects_each=1, size=128)
    options = Options(precision="fp32", size=(128, 128), prototypes=64, engine="onnxruntime")
    return build(folder / "images", folder / "flange.edge", options=options).bundle.path
