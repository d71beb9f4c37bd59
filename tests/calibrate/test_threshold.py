"""The threshold and its bound: against SciPy's exact test, and against the truth by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from calibrate.odd_scores import count_odd
from calibrate.threshold import (
    LARGE_GAP,
    RateError,
    images_needed,
    raise_above_learnt,
    reaches,
    require_support,
    threshold_from_scores,
    upper_bound,
)

DISTRIBUTIONS = {
    "normal": stats.norm(0.1, 0.01),
    "exponential": stats.expon(0.08, 0.005),
    "uniform": stats.uniform(0.05, 0.1),
    "heavy tail": stats.t(4, 0.1, 0.01),
}


def drawn(name: str, count: int, *, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return DISTRIBUTIONS[name].rvs(count, random_state=random).astype(np.float32)


@settings(deadline=None, max_examples=150)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(2, 3000), rate=st.floats(1e-4, 0.5))
def test_as_many_images_reach_it_as_the_rate_allows(seed, count, rate) -> None:
    scores = np.unique(np.random.default_rng(seed).random(count).astype(np.float32))
    if len(scores) < 2:
        return
    np.random.default_rng(seed).shuffle(scores)
    found = threshold_from_scores(scores, false_rejects=rate)
    allowed = math.floor((len(scores) - found.odd) * rate + 1e-9)
    above = int((scores >= np.float32(found.value)).sum())
    assert above == found.rejected
    assert found.held_out == len(scores)
    if allowed:
        assert (found.method, above) == ("order statistic", allowed + found.odd)
    else:
        assert found.method == "highest scores"
        highest = np.sort(scores)[::-1][found.odd]
        assert scores.min() < found.value <= np.nextafter(highest, np.float32(1))
    assert found.value == float(np.float32(found.value)), "the engine's scores are float32"
    assert (found.images_to_prove is None) == (found.bound <= rate)
    assert bool(found.warning) == (found.bound >= LARGE_GAP * rate)


def test_equal_scores_never_reject_more_than_allowed() -> None:
    scores = np.full(500, 0.25, np.float32)
    found = threshold_from_scores(scores, false_rejects=0.05)
    assert found.value == np.nextafter(np.float32(0.25), np.float32(1))
    assert found.rejected == 0
    found = threshold_from_scores(scores[:5], false_rejects=0.001)
    assert found.method == "highest scores"
    assert found.value > 0.25


@settings(deadline=None, max_examples=150)
@given(
    trials=st.integers(1, 5000),
    share=st.floats(0, 1),
    confidence=st.sampled_from([0.9, 0.95, 0.99]),
)
def test_the_bound_is_scipys_exact_one(trials, share, confidence) -> None:
    events = round(share * trials)
    exact = stats.binomtest(events, trials, alternative="less").proportion_ci(
        confidence_level=confidence, method="exact"
    )
    assert upper_bound(events, trials, confidence) == pytest.approx(exact.high, rel=1e-9)


@settings(deadline=None, max_examples=50)
@given(rate=st.floats(1e-5, 0.9), confidence=st.floats(0.5, 0.999))
def test_so_many_images_prove_a_rate_and_no_fewer(rate, confidence) -> None:
    count = images_needed(rate, confidence)
    assert upper_bound(0, count, confidence) <= rate * (1 + 1e-9)
    if count > 1:
        assert upper_bound(0, count - 1, confidence) > rate * (1 - 1e-9)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize(("count", "rate"), [(30, 0.001), (200, 0.001), (300, 0.02), (1000, 0.005)])
def test_the_true_rate_keeps_the_bound_as_often_as_promised(name, count, rate) -> None:
    """The promise itself: in 95 % of builds the true rate of false rejects is within the bound."""
    trials = 400
    kept = 0
    for seed in range(trials):
        found = threshold_from_scores(drawn(name, count, seed=seed), false_rejects=rate)
        kept += DISTRIBUTIONS[name].sf(found.value) <= found.bound
    error = math.sqrt(0.95 * 0.05 / trials)
    assert kept / trials >= 0.95 - 3 * error
    if count * rate >= 1:
        assert kept / trials <= 0.95 + 4 * error, "for an order statistic the bound is tight"


@pytest.mark.parametrize(("name", "factor"), [("exponential", 3), ("normal", 20)])
def test_the_extrapolated_tail_aims_at_the_rate(name, factor) -> None:
    """Exact for an exponential tail; a normal one is thinner, so that fewer are rejected."""
    rates = [
        DISTRIBUTIONS[name].sf(
            threshold_from_scores(
                drawn(name, 200, seed=seed), false_rejects=0.001, extrapolate=True
            ).value
        )
        for seed in range(200)
    ]
    middle = float(np.median(rates))
    assert 0.001 / factor < middle < 0.001 * 3


def test_too_few_images_are_said() -> None:
    found = threshold_from_scores(drawn("normal", 200, seed=0), false_rejects=0.001)
    assert found.bound == pytest.approx(1 - 0.05 ** (1 / 200))
    assert "200 good images are far too few for a rate of 0.10%" in found.warning
    assert "2995 further ones, none of them rejected, would prove it" in found.warning
    assert found.images_to_prove == 2995
    enough = threshold_from_scores(drawn("normal", 4000, seed=0), false_rejects=0.001)
    assert (enough.warning, enough.images_to_prove) == ("", 2995)
    usual = threshold_from_scores(drawn("normal", 60, seed=0), false_rejects=0.01)
    assert 0.03 < usual.bound < 0.1
    assert (usual.warning, usual.images_to_prove) == ("", 299)


def test_a_rate_that_is_proven_gets_no_warning() -> None:
    found = threshold_from_scores(np.full(100, 0.1, np.float32), false_rejects=0.05)
    assert (found.rejected, found.warning, found.images_to_prove) == (0, "", None)
    assert found.bound <= 0.05


@pytest.mark.parametrize(
    ("scores", "rate", "message"),
    [
        ([], 0.1, "0 scores; at least one"),
        ([0.5, math.nan], 0.1, "finite"),
        ([0.5, math.inf], 0.1, "finite"),
        ([0.5, 0.6], 0.0, "between 0 and 1"),
        ([0.5, 0.6], 1.0, "between 0 and 1"),
        ([0.5, 0.6], math.nan, "between 0 and 1"),
    ],
)
def test_what_cannot_be_is_refused(scores, rate, message) -> None:
    with pytest.raises(ValueError, match=message):
        threshold_from_scores(np.array(scores, np.float32), false_rejects=rate)


def test_nothing_lies_beyond_the_highest_score_unless_asked() -> None:
    scores = drawn("normal", 60, seed=3)
    plain = threshold_from_scores(scores, false_rejects=0.001)
    assert np.sort(scores)[-4] < plain.value <= np.nextafter(scores.max(), np.float32(1))
    assert (plain.method, plain.not_extrapolated) == ("highest scores", None)
    assert plain.least_rate == 1 / 60
    far = threshold_from_scores(scores, false_rejects=0.001, extrapolate=True)
    assert (far.method, far.not_extrapolated) == ("tail", plain.value)
    assert far.value > plain.value
    enough = threshold_from_scores(scores, false_rejects=0.02, extrapolate=True)
    assert (enough.method, enough.not_extrapolated) == ("order statistic", None)


@pytest.mark.parametrize("name", ["normal", "exponential", "heavy tail"])
@pytest.mark.parametrize("count", [20, 60])
def test_few_images_reject_about_one_in_so_many_and_vary_less_than_the_highest(name, count) -> None:
    draws = [drawn(name, count, seed=seed) for seed in range(300)]
    values = [threshold_from_scores(scores, false_rejects=0.01).value for scores in draws]
    rates = DISTRIBUTIONS[name].sf(values)
    assert 0.5 / count < np.mean(rates) < 2 / count
    assert np.std(values) < 0.85 * np.std([scores.max() for scores in draws])


def test_a_rate_without_support_is_refused_with_the_least_that_has_some() -> None:
    scores = drawn("normal", 60, seed=3)
    require_support(threshold_from_scores(scores, false_rejects=1 / 60))
    require_support(threshold_from_scores(scores, false_rejects=0.001, extrapolate=True))
    with pytest.raises(RateError, match=r"60 held-out .* give 0.0167 or more") as refused:
        require_support(threshold_from_scores(scores, false_rejects=0.001))
    assert "--extrapolate" in str(refused.value)
    require_support(threshold_from_scores(scores, false_rejects=0.0167))


@pytest.mark.parametrize("count", [40, 60, 250])
@pytest.mark.parametrize("odd", [1, 2])
def test_an_odd_image_does_not_set_the_threshold(count, odd) -> None:
    clean = drawn("normal", count, seed=1)
    spoilt = np.concatenate([[np.float32(0.21 + 0.01 * k) for k in range(odd)], clean[odd:]])
    found = threshold_from_scores(spoilt, false_rejects=0.01)
    assert found.odd == odd
    assert found.value <= clean.max() + 0.001
    assert found.with_odd > found.value
    assert found.rejected >= odd, "they count as rejects"
    assert found.bound >= upper_bound(odd, count, 0.95)


def test_probabilities_get_a_threshold_that_a_score_can_reach() -> None:
    """Extrapolated as they are, few high scores would lead beyond 1, and nothing be a reject."""
    scores = np.array([0.2, 0.3, 0.5, 0.6, 0.8, 0.9, 0.95, 0.97], np.float32)
    plain = threshold_from_scores(scores, false_rejects=0.001, extrapolate=True)
    found = threshold_from_scores(scores, false_rejects=0.001, probabilities=True, extrapolate=True)
    assert plain.value > 1
    assert scores.max() < found.value < 1
    assert found.rejected == 0


def test_probabilities_at_their_ends_do_not_upset_the_logits() -> None:
    scores = np.array([0.0, 0.0, 1e-9, 0.5, 1.0], np.float32)
    found = threshold_from_scores(scores, false_rejects=0.01, probabilities=True, extrapolate=True)
    assert np.isfinite(found.value)
    assert found.rejected == 0


def test_an_order_statistic_is_the_same_on_either_scale() -> None:
    scores = np.random.default_rng(0).uniform(0, 1, 2000).astype(np.float32)
    plain = threshold_from_scores(scores, false_rejects=0.01)
    assert threshold_from_scores(scores, false_rejects=0.01, probabilities=True) == plain


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, math.nan])
def test_a_rate_that_is_none_is_refused(rate) -> None:
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        threshold_from_scores(drawn("normal", 20, seed=0), false_rejects=rate)


def test_one_thing_supports_a_threshold_and_next_to_no_bound() -> None:
    found = threshold_from_scores(np.float32([0.5]), false_rejects=0.01)
    assert found.value > 0.5
    assert found.held_out == 1
    assert found.bound == pytest.approx(0.95)


@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=60),
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=60),
    st.floats(0.001, 0.5),
    st.booleans(),
)
def test_what_was_learnt_is_rejected_no_more_often_than_asked(
    held_out, learnt, rate, probabilities
) -> None:
    scores, known = np.float32(held_out), np.float32(learnt)
    plain = threshold_from_scores(scores, false_rejects=rate, probabilities=probabilities)
    found = raise_above_learnt(plain, scores=scores, learnt=known, probabilities=probabilities)
    odd = count_odd(np.sort(known)[::-1]) if not probabilities else 3
    assert reaches(known, found.value).sum() <= math.floor(len(known) * rate + 1e-9) + odd
    assert found.value >= plain.value
    assert (found.raised_from is None) == (found.value == plain.value)
    assert found.rejected == reaches(scores, found.value).sum()
    assert raise_above_learnt(plain, scores=scores, learnt=known[:0]) == plain
