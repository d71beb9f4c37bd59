"""A thousand ways in which two cameras, a loss, a reopening and an end can meet; on a fake GPU."""

from __future__ import annotations

import pytest
from two_cameras import TwoCameras

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("part", range(10))
def test_two_cameras_a_loss_and_an_end(part) -> None:
    for seed in range(part * 100, (part + 1) * 100):
        TwoCameras(seed).play()
