"""Labelled images for the parity gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibrate.dataset import GOOD, Sample
from calibrate.images import Image, evenly, fit_image
from cameras.errors import ImageError
from cameras.image_files import image_from_file
from cameras.redaction import shown
from edge.building.methods import Options
from edge.evaluation.measure import file_sha256

MOST = 1024  # images
MOST_BYTES = 256 << 20  # of them, at the model's size


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Labelled images, read."""

    samples: tuple[Sample, ...]
    images: Image

    @property
    def names(self) -> tuple[str, ...]:
        """To print: the folder's and the file's."""
        return tuple(shown(Path(one.defect, one.path.name)) for one in self.samples)

    @property
    def defective(self) -> npt.NDArray[np.bool_]:
        """(n,) which of them show a defect."""
        return np.array([one.defect != GOOD for one in self.samples], bool)


def labelled_images(
    samples: Sequence[Sample], options: Options, *, learnt: frozenset[str]
) -> Labelled | None:
    """All labelled images, evenly some where they are very many; None if there are none.

    Args:
        samples: of the data set.
        options: size and region of interest.
        learnt: SHA-256 of files that were learnt from: none of them. What cannot be read is left
            out as well; the measurement of all labelled images names it.
    """
    height, width = options.size
    most = min(MOST, MOST_BYTES // (height * width * 3))
    read = [(sample, _read(sample, options, learnt)) for sample in evenly(samples, most)]
    found = [(sample, image) for sample, image in read if image is not None]
    if not found:
        return None
    return Labelled(tuple(sample for sample, _ in found), np.stack([image for _, image in found]))


def _read(sample: Sample, options: Options, learnt: frozenset[str]) -> Image | None:
    if learnt and file_sha256(sample.path) in learnt:
        return None
    try:
        return fit_image(image_from_file(sample.path), options.size, options.roi)
    except ImageError:
        return None
