"""protoedge: pictures of good parts become an inspector.

with edge.load("build/bottle.edge") as inspector:
    result = inspector.inspect("part.png")  # or an array, such as cv2.imread returns
    result.verdict, result.score, result.regions
    picture = edge.draw(result)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cameras as cameras  # sets OpenCV's limits, before anything here imports it

if TYPE_CHECKING:
    __version__: str
    from cameras.connect import open_source as open_source
    from cameras.errors import CameraError as CameraError
    from cameras.frame import Frame as Frame
    from edge.building.build import build as build
    from edge.building.built import Built as Built
    from edge.drawing.overlay import draw as draw
    from edge.inspection.async_inspector import AsyncInspector as AsyncInspector
    from edge.inspection.inspector import Inspector as Inspector
    from edge.inspection.inspector import load as load
    from edge.inspection.settings import change_settings as change_settings
    from edge.inspection.verdict import DecisionSettings as DecisionSettings
    from edge.options import BuildOptions as BuildOptions
    from edge.plc.station import Station as Station
    from edge.result import Region as Region
    from edge.result import Result as Result
    from edge.result import Verdict as Verdict
    from edge.stream.triggered import Triggered as Triggered
    from edge.stream.triggered import TriggerOptions as TriggerOptions
    from engines.errors import BundleError as BundleError
    from engines.errors import EngineError as EngineError

_HOMES = {
    "AsyncInspector": "edge.inspection.async_inspector",
    "BuildOptions": "edge.options",
    "Built": "edge.building.built",
    "BundleError": "engines.errors",
    "CameraError": "cameras.errors",
    "DecisionSettings": "edge.inspection.verdict",
    "EngineError": "engines.errors",
    "Frame": "cameras.frame",
    "Inspector": "edge.inspection.inspector",
    "Region": "edge.result",
    "Result": "edge.result",
    "Station": "edge.plc.station",
    "TriggerOptions": "edge.stream.triggered",
    "Triggered": "edge.stream.triggered",
    "Verdict": "edge.result",
    "build": "edge.building.build",
    "change_settings": "edge.inspection.settings",
    "draw": "edge.drawing.overlay",
    "load": "edge.inspection.inspector",
    "open_source": "cameras.connect",
}

__all__ = [
    "AsyncInspector",
    "BuildOptions",
    "Built",
    "BundleError",
    "CameraError",
    "DecisionSettings",
    "EngineError",
    "Frame",
    "Inspector",
    "Region",
    "Result",
    "Station",
    "TriggerOptions",
    "Triggered",
    "Verdict",
    "build",
    "change_settings",
    "draw",
    "load",
    "open_source",
]


def __getattr__(name: str) -> Any:
    # Imported on first use: `edge --help` must not wait for OpenCV.
    if name == "__version__":
        from importlib.metadata import version

        return version("protoedge")
    if name not in _HOMES:
        raise AttributeError(f"module 'edge' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
