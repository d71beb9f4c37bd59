"""A result, drawn over its image: heat map, regions, verdict, score."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge.drawing.palette import (
    AT_THRESHOLD,
    DEFECT,
    VERDICT_COLOURS,
    Colour,
    heat_levels,
    lay_heat,
)
from edge.drawing.text import text_width, wrap_text, write_text
from edge.result import DefectMask, Image, Result, Verdict

_WHITE = (255, 255, 255)
_PALE = (214, 214, 214)
_DARK = (30, 27, 24)
_GREY = 88  # of the picture for a frame that was never there
_EMPTY = (360, 640)  # (H, W) of that picture
_BAR_OPACITY = 0.85
_LEFT_OUT = "the image was left out"
_MAX_PNG_SIDE = 1024  # px


@dataclass(frozen=True, slots=True)
class _Style:
    """Sizes in pixels, which follow the picture's size."""

    letter: int  # height of a capital
    stroke: int  # thickness of outlines
    margin: int

    @property
    def bar(self) -> int:
        return self.letter + 4 * self.margin


def draw(result: Result, *, opacity: float = 0.5, rate_hz: float | None = None) -> Image:
    """Return the result's image with everything that an operator has to see.

    The heat map's colours have a fixed meaning, so that pictures compare: none below half the
    pixel threshold, orange at it, full red at one and a half of it. From orange on they are where
    a region counts, and nowhere else. Regions are outlined; what an ignore mask leaves out is
    hatched; a bar shows verdict, score, threshold
    and rate; an ERROR says why.

    Args:
        result: a result; one without an image, such as one that was pickled, is a grey picture
            with its verdict.
        opacity: of the heat map where it is full, 0 to 1.
        rate_hz: frames per second to show; None = not shown.

    Returns:
        (H, W, 3) uint8 BGR, of the image's own size; the result's image is not changed.
    """
    if result.image is None:
        picture = np.full((*_EMPTY, 3), _GREY, np.uint8)
    else:
        picture = result.image.copy()
    height, width = picture.shape[:2]
    letter = max(7, round(min(height, width * 0.75) * 0.03))
    style = _Style(letter=letter, stroke=max(1, round(letter / 6)), margin=max(2, letter // 3))
    if result.image is not None:
        _draw_findings(picture, result, opacity=opacity, style=style)
    _draw_bar(picture, result, rate_hz=rate_hz, style=style)
    if result.verdict is Verdict.ERROR:
        _draw_reason(picture, result.reason, style)
    elif result.image is None:  # where its findings lie, nobody could see
        _draw_reason(picture, _LEFT_OUT, style)
    return picture


def _draw_findings(picture: Image, result: Result, *, opacity: float, style: _Style) -> None:
    _draw_map(picture, result, opacity=opacity, style=style)
    _draw_ignored(picture, result, style)
    if result.defect_mask is None:
        _draw_boxes(picture, result, style)
    if result.roi is not None:
        x, y, across, down = result.roi
        cv2.rectangle(picture, (x, y), (x + across - 1, y + down - 1), _PALE, 1)


def png_from_result(result: Result) -> bytes:
    """The result drawn, as a PNG that a page or a notebook can hold: no side above 1024 px."""
    picture = draw(result)
    scale = _MAX_PNG_SIDE / max(picture.shape[:2])
    if scale < 1:
        size = tuple(max(1, round(side * scale)) for side in picture.shape[1::-1])
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    return bytes(cv2.imencode(".png", picture)[1].tobytes())


def _draw_map(picture: Image, result: Result, *, opacity: float, style: _Style) -> None:
    """Blend the heat map in and outline the regions."""
    x, y, across, down = result.roi or (0, 0, picture.shape[1], picture.shape[0])
    inside = picture[y : y + down, x : x + across]
    if result.anomaly_map is None or inside.size == 0:
        return
    levels = heat_levels(
        result.anomaly_map,
        threshold=result.region_threshold,
        defect_mask=result.defect_mask,
        size=(inside.shape[1], inside.shape[0]),
    )
    lay_heat(inside, levels, opacity=opacity)
    if result.defect_mask is None:
        return
    hot = (levels >= AT_THRESHOLD).astype(np.uint8)
    outlines, _ = cv2.findContours(hot, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if style.stroke > 1:  # a dark rim, so that red is seen on red; it would drown a thin line
        cv2.drawContours(inside, outlines, -1, _DARK, style.stroke + 2, cv2.LINE_AA)
    cv2.drawContours(inside, outlines, -1, DEFECT, style.stroke, cv2.LINE_AA)


def _draw_ignored(picture: Image, result: Result, style: _Style) -> None:
    """Hatch what an ignore mask leaves out."""
    x, y, across, down = result.roi or (0, 0, picture.shape[1], picture.shape[0])
    inside = picture[y : y + down, x : x + across]
    if result.ignored is not None and inside.size:
        hatch(inside, result.ignored, step=3 * style.letter, stroke=style.stroke)


def hatch(picture: Image, mask: DefectMask, *, step: int, stroke: int) -> None:
    """Draw pale diagonals, and an outline, over a part of a picture.

    Args:
        picture: (H, W, 3) uint8 BGR; drawn into.
        mask: (h, w) bool over all of it, True where it is hatched.
        step: px between two diagonals.
        stroke: their width in px.
    """
    height, width = picture.shape[:2]
    covered = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    rows, columns = np.ogrid[:height, :width]
    picture[(covered == 1) & ((rows + columns) % step < stroke)] = _PALE
    outlines, _ = cv2.findContours(
        np.asarray(covered, np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE
    )
    cv2.drawContours(picture, outlines, -1, _PALE, stroke)


def _draw_boxes(picture: Image, result: Result, style: _Style) -> None:
    """Outline regions by their boxes, where nothing says which pixels are in them."""
    for region in result.regions:
        corner = (region.x + region.width - 1, region.y + region.height - 1)
        cv2.rectangle(picture, (region.x, region.y), corner, DEFECT, style.stroke)


def _draw_bar(picture: Image, result: Result, *, rate_hz: float | None, style: _Style) -> None:
    width = picture.shape[1]
    _darken(picture, 0, style.bar)
    baseline = (style.bar + style.letter) // 2
    badge = text_width(result.verdict.value, style.letter) + 4 * style.margin
    colour = VERDICT_COLOURS[result.verdict]
    corner = (style.margin + badge, style.bar - style.margin)
    _rounded(picture, (style.margin, style.margin), corner, colour=colour, radius=style.margin)
    _write(picture, result.verdict.value, (3 * style.margin, baseline), _WHITE, style)
    x = corner[0] + 3 * style.margin
    rate = "" if rate_hz is None else f"{rate_hz:.1f} fps"
    text = _fitting(_score_texts(result), width - x - style.margin, style)
    _write(picture, text, (x, baseline), _WHITE, style)
    right = width - 2 * style.margin - text_width(rate, style.letter)
    if rate and right > x + text_width(text, style.letter) + 3 * style.margin:
        _write(picture, rate, (right, baseline), _PALE, style)


def _score_texts(result: Result) -> list[str]:
    """Return what is said about the score, from the longest to the shortest."""
    threshold = f"{result.threshold:.3f}"
    if result.score is None:
        return ["no score", ""]
    score = f"{result.score:.3f}"
    return [
        f"score {score}    threshold {threshold}",
        f"score {score} / {threshold}",
        f"{score} / {threshold}",
        score,
        "",
    ]


def _draw_reason(picture: Image, reason: str, style: _Style) -> None:
    """Write why nothing can be said: in the middle of an empty picture, else at the bottom."""
    lines = wrap_text(reason, picture.shape[1] - 4 * style.margin, style.letter)
    step = 2 * style.letter
    space = picture.shape[0] - style.bar - 2 * style.margin
    lines = lines[: max(1, space // step)]
    top = picture.shape[0] - len(lines) * step - 2 * style.margin
    _darken(picture, max(style.bar, top), picture.shape[0])
    for number, line in enumerate(lines):
        baseline = top + style.margin + number * step + (step + style.letter) // 2
        _write(picture, line, (2 * style.margin, baseline), _WHITE, style)


def _darken(picture: Image, top: int, bottom: int) -> None:
    rows = picture[top:bottom]
    if rows.size:
        rows[:] = cv2.addWeighted(
            rows, 1 - _BAR_OPACITY, np.full_like(rows, _DARK), _BAR_OPACITY, 0
        )


def _rounded(
    picture: Image,
    start: tuple[int, int],
    end: tuple[int, int],
    *,
    colour: tuple[int, int, int],
    radius: int,
) -> None:
    """Fill a rectangle with round corners."""
    (left, top), (right, bottom) = start, end
    cv2.rectangle(picture, (left + radius, top), (right - radius, bottom), colour, cv2.FILLED)
    cv2.rectangle(picture, (left, top + radius), (right, bottom - radius), colour, cv2.FILLED)
    for x in (left + radius, right - radius):
        for y in (top + radius, bottom - radius):
            cv2.circle(picture, (x, y), radius, colour, cv2.FILLED, cv2.LINE_AA)


def _write(
    picture: Image, text: str, place: tuple[int, int], colour: Colour, style: _Style
) -> None:
    write_text(picture, text, place, letter=style.letter, colour=colour)


def _fitting(texts: list[str], width: int, style: _Style) -> str:
    return next((text for text in texts if text_width(text, style.letter) <= width), "")
