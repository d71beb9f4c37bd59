"""Shared by all tests: a small drawn data set, and the real data."""

from __future__ import annotations

from pathlib import Path

import pytest

SIZE = 128  # px: the smallest at which the coarsest stage still has a few dozen patches
REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn data set in MVTec's layout: 10 good, 2 more, one of each defect; 128 px.

    Read-only: copy what you change.
    """
    from edge.demo import draw_dataset

    folder = tmp_path_factory.mktemp("drawn")
    draw_dataset(folder, good=10, test_good=2, defects_each=1, size=SIZE)
    return folder


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The development data beside the checkout; mark what needs it `realdata`."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no development data in {REAL_DATA.parent.name}/{REAL_DATA.name}")
    return REAL_DATA
