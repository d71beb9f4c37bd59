"""Every option of the commands and every key of `edge.toml`, each declared once.

`edge.config` reads `edge.toml` into these models; `edge.cli.options` makes the command line from
them; the example that `edge init` writes and docs/edge_toml.md are made from them too. The keys of
a PLC's bridge are in `edge.plc.BRIDGE.section`.
"""

from edge.options.build import PROTOTYPES, BuildOptions
from edge.options.capture import CaptureOptions
from edge.options.check import CheckOptions
from edge.options.compile import CompileOptions
from edge.options.evaluate import EvaluateOptions
from edge.options.life import LifeOptions, LogOptions
from edge.options.names import (
    DEADLINE_MS,
    ENGINE,
    PART_DEADLINE_MS,
    BitDepth,
    BridgeName,
    Bridges,
    CameraName,
    EngineName,
    LogFormat,
    LogLevel,
    ModelName,
    Sources,
    bit_depth_option,
    device_option,
)
from edge.options.prove import ProofOptions
from edge.options.records import RecordOptions
from edge.options.review import Mark, MarkOptions, PartsOptions, ReviewOptions, TryOptions
from edge.options.serve import ServeOptions
from edge.options.stream import CameraOptions, CameraSection, StreamOptions
from edge.options.studio import StudioOptions

__all__ = [
    "DEADLINE_MS",
    "ENGINE",
    "PART_DEADLINE_MS",
    "PROTOTYPES",
    "BitDepth",
    "BridgeName",
    "Bridges",
    "BuildOptions",
    "CameraName",
    "CameraOptions",
    "CameraSection",
    "CaptureOptions",
    "CheckOptions",
    "CompileOptions",
    "EngineName",
    "EvaluateOptions",
    "LifeOptions",
    "LogFormat",
    "LogLevel",
    "LogOptions",
    "Mark",
    "MarkOptions",
    "ModelName",
    "PartsOptions",
    "ProofOptions",
    "RecordOptions",
    "ReviewOptions",
    "ServeOptions",
    "Sources",
    "StreamOptions",
    "StudioOptions",
    "TryOptions",
    "bit_depth_option",
    "device_option",
]
