"""The scores of good and defective images as a histogram with the threshold, in SVG."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_WIDTH, _HEIGHT = 460, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 12, 12, 40, 24
_BINS = 44


def score_chart(good: Sequence[float], defects: Sequence[float], *, threshold: float) -> str:
    """Draw the histogram as one ``<svg>`` element.

    Bars show the share of each group, so that few defects compare with many good images. Scores
    that are not finite cannot be drawn and are counted in the caption.

    Args:
        good: scores of good images.
        defects: scores of defective images; may be empty.
        threshold: drawn as a line; finite.

    Returns:
        SVG whose colours come from the page's classes; empty text when there is no score.
    """
    groups = [np.asarray(scores, dtype=np.float64) for scores in (good, defects)]
    finite = [scores[np.isfinite(scores)] for scores in groups]
    lost = sum(scores.size for scores in groups) - sum(scores.size for scores in finite)
    if not any(scores.size for scores in finite):
        return ""
    edges = _edges(np.concatenate([*finite, [threshold]]))
    shares = [
        np.histogram(scores, bins=edges)[0] / scores.size if scores.size else np.zeros(_BINS)
        for scores in finite
    ]
    highest = max(float(share.max()) for share in shares)
    parts = [
        _bars(shares[0], highest, kind="good"),
        _bars(shares[1], highest, kind="bad"),
        _axis(edges),
        _threshold(_position(threshold, edges), threshold),
        _key(finite[0].size, finite[1].size, lost=lost),
    ]
    label = f"scores of {finite[0].size} good and {finite[1].size} defect images"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}, '
        f'threshold {threshold:.4g}">{"".join(parts)}</svg>'
    )


def _edges(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    low, high = float(values.min()), float(values.max())
    margin = 0.04 * (high - low) or max(abs(high) * 0.05, 1e-6)
    return np.linspace(low - margin, high + margin, _BINS + 1)


def _position(value: float, edges: npt.NDArray[np.float64]) -> float:
    share = (value - edges[0]) / (edges[-1] - edges[0])
    return float(_LEFT + share * (_WIDTH - _LEFT - _RIGHT))


def _bars(shares: npt.NDArray[np.float64], highest: float, *, kind: str) -> str:
    width = (_WIDTH - _LEFT - _RIGHT) / _BINS
    tall = _HEIGHT - _TOP - _BOTTOM
    bars = []
    for index in np.flatnonzero(shares):
        height = max(1.5, tall * float(shares[index]) / highest)
        x, y = _LEFT + index * width, _HEIGHT - _BOTTOM - height
        bars.append(
            f'<rect class="bar {kind}" x="{x + 0.5:.1f}" y="{y:.1f}" '
            f'width="{width - 1:.1f}" height="{height:.1f}"/>'
        )
    return "".join(bars)


def _axis(edges: npt.NDArray[np.float64]) -> str:
    y = _HEIGHT - _BOTTOM
    line = f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
    ticks = []
    for value, anchor in (
        (edges[0], "start"),
        ((edges[0] + edges[-1]) / 2, "middle"),
        (edges[-1], "end"),
    ):
        x = _position(float(value), edges)
        ticks.append(f'<text x="{x:.1f}" y="{y + 15}" text-anchor="{anchor}">{value:.3g}</text>')
    return line + "".join(ticks)


def _threshold(x: float, threshold: float) -> str:
    anchor, gap = ("end", -5) if x > _WIDTH * 0.6 else ("start", 5)
    return (
        f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="22" y2="{_HEIGHT - _BOTTOM}"/>'
        f'<text class="strong" x="{x + gap:.1f}" y="31" text-anchor="{anchor}">'
        f"NG from {threshold:.4g}</text>"
    )


def _key(good: int, defects: int, *, lost: int) -> str:
    entries = [("good", f"{good} good")] + ([("bad", f"{defects} defects")] if defects else [])
    x, parts = _LEFT, []
    for kind, text in entries:
        parts.append(f'<rect class="{kind}" x="{x}" y="4" width="10" height="10" rx="2"/>')
        parts.append(f'<text x="{x + 15}" y="13">{text}</text>')
        x += 95
    if lost:
        parts.append(f'<text x="{x}" y="13">{lost} without a finite score</text>')
    end = _WIDTH - _RIGHT
    parts.append(f'<text x="{end}" y="13" text-anchor="end">share of images by score</text>')
    return "".join(parts)
