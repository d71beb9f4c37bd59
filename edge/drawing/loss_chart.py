"""A training's loss by step, and what its validations found, in SVG."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_WIDTH, _HEIGHT = 460, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 34, 26, 24
_POINTS = 200  # means of as many parts of the training: single steps are noise


def loss_chart(losses: Sequence[float], validations: Sequence[tuple[int, float | None]]) -> str:
    """Draw both as one ``<svg>`` element, the loss on a logarithmic scale.

    Args:
        losses: of every step; those that are not finite or not above 0 are left out.
        validations: (step, figure from 0 to 1); None is left out.

    Returns:
        SVG whose colours come from the page's classes; empty text when there is no loss.
    """
    values = np.asarray(losses, np.float64)
    if not len(values):
        return ""
    parts = np.array_split(np.arange(len(values)), min(_POINTS, len(values)))
    points = [(float(part[-1] + 1), _mean(values[part])) for part in parts]
    points = [(step, value) for step, value in points if value > 0]
    if not points:
        return ""
    low, high = _decades([value for _, value in points])
    steps = len(values)
    curve = [
        (_x(step, steps), _y((np.log10(value) - low) / (high - low))) for step, value in points
    ]
    figures = [
        (_x(step, steps), _y(min(max(value, 0.0), 1.0)))
        for step, value in validations
        if value is not None and np.isfinite(value)
    ]
    drawn = [_axes(low, high, steps), _line(curve, kind="loss")]
    if figures:
        drawn += [_line(figures, kind="figure"), _figure_axis()]
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="loss of {steps} steps">{"".join(drawn)}</svg>'
    )


def _mean(values: npt.NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else 0.0


def _decades(values: Sequence[float]) -> tuple[float, float]:
    """Logarithms of the scale's ends: whole decades, at least one."""
    low = float(np.floor(np.log10(min(values))))
    return low, max(low + 1, float(np.ceil(np.log10(max(values)))))


def _x(step: float, steps: int) -> float:
    return _LEFT + step / steps * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return float(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM))


def _line(points: Sequence[tuple[float, float]], *, kind: str) -> str:
    way = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="{kind}" points="{way}"></polyline>'


def _axes(low: float, high: float, steps: int) -> str:
    drawn = ['<text x="4" y="14">loss</text>']
    for decade in range(int(low), int(high) + 1):
        y = _y((decade - low) / (high - low))
        drawn.append(
            f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        drawn.append(
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**decade:g}</text>'
        )
    last = _WIDTH - _RIGHT
    drawn.append(f'<text x="{_LEFT}" y="{_HEIGHT - 8}">0</text>')
    drawn.append(f'<text x="{last}" y="{_HEIGHT - 8}" text-anchor="end">{steps} steps</text>')
    return "".join(drawn)


def _figure_axis() -> str:
    right = _WIDTH - _RIGHT
    labels = "".join(f'<text x="{right + 5}" y="{_y(v) + 4:.1f}">{v:g}</text>' for v in (0, 0.5, 1))
    title = "dashed: pixel AP on held-out images with synthesised defects"
    return f'{labels}<text x="{right}" y="14" text-anchor="end">{title}</text>'
