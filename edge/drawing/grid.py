"""A picture grid: image, heat map, what was found and the truth, one row an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from edge.result import AnomalyMap, Image, Result, Verdict

_Pixel = TypeVar("_Pixel", np.uint8, np.float32)

_CELL = 224  # pixels
_GAP = 10
_MARGIN = 20
_HEAD = 38
_CAPTION = 34
_TEXT_ENLARGED = 4  # text is drawn so much larger, then scaled down: smoother letters
# OpenCV 5 writes with a real font, whose thickness is its weight; OpenCV 4 with strokes.
_STROKE = 2 if int(cv2.__version__.split(".")[0]) >= 5 else 5

_PAPER = (255, 255, 255)  # BGR, as all colours here
_INK = (52, 44, 38)
_QUIET = (140, 128, 118)
_LINE = (224, 218, 212)
_VERDICTS = {Verdict.OK: (86, 140, 40), Verdict.NG: (48, 48, 204), Verdict.ERROR: (20, 130, 220)}
_FOUND = (60, 60, 235)
_TRUTH = (90, 190, 60)


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
    """

    image: Image
    anomaly_map: AnomalyMap | None
    mask: npt.NDArray[np.bool_] | None
    title: str
    score: float | None
    verdict: Verdict


def grid(rows: Sequence[Row], *, threshold: float) -> Image:
    """Draw the grid.

    Heat runs from half the threshold, where it is clear, to one and a half times the threshold;
    the scale is the same for every row, so that rows can be compared.

    Args:
        rows: at least one.
        threshold: the score from which an image is NG; above 0.

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
    width = 2 * _MARGIN + len(heads) * _CELL + (len(heads) - 1) * _GAP
    step = _CELL + _CAPTION + _GAP
    canvas = np.full((_HEAD + len(rows) * step + _MARGIN, width, 3), _PAPER, dtype=np.uint8)
    for column, head in enumerate(heads):
        x = _MARGIN + column * (_CELL + _GAP)
        _write(canvas, head, at=(x, 0), box=(_CELL, _HEAD), colour=_QUIET)
    _legend(canvas, threshold=threshold)
    for index, row in enumerate(rows):
        cells = _cells(row, threshold=threshold)
        _place(canvas, row, cells[: len(heads)], top=_HEAD + index * step)
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
        threshold: its own, above 0.
        results: one an image; None where it could not be read.
    """

    name: str
    threshold: float
    results: Sequence[Result | None]


def compared_grid(rows: Sequence[Compared], columns: Sequence[Column]) -> Image:
    """Draw the images, each inspector's heat map of them, and the truth.

    Heat runs from half of each inspector's own threshold to one and a half times it.

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
    heads = ["Image", *(column.name for column in columns), "Truth"]
    width = 2 * _MARGIN + len(heads) * _CELL + (len(heads) - 1) * _GAP
    step = _CELL + _CAPTION + _GAP
    canvas = np.full((_HEAD + len(rows) * step + _MARGIN, width, 3), _PAPER, dtype=np.uint8)
    for place, head in enumerate(heads):
        _write(canvas, head, at=(_left(place), 0), box=(_CELL, _HEAD), colour=_QUIET)
    for index, row in enumerate(rows):
        top = _HEAD + index * step
        blank = np.full((_CELL, _CELL, 3), 244, np.uint8)
        image = blank if row.image is None else _fitted(row.image)
        _place_cell(canvas, image, column=0, top=top)
        below = (_left(0), top + _CELL)
        _write(canvas, row.title, at=below, box=(_CELL, _CAPTION), colour=_INK)
        for place, column in enumerate(columns, start=1):
            _judged(canvas, image, column, index, at=(place, top))
        truth = blank if row.mask is None else _truth(image, row.mask)
        _place_cell(canvas, truth, column=len(columns) + 1, top=top)
    return canvas


def heat(image: Image, *, anomaly_map: AnomalyMap, threshold: float) -> Image:
    """Lay an anomaly map over an image: clear below half the threshold, red at 1.5 times it.

    Args:
        image: (H, W, 3) uint8 BGR.
        anomaly_map: (h, w), stretched to the image.
        threshold: above 0.

    Returns:
        (H, W, 3) uint8 BGR, a new picture.
    """
    size = (image.shape[1], image.shape[0])
    level = cv2.resize(anomaly_map, size, interpolation=cv2.INTER_LINEAR) / threshold - 0.5
    level = np.nan_to_num(np.clip(level, 0, 1), nan=1.0)  # what is not a number is not fine
    colours = cv2.applyColorMap((level * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    share = np.clip(level * 2.4, 0, 0.62)[..., None]
    return np.asarray(image * (1 - share) + colours * share + 0.5, dtype=np.uint8)


def _cells(row: Row, *, threshold: float) -> list[Image]:
    """The pictures of one row, each (_CELL, _CELL, 3)."""
    image = _fitted(row.image)
    if row.anomaly_map is None:
        hot, found = image, image
    else:
        spread = _fitted(row.anomaly_map)
        hot = heat(image, anomaly_map=spread, threshold=threshold)
        found = _marked(image, spread >= threshold, colour=_FOUND)
    truth = np.full_like(image, 244) if row.mask is None else _truth(image, row.mask)
    return [image, hot, found, truth]


def _truth(image: Image, mask: npt.NDArray[np.bool_]) -> Image:
    marks = cv2.resize(
        mask.astype(np.uint8), _inner(mask.shape), interpolation=cv2.INTER_NEAREST_EXACT
    )
    return _marked(image, _centred(np.asarray(marks, np.uint8)) > 0, colour=_TRUTH)


def _judged(
    canvas: Image, image: Image, column: Column, index: int, *, at: tuple[int, int]
) -> None:
    """An inspector's heat map of an image with its verdict and score below."""
    place, top = at
    result = column.results[index]
    cell = image
    if result is not None and result.anomaly_map is not None:
        spread = _fitted(result.anomaly_map)
        cell = heat(image, anomaly_map=spread, threshold=column.threshold)
    _place_cell(canvas, cell, column=place, top=top)
    if result is None:
        return
    badge = _badge(canvas, result.verdict, at=(_left(place), top + _CELL))
    told = "no score" if result.score is None else f"{result.score:.4g}"
    where = (_left(place) + badge + 10, top + _CELL)
    _write(canvas, told, at=where, box=(_CELL - badge - 10, _CAPTION), colour=_INK)


def _left(column: int) -> int:
    return _MARGIN + column * (_CELL + _GAP)


def _place_cell(canvas: Image, cell: Image, *, column: int, top: int) -> None:
    x = _left(column)
    canvas[top : top + _CELL, x : x + _CELL] = cell
    cv2.rectangle(canvas, (x - 1, top - 1), (x + _CELL, top + _CELL), _LINE, 1)


def _badge(canvas: Image, verdict: Verdict, *, at: tuple[int, int]) -> int:
    """The verdict on its colour; returns its width."""
    x, y = at
    width = 64 if verdict is Verdict.ERROR else 38
    cv2.rectangle(canvas, (x, y + 7), (x + width, y + 27), _VERDICTS[verdict], -1)
    _write(canvas, verdict.value, at=(x + 7, y), box=(width, _CAPTION), colour=_PAPER)
    return width


def _inner(shape: tuple[int, ...]) -> tuple[int, int]:
    """(width, height) of an array of this shape, scaled to touch the edges of a cell."""
    scale = _CELL / max(shape[:2])
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def _fitted(pixels: npt.NDArray[_Pixel]) -> npt.NDArray[_Pixel]:
    """Scale an image or a map into a cell, its proportions kept."""
    small = max(pixels.shape[:2]) > _CELL
    how = cv2.INTER_AREA if small and pixels.ndim == 3 else cv2.INTER_LINEAR
    scaled = cv2.resize(pixels, _inner(pixels.shape), interpolation=how)
    return _centred(np.asarray(scaled, dtype=pixels.dtype))


def _centred(pixels: npt.NDArray[_Pixel]) -> npt.NDArray[_Pixel]:
    height, width = pixels.shape[:2]
    cell = np.full((_CELL, _CELL, *pixels.shape[2:]), 244 if pixels.ndim == 3 else 0, pixels.dtype)
    top, left = (_CELL - height) // 2, (_CELL - width) // 2
    cell[top : top + height, left : left + width] = pixels
    return cell


def _marked(image: Image, area: npt.NDArray[np.bool_], *, colour: tuple[int, int, int]) -> Image:
    """A tinted area with a firm outline on a paler image."""
    picture = (image * 0.72 + 255 * 0.28).astype(np.uint8)
    picture[area] = (picture[area] * 0.55 + np.array(colour) * 0.45).astype(np.uint8)
    outline, _ = cv2.findContours(area.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outline, -1, colour, 1, cv2.LINE_AA)
    return picture


def _place(canvas: Image, row: Row, cells: Sequence[Image], *, top: int) -> None:
    for column, cell in enumerate(cells):
        _place_cell(canvas, cell, column=column, top=top)
    below = top + _CELL
    badge = _badge(canvas, row.verdict, at=(_MARGIN, below))
    start = _MARGIN + badge + 10
    room = _CELL - badge - 10
    _write(canvas, row.title, at=(start, below), box=(room, _CAPTION), colour=_INK)
    score = "no score" if row.score is None else f"score {row.score:.4g}"
    second = (_MARGIN + _CELL + _GAP, below)
    _write(canvas, score, at=second, box=(_CELL, _CAPTION), colour=_INK)


def _legend(canvas: Image, *, threshold: float) -> None:
    """The scale of the heat map, beside its heading."""
    bar, tall = 56, 8
    x = _MARGIN + 2 * _CELL + _GAP - bar - 46
    y = (_HEAD - tall) // 2
    level = np.linspace(0, 255, bar, dtype=np.uint8)[None].repeat(tall, axis=0)
    canvas[y : y + tall, x : x + bar] = cv2.applyColorMap(level, cv2.COLORMAP_TURBO)
    for value, left in ((0.5 * threshold, x - 44), (1.5 * threshold, x + bar + 6)):
        _write(canvas, f"{value:.2g}", at=(left, 0), box=(42, _HEAD), colour=_QUIET)


def _write(
    canvas: Image,
    text: str,
    *,
    at: tuple[int, int],
    box: tuple[int, int],
    colour: tuple[int, int, int],
) -> None:
    """Write one line, vertically centred in its box and cut where it would leave it."""
    width, height = box
    big = np.zeros((height * _TEXT_ENLARGED, width * _TEXT_ENLARGED), dtype=np.uint8)
    plain = text.encode("ascii", "replace").decode()
    baseline = round((height / 2 + 5) * _TEXT_ENLARGED)
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.46 * _TEXT_ENLARGED
    cv2.putText(big, plain, (0, baseline), font, scale, 255, _STROKE, cv2.LINE_AA)
    ink = cv2.resize(big, (width, height), interpolation=cv2.INTER_AREA)[..., None] / 255.0
    x, y = at
    part = canvas[y : y + height, x : x + width]
    ink = ink[: part.shape[0], : part.shape[1]]
    part[:] = (part * (1 - ink) + np.array(colour) * ink + 0.5).astype(np.uint8)
