"""Which drawn defects an inspector finds, by their size, kind and contrast, and what that says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibrate.defects.draw import DrawnDefect
from calibrate.metrics import image_auroc
from engines.drawn_record import MAX_SCORES, DrawnCellRecord, DrawnDefectsRecord, Outlook

CLEAR = 2.0  # contrast from which a defect is one that everybody would call a defect
LARGE = 0.16  # size from which nobody would forgive missing it
HALF = 0.5
"""Of the large, clear defects that must be found, or the inspector is blind."""
LEAST = 1 / 3
"""Of all clear defects that must be found, or the inspector is blind."""
FINE = 2 / 3
"""Of all clear defects that must be found, or the inspector is short-sighted: on nine sets of real
parts, at two thresholds, nobody who finds so many lets more than half of the real defects pass."""
TELLS_APART = 0.85  # AUROC from which it is not the scores that are blind, but the threshold


@dataclass(frozen=True, slots=True)
class JudgedDefect:
    """A drawn defect, and what the inspector made of its picture.

    Attributes:
        defect: what was drawn.
        score: of the picture; finite.
        found: whether the picture is rejected.
    """

    defect: DrawnDefect
    score: float
    found: bool


def detection_of(
    judged: Sequence[JudgedDefect],
    *,
    good: Sequence[float],
    threshold: float,
    images: int,
    shorter_side: float,
    scale: float | None = None,
) -> DrawnDefectsRecord:
    """Count what was found, and tell from it whether the inspector is blind.

    Args:
        judged: the drawn defects; at least one.
        good: scores of good images that were not learnt from, by the same engine.
        threshold: by which they were judged.
        images: good images that were drawn into.
        shorter_side: of those images, in px of the camera.
        scale: mm of the part in a px; None = not known.
    """
    found: dict[tuple[float, str, float], list[bool]] = {}
    for one in judged:
        key = (one.defect.size, one.defect.kind, one.defect.contrast)
        found.setdefault(key, []).append(one.found)
    cells = tuple(
        DrawnCellRecord(size=size, kind=kind, contrast=contrast, drawn=len(all_), found=sum(all_))
        for (size, kind, contrast), all_ in sorted(found.items())
    )
    scores = [*good, *(one.score for one in judged)]
    auroc = image_auroc(scores, defects=[False] * len(good) + [True] * len(judged)).value
    return DrawnDefectsRecord(
        threshold=threshold,
        images=images,
        shorter_side=shorter_side,
        cells=cells,
        scores=_spread([one.score for one in judged]),
        auroc=auroc,
        smallest=smallest_found(cells),
        scale=scale,
        outlook=_outlook(cells),
        warning=_warning(cells, auroc),
    )


def _spread(scores: Sequence[float]) -> tuple[float, ...]:
    """The scores, rising, with as few digits as float32 needs; of very many an even sample."""
    rising = np.sort(np.asarray(scores, np.float32))
    chosen = np.linspace(0, len(rising) - 1, min(len(rising), MAX_SCORES)).round().astype(int)
    return tuple(float(str(score)) for score in rising[chosen])


def share_found(cells: Sequence[DrawnCellRecord]) -> float | None:
    """Of the defects in some cells, how many are found; None of none."""
    drawn = sum(cell.drawn for cell in cells)
    return sum(cell.found for cell in cells) / drawn if drawn else None


def clear_cells(cells: Sequence[DrawnCellRecord], *, size: float = 0.0) -> list[DrawnCellRecord]:
    """Those of clear defects, from a size on."""
    return [cell for cell in cells if cell.contrast >= CLEAR and cell.size >= size]


def smallest_found(cells: Sequence[DrawnCellRecord]) -> float | None:
    """The extent, as a share of the shorter side, from which half of the clear defects are found.

    The share found is taken never to fall as defects grow (isotonic regression), and between two
    sizes to grow with the logarithm of the size.

    Returns:
        At least the smallest size that was drawn; None where not even of the largest half are
        found.
    """
    clear = clear_cells(cells)
    sizes = sorted({cell.size for cell in clear})
    if not sizes:
        return None
    from sklearn.isotonic import IsotonicRegression

    same = [[cell for cell in clear if cell.size == size] for size in sizes]
    counts = [sum(cell.drawn for cell in some) for some in same]
    shares = [share_found(some) or 0.0 for some in same]
    rising = IsotonicRegression().fit(sizes, shares, counts).predict(sizes)
    above = int(np.searchsorted(rising, HALF))
    if above == len(sizes):
        return None
    if above == 0:
        return sizes[0]
    low, high = float(rising[above - 1]), float(rising[above])
    way = (HALF - low) / (high - low)
    return math.exp((1 - way) * math.log(sizes[above - 1]) + way * math.log(sizes[above]))


def _outlook(cells: Sequence[DrawnCellRecord]) -> Outlook:
    """By the clear defects; where none was drawn nothing is known, and so nothing is fine."""
    clear = share_found(clear_cells(cells))
    large = share_found(clear_cells(cells, size=LARGE))
    if (clear is not None and clear < LEAST) or (large is not None and large < HALF):
        return "blind"
    return "short-sighted" if clear is None or clear < FINE else "fine"


def _warning(cells: Sequence[DrawnCellRecord], auroc: float | None) -> str:
    """What the inspector does not see, and what helps; empty if it is fine."""
    outlook, clear = _outlook(cells), share_found(clear_cells(cells))
    if outlook == "fine":
        return ""
    large = share_found(clear_cells(cells, size=LARGE))
    of_large = "" if large is None else f", and {large:.0%} of the large ones among them"
    return (
        f"the inspector is {outlook}: it finds {clear or 0:.0%} of the clear defects that were "
        f"drawn into good images{of_large}; {_advice(auroc)}"
    )


def _advice(auroc: float | None) -> str:
    if auroc is not None and auroc >= TELLS_APART:
        return (
            "its scores tell them from good images, its threshold does not: leave odd images out "
            "of the good ones, give more good ones, or allow more --false-rejects"
        )
    return (
        "show it the part in more pixels (--size), the part alone (--roi), more good images and "
        "no odd ones among them, or allow more --false-rejects"
    )
