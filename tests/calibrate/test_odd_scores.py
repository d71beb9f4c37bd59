"""Odd scores: found where there are some, and seldom where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calibrate.odd_scores import FALSE_ALARM, count_odd, most_odd


def ranked(scores: np.ndarray) -> np.ndarray:
    return np.sort(scores.astype(np.float32))[::-1]


@pytest.mark.parametrize("count", [20, 60, 250, 714])
def test_nothing_odd_is_seldom_called_so(count) -> None:
    random = np.random.default_rng(0)
    trials = 600
    for draw, most in (
        (random.exponential, FALSE_ALARM + 3 * (FALSE_ALARM / trials) ** 0.5),
        (random.normal, FALSE_ALARM),
    ):
        found = [count_odd(ranked(draw(size=count))) for _ in range(trials)]
        assert np.count_nonzero(found) / trials <= most


@pytest.mark.parametrize(("count", "odd"), [(20, 1), (60, 1), (60, 3), (250, 1), (714, 7)])
def test_odd_scores_are_counted_and_hide_none(count, odd) -> None:
    random = np.random.default_rng(0)
    right = 0
    for _ in range(200):
        scores = random.normal(size=count)
        scores[:odd] = random.normal(13, 0.7, size=odd)
        right += count_odd(ranked(scores)) == odd
    assert right >= 170


@given(scores=arrays(np.float32, st.integers(2, 200), elements=st.floats(0, 10, width=32)))
def test_few_are_odd_whatever_the_scores(scores) -> None:
    found = count_odd(ranked(scores))
    assert 0 <= found <= most_odd(len(scores)) <= len(scores) / 20
    shifted = count_odd(ranked(scores * np.float32(4)))
    assert shifted == found, "the scale does not matter"


def test_scores_that_are_all_the_same_give_no_scale_to_judge_by() -> None:
    assert count_odd(ranked(np.r_[np.full(39, 0.25), 0.26])) == 0


def test_a_kind_of_good_part_is_not_odd() -> None:
    scores = np.random.default_rng(0).normal(size=200)
    scores[:12] += 12
    assert count_odd(ranked(scores)) == 0
    assert [most_odd(count) for count in (19, 20, 59, 60, 300, 714)] == [0, 1, 2, 3, 3, 7]
