"""The options of `edge capture`: which frames become pictures of good parts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from edge.fields import OptionsModel, Positive, RoiText, Settling, option, option_of
from edge.options.names import Bridges, SourceText
from edge.options.stream import StreamOptions


class CaptureOptions(OptionsModel):
    """How pictures are taken; what is not said comes from `[stream]`, as the inspector's own."""

    source: SourceText | None = option(
        None,
        "Camera, address, file, folder or glob.",
        unset="stream.source",
        name="SOURCE",
    )
    folder: Path = option(Path("pictures"), "Folder for the pictures.", name="FOLDER")
    nth: Positive | None = option(None, "Save every so-manyth frame.", unset="every frame")
    every: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] | None = option(
        None, "Save a frame every so many seconds."
    )
    on_change: bool = option(
        False, "Save a frame that rests and differs from the last one that was saved."
    )
    triggered: bool = option(False, "Save a frame for each line on stdin: press Enter.")
    listen: str | None = option(
        None,
        "Address, HOST:PORT, where each HTTP POST saves a frame.",
        example="127.0.0.1:9465",
    )
    bridges: Bridges = option(
        (),
        "Bridges whose PLC saves a frame by its trigger.",
        example=("modbus",),
        name="--bridge",
    )
    settle_ms: Settling = option_of(StreamOptions, "settle_ms")
    count: Positive | None = option(
        None, "Number of pictures after which to stop.", unset="until Ctrl-C, or the source's end"
    )
    roi: RoiText | None = option_of(StreamOptions, "roi")
    stall_after: Annotated[float, Field(gt=0, allow_inf_nan=False)] = option_of(
        StreamOptions, "stall_after"
    )
    show: bool = option(False, "Show what the camera sees in a window.")
    memory_mb: Positive = option(
        512, "MiB of frames that may wait for the disk; more are lost, and counted."
    )
