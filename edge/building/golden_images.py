"""Golden images: what a bundle tests itself with before its first verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from calibrate.images import Roi, Size, fitted_batches
from edge.evaluation.measure import Measured
from edge.result import Image
from engines.engine import Engine
from engines.manifest import GoldenImage


def golden_images(
    engine: Engine,
    good: Sequence[Path],
    measured: Measured | None,
    *,
    size: Size,
    roi: Roi | None,
) -> list[tuple[GoldenImage, Image]]:
    """A good image and a bad one with the scores that the deployed engine gives them.

    Args:
        engine: runs the inspector's graph.
        good: good images, of which the first is taken.
        measured: labelled images, of which the worst is taken; None or no defect among them: a
            good image is spoilt.
        size: (height, width) of the graph.
        roi: the part that is inspected.
    """
    sound = next(fitted_batches(good[:1], size=size, roi=roi))[0]
    rows = measured.rows if measured else ()
    defective = max(
        (row for row in rows if row.title != "good"), key=lambda row: row.score or 0, default=None
    )
    bad = defective.image if defective else _spoil(sound)
    images: tuple[tuple[Literal["good", "bad"], Image], ...] = (("good", sound), ("bad", bad))
    golden = []
    for kind, image in images:
        score = float(engine.infer(image[None])[1][0])
        record = GoldenImage(file=f"golden/{kind}.png", score=score, kind=kind)
        golden.append((record, image))
    return golden


def _spoil(image: Image) -> Image:
    """A good image with a chequered square painted in: no defect is known, one must be seen."""
    spoilt = image.copy()
    height, width = image.shape[0] // 4, image.shape[1] // 4
    rows, columns = np.indices((height, width)) // 8
    chequers = np.where((rows + columns) % 2, 255, 0).astype(np.uint8)
    spoilt[height : 2 * height, width : 2 * width] = chequers[..., None]
    return spoilt
