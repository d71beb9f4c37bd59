"""The command `edge set`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from edge import console
from edge.cli import tables
from edge.cli.options import BundleArgument, Json, takes_options
from edge.fields import Count, Finite, OptionsModel, option, roi_from_text


def _roi_or_none(value: Any) -> Any:
    return value if value == "none" else roi_from_text(value)


RoiOrNone = Annotated[tuple[int, int, int, int] | Literal["none"], BeforeValidator(_roi_or_none)]


class SetOptions(OptionsModel):
    """What `edge set` changes."""

    threshold: Finite | None = option(None, "Score from which a part is NG.")
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
    from edge.inspection.settings import change_settings, mask_from_file

    changes = change_settings(
        bundle,
        threshold=options.threshold,
        min_area=options.min_area,
        ignore=mask_from_file(options.ignore) if options.ignore else None,
        roi=options.roi,
    )
    found = [one.model_dump(mode="json") for one in changes]
    if json:
        console.print_json({"bundle": str(bundle), "changes": found})
    else:
        tables.print_changes(str(bundle), found)
