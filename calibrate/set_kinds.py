"""Whether good images are of two kinds, such as two products, told in a second and without a model.

`edge.checking.kinds` looks more closely, by features.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from calibrate.images import Image, evenly, fit_image
from cameras.errors import ImageError
from cameras.image_files import bits_taken, image_from_file
from cameras.redaction import printable_path

MAX_SEEN = 100  # images, evenly spread over all
SIDE = 16  # px to which an image is brought
MIN_APART = 6.5
"""Ashman's D of two groups. At most 5.2 in nine sets of one product each; 7 to 140 in most pairs of
them. Source: Ashman, Bird and Zepf, "Detecting bimodality in astronomical datasets", 1994."""
MIN_SHARE = 0.1  # of the smaller group
MIN_GROUP = 3  # images
_AT_ONCE = 4
_LOOKS: tuple[int, int] = (SIDE, SIDE)


def find_two_kinds(paths: Sequence[Path]) -> tuple[str, ...]:
    """Look at some of the good images, each reduced to a few pixels.

    What cannot be read is passed over: that it is left out is told where the images are used.

    Args:
        paths: good images of one product.

    Returns:
        A line where they fall into two groups with nothing between them: how many, an example of
        each, and what to do.
    """
    some = evenly(paths, MAX_SEEN)
    bit_depth = bits_taken()

    def read(path: Path) -> Image | None:
        with contextlib.suppress(ImageError):
            return fit_image(image_from_file(path, bit_depth=bit_depth), _LOOKS)
        return None

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="kinds") as pool:
        looks = dict(zip(some, pool.map(read, some), strict=True))
    seen = {path: look for path, look in looks.items() if look is not None}
    if len(seen) < 2 * MIN_GROUP:
        return ()
    line = _describe_kinds(list(seen), np.stack([one.reshape(-1) for one in seen.values()]))
    return (line,) if line else ()


def _describe_kinds(paths: Sequence[Path], looks: Image) -> str:
    """What is said of two groups; empty where the images are one."""
    values = looks.astype(np.float32)
    second = _split(values)
    if _measure_distance(values, second) < MIN_APART:
        return ""
    if second.mean() > 0.5:
        second = ~second
    count = int(second.sum())
    if count < max(MIN_GROUP, MIN_SHARE * len(paths)):
        return ""
    first_name = printable_path(paths[int(np.argmin(second))].name)
    second_name = printable_path(paths[int(np.argmax(second))].name)
    return (
        f"the good images look like two kinds: {len(paths) - count} of {len(paths)} like "
        f"{first_name}, {count} like {second_name}; of two products, views or lights an "
        "inspector lets the one pass for the other: build one for each"
    )


def _split(looks: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Part images into two groups by k-means; True for those of the second."""
    ends = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 30, 0.1)
    # From the two that lie furthest apart rather than from random ones: the same each time.
    far = looks[np.argmax(((looks - looks.mean(0)) ** 2).sum(1))]
    apart = ((looks - far) ** 2).sum(1)
    other = looks[np.argmax(apart)]
    begin = (((looks - other) ** 2).sum(1) < apart).astype(np.int32)[:, None]
    flags = cv2.KMEANS_USE_INITIAL_LABELS
    _, labels, _ = cv2.kmeans(looks, 2, begin, ends, 1, flags)
    return np.asarray(labels.ravel() == 1)


def _measure_distance(looks: npt.NDArray[np.float32], second: npt.NDArray[np.bool_]) -> float:
    """Ashman's D of two groups along the line through their centres; 0 where one is empty."""
    if second.all() or not second.any():
        return 0.0
    across = looks[second].mean(0) - looks[~second].mean(0)
    along = looks @ (across / max(float(np.linalg.norm(across)), 1e-6))
    first, other = along[~second], along[second]
    spread = float(np.sqrt((first.var() + other.var()) / 2))
    # Equal images have no spread: a grey level is the least that means anything.
    return float(abs(other.mean() - first.mean())) / max(spread, SIDE)
