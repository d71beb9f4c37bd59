from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def servers():
    """The test cameras."""
    import servers

    return servers


@pytest.fixture(params=["http", "rtsp"])
def scheme(request) -> str:
    return request.param


@pytest.fixture(scope="session")
def bundle(tmp_path_factory) -> Path:
    from edge.building.build import build
    from edge.demo import draw_dataset
    from edge.options import BuildOptions

    folder = tmp_path_factory.mktemp("bundle")
    draw_dataset(folder / "images", good=12, test_good=2, defects_each=1, size=128)
    options = BuildOptions(precision="fp32", size=(128, 128), prototypes=64, engine="onnxruntime")
    return build(folder / "images", folder / "flange.edge", options=options).bundle.path
