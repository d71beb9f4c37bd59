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
