"""The options of `edge stream`: `[stream]` and `[cameras.NAME]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from edge.fields import (
    Count,
    Finite,
    Milliseconds,
    Names,
    OptionsModel,
    Positive,
    RoiText,
    Settling,
    option,
    setting,
)
from edge.options.names import (
    DEADLINE_MS,
    ENGINE,
    PART_DEADLINE_MS,
    BitDepth,
    EngineName,
    Sources,
    SourceText,
    bit_depth_option,
    device_option,
)
from edge.options.records import RecordOptions


class CameraOptions(OptionsModel):
    """How one camera's frames are judged: `edge stream`, `[stream]`, `[cameras.NAME]`."""

    bundle: Path | None = option(
        None,
        "Bundle to inspect with.",
        unset="the one that build.output names, or the only one under build/",
        example="build/{name}.edge",
        begin=True,
    )
    engine: EngineName = option("auto", ENGINE)
    device: Count | None = device_option()
    threshold: Finite | None = option(
        None, "Score from which a part is NG.", unset="the bundle's own", example=0.25
    )
    min_area: Count | None = option(
        None,
        "Smallest region that rejects, in px of the frame.",
        unset="the bundle's own",
        example=0,
    )
    ignore: Path | None = option(
        None,
        "Picture that is white where defects are ignored; none ignores nothing.",
        unset="the bundle's own",
        example="ignore.png",
    )
    roi: RoiText | None = setting(
        None,
        "Region that is inspected: x,y,width,height in px of the frame.",
        unset="the bundle's own",
        example="100,50,800,600",
    )
    bit_depth: BitDepth | None = bit_depth_option("the bundle's own")
    stall_after: Annotated[float, Field(gt=0, allow_inf_nan=False)] = option(
        1.0, "Seconds without a frame after which the verdict is ERROR."
    )
    deadline_ms: Milliseconds | None = option(
        None,
        "Milliseconds from a live frame or a trigger to its result; after that, ERROR.",
        unset=f"{DEADLINE_MS:g}; {PART_DEADLINE_MS:g} after a trigger",
        example=DEADLINE_MS,
    )
    health_off: Names = setting(
        (),
        "Checks of the picture that are left out, such as occluded (docs/health.md).",
        example=("occluded",),
    )


class CameraSection(CameraOptions):
    """One of several cameras; what it does not set is taken from `[stream]`."""

    source: SourceText = setting(
        ..., "Camera, address, file, folder or glob.", example="rtsp://line3/cam0"
    )
    options: dict[str, str | float] = setting(
        {}, "Options of the source (docs/cameras.md).", example={"size": "1280x720"}
    )


class StreamOptions(RecordOptions, CameraOptions):
    """What is inspected, and where results go: `edge stream`, `[stream]`."""

    source: Sources = option(
        (),
        "Cameras, addresses, files, folders or globs, or names of cameras in edge.toml.",
        unset="the cameras of edge.toml, else stream.source",
        example="/dev/video0",
        begin=True,
        name="SOURCE",
    )
    show: bool | None = option(
        None, "Show the results in a window.", unset="where there is a display", example=False
    )
    pictures: Path | None = option(
        None, "Folder for a drawn picture of every result.", example="pictures"
    )
    max_frames: Positive | None = option(
        None, "Number of frames after which to stop.", example=1000
    )
    triggered: bool = option(False, "Inspect a part for each line on stdin, not each frame.")
    under_way: Positive = setting(
        8, "Parts that may be under way in triggered mode; one more is an ERROR."
    )
    settle_ms: Settling = setting(
        0.0, "Milliseconds that pass after a trigger before a live picture counts."
    )
