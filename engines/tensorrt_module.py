"""The Python modules of TensorRT and TensorRT-RTX, imported softly."""

from __future__ import annotations

import importlib
from typing import Any

from engines.errors import EngineError

TENSORRT = "tensorrt"
RTX = "tensorrt-rtx"
MODULES = {TENSORRT: "tensorrt", RTX: "tensorrt_rtx"}
NOT_FOR_RTX = frozenset({"sm87", "sm90", "sm100", "sm103", "sm110"})
"""Orin, Hopper, data-centre Blackwell, Thor: TensorRT serves these, TensorRT-RTX does not."""


def import_flavour(flavour: str) -> Any:
    """The module of a flavour.

    Raises:
        EngineError: it cannot be imported, with the cause where it is a known one.
    """
    try:
        return importlib.import_module(MODULES[flavour])
    except (ImportError, OSError) as error:
        hint = ""
        if "libnvdla_compiler" in str(error):
            hint = "; install the package nvidia-l4t-dla-compiler"
        raise EngineError(f"it cannot be imported ({error}){hint}") from error


def why_not_on(flavour: str, compute_capability: str) -> str | None:
    """Why a flavour can't run on a GPU, or None."""
    if flavour == RTX and compute_capability in NOT_FOR_RTX:
        return f"{flavour} does not serve {compute_capability}; TensorRT does"
    return None
