"""Images on their way into the model: the one crop and resize, and reading many of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from cameras.errors import ImageError
from cameras.image_files import bits_taken, image_from_file
from cameras.redaction import printable_path

Image: TypeAlias = npt.NDArray[np.uint8]  # (H, W, 3) BGR
Size: TypeAlias = tuple[int, int]  # (height, width) in px
Roi: TypeAlias = tuple[int, int, int, int]  # (x, y, width, height) in px
AnyItem = TypeVar("AnyItem")

BILINEAR = cv2.INTER_LINEAR
BATCH = 16
AHEAD = 4  # images decoded ahead of the one in use: decoding releases the GIL


class ImagesError(ValueError):
    """Too many of the images that were given cannot be used."""


def fit_image(image: Image, size: Size, roi: Roi | None = None) -> Image:
    """Crop to `roi` and resize to `size`: the one step before the graph, here and in streaming.

    An axis that is at least twice too long is halved, by averaging pairs of pixels, until it is
    not; the rest of the way is bilinear. On a camera's picture that is ten times as fast as
    averaging over fractions of pixels. The aspect ratio is not kept.

    Args:
        image: (H, W, 3) uint8 BGR.
        size: (height, width) that the model takes.
        roi: (x, y, width, height) in pixels of `image`; None = all of it.

    Raises:
        ImageError: the region of interest does not lie within the image.
    """
    if roi is not None:
        x, y, width, height = roi
        fits = x + width <= image.shape[1] and y + height <= image.shape[0]
        if not fits or min(x, y) < 0 or min(width, height) < 1:
            raise ImageError(
                f"region of interest {x},{y},{width},{height} reaches beyond the image of "
                f"{image.shape[1]}x{image.shape[0]}; give one inside it"
            )
        image = image[y : y + height, x : x + width]
    if image.shape[:2] == size:
        return np.ascontiguousarray(image)
    height, width = image.shape[:2]
    while height >= 2 * size[0] or width >= 2 * size[1]:
        height = height // 2 if height >= 2 * size[0] else height
        width = width // 2 if width >= 2 * size[1] else width
        # Bilinear at half the length is the mean of each pair.
        image = np.asarray(cv2.resize(image, (width, height), interpolation=BILINEAR), np.uint8)
    return np.asarray(cv2.resize(image, size[::-1], interpolation=BILINEAR), np.uint8)


def evenly(items: Sequence[AnyItem], most: int) -> list[AnyItem]:
    """At most so many of the items, evenly spread over all of them."""
    count = min(most, len(items))
    return [items[index * len(items) // count] for index in range(count)]


@dataclass(frozen=True, slots=True)
class Skipped:
    """An image that could not be used, and why."""

    path: Path
    reason: str


def usable_images(
    paths: Sequence[Path],
    *,
    size: Size,
    roi: Roi | None,
    most_skipped: float = 0.1,
    see: Callable[[Image], None] | None = None,
) -> tuple[tuple[Path, ...], tuple[Skipped, ...]]:
    """Decode every image once; tell the usable from the others.

    Args:
        paths: image files.
        size: (height, width) that the model takes.
        roi: the part that is inspected.
        most_skipped: share of unusable images from which this is an error; one is always allowed.
        see: called with each usable image, (height, width, 3), in their order.

    Returns:
        The usable paths in their order, and the others with the reason.

    Raises:
        ImagesError: more than `most_skipped` of them are unusable, and more than one, or all;
            the first is named.
    """
    skipped: list[Skipped] = []
    usable: list[Path] = []
    for path, image in _decode_ahead(paths, size=size, roi=roi):
        if isinstance(image, ImageError):
            skipped.append(Skipped(path, str(image)))
        else:
            usable.append(path)
            if see is not None:
                see(image)
    if skipped and (len(skipped) > max(1, most_skipped * len(paths)) or not usable):
        raise ImagesError(
            f"{len(skipped)} of {len(paths)} images cannot be used, more than "
            f"{most_skipped:.0%}; the first: {skipped[0].reason}"
        )
    return tuple(usable), tuple(skipped)


def fitted_batches(
    paths: Sequence[Path], *, size: Size, roi: Roi | None, batch: int = BATCH
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield (n, H, W, 3) uint8 BGR, n <= `batch`, in the order of `paths`.

    Nothing but one batch and a few images ahead is held in memory.

    Raises:
        ImageError: an image that was readable before is not any more.
    """
    part: list[Image] = []
    for _, image in _decode_ahead(paths, size=size, roi=roi):
        if isinstance(image, ImageError):
            raise image
        part.append(image)
        if len(part) == batch:
            yield np.stack(part)
            part = []
    if part:
        yield np.stack(part)


def _decode_ahead(
    paths: Sequence[Path], *, size: Size, roi: Roi | None
) -> Iterator[tuple[Path, Image | ImageError]]:
    bit_depth = bits_taken()

    def decode(path: Path) -> Image | ImageError:
        try:
            return fit_image(image_from_file(path, bit_depth=bit_depth), size, roi)
        except ImageError as error:
            text = str(error)
            return (
                error
                if printable_path(path) in text
                else ImageError(f"{printable_path(path)}: {text}")
            )

    with ThreadPoolExecutor(AHEAD, thread_name_prefix="decode") as pool:
        for start in range(0, len(paths), BATCH * AHEAD):
            some = paths[start : start + BATCH * AHEAD]
            yield from zip(some, pool.map(decode, some), strict=True)


def in_batches(items: Iterable[AnyItem]) -> Iterator[list[AnyItem]]:
    """Yield the items `BATCH` at a time, the last ones too."""
    part: list[AnyItem] = []
    for one in items:
        part.append(one)
        if len(part) == BATCH:
            yield part
            part = []
    if part:
        yield part
