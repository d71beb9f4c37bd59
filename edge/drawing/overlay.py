"""A result, drawn over its image: heat map, regions, verdict, score."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge.result import Image, Result, Verdict

_COLOURS = {  # BGR
    Verdict.OK: (74, 153, 34),
    Verdict.NG: (52, 44, 208),
    Verdict.ERROR: (16, 132, 232),
}
_WHITE = (255, 255, 255)
_PALE = (214, 214, 214)
_DARK = (30, 27, 24)
_GREY = 88  # of the picture for a frame that was never there
_EMPTY = (360, 640)  # (H, W) of that picture
_FONT = cv2.FONT_HERSHEY_DUPLEX
_FONT_HEIGHT = 21.0  # pixels of this font's capital letters at scale 1
_BAR_OPACITY = 0.85
# OpenCV 5 writes with a real font, whose thickness is its weight; OpenCV 4 with strokes.
_LETTERS_PER_STROKE = 30 if int(cv2.__version__.split(".")[0]) >= 5 else 11
_LOW, _HIGH = 0.5, 1.5  # in thresholds: where the heat map begins, and where it is full
_AT_THRESHOLD = 128  # of the 8-bit heat map: the middle of the above


@dataclass(frozen=True, slots=True)
class _Style:
    """Sizes in pixels, which follow the picture's size."""

    letter: int  # height of a capital
    stroke: int  # thickness of outlines
    margin: int

    @property
    def scale(self) -> float:
        return self.letter / _FONT_HEIGHT

    @property
    def weight(self) -> int:
        """Thickness of the letters' lines."""
        return max(1, round(self.letter / _LETTERS_PER_STROKE))

    @property
    def bar(self) -> int:
        return self.letter + 4 * self.margin


def draw(result: Result, *, opacity: float = 0.5, rate_hz: float | None = None) -> Image:
    """Return the result's image with everything that an operator has to see.

    The heat map's colours have a fixed meaning, so that pictures compare: none below half the
    threshold, full at one and a half of it. Regions are outlined; a bar shows verdict, score,
    threshold and rate; an ERROR says why.

    Args:
        result: a result; one without an image is drawn on grey.
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
    if result.anomaly_map is not None and result.threshold > 0:
        _draw_map(picture, result, opacity=opacity, style=style)
    elif result.regions:
        _draw_boxes(picture, result, style)
    if result.roi is not None:
        x, y, across, down = result.roi
        cv2.rectangle(picture, (x, y), (x + across - 1, y + down - 1), _PALE, 1)
    _draw_bar(picture, result, rate_hz=rate_hz, style=style)
    if result.verdict is Verdict.ERROR:
        _draw_reason(picture, result.reason, style)
    return picture


def _draw_map(picture: Image, result: Result, *, opacity: float, style: _Style) -> None:
    """Blend the heat map in and outline the regions, touching only where there is heat."""
    if result.anomaly_map is None:
        return
    x, y, across, down = result.roi or (0, 0, picture.shape[1], picture.shape[0])
    inside = picture[y : y + down, x : x + across]
    if inside.size == 0:
        return
    # A score that is not finite, or a threshold of next to nothing, is no reason not to draw.
    with np.errstate(all="ignore"):
        relative = np.nan_to_num(result.anomaly_map / np.float32(result.threshold), posinf=_HIGH)
    level = np.clip((relative - _LOW) / (_HIGH - _LOW), 0.0, 1.0) * 255
    heat = cv2.resize(
        np.rint(level).astype(np.uint8),
        (inside.shape[1], inside.shape[0]),
        interpolation=cv2.INTER_LINEAR,
    )
    left, top, wide, high = cv2.boundingRect(heat)
    if wide == 0 or high == 0:
        return
    spot = inside[top : top + high, left : left + wide]
    hot = heat[top : top + high, left : left + wide]
    weight = cv2.LUT(hot, _weights(opacity))
    colours = cv2.applyColorMap(hot, _HEAT)
    spot[:] = cv2.blendLinear(colours, np.ascontiguousarray(spot), weight, 1 - weight)
    outlines, _ = cv2.findContours(
        (hot >= _AT_THRESHOLD).astype(np.uint8),
        cv2.RETR_EXTERNAL,
        cv2.CHAIN_APPROX_SIMPLE,
        offset=(left, top),
    )
    kept = [line for line in outlines if _is_in_region(line, result, (x, y))]
    if style.stroke > 1:  # a dark rim, so that red is seen on red; it would drown a thin line
        cv2.drawContours(inside, kept, -1, _DARK, style.stroke + 2, cv2.LINE_AA)
    cv2.drawContours(inside, kept, -1, _COLOURS[Verdict.NG], style.stroke, cv2.LINE_AA)


def _is_in_region(outline: npt.NDArray[np.int32], result: Result, origin: tuple[int, int]) -> bool:
    """Tell whether an outline belongs to a region that counts, not to an ignored or small one."""
    left, top, wide, high = cv2.boundingRect(outline)
    left, top = left + origin[0], top + origin[1]
    return any(
        left < region.x + region.width
        and region.x < left + wide
        and top < region.y + region.height
        and region.y < top + high
        for region in result.regions
    )


def _draw_boxes(picture: Image, result: Result, style: _Style) -> None:
    """Outline regions by their boxes, where there is no map to outline them by."""
    for region in result.regions:
        corner = (region.x + region.width - 1, region.y + region.height - 1)
        cv2.rectangle(picture, (region.x, region.y), corner, _COLOURS[Verdict.NG], style.stroke)


def _draw_bar(picture: Image, result: Result, *, rate_hz: float | None, style: _Style) -> None:
    width = picture.shape[1]
    _darken(picture, 0, style.bar)
    baseline = (style.bar + style.letter) // 2
    badge = _width(result.verdict.value, style) + 4 * style.margin
    colour = _COLOURS[result.verdict]
    corner = (style.margin + badge, style.bar - style.margin)
    _rounded(picture, (style.margin, style.margin), corner, colour=colour, radius=style.margin)
    _write(picture, result.verdict.value, (3 * style.margin, baseline), _WHITE, style)
    x = corner[0] + 3 * style.margin
    rate = "" if rate_hz is None else f"{rate_hz:.1f} fps"
    text = _fitting(_score_texts(result), width - x - style.margin, style)
    _write(picture, text, (x, baseline), _WHITE, style)
    right = width - 2 * style.margin - _width(rate, style)
    if rate and right > x + _width(text, style) + 3 * style.margin:
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
    lines = _wrapped(reason, picture.shape[1] - 4 * style.margin, style)
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
    picture: Image, text: str, place: tuple[int, int], colour: tuple[int, int, int], style: _Style
) -> None:
    cv2.putText(picture, text, place, _FONT, style.scale, colour, style.weight, cv2.LINE_AA)


def _width(text: str, style: _Style) -> int:
    return int(cv2.getTextSize(text, _FONT, style.scale, style.weight)[0][0]) if text else 0


def _fitting(texts: list[str], width: int, style: _Style) -> str:
    return next((text for text in texts if _width(text, style) <= width), "")


def _wrapped(text: str, width: int, style: _Style) -> list[str]:
    """Break text into lines of at most `width` pixels."""
    lines: list[str] = []
    for word in text.split():
        for piece in _pieces(word, width, style):
            longer = f"{lines[-1]} {piece}" if lines else piece
            if lines and _width(longer, style) <= width:
                lines[-1] = longer
            else:
                lines.append(piece)
    return lines


def _pieces(word: str, width: int, style: _Style) -> list[str]:
    """Cut a word that is wider than a line, such as a path, into pieces that fit."""
    pieces = [""]
    for letter in word:
        if pieces[-1] and _width(pieces[-1] + letter, style) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces


def _weights(opacity: float) -> npt.NDArray[np.float32]:
    """Return the heat map's opacity for each of its 256 levels: it fades in, without an edge."""
    level = np.linspace(0.0, 1.0, 256, dtype=np.float32)
    eased = level * level * (3 - 2 * level)
    return np.asarray(np.clip(opacity, 0.0, 1.0) * np.sqrt(eased), np.float32)


def _heat_colours() -> npt.NDArray[np.uint8]:
    """Return (256, 1, 3) BGR: yellow, orange at the threshold, red, each distinct in grey too."""
    stops = np.array([0, 96, 160, 255], np.float32)
    channels = [(90, 40, 30, 40), (235, 190, 110, 0), (255, 255, 250, 190)]
    levels = np.arange(256, dtype=np.float32)
    ramps = [np.interp(levels, stops, np.array(channel, np.float32)) for channel in channels]
    return np.stack(ramps, axis=-1).astype(np.uint8)[:, None, :]


_HEAT = _heat_colours()
