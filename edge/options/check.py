"""The options of `edge check`: those of a build that decide which images are seen, and how."""

from __future__ import annotations

from edge.fields import OptionsModel, RoiText, SizeText, TilesText, option_of
from edge.options.build import BuildOptions
from edge.options.names import BitDepth, ImagePlaces, RejectRate


class CheckOptions(OptionsModel):
    """How good images are looked at: `edge check`, `[build]`."""

    images: ImagePlaces = option_of(BuildOptions, "images")
    size: SizeText | None = option_of(BuildOptions, "size")
    tiles: TilesText = option_of(BuildOptions, "tiles")
    roi: RoiText | None = option_of(BuildOptions, "roi")
    bit_depth: BitDepth | None = option_of(BuildOptions, "bit_depth")
    false_rejects: RejectRate = option_of(BuildOptions, "false_rejects")
