"""Whether scores have shifted: told soon, not told falsely, and not hidden by defects."""

from __future__ import annotations

import numpy as np
import pytest

from edge.health.drift import DriftDetector, DriftState

STEADY, HIGHER, LOWER, WIDER = (
    DriftState.STEADY,
    DriftState.HIGHER,
    DriftState.LOWER,
    DriftState.WIDER,
)


def random() -> np.random.Generator:
    return np.random.default_rng(3)


def like_the_build(draw: np.random.Generator, count: int) -> np.ndarray:
    """Scores with the long tail that they have."""
    return draw.lognormal(-3.3, 0.4, count)


def states(detector: DriftDetector, scores) -> list[DriftState]:
    return [detector.add(float(score)) for score in scores]


@pytest.mark.parametrize("held_out", [10, 40, 250])
def test_parts_as_those_of_the_build_are_steady(held_out) -> None:
    draw = random()
    for _ in range(4):
        detector = DriftDetector(like_the_build(draw, held_out))
        assert set(states(detector, like_the_build(draw, 2500))) == {STEADY}


@pytest.mark.parametrize(
    ("change", "state"),
    [
        (lambda scores: scores * 1.7, HIGHER),
        (lambda scores: scores / 1.7, LOWER),
        (lambda scores: scores * np.resize([3, 1 / 3], len(scores)), WIDER),
        (lambda scores: scores + 9, HIGHER),  # every part is rejected: not hidden by that
    ],
)
def test_a_shift_is_told_within_fifty_parts_and_ends(change, state) -> None:
    draw = random()
    detector = DriftDetector(like_the_build(draw, 200))
    states(detector, like_the_build(draw, 300))
    found = states(detector, change(like_the_build(draw, 50)))
    assert found[-1] is state
    assert str(state) in detector.to_json()["state"]
    assert detector.describe().startswith("drift: parts sc")
    after = states(detector, like_the_build(draw, 60))
    assert after[-1] is STEADY
    assert detector.describe() == ""


def test_defects_are_no_drift_but_for_a_dozen_in_a_row() -> None:
    draw = random()
    detector = DriftDetector(like_the_build(draw, 200))
    scores = like_the_build(draw, 3000)
    scores[draw.random(3000) < 0.15] = 5.0
    assert set(states(detector, scores)) == {STEADY}
    assert states(detector, [5.0] * 9)[-1] is STEADY
    assert HIGHER in states(detector, [5.0] * 8)


def test_defects_hide_no_drift() -> None:
    draw = random()
    detector = DriftDetector(like_the_build(draw, 200))
    scores = like_the_build(draw, 50) * 1.7
    scores[::10] = 5.0
    assert states(detector, scores)[-1] is HIGHER


def test_median_and_spread_are_of_the_last_parts_and_of_the_build() -> None:
    detector = DriftDetector(np.arange(101.0))
    states(detector, [40, 50, 60, 50, 1000])
    shown = detector.to_json()
    assert (shown["median"], shown["spread"]) == (50, 10)
    assert (shown["built_median"], shown["built_spread"], shown["parts"]) == (50, 25, 5)


def test_too_few_scores_tell_nothing() -> None:
    detector = DriftDetector(np.arange(4.0))
    assert set(states(detector, [9.0] * 100)) == {DriftState.UNKNOWN}
    assert detector.describe() == ""
