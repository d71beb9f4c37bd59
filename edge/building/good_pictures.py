"""Good images in the report: those with the highest scores."""

from __future__ import annotations

import cv2
import numpy as np

from calibrate.images import Roi, Size, fit_image
from calibrate.learnt import LearntInspector
from calibrate.threshold import Threshold, reaches
from cameras.errors import ImageError
from cameras.image_files import image_from_file
from cameras.redaction import printable_path
from edge.drawing.report import Picture, PictureGroup
from edge.result import Image

SHOWN = 6
JPEG_QUALITY = 85


def highest_images(
    inspector: LearntInspector, threshold: Threshold, *, size: Size, roi: Roi | None
) -> PictureGroup:
    """The good images that look least like the others, as the inspector sees them.

    An image that has gone since is left out; so are those that the report shows as odd.
    """
    pictures = []
    order = np.argsort(-inspector.held_out, kind="stable")[threshold.odd : threshold.odd + SHOWN]
    for index in order:
        path, score = inspector.held_out_files[index], float(inspector.held_out[index])
        try:
            fitted = fit_image(image_from_file(path), size, roi)
        except ImageError:
            continue
        verdict = "NG" if reaches(score, threshold.value) else "OK"
        name = printable_path(path.name)
        pictures.append(Picture(f"{name}: {score:.4f}, {verdict}", _jpeg(fitted)))
    return PictureGroup(
        "Good images with the highest scores",
        f"Look at them: one that shows a defect, or another product, belongs out of the folder. "
        f"A part is NG from {threshold.value:.4f}. Each was scored by an inspector that had not "
        "learnt from it.",
        pictures,
    )


def _jpeg(image: Image) -> bytes:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return bytes(data.tobytes())
