"""Operating points: thresholds that the held-out scores support, and what they do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate.operating_points import (
    LabelledCounts,
    alarm_of_escapes,
    operating_points,
    thresholds_to_compare,
)
from calibrate.threshold import threshold_from_scores


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(5, 1500), other=st.floats(0, 2))
def test_five_to_nine_thresholds_each_once_the_highest_first(seed, count, other) -> None:
    scores = np.random.default_rng(seed).random(count).astype(np.float32)
    if len(np.unique(scores)) < count:
        return
    found = thresholds_to_compare(scores, others=(other,))
    assert 5 <= len(found) <= 9
    assert list(found) == sorted(set(found), reverse=True)
    assert float(np.float32(other)) in found
    points = operating_points(found, scores, recommended=other)
    rejects = [one.held_out_rejects for one in points]
    assert rejects == sorted(rejects)
    marked = [np.float32(one.threshold) for one in points if one.recommended]
    assert marked == [np.float32(other)]
    assert all(one.false_rejects is one.escapes is None for one in points)


def test_the_threshold_that_a_build_sets_is_among_them() -> None:
    scores = np.random.default_rng(0).random(250).astype(np.float32)
    chosen = threshold_from_scores(scores, false_rejects=0.01).value
    found = thresholds_to_compare(scores, others=(chosen,))
    assert len(found) == 7
    assert chosen in thresholds_to_compare(scores)


def test_labelled_images_are_counted_of_those_that_there_are() -> None:
    scores = np.linspace(0, 1, 11, dtype=np.float32)
    counts = LabelledCounts(good=4, defects=5, false_rejects=(0, 2), escapes=(5, 1))
    high, low = operating_points((0.95, 0.45), scores, recommended=0.45, labelled=counts)
    assert (high.held_out_rejects, high.held_out_rate) == (1, 1 / 11)
    assert (low.false_rejects, low.false_reject_rate) == (2, 0.5)
    assert (high.escape_rate, low.escape_rate, low.recommended) == (1.0, 0.2, True)
    no_good = LabelledCounts(good=0, defects=5, false_rejects=(0,), escapes=(5,))
    (only,) = operating_points((0.95,), scores, recommended=0.95, labelled=no_good)
    assert (only.false_rejects, only.false_reject_rate, only.escapes) == (None, None, 5)


@pytest.mark.parametrize(
    ("escapes", "defects", "says"),
    [
        (0, 0, ""),
        (0, 1, ""),
        (4, 9, ""),
        (1, 1, "your only labelled defect passes"),
        (5, 10, "5 of 10 labelled defects pass: the inspector is nearly blind"),
        (9, 9, "all your 9 labelled defects pass"),
    ],
)
def test_half_of_the_defects_that_pass_are_an_alarm(escapes, defects, says) -> None:
    found = alarm_of_escapes(escapes, defects)
    assert says in found and bool(found) == bool(says)
