"""False alarms of drift over ten thousand parts, by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from edge.health.drift import DriftDetector

pytestmark = pytest.mark.soak
STREAMS, PARTS = 100, 10_000


@pytest.mark.parametrize("held_out", [5, 10, 20, 50, 200, 1000])
def test_at_most_two_of_a_hundred_streams_without_drift_are_told(held_out) -> None:
    random = np.random.default_rng(held_out)
    told = 0
    for _ in range(STREAMS):
        detector = DriftDetector(random.random(held_out))
        told += any(str(detector.add(score)) != "steady" for score in random.random(PARTS))
    assert told <= 2
