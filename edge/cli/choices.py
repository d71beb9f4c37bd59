"""What the command's options can be set to, in words."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle's folder.")]


class PrecisionName(str, Enum):
    """What the graph computes in."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


class ModelName(str, Enum):
    """Which method."""

    protoad = "protoad"
    prn = "prn"


class PrnSizeName(str, Enum):
    """PRN's proportions."""

    compact = "compact"
    paper = "paper"


class MethodName(str, Enum):
    """How prototypes are chosen."""

    coreset = "coreset"
    finch = "finch"


class ScoreName(str, Enum):
    """Which map's maximum is the score."""

    smoothed = "smoothed"
    raw = "raw"


class EngineName(str, Enum):
    """What runs the graph."""

    auto = "auto"
    tensorrt = "tensorrt"
    tensorrt_rtx = "tensorrt-rtx"
    openvino = "openvino"
    onnxruntime = "onnxruntime"


class PlanEngineName(str, Enum):
    """What compiles plans."""

    auto = "auto"
    tensorrt = "tensorrt"
    tensorrt_rtx = "tensorrt-rtx"


EngineOption = Annotated[EngineName | None, typer.Option(help="auto picks the best, and says why.")]
