"""The options of `edge serve`: `[station]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from edge.fields import (
    Count,
    Finite,
    Milliseconds,
    OptionsModel,
    Positive,
    RoiText,
    Seconds,
    Settling,
    option,
    setting,
)
from edge.options.names import (
    ENGINE,
    PART_DEADLINE_MS,
    BitDepth,
    Bridges,
    EngineName,
    SourceText,
    bit_depth_option,
    device_option,
)
from edge.options.records import RecordOptions


class RecipeSection(OptionsModel):
    """A recipe; what it does not set is that of `[stream]`, else the bundle's own."""

    bundle: Path
    threshold: Finite | None = None
    min_area: Count | None = None
    ignore: Path | None = None
    roi: RoiText | None = None


def recipe_from_bundle(value: Any) -> Any:
    """The path of a bundle is a recipe without settings of its own."""
    return {"bundle": value} if isinstance(value, str | Path) else value


RecipeText = Annotated[RecipeSection, BeforeValidator(recipe_from_bundle)]


class ServeOptions(RecordOptions):
    """What a station is: `edge serve`, `[station]`."""

    name: Annotated[str, Field(pattern="^[A-Za-z0-9_.-]{1,64}$")] = setting(
        "station", "Name of the station in results, nodes and topics."
    )
    source: SourceText | None = option(
        None,
        "Camera, address, file, folder or glob; files start over at their end.",
        unset="stream.source",
        example="/dev/video0",
        name="SOURCE",
    )
    bridges: Bridges = option((), "Bridges to open.", example=("modbus",), name="--bridge")
    mode: Literal["triggered", "free"] = setting(
        "triggered", "Who triggers: a PLC, or the station itself every `every_ms`."
    )
    every_ms: Annotated[float, Field(ge=1, le=3600000, allow_inf_nan=False)] = setting(
        100.0, "Milliseconds between two parts of a station that triggers itself."
    )
    bundle: Path | None = option(
        None,
        "Bundle of the only recipe, in place of recipes.",
        unset="the one that edge stream would take",
        example="build/{name}.edge",
    )
    recipes: dict[Annotated[int, Field(ge=1, le=65535)], RecipeText] | None = setting(
        None,
        "Bundles that a PLC can choose, by number; or tables with settings of their own.",
        unset="the bundle alone",
        example={1: "build/{name}.edge"},
    )
    recipe: Positive = setting(1, "Number of the recipe at the start.")
    engine: EngineName = option("auto", ENGINE)
    device: Count | None = device_option()
    bit_depth: BitDepth | None = bit_depth_option("that of the stream, else the bundle's own")
    deadline_ms: Milliseconds = option(
        PART_DEADLINE_MS, "Milliseconds from trigger to result; after that, REJECT."
    )
    warm_up: Annotated[int, Field(ge=1, le=1000)] = setting(
        5, "Inspections in a row that must keep the deadline before it is online."
    )
    settle_ms: Settling = setting(
        0.0, "Milliseconds that pass after a trigger before a live picture counts."
    )
    stall_after_s: Seconds = setting(
        1.0, "Seconds without a picture after which there is no camera."
    )
    silent_after_s: Annotated[float, Field(ge=0.2, le=60, allow_inf_nan=False)] = setting(
        0.75, "Seconds without a sign of life after which the worker is replaced."
    )
    hang_after_s: Seconds = setting(
        10.0, "Seconds of one inspection after which the worker is replaced."
    )
    clear_faults: Literal["plc", "auto"] = setting(
        "plc", "Who ends a fault: a PLC, or auto once the worker is back."
    )
