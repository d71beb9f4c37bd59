"""The model's size: what was asked for, or the one that keeps the pictures' shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from calibrate.backbones.backbone import Backbone
from calibrate.backbones.features_graph import default_layers
from calibrate.images import AHEAD, Size, evenly
from calibrate.prn.options import DEEPEST
from cameras.errors import ImageError
from cameras.image_files import image_from_file
from edge.fields import SizeText, overlay
from edge.options import BuildOptions

SQUARE = (256, 256)
AREA = 256 * 256  # px: as much work as the square
MAX_AREA = 1.06 * AREA
MIN_SIDE = 64  # px: four patches of the coarsest default stage; longer pictures are squashed
MAX_IMAGES = 64  # whose shapes are looked at
SAME_SHAPE = 1.25  # factor between aspects that one size suits
MAX_ODD = 0.1  # share of pictures of other shapes


class SizedBuildOptions(BuildOptions):
    """Options of a build whose model's size is decided."""

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
        say: told of a size that is not the usual square, or would not be were they alike.
    """
    size = options.size
    if size is None:
        roi = options.roi
        shapes = [(roi[3], roi[2])] if roi else list(_shapes_of_files(images))
        size = _size_for_shapes(shapes, stride=_stride(options, backbone), say=say)
    return overlay(SizedBuildOptions, options, SizedBuildOptions(size=size))


def size_for_aspect(aspect: float, *, stride: int) -> Size:
    """(height, width) of about 65 536 px and an aspect.

    Args:
        aspect: width / height; beyond 16 or 1/16 the size is that of 16.
        stride: in px, a divisor of 256, which divides both sides.
    """
    bound = AREA / MIN_SIDE**2
    aspect = min(max(aspect, 1 / bound), bound)
    low = -(-MIN_SIDE // stride) * stride
    sides = range(low, int(MAX_AREA) // low + 1, stride)
    sizes = [(high, wide) for high in sides for wide in sides if high * wide <= MAX_AREA]

    def misfit(size: Size) -> float:
        height, width = size
        return math.hypot(math.log(width / height / aspect), math.log(height * width / AREA))

    return min(sizes, key=misfit)


def usual_aspect(shapes: Sequence[Size]) -> float | None:
    """The median of width / height; None where more than a tenth are of another shape, or none."""
    aspects = sorted(width / height for height, width in shapes)
    if not aspects:
        return None
    median = aspects[len(aspects) // 2]
    odd = sum(max(one / median, median / one) > SAME_SHAPE for one in aspects)
    return median if odd <= MAX_ODD * len(aspects) else None


def _size_for_shapes(shapes: Sequence[Size], *, stride: int, say: Callable[[str], None]) -> Size:
    aspect = usual_aspect(shapes)
    if aspect is None:
        if shapes:
            say(
                f"pictures of different shapes: model size stays {SQUARE[1]} x {SQUARE[0]} px; "
                "--size sets another"
            )
        return SQUARE
    size = size_for_aspect(aspect, stride=stride)
    if size != SQUARE:
        height, width = min(shapes, key=lambda one: abs(math.log(one[1] / one[0] / aspect)))
        say(
            f"pictures of {width} x {height}: model size {size[1]} x {size[0]} px keeps their shape"
        )
    return size


def _stride(options: BuildOptions, backbone: Backbone) -> int:
    """Px that the model's height and width are multiples of; unknown layers are refused later."""
    if options.model == "prn":
        return DEEPEST
    layers = options.layers or default_layers(backbone)
    return max((backbone.stages.get(name, 1) for name in layers), default=1)


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
