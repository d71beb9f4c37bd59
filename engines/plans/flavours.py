"""The Python modules of TensorRT and TensorRT-RTX, imported softly."""

from __future__ import annotations

import importlib
import re
from typing import Any

from engines.errors import EngineError

TENSORRT = "tensorrt"
RTX = "tensorrt-rtx"
MODULES = {TENSORRT: "tensorrt", RTX: "tensorrt_rtx"}
NOT_FOR_RTX = frozenset({"sm87", "sm90", "sm100", "sm103", "sm110"})
"""Orin, Hopper, data-centre Blackwell, Thor: TensorRT serves these, TensorRT-RTX does not."""
OLDEST_RTX_GPU = 75
OLDEST_TENSORRT = (10, 3)
"""JetPack 6.1's. JetPack 6.0 and 5 have 8.6 and 8.5, without strongly typed networks."""


def import_flavour(flavour: str) -> Any:
    """The module of a flavour.

    Raises:
        EngineError: it cannot be imported, with the cause where it is a known one, or is too old.
    """
    try:
        trt = importlib.import_module(MODULES[flavour])
    except (ImportError, OSError) as error:
        hint = ""
        if "libnvdla_compiler" in str(error):
            hint = "; install the package nvidia-l4t-dla-compiler"
        raise EngineError(f"it cannot be imported ({error}){hint}") from error
    if flavour == TENSORRT and version_of(trt) < OLDEST_TENSORRT:
        oldest = ".".join(map(str, OLDEST_TENSORRT))
        raise EngineError(
            f"TensorRT {trt.__version__} is too old: {oldest} is the first that will do; on a "
            "Jetson it comes with JetPack 6.1"
        )
    return trt


def version_of(trt: Any) -> tuple[int, ...]:
    """A module's version as numbers."""
    return version_from_text(str(trt.__version__))


def version_from_text(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: ``10.3.0.post1`` is (10, 3, 0); () if there are none."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found else ()


def architecture(compute_capability: str) -> int:
    """``sm89`` as 89, to compare; 0 if it is not such a name."""
    found = re.fullmatch(r"sm(\d{2,3})", compute_capability)
    return int(found[1]) if found else 0


def unsupported_gpu_reason(flavour: str, compute_capability: str) -> str | None:
    """Why a flavour can't run on a GPU, or None."""
    if flavour != RTX:
        return None
    if compute_capability in NOT_FOR_RTX:
        return f"{flavour} does not serve {compute_capability}; TensorRT does"
    if architecture(compute_capability) < OLDEST_RTX_GPU:
        return f"{flavour} does not serve {compute_capability}; sm{OLDEST_RTX_GPU} is its first"
    return None
