"""The model's size: what was asked for, or the one that keeps the pictures' shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from calibrate.backbones.backbone import Backbone
from calibrate.backbones.features_graph import default_layers, grid_of
from calibrate.backbones.tiles import WHOLE, Tiles, Tiling, tiling_from_tile
from calibrate.images import AHEAD, Size, evenly
from calibrate.prn.options import DEEPEST
from cameras.errors import ImageError
from cameras.image_files import image_from_file
from edge.fields import LARGEST_SIZE, MOST_TILES, ParseError, SizeText, overlay
from edge.options import BuildOptions

SQUARE = (256, 256)
AREA = 256 * 256  # px: as much work as the square
MAX_AREA = 1.06 * AREA
MIN_SIDE = 64  # px: four patches of the coarsest default stage; longer pictures are squashed
MAX_IMAGES = 64  # whose shapes are looked at
SAME_SHAPE = 1.25  # factor between aspects that one size suits
MAX_ODD = 0.1  # share of pictures of other shapes
COARSE = 4  # px of a picture along each axis that become one: small defects go with them
ADVISED = 3  # and what tiles are advised for


class SizedBuildOptions(BuildOptions):
    """Options of a build whose model's size is decided: that of the whole picture, tiles joined."""

    size: SizeText


def decide_size(
    options: BuildOptions,
    *,
    backbone: Backbone,
    images: Sequence[Path],
    say: Callable[[str], None],
) -> SizedBuildOptions:
    """The options with the model's size: the one asked for, or one of the pictures' shape.

    Args:
        options: as the user gave them.
        backbone: whose strides divide the size.
        images: good images; the shapes of at most 64, evenly spread, are looked at.
        say: told of a size that is not the usual square, or would not be were they alike, and of
            pictures that lose much to it.

    Raises:
        ParseError: tiles that make more than the largest size.
        ValueError: tiles of a size that cannot be.
    """
    stride, roi = _stride(options, backbone), options.roi
    shapes = [(roi[3], roi[2])] if roi else list(_shapes_of_files(images))
    aspect = usual_aspect(shapes)
    tile = options.size or size_for_aspect(aspect or 1, stride=stride, tiles=options.tiles)
    tiling = tiling_from_tile(tile, tiles=options.tiles, stride=stride)
    if max(tiling.size) > LARGEST_SIZE:
        raise ParseError(
            f"{_text(options.tiles)} tiles of {_px(tile)}: more than {LARGEST_SIZE} px in all; "
            "give fewer or a smaller --size"
        )
    if shapes and options.size is None:
        _tell_size(tiling, shapes, aspect=aspect, say=say)
    advice = advise_tiles(
        max(shapes, key=math.prod, default=(0, 0)), tiling.size, tiles=options.tiles
    )
    if advice and options.model != "prn":  # which has no tiles
        say(advice)
    return overlay(SizedBuildOptions, options, SizedBuildOptions(size=tiling.size))


def size_for_aspect(aspect: float, *, stride: int, tiles: Tiles = WHOLE) -> Size:
    """(height, width) in px of a tile, about 65 536 of them, for pictures of an aspect.

    Args:
        aspect: width / height of the picture.
        stride: in px, a divisor of 256, which divides both sides.
        tiles: that it is cut into.
    """
    low = -(-MIN_SIDE // stride) * stride
    sides = range(low, int(MAX_AREA) // low + 1, stride)
    sizes = [(high, wide) for high in sides for wide in sides if high * wide <= MAX_AREA]

    def misfit(size: Size) -> float:
        height, width = Tiling(tiles, size, stride).size if tiles != WHOLE else size
        return math.hypot(math.log(width / height / aspect), math.log(size[0] * size[1] / AREA))

    return min(sizes, key=misfit)


def usual_aspect(shapes: Sequence[Size]) -> float | None:
    """The median of width / height; None where more than a tenth are of another shape, or none."""
    aspects = sorted(width / height for height, width in shapes)
    if not aspects:
        return None
    median = aspects[len(aspects) // 2]
    odd = sum(max(one / median, median / one) > SAME_SHAPE for one in aspects)
    return median if odd <= MAX_ODD * len(aspects) else None


def advise_tiles(picture: Size, model: Size, *, tiles: Tiles = WHOLE, missed: bool = False) -> str:
    """What to try for small defects, in a sentence; empty where the model sees fine enough.

    Args:
        picture: (height, width) of what is inspected, in px of the camera's picture.
        model: (height, width) of the model's images.
        tiles: columns and rows that it cuts them into.
        missed: drawn defects are: advise it from pictures of twice the size on.
    """
    rows, columns = (seen / asked for seen, asked in zip(picture, model, strict=True))
    factor = min(rows, columns)
    if factor < (2 if missed else COARSE):
        return ""
    wanted = max(2, math.ceil(factor / ADVISED))
    more = min(MOST_TILES, tiles[0] * wanted), min(MOST_TILES, tiles[1] * wanted)
    way = f"--tiles {_text(more)} or a larger --size" if more != tiles else "a larger --size"
    return (
        f"{factor:.0f} x {factor:.0f} px of a picture become one: small defects may be lost; "
        f"{way} sees more"
    )


def _tell_size(
    tiling: Tiling, shapes: Sequence[Size], *, aspect: float | None, say: Callable[[str], None]
) -> None:
    several = f" in {_text(tiling.tiles)} tiles of {_px(tiling.tile)}" if tiling.count > 1 else ""
    size = f"model size {_px(tiling.size)}{several}"
    if aspect is None:
        say(f"pictures of different shapes: {size} for all; --size sets another")
    elif tiling.size != SQUARE:
        height, width = min(shapes, key=lambda one: abs(math.log(one[1] / one[0] / aspect)))
        say(f"pictures of {width} x {height}: {size} keeps their shape")


def _px(size: Size) -> str:
    return f"{size[1]} x {size[0]} px"


def _text(tiles: Tiles) -> str:
    return f"{tiles[0]}x{tiles[1]}"


def _stride(options: BuildOptions, backbone: Backbone) -> int:
    """Px that the model's height and width are multiples of; unknown layers are refused later."""
    if options.model == "prn":
        return DEEPEST
    return grid_of(backbone, options.layers or default_layers(backbone))


def _shapes_of_files(paths: Sequence[Path]) -> Iterator[Size]:
    """(height, width) of those that can be read."""

    def read(path: Path) -> Size | None:
        try:
            height, width = image_from_file(path).shape[:2]
        except ImageError:
            return None  # named when all images are read
        return height, width

    with ThreadPoolExecutor(AHEAD, thread_name_prefix="shapes") as pool:
        yield from filter(None, pool.map(read, evenly(paths, MAX_IMAGES)))
