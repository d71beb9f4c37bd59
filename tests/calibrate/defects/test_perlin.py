import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate.defects.perlin import LEVEL, anomaly_noise, perlin_noise

SHAPES = st.tuples(st.integers(1, 70), st.integers(1, 70))


def slowly(shape, cells, rng):
    """The definition, pixel by pixel: the dot products with the four corners, blended."""
    rows, columns = (
        int(np.floor((n - 0.5) * c / n)) + 2 for n, c in zip(shape, cells, strict=True)
    )
    angle = rng.uniform(0, 2 * np.pi, (rows, columns))
    noise = np.zeros(shape)
    for pixel in np.ndindex(shape):
        y, x = ((i + 0.5) * c / n for i, c, n in zip(pixel, cells, shape, strict=True))
        j, i = int(y), int(x)
        for down, right in np.ndindex(2, 2):
            dy, dx = y - j - down, x - i - right
            turn = angle[j + down, i + right]
            weight = np.prod([1 - (6 * t**5 - 15 * t**4 + 10 * t**3) for t in (abs(dy), abs(dx))])
            noise[pixel] += weight * (np.cos(turn) * dx + np.sin(turn) * dy)
    return noise * np.sqrt(2)


@pytest.mark.parametrize("cells", [(1, 1), (4, 2), (2.5, 7.25)])
def test_it_is_the_definition(cells):
    fast = perlin_noise((19, 23), cells=cells, rng=np.random.default_rng(5))
    assert np.allclose(fast, slowly((19, 23), cells, np.random.default_rng(5)), atol=1e-5)


@given(SHAPES, st.floats(0.1, 40), st.floats(0.1, 40), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_any_shape_and_grid(shape, rows, columns, seed):
    noise = perlin_noise(shape, cells=(rows, columns), rng=np.random.default_rng(seed))
    assert (noise.shape, noise.dtype) == (shape, np.float32)
    assert np.abs(noise).max() <= 1.0 + 1e-5
    again = perlin_noise(shape, cells=(rows, columns), rng=np.random.default_rng(seed))
    assert np.array_equal(noise, again)


def test_anomalies_come_in_many_sizes_and_cover_a_part_of_the_image():
    shares = [
        (anomaly_noise((128, 160), rng=np.random.default_rng(seed)) > LEVEL).mean()
        for seed in range(60)
    ]
    assert 0.02 < np.mean(shares) < 0.2
    assert max(shares) < 0.6
    assert np.std(shares) > 0.01
