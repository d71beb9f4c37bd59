"""How ProtoAD makes a score of its map, learnt from held-out good images.

A small defect is the map's highest value, a large faint one lies in the mean of its highest few
per cent, and which of them a product has nobody knows before. So both are looked at:

    score = max_j  m_0 + (t_j − m_j) · d_0 / d_j

t_j is the mean of the highest share j of the values, m_j its median over good images that were
held out, and d_j the median of its distance from there (MAD). Each share is thereby as far from
its good images as the maximum would be (j = 0) at that score: the unit stays that of the map.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from calibrate.images import Size
from engines.score_rule import ScoreRule, ScoreTerm

Score: TypeAlias = Literal["top", "smoothed", "raw"]
SHARES = (0.0, 0.01, 0.02, 0.05)
"""Of the values; 0 is the single highest (docs/measurements.md has the figures)."""
STRIDE = 4  # the smoothed map has a sigma of 4 px: nothing lies between two values that neither has
MAX_COUNT = 3840  # of a row, that TensorRT finds the highest of
MIN_SPREAD = 1e-3  # of another's: a share that hardly varies beside it has no unit
ROUNDING = 1e-4  # of the highest value: what varies by less is alike but for the arithmetic


def rule_to_learn(size: Size) -> ScoreRule:
    """The shares of a map of (height, width), their units not known yet."""
    step = ScoreRule(stride=STRIDE).step
    values = len(range(size[0])[step]) * len(range(size[1])[step])
    counts = {min(MAX_COUNT, max(1, round(share * values))) for share in SHARES}
    return ScoreRule(terms=tuple(ScoreTerm(count=count) for count in sorted(counts)), stride=STRIDE)


def learn_rule(rule: ScoreRule, means: npt.NDArray[np.float64]) -> ScoreRule:
    """Bring the shares to the unit of the first of them.

    Args:
        rule: whose terms' units are learnt.
        means: (n, terms) means of the highest values of good images' maps, held out.

    Returns:
        The rule, without shares that do not vary from one image to another.
    """
    middle = np.median(means, axis=0)
    spread = np.median(np.abs(means - middle), axis=0)
    if spread[0] <= ROUNDING * abs(middle[0]):
        return ScoreRule(terms=rule.terms[:1], stride=rule.stride)
    terms = [rule.terms[0]]
    for term, at, width in zip(rule.terms[1:], middle[1:], spread[1:], strict=True):
        if MIN_SPREAD * spread[0] < width < spread[0] / MIN_SPREAD:
            gain = float(np.float32(spread[0] / width))
            offset = float(np.float32(middle[0] - gain * at))
            terms.append(ScoreTerm(count=term.count, gain=gain, offset=offset))
    return ScoreRule(terms=tuple(terms), stride=rule.stride)
