"""Plans are a cache: a build whose bundle is in its place does not fail for them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from calibrate.progress import Stages
from edge.building import rtx_plans
from edge.building.rtx_plans import store_plans
from edge.options import BuildOptions
from engines.plans.cache import store_plan
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


def test_a_disk_that_is_full_costs_the_plan_that_the_build_ran_and_nothing_else(
    tmp_path, monkeypatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(rtx_plans, "replace_file", full)
    (tmp_path / "tensorrt-sm87.plan").write_bytes(b"plan")
    said: list[str] = []
    kept = rtx_plans.store_plans(
        tmp_path / "engines", [], compiled=[tmp_path / "tensorrt-sm87.plan"], say=said.append
    )
    assert kept == ()
    assert len(said) == 1 and "No space left" in said[0] and said[0].endswith("free some space")


def test_what_the_build_has_run_is_not_compiled_again_and_is_compared_with_fp16(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(
        rtx_plans,
        "note_where_fp16_is_faster",
        lambda plan, model: plan.model_copy(update={"notes": (f"{plan.gpu[0]} {model!r}",)}),
    )
    made = [store_plan(tmp_path, PLAN.model_copy(update={"gpu": ("sm89",)}))]
    said: list[str] = []
    for gpu in ((), ("sm89",)):
        options, stages = BuildOptions(gpu=gpu), Stages()
        plans = rtx_plans.compile_plans(
            b"graph", compiled=made, options=options, stages=stages, say=said.append
        )
        assert plans == []
    assert said == ["tensorrt-rtx: sm89 b'graph'"] * 2
