"""The score of a map where some of it does not count."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge.inspection.map_score import score_from_map
from engines.score_rule import ScoreRule, ScoreTerm

MAPS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    elements=st.floats(0, 1, width=32),
)
TERMS = st.builds(
    ScoreTerm,
    count=st.sampled_from([1, 5, 100]),
    gain=st.sampled_from([1.0, 2.5]),
    offset=st.sampled_from([0.0, -0.25]),
)
RULES = st.builds(
    ScoreRule,
    terms=st.lists(TERMS, min_size=1, max_size=3).map(tuple),
    stride=st.sampled_from([1, 4]),
)


@settings(deadline=None)
@given(MAPS, RULES)
def test_a_mask_that_hides_nothing_changes_nothing(anomaly_map, rule) -> None:
    everywhere = np.ones(anomaly_map.shape, bool)
    found = score_from_map(anomaly_map, rule, counted=everywhere)
    assert found == score_from_map(anomaly_map, rule)


@settings(deadline=None)
@given(MAPS, RULES, st.data())
def test_what_does_not_count_does_not_matter(anomaly_map, rule, data) -> None:
    counted = data.draw(hnp.arrays(bool, anomaly_map.shape).filter(np.any))
    found = score_from_map(anomaly_map, rule, counted=counted)
    assert found == score_from_map(np.where(counted, anomaly_map, 9), rule, counted=counted)


@settings(deadline=None)
@given(MAPS, RULES)
def test_the_highest_value_reaches_the_mean_of_the_term_that_decided(anomaly_map, rule) -> None:
    """So an NG always has a place where its region begins."""
    score = score_from_map(anomaly_map, rule)
    lowest = min(term.mean_at(score) for term in rule.terms)
    assert anomaly_map.max() >= lowest - 1e-5


def test_a_mask_does_not_change_what_the_score_means() -> None:
    """Half of a map whose halves are alike has the score of the whole."""
    half = np.random.default_rng(0).random((256, 128), np.float32)
    rule = ScoreRule(terms=(ScoreTerm(count=41),), stride=4)
    left = np.zeros((256, 256), bool)
    left[:, :128] = True
    whole = score_from_map(np.hstack([half, half]), rule)
    masked = score_from_map(np.hstack([half, half + 9]), rule, counted=left)
    assert masked == pytest.approx(whole, abs=1e-3)
    highest = np.sort(half[2::4, 2::4], axis=None)[-20:]
    assert whole == pytest.approx(highest.mean(), abs=1e-3)
