"""Good images that look unlike the others: named and shown, for a person to look at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from calibrate.images import Roi, Size, fit_image
from calibrate.learnt import LearntInspector
from calibrate.threshold import Threshold, reaches
from cameras.errors import ImageError
from cameras.image_files import image_from_file
from cameras.redaction import printable_path
from edge.drawing.report import Picture
from engines.threshold_records import MAX_NAMED

NAMED = 5  # in a line
JPEG_QUALITY = 85


@dataclass(frozen=True, slots=True)
class OddImage:
    """A good image whose score lies apart from all others', or is NG though it was learnt from."""

    path: Path
    score: float


def odd_images(inspector: LearntInspector, threshold: Threshold) -> tuple[OddImage, ...]:
    """Those that the threshold leaves out, the highest score first; of many the first."""
    order = np.argsort(-inspector.held_out, kind="stable")[: min(threshold.odd, MAX_NAMED)]
    return tuple(
        OddImage(inspector.held_out_files[index], float(inspector.held_out[index]))
        for index in order
    )


def rejected_images(inspector: LearntInspector, threshold: Threshold) -> tuple[OddImage, ...]:
    """Those that are NG although they were learnt from, likewise."""
    scores, files = inspector.learnt.values, inspector.learnt.files
    order = np.argsort(-scores, kind="stable")[: int(reaches(scores, threshold.value).sum())]
    return tuple(OddImage(files[index], float(scores[index])) for index in order[:MAX_NAMED])


def describe_rejected_images(images: Sequence[OddImage]) -> str:
    """Which images are NG although they were learnt from; empty where there are none."""
    if not images:
        return ""
    what = "an image is" if len(images) == 1 else f"{_at_least(images)} images are"
    return f"{what} NG although learnt from: look at {_named(images, len(images))}"


def _at_least(images: Sequence[OddImage]) -> str:
    return f"{len(images)} or more" if len(images) == MAX_NAMED else str(len(images))


def _named(images: Sequence[OddImage], count: int) -> str:
    """The first few with their scores, of so many."""
    names = ", ".join(f"{printable_path(one.path)} ({one.score:.4f})" for one in images[:NAMED])
    return names + (f" and {count - NAMED} more" if count > NAMED else "")


def describe_odd_images(images: Sequence[OddImage], threshold: Threshold) -> str:
    """Which they are, and what they would do to the threshold; empty where there are none."""
    if not images or threshold.with_odd is None:
        return ""
    count = threshold.odd
    what = (
        "this good image looks unlike the others: look at it"
        if count == 1
        else f"these {count} good images look unlike the others: look at them"
    )
    them = "it" if count == 1 else "them"
    return (
        f"{what}: {_named(images, count)}; with {them} the threshold would be "
        f"{threshold.with_odd:.4f}, without {them} it is {threshold.value:.4f}"
    )


def odd_pictures(images: Sequence[OddImage], *, size: Size, roi: Roi | None) -> list[Picture]:
    """The images as the inspector sees them; one that has gone since is left out."""
    pictures = []
    for one in images:
        try:
            fitted = fit_image(image_from_file(one.path), size, roi)
        except ImageError:
            continue
        _, data = cv2.imencode(".jpg", fitted, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        caption = f"Unlike the other good images: {printable_path(one.path.name)}, {one.score:.4f}"
        pictures.append(Picture(caption, data.tobytes()))
    return pictures
