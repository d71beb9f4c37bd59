"""What options are called and may be, where several commands share it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from edge.fields import names_from_text, option, source_from_number, sources_from_one

DEADLINE_MS = 400.0  # of a live frame: what hangs is an ERROR well within half a second
PART_DEADLINE_MS = 1000.0  # from a trigger
RESULTS_MB = 100
RESULTS_KEPT = 30
"""Files of result lines: how large one gets, and how many older ones stay; a month of days."""
EngineName = Literal["auto", "tensorrt", "tensorrt-rtx", "openvino", "onnxruntime"]
ModelName = Literal["protoad", "prn"]
BridgeName = Literal["modbus", "opcua", "mqtt"]
LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
# No dot at the beginning: "." and ".." are no names of a folder, nor of a place on the page.
CameraName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$")]
SourceText = Annotated[str, BeforeValidator(source_from_number)]
Sources = Annotated[tuple[SourceText, ...], BeforeValidator(sources_from_one)]
ImagePlaces = Annotated[tuple[Path, ...], BeforeValidator(sources_from_one)]
ENGINE = "Engine that runs the graph: auto picks the best and says why."
Bridges = Annotated[tuple[BridgeName, ...], BeforeValidator(names_from_text)]
BitDepth = Annotated[int, Field(ge=9, le=16)]
RejectRate = Annotated[float, Field(gt=0, lt=1)]


def device_option() -> Any:
    """Declare on which of several GPUs the graph runs."""
    return option(
        None,
        "Number of the GPU to run on, as `edge doctor` lists them.",
        unset="the first one, if a GPU's engine is used",
        example=0,
    )


def bit_depth_option(unset: str) -> Any:
    """Declare how many bits of 16-bit files are in use; `unset` says what holds without."""
    return option(
        None,
        "Bits of the values in 16-bit image files, such as 12 of a camera's Mono12.",
        unset=unset,
        example=12,
    )
