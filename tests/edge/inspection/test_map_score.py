"""The score of a map where some of it does not count."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from calibrate.protoad.score import SHARE, ScoreRule
from edge.inspection.map_score import mean_of_highest
from engines.score_pixels import MAXIMUM, ScorePixels, score_pixels_from_kind

MAPS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    elements=st.floats(0, 1, width=32),
)
PIXELS = st.builds(ScorePixels, st.sampled_from([1, 5, 100]), st.sampled_from([1, 4]))


def test_a_share_of_every_fourth_value_is_what_a_build_looks_at() -> None:
    assert ScoreRule().kind((256, 256)) == "top41/4"
    assert ScoreRule(share=0.05).kind((256, 128)) == "top102/4"
    assert ScoreRule().kind((4096, 4096)) == "top3840/4", "TensorRT finds no more"
    assert ScoreRule(share=1e-9).kind((64, 64)) == "top1/4"
    assert [ScoreRule(name).kind((64, 64)) for name in ("smoothed", "raw")] == ["smoothed", "raw"]


@pytest.mark.parametrize("kind", ["top100", "top41/4", "top1/4"])
def test_a_kind_is_read_as_it_was_written(kind) -> None:
    assert score_pixels_from_kind(kind).kind == kind


@pytest.mark.parametrize("kind", ["smoothed", "raw", "max", "top0", "top41/0", "top4/4/4"])
def test_any_other_kind_is_a_maximum(kind) -> None:
    assert score_pixels_from_kind(kind) == MAXIMUM


@settings(deadline=None)
@given(MAPS, PIXELS)
def test_a_mask_that_hides_nothing_changes_nothing(anomaly_map, pixels) -> None:
    everywhere = np.ones(anomaly_map.shape, bool)
    found = mean_of_highest(anomaly_map, pixels, counted=everywhere)
    assert found == mean_of_highest(anomaly_map, pixels) <= anomaly_map.max()


@settings(deadline=None)
@given(MAPS, PIXELS, st.data())
def test_what_does_not_count_does_not_matter(anomaly_map, pixels, data) -> None:
    counted = data.draw(hnp.arrays(bool, anomaly_map.shape).filter(np.any))
    found = mean_of_highest(anomaly_map, pixels, counted=counted)
    assert found == mean_of_highest(np.where(counted, anomaly_map, 9), pixels, counted=counted)
    assert anomaly_map[counted].min() <= np.float32(found) <= anomaly_map[counted].max()


def test_a_mask_does_not_change_what_the_score_means() -> None:
    """Half of a map whose halves are alike has the score of the whole."""
    half = np.random.default_rng(0).random((256, 128), np.float32)
    pixels = ScoreRule().pixels((256, 256))
    left = np.zeros((256, 256), bool)
    left[:, :128] = True
    whole = mean_of_highest(np.hstack([half, half]), pixels)
    assert mean_of_highest(np.hstack([half, half + 9]), pixels, counted=left) == pytest.approx(
        whole, abs=1e-3
    )
    highest = np.sort(half[2::4, 2::4], axis=None)[-round(SHARE * 64 * 32) :]
    assert whole == pytest.approx(highest.mean(), abs=1e-3)
