"""Builds without what other tests are for."""

from __future__ import annotations

import pytest

from calibrate.protoad import folds as folds_module
from edge.building import build as build_module
from edge.building import precision_gate


def leave_out(
    patch: pytest.MonkeyPatch, *, folds: int = 2, compared: bool = True, plans: bool = False
) -> None:
    """Leave out drawn defects, plans and engines that are not deployed; hold out in few folds.

    The shipped inspector, its figures and its graph are the same; `test_drawn_defects`,
    `test_precision_gate`, `test_rtx_plans` and `test_learn` are for the rest.

    Args:
        patch: undoes it.
        folds: in how many parts good images are held out.
        compared: whether the deployed engine is compared with fp32.
        plans: whether TensorRT-RTX compiles one.
    """

    def engines(deployed: str, _: object) -> tuple[str, ...]:
        return (deployed,) if compared else ()

    patch.setattr(precision_gate, "engines_to_compare", engines)
    patch.setattr(build_module, "find_drawn_defects", lambda *_, **__: None)
    patch.setattr(folds_module, "FOLDS", folds)
    if not plans:
        patch.setattr(build_module, "compile_plans", lambda *_, **__: [])
