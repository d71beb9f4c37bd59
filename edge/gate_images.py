"""Labelled images for the parity gate: where a verdict could differ, and a few of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibrate.dataset import GOOD, Sample
from calibrate.images import Image, evenly, fit_image
from calibrate.parity import GATE_IMAGES
from cameras.decode import image_from_file
from cameras.errors import ImageError
from cameras.names import shown
from edge.measure import file_sha256
from edge.methods import Options, Taught
from engines.engine import Engine

LOOKED_AT = 2048  # labelled images, from which those near the threshold are taken


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


def labelled_near(
    samples: Sequence[Sample],
    options: Options,
    taught: Taught,
    *,
    threshold: float,
    engine: Engine,
    known: Labelled | None,
) -> Labelled | None:
    """Some labelled images: half of them evenly, and those nearest to the threshold.

    Only near the threshold can a verdict flip, and few images lie there. None that was learnt from
    or cannot be read is among them. Those that were known before stay, and nearest ones are added.
    """
    learnt = frozenset(taught.training.defects if taught.training else ())
    near: list[tuple[float, Sample]] = []
    for sample in evenly(samples, LOOKED_AT):
        image = _read(sample, options, learnt)
        if image is not None:
            distance = abs(float(engine.infer(image[None])[1][0]) - threshold)
            near.append((distance if np.isfinite(distance) else 0.0, sample))
    half = GATE_IMAGES // 2
    chosen = list(known.samples) if known else evenly([sample for _, sample in near], half)
    nearest = [sample for _, sample in sorted(near, key=lambda pair: pair[0])]
    chosen += [sample for sample in nearest if sample not in chosen][:half]
    images = [_read(sample, options, learnt) for sample in chosen]
    found = [
        (sample, image) for sample, image in zip(chosen, images, strict=True) if image is not None
    ]
    if not found:
        return None
    return Labelled(tuple(sample for sample, _ in found), np.stack([image for _, image in found]))


def _read(sample: Sample, options: Options, learnt: frozenset[str]) -> Image | None:
    """The image at the model's size; None if it may not or cannot be used."""
    if learnt and file_sha256(sample.path) in learnt:
        return None
    try:
        return fit_image(image_from_file(sample.path), options.size, options.roi)
    except ImageError:
        return None  # the measurement of all labelled images names it
