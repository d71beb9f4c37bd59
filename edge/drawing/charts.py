"""Charts in SVG: scores with the threshold, what others would do, and a training's loss.

Colours come from the page's classes: ``good``, ``bad``, ``axis``, ``mark``, ``loss``, ``figure``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_WIDTH, _HEIGHT = 460, 190
_BOTTOM = 24
_BINS = 44
_MOST_REJECTS = 0.1  # of the good images: nobody wants more
_POINTS = 200  # means of as many parts of the training: single steps are noise


@dataclass(frozen=True, slots=True)
class _Axes:
    """Where values lie in the chart.

    Attributes:
        left, right, top: free pixels beside and above what is drawn.
        low, high: values at the left and at the right end.
    """

    left: int
    right: int
    top: int
    low: float
    high: float

    def x(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return float(self.left + share * (_WIDTH - self.left - self.right))

    def y(self, share: float) -> float:
        """Of a share of the height, from the bottom."""
        return float(_HEIGHT - _BOTTOM - share * (_HEIGHT - self.top - _BOTTOM))

    def rule(self, share: float) -> str:
        """A horizontal line."""
        y = f"{self.y(share):.1f}"
        return f'<line class="axis" x1="{self.left}" x2="{_WIDTH - self.right}" y1="{y}" y2="{y}"/>'


def score_chart(good: Sequence[float], defects: Sequence[float], *, threshold: float) -> str:
    """Draw the scores of good and defective images as a histogram with the threshold.

    Bars show the share of each group, so that few defects compare with many good images. Scores
    that are not finite cannot be drawn and are counted in the caption.

    Args:
        good: scores of good images.
        defects: scores of defective images; may be empty.
        threshold: drawn as a line; finite.

    Returns:
        One ``<svg>`` element; empty text when there is no score.
    """
    groups = [np.asarray(scores, dtype=np.float64) for scores in (good, defects)]
    finite = [scores[np.isfinite(scores)] for scores in groups]
    lost = sum(scores.size for scores in groups) - sum(scores.size for scores in finite)
    if not any(scores.size for scores in finite):
        return ""
    values = np.concatenate([*finite, [threshold]])
    low, high = float(values.min()), float(values.max())
    margin = 0.04 * (high - low) or max(abs(high) * 0.05, 1e-6)
    axes = _Axes(12, 12, 40, low - margin, high + margin)
    edges = np.linspace(axes.low, axes.high, _BINS + 1)
    shares = [
        np.histogram(scores, bins=edges)[0] / scores.size if scores.size else np.zeros(_BINS)
        for scores in finite
    ]
    highest = max(float(share.max()) for share in shares)
    counts = (finite[0].size, finite[1].size)
    return _svg(
        f"scores of {counts[0]} good and {counts[1]} defect images, threshold {threshold:.4g}",
        _bars(axes, edges, shares[0] / highest, kind="good"),
        _bars(axes, edges, shares[1] / highest, kind="bad"),
        axes.rule(0),
        *(
            _text(axes.x(value), _HEIGHT - 9, f"{value:.3g}", anchor=anchor)
            for value, anchor in (
                (axes.low, "start"),
                ((axes.low + axes.high) / 2, "middle"),
                (axes.high, "end"),
            )
        ),
        _threshold_mark(axes.x(threshold), threshold),
        _key(*counts, lost=lost, left=axes.left, right=_WIDTH - axes.right),
    )


def trade_off_chart(
    good: Sequence[float], defects: Sequence[float], *, threshold: float, others: Sequence[float]
) -> str:
    """Draw which share of defects passes for which share of good images that is rejected.

    Scores alone decide here; a smallest area is left out.

    Args:
        good: scores of labelled images; those that are not finite are left out.
        defects: likewise.
        threshold: marked.
        others: marked less.

    Returns:
        One ``<svg>`` element; empty text without good or without defective images.
    """
    groups = [np.asarray(scores, np.float32) for scores in (good, defects)]
    sound, bad = (np.sort(scores[np.isfinite(scores)]) for scores in groups)
    if not sound.size or not bad.size:
        return ""
    axes = _Axes(44, 12, 24, 0, _MOST_REJECTS)

    def place(value: float) -> tuple[float, float]:
        rejects = 1 - np.searchsorted(sound, np.float32(value)) / sound.size
        escapes = np.searchsorted(bad, np.float32(value)) / bad.size
        return axes.x(min(float(rejects), _MOST_REJECTS)), axes.y(float(escapes))

    above = float(np.nextafter(max(sound[-1], bad[-1]), np.float32(np.inf)))
    lowest = sound[-1 - int(_MOST_REJECTS * sound.size)]
    values = np.unique(np.concatenate([sound, bad]))[::-1]
    curve = [place(value) for value in (above, *values[values >= lowest])]
    shares = ((0.0, "0"), (0.5, "50 %"), (1.0, "100 %"))
    rates = ((0.0, "0", "start"), (0.5, "5 %", "middle"), (1.0, "10 % rejected", "end"))
    return _svg(
        f"escapes against false rejects of {sound.size} good and {bad.size} defect images",
        _text(4, 13, "defects that pass"),
        *(axes.rule(share) for share, _ in shares),
        *(_text(axes.left - 6, axes.y(share) + 4, text, anchor="end") for share, text in shares),
        *(
            _text(axes.x(share * _MOST_REJECTS), _HEIGHT - 8, text, anchor=anchor)
            for share, text, anchor in rates
        ),
        _line(curve, kind="loss"),
        *(_dot(place(value), radius=2.5, kind="good") for value in others),
        _dot(place(threshold), radius=5, kind="bad"),
    )


def loss_chart(losses: Sequence[float], validations: Sequence[tuple[int, float | None]]) -> str:
    """Draw a training's loss by step on a logarithmic scale, and what its validations found.

    Args:
        losses: of every step; those that are not finite or not above 0 are left out.
        validations: (step, figure from 0 to 1); None is left out.

    Returns:
        One ``<svg>`` element; empty text when there is no loss.
    """
    values = np.asarray(losses, np.float64)
    if not len(values):
        return ""
    parts = np.array_split(np.arange(len(values)), min(_POINTS, len(values)))
    points = [(float(part[-1] + 1), _mean_of_finite(values[part])) for part in parts]
    points = [(step, value) for step, value in points if value > 0]
    if not points:
        return ""
    low, high = _decades([value for _, value in points])
    steps = len(values)
    axes = _Axes(52, 34, 26, 0, steps)
    curve = [
        (axes.x(step), axes.y((np.log10(value) - low) / (high - low))) for step, value in points
    ]
    figures = [
        (axes.x(step), axes.y(min(max(value, 0.0), 1.0)))
        for step, value in validations
        if value is not None and np.isfinite(value)
    ]
    right = _WIDTH - axes.right
    return _svg(
        f"loss of {steps} steps",
        _text(4, 14, "loss"),
        *(
            axes.rule(share) + _text(axes.left - 6, axes.y(share) + 4, f"{value:g}", anchor="end")
            for share, value in (
                ((decade - low) / (high - low), 10.0**decade)
                for decade in range(int(low), int(high) + 1)
            )
        ),
        _text(axes.left, _HEIGHT - 8, "0"),
        _text(right, _HEIGHT - 8, f"{steps} steps", anchor="end"),
        _line(curve, kind="loss"),
        *([_line(figures, kind="figure"), _figure_axis(axes, right)] if figures else []),
    )


def detection_chart(
    sizes: Sequence[float], clear: Sequence[float | None], faint: Sequence[float | None]
) -> str:
    """Draw the share of drawn defects that is found, by their size on a logarithmic scale.

    Args:
        sizes: in px, rising, above 0.
        clear: share found of the clear ones of each size; None is left out.
        faint: likewise of the faint ones.

    Returns:
        One ``<svg>`` element; empty text for fewer than two sizes.
    """
    if len(sizes) < 2:
        return ""
    axes = _Axes(40, 16, 26, float(np.log(sizes[0])), float(np.log(sizes[-1])))
    at = [axes.x(float(np.log(size))) for size in sizes]

    def curve(shares: Sequence[float | None], kind: str) -> str:
        points = [
            (x, axes.y(share)) for x, share in zip(at, shares, strict=True) if share is not None
        ]
        return _line(points, kind=kind) if points else ""

    right = _WIDTH - axes.right
    return _svg(
        f"share found of drawn defects from {sizes[0]:.0f} to {sizes[-1]:.0f} px",
        *(
            axes.rule(share) + _text(axes.left - 6, axes.y(share) + 4, f"{share:.0%}", anchor="end")
            for share in (0, 0.5, 1)
        ),
        *(
            _text(x, _HEIGHT - 8, f"{size:.0f} px", anchor="end" if x == at[-1] else "middle")
            for x, size in zip(at, sizes, strict=True)
        ),
        curve(clear, "loss"),
        curve(faint, "figure"),
        _text(right, 14, "share found by size; dashed: faint ones", anchor="end"),
    )


def _svg(label: str, *parts: str) -> str:
    head = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
    return f"{head}{''.join(parts)}</svg>"


def _text(x: float, y: float, text: str, *, anchor: str = "start", kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text{style} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def _bars(
    axes: _Axes, edges: npt.NDArray[np.float64], shares: npt.NDArray[np.float64], *, kind: str
) -> str:
    bars = []
    for index in np.flatnonzero(shares):
        left, right = axes.x(edges[index]) + 0.5, axes.x(edges[index + 1]) - 0.5
        y = min(axes.y(float(shares[index])), axes.y(0) - 1.5)
        bars.append(
            f'<rect class="bar {kind}" x="{left:.1f}" y="{y:.1f}" '
            f'width="{right - left:.1f}" height="{axes.y(0) - y:.1f}"/>'
        )
    return "".join(bars)


def _threshold_mark(x: float, threshold: float) -> str:
    anchor, gap = ("end", -5) if x > _WIDTH * 0.6 else ("start", 5)
    line = f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="22" y2="{_HEIGHT - _BOTTOM}"/>'
    return line + _text(x + gap, 31, f"NG from {threshold:.4g}", anchor=anchor, kind="strong")


def _key(good: int, defects: int, *, lost: int, left: int, right: int) -> str:
    entries = [("good", f"{good} good")] + ([("bad", f"{defects} defects")] if defects else [])
    x, parts = left, []
    for kind, text in entries:
        parts.append(f'<rect class="{kind}" x="{x}" y="4" width="10" height="10" rx="2"/>')
        parts.append(_text(x + 15, 13, text))
        x += 95
    if lost:
        parts.append(_text(x, 13, f"{lost} without a finite score"))
    return "".join(parts) + _text(right, 13, "share of images by score", anchor="end")


def _mean_of_finite(values: npt.NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else 0.0


def _decades(values: Sequence[float]) -> tuple[float, float]:
    """Logarithms of the scale's ends: whole decades, at least one."""
    low = float(np.floor(np.log10(min(values))))
    return low, max(low + 1, float(np.ceil(np.log10(max(values)))))


def _line(points: Sequence[tuple[float, float]], *, kind: str) -> str:
    way = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="{kind}" points="{way}"></polyline>'


def _dot(at: tuple[float, float], *, radius: float, kind: str) -> str:
    return f'<circle class="{kind}" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius}"/>'


def _figure_axis(axes: _Axes, right: int) -> str:
    labels = "".join(_text(right + 5, axes.y(value) + 4, f"{value:g}") for value in (0, 0.5, 1))
    title = "dashed: pixel AP on held-out images with synthesised defects"
    return labels + _text(right, 14, title, anchor="end")
