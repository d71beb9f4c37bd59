"""The shares of a map, and the unit that held-out good images give them."""

from __future__ import annotations

import numpy as np
import pytest

from calibrate.protoad.score import MAX_COUNT, learn_rule, rule_to_learn

SIZE = (256, 256)


def test_the_shares_are_of_every_fourth_value() -> None:
    rule = rule_to_learn(SIZE)
    assert (rule.counts, rule.stride) == ((1, 41, 82, 205), 4)


def test_no_share_is_more_than_tensorrt_finds() -> None:
    assert max(rule_to_learn((2048, 2048)).counts) == MAX_COUNT


def test_of_a_small_map_no_share_is_looked_at_twice() -> None:
    assert rule_to_learn((32, 32)).counts == (1, 3)


def test_a_usual_good_image_has_the_same_score_by_each_share() -> None:
    means = np.random.default_rng(0).normal([5, 3, 2, 1], [1, 0.5, 0.2, 0.1], (500, 4))
    rule = learn_rule(rule_to_learn(SIZE), means)
    middle, spread = np.median(means, 0), np.median(np.abs(means - np.median(means, 0)), 0)
    scores = [t.gain * m + t.offset for t, m in zip(rule.terms, middle, strict=True)]
    assert scores == pytest.approx([middle[0]] * 4, abs=1e-4)
    far = [t.gain * m + t.offset for t, m in zip(rule.terms, middle + 7 * spread, strict=True)]
    assert far == pytest.approx([middle[0] + 7 * spread[0]] * 4, abs=1e-4)


def test_shares_that_never_vary_are_left_out() -> None:
    means = np.random.default_rng(0).random((50, 4))
    means[:, 2] = 0.5
    rule = learn_rule(rule_to_learn(SIZE), means)
    assert rule.counts == (1, 41, 205)
    alike = np.ones((50, 4)) + np.random.default_rng(0).normal(0, 1e-8, (50, 4))
    assert learn_rule(rule_to_learn(SIZE), alike).counts == (1,)
    hardly = means * [1e-3, 1, 1e3, 1e-5] + 0.1
    (_, gain) = [term.gain for term in learn_rule(rule_to_learn(SIZE), hardly).terms]
    assert 1e-3 < gain < 1e3
