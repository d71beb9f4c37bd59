"""Plans are a cache: a build whose bundle is in its place does not fail for them."""

from __future__ import annotations

import os

import pytest

from edge.building.rtx_plans import store_plans
from engines.plans.plan import Plan

PLAN = Plan(
    plan=b"plan", flavour="tensorrt-rtx", version="1.7.1", gpu=(), onnx_sha256="a" * 64, layers=()
)


@pytest.mark.parametrize("home", [None, "/proc", "/dev/null"])
def test_a_user_without_a_home_keeps_no_plan_and_is_told(home, tmp_path, monkeypatch) -> None:
    """As in a container with `--user`, and in a unit of a system user."""
    for name in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    if home is None:  # a user that no list of users knows
        monkeypatch.setattr(os, "getuid", lambda: 2**31 - 3)
    else:
        monkeypatch.setenv("HOME", home)
    said: list[str] = []
    assert store_plans(tmp_path / "engines", [PLAN, PLAN], compiled=(), say=said.append) == ()
    assert len(said) == 1
    assert "no plan was stored" in said[0] and "XDG_STATE_HOME" in said[0]
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert len(store_plans(tmp_path / "engines", [PLAN], compiled=(), say=said.append)) == 1
