"""The command `edge set`."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from edge import console
from edge.cli import tables
from edge.cli.options import BundleArgument, Json, takes_options
from edge.fields import (
    Count,
    Finite,
    OptionsModel,
    ParseError,
    option,
    roi_from_text,
)
from process.wrong_values import shown_value

if TYPE_CHECKING:
    from edge.inspection.held_out import RateOfRejects


def _roi_or_none(value: Any) -> Any:
    return value if value == "none" else roi_from_text(value)


def _number_or_none(value: Any) -> Any:
    """A number above 0, or the word.

    Raises:
        ParseError: neither.
    """
    if value == "none":
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise ParseError(f"{shown_value(value)}: give a number above 0, or none")
    return number


RoiOrNone = Annotated[tuple[int, int, int, int] | Literal["none"], BeforeValidator(_roi_or_none)]


NumberOrNone = Annotated[float | Literal["none"], BeforeValidator(_number_or_none)]


class SetOptions(OptionsModel):
    """What `edge set` changes."""

    threshold: Finite | None = option(None, "Score from which a part is NG.")
    false_rejects: Annotated[float | None, Field(gt=0, lt=1)] = option(
        None,
        "Rate of good parts that may be rejected: the held-out scores give the threshold.",
    )
    extrapolate: bool = option(
        False, "Go beyond the highest held-out score where the images are too few for the rate."
    )
    pixel_threshold: NumberOrNone | None = option(
        None,
        "Value of the map from which a pixel belongs to an NG's regions; none is the build's own.",
    )
    min_area: Count | None = option(
        None, "Smallest region that rejects, in px of the frame; 0 lets the score alone decide."
    )
    ignore: Path | None = option(
        None,
        "Picture that is white where defects are ignored, kept in the bundle; none removes it.",
    )
    roi: RoiOrNone | None = option(
        None, "Region that is inspected: x,y,width,height in px of the frame; none is all of it."
    )


@takes_options
def change(bundle: BundleArgument, options: SetOptions, json: Json = False) -> None:
    """Change settings of a bundle, and keep in it who changed what, and when."""
    from edge.inspection.held_out import threshold_for_rate
    from edge.inspection.ignore_mask import mask_from_file
    from edge.inspection.settings import change_settings
    from engines.bundle import Bundle

    rate = _rate(options)
    changes = change_settings(
        bundle,
        threshold=options.threshold if rate is None else rate,
        pixel_threshold=options.pixel_threshold,
        min_area=options.min_area,
        ignore=mask_from_file(options.ignore) if options.ignore else None,
        roi=options.roi,
    )
    found = [one.model_dump(mode="json") for one in changes]
    threshold = threshold_for_rate(Bundle.open(bundle).manifest, rate) if rate else None
    if json:
        facts = {"threshold": asdict(threshold)} if threshold else {}
        console.print_json({"bundle": str(bundle), "changes": found, **facts})
        return
    tables.print_changes(str(bundle), found)
    if threshold:
        tables.say_threshold(threshold)


def _rate(options: SetOptions) -> RateOfRejects | None:
    """What is asked for.

    Raises:
        SettingsError: two things that exclude each other, or one without the other.
    """
    from edge.inspection.held_out import RateOfRejects
    from edge.inspection.settings import SettingsError

    if options.false_rejects is None:
        if options.extrapolate:
            raise SettingsError("--extrapolate goes with --false-rejects; give both")
        return None
    if options.threshold is not None:
        raise SettingsError("--threshold and --false-rejects both set the threshold; give one")
    return RateOfRejects(options.false_rejects, options.extrapolate)
