"""protoedge: pictures of good parts become an inspector.

with edge.load("build/bottle.edge") as inspector:
    result = inspector.inspect(image)  # (H, W, 3) uint8 BGR, any size
    result.verdict, result.score, result.regions
    picture = edge.draw(result)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cameras as cameras  # sets OpenCV's limits, before anything here imports it

if TYPE_CHECKING:
    from cameras.errors import CameraError as CameraError
    from cameras.frame import Frame as Frame
    from edge.drawing.overlay import draw as draw
    from edge.inspection.inspector import Inspector as Inspector
    from edge.inspection.inspector import load as load
    from edge.plc.station import Station as Station
    from edge.result import Region as Region
    from edge.result import Result as Result
    from edge.result import Verdict as Verdict
    from edge.stream.triggered import Triggered as Triggered
    from edge.stream.triggered import TriggerOptions as TriggerOptions
    from engines.errors import BundleError as BundleError
    from engines.errors import EngineError as EngineError

_HOMES = {
    "BundleError": "engines.errors",
    "CameraError": "cameras.errors",
    "EngineError": "engines.errors",
    "Frame": "cameras.frame",
    "Inspector": "edge.inspection.inspector",
    "Region": "edge.result",
    "Result": "edge.result",
    "Station": "edge.plc.station",
    "TriggerOptions": "edge.stream.triggered",
    "Triggered": "edge.stream.triggered",
    "Verdict": "edge.result",
    "draw": "edge.drawing.overlay",
    "load": "edge.inspection.inspector",
}

__all__ = [
    "BundleError",
    "CameraError",
    "EngineError",
    "Frame",
    "Inspector",
    "Region",
    "Result",
    "Station",
    "TriggerOptions",
    "Triggered",
    "Verdict",
    "draw",
    "load",
]


def __getattr__(name: str) -> Any:
    # Imported on first use: `edge --help` must not wait for OpenCV.
    if name not in _HOMES:
        raise AttributeError(f"module 'edge' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
