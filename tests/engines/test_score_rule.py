"""How a manifest says what a score is made of."""

from __future__ import annotations

import numpy as np
import pytest

from engines.score_rule import MAXIMUM, ScoreRule, ScoreTerm, means_of_highest, rule_from_kind


@pytest.mark.parametrize("kind", ["smoothed", "raw", "max", "top0", "top41/4"])
def test_a_kind_without_a_number_is_a_maximum(kind) -> None:
    assert rule_from_kind(kind) == MAXIMUM


def test_a_number_is_that_of_the_highest_values() -> None:
    assert rule_from_kind("top100") == ScoreRule(terms=(ScoreTerm(count=100),))


def test_means_are_those_of_the_highest_values() -> None:
    values = np.array([3, 9, 1, 5], np.float32)
    assert means_of_highest(values, [1, 2, 3, 100]).tolist() == [9, 7, 17 / 3, 4.5]


def test_the_score_is_the_highest_term_in_its_unit() -> None:
    rule = ScoreRule(terms=(ScoreTerm(), ScoreTerm(count=2, gain=2.0, offset=-1.0)))
    assert rule.score(np.array([1, 0.5, 0], np.float32)) == 1
    assert rule.score(np.array([3, 3, 0], np.float32)) == 5
