"""What is measured on a picture: of any size, finite, and of what it says it is."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge.health.checks import ImageChecks
from edge.health.learn import record_from_samples, sample_from_image
from edge.health.measurements import CELLS, ImageStatsReader

SIZE = (128, 128)


@pytest.fixture(scope="module")
def parts(drawn: Path) -> list[np.ndarray]:
    return [cv2.imread(str(path)) for path in sorted((drawn / "train" / "good").iterdir())]


@pytest.mark.parametrize("size", [(8, 8), (128, 128), (64, 512), (1024, 1024), (300, 77)])
def test_stats_of_any_size(size) -> None:
    random = np.random.default_rng(1)
    stats = ImageStatsReader(size).read(random.integers(0, 256, (*size, 3), np.uint8))
    assert stats.light.shape == stats.detail.shape == (CELLS, CELLS)
    assert 0 <= stats.white <= 1 and 0 <= stats.brightness <= 255
    assert np.isfinite(stats.sharpness)


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.uint8, (24, 32, 3)))
def test_any_picture_has_finite_stats_and_a_problem_or_none(image) -> None:
    reader = ImageStatsReader((24, 32))
    stats = reader.read(image)
    values = [stats.brightness, stats.white, stats.sharpness, *stats.light.ravel()]
    assert np.isfinite([*values, *stats.detail.ravel()]).all()
    health = ImageChecks(
        record_from_samples([sample_from_image(reader, image, shape=(24, 32), turn=0)])
    )
    assert health.find_problem(stats) == "", "the one image that was learnt from is healthy"
    assert ImageChecks(None).find_problem(stats) == ""


@given(st.floats(0.5, 1.3))
@settings(max_examples=20, deadline=None)
def test_contrast_is_no_sharpness(gain) -> None:
    random = np.random.default_rng(2)
    image = cv2.GaussianBlur(random.integers(0, 256, (96, 96, 3), np.uint8), (0, 0), 2)
    reader = ImageStatsReader((96, 96))
    before = reader.read(image).sharpness
    dimmer = cv2.convertScaleAbs(image, alpha=gain)
    assert reader.read(np.asarray(dimmer, np.uint8)).sharpness == pytest.approx(before, rel=0.05)


def test_the_blurrier_the_less_sharp(parts) -> None:
    reader = ImageStatsReader(SIZE)
    values = [
        reader.read(cv2.GaussianBlur(parts[0], (0, 0), sigma)).sharpness
        for sigma in (0.1, 0.7, 1.5, 3.0, 6.0)
    ]
    assert values == sorted(values, reverse=True)
    assert values[0] > 2 * values[-1]
