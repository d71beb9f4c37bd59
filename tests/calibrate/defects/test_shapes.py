from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrate.defects.shapes import Outline, draw_shape

shapes = st.sampled_from(get_args(Outline))


@given(shape=shapes, side=st.integers(1, 200), seed=st.integers(0, 1 << 32))
def test_a_shape_is_as_large_as_asked_and_fills_its_box(
    shape: Outline, side: int, seed: int
) -> None:
    opacity = draw_shape(shape, side, rng=np.random.default_rng(seed))
    assert side - 1 <= max(opacity.shape) <= side
    assert 0 < opacity.max() <= 1
    edges = (opacity[0], opacity[-1], opacity[:, 0], opacity[:, -1])
    assert all((edge > 0).any() for edge in edges)


@pytest.mark.parametrize("shape", get_args(Outline))
def test_an_edge_fades_inwards(shape: Outline) -> None:
    found = [draw_shape(shape, 120, rng=np.random.default_rng(seed)) for seed in range(20)]
    assert all(opacity.max() == 1 for opacity in found)
    assert any(np.count_nonzero((opacity > 0) & (opacity < 1)) > 100 for opacity in found)


def test_scratches_are_thin_and_blobs_are_not() -> None:
    def share(shape: Outline, seed: int) -> float:
        opacity = draw_shape(shape, 120, rng=np.random.default_rng(seed))
        return float(np.count_nonzero(opacity)) / 120**2

    assert np.mean([share("scratch", seed) for seed in range(20)]) < 0.12
    assert np.mean([share("blob", seed) for seed in range(20)]) > 0.25
