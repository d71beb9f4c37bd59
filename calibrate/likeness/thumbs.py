"""Thumbs: small enough that all pairs of thousands of images are compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from calibrate.likeness.same import MAX_GAIN, NOISE
from calibrate.likeness.sketches import GreyPicture, Sketch, inside, slopes, smooth

SIDE = 24  # px
MAX_DIFFERENCE = 2.0  # grey levels, root mean square: of thumbs that may be of one thing
NEIGHBOURS = 6  # of each that are looked at closely
BLOCK = 256  # thumbs compared with all others at a time


@dataclass(frozen=True, slots=True, eq=False)
class Thumbs:
    """Thumbs of n images, and what light and small shifts do to each.

    Attributes:
        pictures: (n, D).
        spans: (4, n, D) orthonormal: an offset, shifts right and down, and what each picture is
            beside those.
        contrasts: (n,) length of the last.
    """

    pictures: GreyPicture
    spans: GreyPicture
    contrasts: GreyPicture

    def of(self, chosen: npt.NDArray[np.int64]) -> Thumbs:
        """Those of some of the images."""
        return Thumbs(self.pictures[chosen], self.spans[:, chosen], self.contrasts[chosen])

    def differences(
        self, rows: slice | npt.NDArray[np.int64], others: slice | npt.NDArray[np.int64]
    ) -> tuple[GreyPicture, GreyPicture]:
        """(rows, others) what is left of the others, root mean square in grey levels.

        An offset, a gain and a small shift of the rows' thumb are taken out by least squares: what
        lies in the span of those is left out of the length. All pairs are four matrix products.
        Infinite where the gain would be none of one thing.
        """
        pictures = self.pictures[others].T
        powers = np.einsum("nd,nd->n", self.pictures[others], self.pictures[others])
        parts = [span[rows] @ pictures for span in self.spans]
        left = powers - sum(part * part for part in parts)
        contrasts = self.contrasts[rows][:, None]
        gains = np.where(contrasts < NOISE * SIDE, 1, parts[-1] / np.maximum(contrasts, 1e-6))
        found = np.sqrt(np.maximum(left, 0) / len(pictures))
        return np.asarray(found, np.float32), np.asarray(gains, np.float32)


def thumbs_of(sketches: Sequence[Sketch]) -> Thumbs:
    """Thumbs of sketches of one size."""
    vectors = np.stack([_thumb(one) for one in sketches], axis=1)
    spans = np.zeros((4, *vectors.shape[1:]), np.float32)
    spans[0] = 1 / SIDE
    lengths = np.zeros(vectors.shape[1], np.float32)
    for place, vector in ((1, vectors[1]), (2, vectors[2]), (3, vectors[0])):
        rest = vector.copy()
        for known in spans[:place]:
            rest -= np.einsum("nd,nd->n", rest, known)[:, None] * known
        lengths = np.sqrt(np.einsum("nd,nd->n", rest, rest))
        spans[place] = rest / np.maximum(lengths, 1e-3)[:, None]
    return Thumbs(vectors[0], spans, lengths)


def nearest_pairs(thumbs: Thumbs) -> Iterator[tuple[int, int]]:
    """Pairs that may be of one thing, the nearest first; a few of each thumb."""
    count = len(thumbs.pictures)
    most = min(NEIGHBOURS, count - 1)
    found: list[tuple[float, int, int]] = []
    for start in range(0, count, BLOCK):
        left, gains = thumbs.differences(slice(start, start + BLOCK), slice(None))
        left[(gains > MAX_GAIN) | (gains < 1 / MAX_GAIN)] = np.inf
        rows = np.arange(len(left))
        left[rows, start + rows] = np.inf
        near = np.argpartition(left, most - 1, axis=1)[:, :most]
        close = np.argwhere(left[rows[:, None], near] <= MAX_DIFFERENCE)
        for row, other in ((int(row), int(near[row, place])) for row, place in close):
            found.append((float(left[row, other]), start + row, other))
    found.sort()
    yield from ((first, second) for _, first, second in found)


def _thumb(sketch: Sketch) -> GreyPicture:
    """(3, D) of the picture and its slopes."""
    picture = smooth(sketch.astype(np.float32), 1)
    return np.stack(
        [
            cv2.resize(inside(one), (SIDE, SIDE), interpolation=cv2.INTER_AREA).ravel()
            for one in (picture, *slopes(picture))
        ]
    )
