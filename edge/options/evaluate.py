"""The options of `edge evaluate`."""

from __future__ import annotations

from pathlib import Path

from edge.fields import Count, Finite, Names, OptionsModel, RoiText, option, setting
from edge.options.names import (
    ENGINE,
    BitDepth,
    EngineName,
    bit_depth_option,
    device_option,
)

UNSET = "stream's of edge.toml, else the bundle's own"


class EvaluateOptions(OptionsModel):
    """How `edge evaluate` measures: as `edge stream` judges, with the settings of `[stream]`."""

    engine: EngineName = option("auto", ENGINE)
    device: Count | None = device_option()
    threshold: Finite | None = option(None, "Score from which a part is NG.", unset=UNSET)
    min_area: Count | None = option(
        None, "Smallest region that rejects, in px of the image.", unset=UNSET
    )
    ignore: Path | None = option(
        None,
        "Picture that is white where defects are ignored; none ignores nothing.",
        unset=UNSET,
    )
    roi: RoiText | None = option(
        None, "Region that is inspected: x,y,width,height in px of the image.", unset=UNSET
    )
    bit_depth: BitDepth | None = bit_depth_option(UNSET)
    health_off: Names = setting((), "Checks of the picture that are left out.")
    grid: Path | None = option(None, "PNG file for a grid of images, maps and verdicts.")
    report: Path | None = option(
        None, "HTML file for figures, pictures and the curve of escapes against false rejects."
    )
