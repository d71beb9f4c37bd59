"""One image in a report, with the region of interest and the ignore mask."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2

from calibrate.images import Roi, Size
from cameras.errors import ImageError
from cameras.image_files import image_from_file
from cameras.redaction import printable_path
from edge.drawing.inspected_part import draw_inspected_part
from edge.drawing.report import Picture
from edge.inspection.ignore_mask import IgnoreMask, counted_cells, find_misfit

JPEG_QUALITY = 85


def inspected_part(
    paths: Iterable[Path], *, roi: Roi | None, ignore: IgnoreMask | None, map_shape: Size
) -> list[Picture]:
    """The first image that can be read; nothing where all of it is inspected.

    Args:
        paths: of images of the part.
        roi: (x, y, width, height) in their pixels.
        ignore: of their size, or of the region's.
        map_shape: (h, w) of the model's map.
    """
    if roi is None and ignore is None:
        return []
    for path in paths:
        try:
            image = image_from_file(path)
        except ImageError:
            continue
        ignored = None
        if ignore is not None and not find_misfit(ignore, roi=roi, frame_shape=image.shape):
            ignored = ~counted_cells(ignore, map_shape=map_shape, roi=roi)
        left_out = [
            *(["dark: outside the region of interest"] if roi else []),
            *(["hatched: ignored"] if ignored is not None else []),
        ]
        caption = f"What is inspected of {printable_path(path.name)}; {', '.join(left_out)}"
        picture = draw_inspected_part(image, roi=roi, ignored=ignored)
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        return [Picture(caption, bytes(data.tobytes()))]
    return []
