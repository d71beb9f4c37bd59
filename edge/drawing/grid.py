"""A picture grid: image, heat map, what was found and the truth, one row an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge.drawing.palette import (
    AT_THRESHOLD,
    DEFECT,
    TRUTH,
    VERDICT_COLOURS,
    Colour,
    heat_colours,
    heat_levels,
    lay_heat,
)
from edge.drawing.text import cut_text, text_width, write_text
from edge.result import AnomalyMap, DefectMask, Image, Result, Verdict

_CELL = 224  # pixels
_GAP = 10
_MARGIN = 20
_HEAD = 38
_CAPTION = 34
_LETTER = 10
_OPACITY = 0.62

_PAPER = (255, 255, 255)  # BGR, as all colours here
_BLANK = 244  # of a cell in which there is nothing
_INK = (52, 44, 38)
_QUIET = (140, 128, 118)
_LINE = (224, 218, 212)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One image of the grid.

    Attributes:
        image: (H, W, 3) uint8 BGR, what the anomaly map covers.
        anomaly_map: (h, w) float32 of any size; None where there is none, as for ERROR.
        mask: (h, w) bool, True where truly defective; None where it is not known.
        title: short caption, such as the name of the defect.
        score: None where there is none.
        verdict: OK, NG or ERROR.
        defect_mask: (h, w) bool of the map's size, where a defect was found; None = nowhere.
    """

    image: Image
    anomaly_map: AnomalyMap | None
    mask: npt.NDArray[np.bool_] | None
    title: str
    score: float | None
    verdict: Verdict
    defect_mask: DefectMask | None = None


def draw_grid(rows: Sequence[Row], *, threshold: float) -> Image:
    """Draw the grid.

    Heat has the colours and the scale of `edge.drawing.palette`, the same for every row, so that
    rows can be compared.

    Args:
        rows: at least one.
        threshold: value of the map at which its colours change to those of a defect; above 0.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        ValueError: no rows, or a threshold that is not above 0.
    """
    if not rows:
        raise ValueError("a grid of no rows; give at least one image")
    if not 0 < threshold < np.inf:
        raise ValueError(f"threshold is {threshold}; give a finite number above 0")
    truth = any(row.mask is not None for row in rows)
    heads = ["Image", "Heat map", "Found", "Truth"][: 4 if truth else 3]
    canvas = _canvas(heads, len(rows))
    _draw_legend(canvas, threshold=threshold)
    for index, row in enumerate(rows):
        top = _top(index)
        for column, cell in enumerate(_cells(row, threshold=threshold)[: len(heads)]):
            _place_cell(canvas, cell, column=column, top=top)
        _write_verdict(canvas, row.verdict, row.title, column=0, top=top)
        score = "no score" if row.score is None else f"score {row.score:.4g}"
        _write(canvas, score, at=(_left(1), top + _CELL), box=(_CELL, _CAPTION), colour=_INK)
    return canvas


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """One image that several inspectors have judged.

    Attributes:
        image: (H, W, 3) uint8 BGR; None where it could not be read.
        mask: (h, w) bool, True where truly defective; None where it is not known.
        title: short caption, such as the name of the defect.
    """

    image: Image | None
    mask: npt.NDArray[np.bool_] | None
    title: str


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """What one inspector made of the images.

    Attributes:
        name: of the inspector.
        threshold: its own of pixels, above 0.
        results: one an image; None where it could not be read.
    """

    name: str
    threshold: float
    results: Sequence[Result | None]


def draw_comparison(rows: Sequence[Compared], columns: Sequence[Column]) -> Image:
    """Draw the images, each inspector's heat map of them, and the truth.

    Heat runs from half of each inspector's own pixel threshold to one and a half times it.

    Args:
        rows: at least one.
        columns: with a result for each row.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        ValueError: nothing to draw.
    """
    if not rows or not columns:
        raise ValueError("a comparison of nothing; give at least one image and one inspector")
    canvas = _canvas(["Image", *(column.name for column in columns), "Truth"], len(rows))
    blank = np.full((_CELL, _CELL, 3), _BLANK, np.uint8)
    for index, row in enumerate(rows):
        top = _top(index)
        image = blank if row.image is None else _scaled(row.image)
        _place_cell(canvas, image, column=0, top=top)
        _write(canvas, row.title, at=(_left(0), top + _CELL), box=(_CELL, _CAPTION), colour=_INK)
        for place, column in enumerate(columns, start=1):
            _draw_result(canvas, image, column, index, at=(place, top))
        truth = blank if row.mask is None else _truth(image, row.mask)
        _place_cell(canvas, truth, column=len(columns) + 1, top=top)
    return canvas


def _canvas(heads: Sequence[str], rows: int) -> Image:
    """White paper with the columns' headings."""
    width = 2 * _MARGIN + len(heads) * _CELL + (len(heads) - 1) * _GAP
    canvas = np.full((_top(rows) + _MARGIN, width, 3), _PAPER, dtype=np.uint8)
    for column, head in enumerate(heads):
        _write(canvas, head, at=(_left(column), 0), box=(_CELL, _HEAD), colour=_QUIET)
    return canvas


def _cells(row: Row, *, threshold: float) -> list[Image]:
    """The pictures of one row, each at most (_CELL, _CELL, 3)."""
    image = _scaled(row.image)
    hot, found = image.copy(), image
    if row.anomaly_map is not None:
        levels = heat_levels(
            row.anomaly_map,
            threshold=threshold,
            defect_mask=row.defect_mask,
            size=(image.shape[1], image.shape[0]),
        )
        lay_heat(hot, levels, opacity=_OPACITY)
        found = _mark(image, levels >= AT_THRESHOLD, colour=DEFECT)
    truth = np.full_like(image, _BLANK) if row.mask is None else _truth(image, row.mask)
    return [image, hot, found, truth]


def _draw_result(
    canvas: Image, image: Image, column: Column, index: int, *, at: tuple[int, int]
) -> None:
    """An inspector's heat map of an image with its verdict and score below."""
    place, top = at
    result = column.results[index]
    cell = image.copy()
    if result is not None and result.anomaly_map is not None:
        levels = heat_levels(
            result.anomaly_map,
            threshold=column.threshold,
            defect_mask=result.defect_mask,
            size=(cell.shape[1], cell.shape[0]),
        )
        lay_heat(cell, levels, opacity=_OPACITY)
    _place_cell(canvas, cell, column=place, top=top)
    if result is not None:
        score = "no score" if result.score is None else f"{result.score:.4g}"
        _write_verdict(canvas, result.verdict, score, column=place, top=top)


def _truth(image: Image, mask: npt.NDArray[np.bool_]) -> Image:
    size = (image.shape[1], image.shape[0])
    marks = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT)
    return _mark(image, np.asarray(marks > 0), colour=TRUTH)


def _mark(image: Image, area: npt.NDArray[np.bool_], *, colour: Colour) -> Image:
    """A tinted area with a firm outline on a paler image."""
    picture = (image * 0.72 + 255 * 0.28).astype(np.uint8)
    picture[area] = (picture[area] * 0.55 + np.array(colour) * 0.45).astype(np.uint8)
    outline, _ = cv2.findContours(area.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outline, -1, colour, 1, cv2.LINE_AA)
    return picture


def _left(column: int) -> int:
    return _MARGIN + column * (_CELL + _GAP)


def _top(row: int) -> int:
    return _HEAD + row * (_CELL + _CAPTION + _GAP)


def _scaled(image: Image) -> Image:
    """An image so large that it touches the edges of a cell."""
    longest = max(image.shape[:2])
    size = [max(1, round(side * _CELL / longest)) for side in (image.shape[1], image.shape[0])]
    how = cv2.INTER_AREA if longest > _CELL else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)


def _place_cell(canvas: Image, picture: Image, *, column: int, top: int) -> None:
    """Put a picture in the middle of a cell."""
    height, width = picture.shape[:2]
    x = _left(column)
    canvas[top : top + _CELL, x : x + _CELL] = _BLANK
    down, across = top + (_CELL - height) // 2, x + (_CELL - width) // 2
    canvas[down : down + height, across : across + width] = picture
    cv2.rectangle(canvas, (x - 1, top - 1), (x + _CELL, top + _CELL), _LINE, 1)


def _write_verdict(canvas: Image, verdict: Verdict, text: str, *, column: int, top: int) -> None:
    """The verdict on its colour below a cell, and a text beside it."""
    x, y = _left(column), top + _CELL
    width = text_width(verdict.value, _LETTER) + 14
    cv2.rectangle(canvas, (x, y + 7), (x + width, y + 27), VERDICT_COLOURS[verdict], -1)
    _write(canvas, verdict.value, at=(x + 7, y), box=(width, _CAPTION), colour=_PAPER)
    beside = (x + width + 10, y)
    _write(canvas, text, at=beside, box=(_CELL - width - 10, _CAPTION), colour=_INK)


def _draw_legend(canvas: Image, *, threshold: float) -> None:
    """The scale of the heat map, beside its heading."""
    bar, tall = 56, 8
    x = _left(1) + _CELL - bar - 46
    y = (_HEAD - tall) // 2
    levels = np.linspace(0, 255, bar, dtype=np.uint8)[None].repeat(tall, axis=0)
    canvas[y : y + tall, x : x + bar] = heat_colours(levels)
    for value, left in ((0.5 * threshold, x - 44), (1.5 * threshold, x + bar + 6)):
        _write(canvas, f"{value:.2g}", at=(left, 0), box=(42, _HEAD), colour=_QUIET)


def _write(
    canvas: Image, text: str, *, at: tuple[int, int], box: tuple[int, int], colour: Colour
) -> None:
    """Write one line, vertically centred in its box and cut where it would leave it."""
    baseline = at[1] + (box[1] + _LETTER) // 2
    write_text(
        canvas,
        cut_text(text, box[0], _LETTER),
        (at[0], baseline),
        letter=_LETTER,
        colour=colour,
    )
