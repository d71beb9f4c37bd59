"""Scripts are run by hand and seldom: what they import must be there still."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.mark.parametrize("name", sorted(path.stem for path in SCRIPTS.glob("*.py")))
def test_a_script_finds_what_it_imports(name) -> None:
    if name == "train_backbone":
        pytest.importorskip("torch", reason="torch is not installed")
    importlib.import_module(name)
