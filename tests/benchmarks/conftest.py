"""A bundle and a video that all benchmarks use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge.building.build import build
from edge.demo import draw_conveyor, draw_dataset
from edge.options import BuildOptions


@pytest.fixture(scope="session")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `part.edge`, fp16 at 256 px, and `conveyor.avi`, 160 frames."""
    folder = tmp_path_factory.mktemp("line")
    draw_dataset(folder / "images", good=20, test_good=2, defects_each=1)
    draw_conveyor(folder / "conveyor.avi", parts=10)
    build(folder / "images", folder / "part.edge", options=BuildOptions(engine="auto"))
    return folder


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print past pytest's capture."""

    def print_line(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}")

    return print_line
