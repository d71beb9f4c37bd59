"""The one step before the graph, and reading many images."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate.images import ImagesError, fit_image, fitted_batches, usable_images
from cameras.errors import ImageError

SIZE = (16, 24)


def picture(height: int = 40, width: int = 60, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(path: Path, image: np.ndarray) -> Path:
    _, data = cv2.imencode(".png", image)
    path.write_bytes(data.tobytes())
    return path


def plain(folder: Path, values: list[int]) -> list[Path]:
    """Images whose every pixel is their value."""
    return [
        write(folder / f"{index:03}.png", np.full((20, 20, 3), value, np.uint8))
        for index, value in enumerate(values)
    ]


def test_an_image_of_the_models_size_is_left_as_it_is() -> None:
    image = picture(*SIZE)
    np.testing.assert_array_equal(fit_image(image, SIZE), image)
    mirrored = picture(*SIZE)[:, ::-1]
    fitted = fit_image(mirrored, SIZE)
    assert fitted.flags.c_contiguous
    np.testing.assert_array_equal(fitted, mirrored)


def test_shrinking_averages_over_areas() -> None:
    image = picture(32, 48)
    blocks = image.reshape(16, 2, 24, 2, 3).astype(float).mean(axis=(1, 3))
    assert np.abs(fit_image(image, SIZE) - blocks).max() <= 0.5
    # One white line of many must not vanish, nor become all of it: what sampling would do.
    line = np.zeros((160, 240, 3), np.uint8)
    line[7] = 255
    fitted = fit_image(line, SIZE)
    assert 20 <= fitted[0].max() <= 30
    assert fitted[1:].max() == 0


def test_enlarging_is_bilinear() -> None:
    step = np.zeros((2, 2, 3), np.uint8)
    step[:, 1] = 200
    row = fit_image(step, (2, 4))[0, :, 0]
    np.testing.assert_array_equal(row, [0, 50, 150, 200])


@pytest.mark.parametrize("roi", [(0, 0, 60, 40), (10, 5, 24, 16), (59, 39, 1, 1)])
def test_only_the_region_of_interest_counts(roi) -> None:
    image = picture()
    x, y, width, height = roi
    expected = fit_image(image[y : y + height, x : x + width], SIZE)
    outside = np.full_like(image, 7)
    outside[y : y + height, x : x + width] = image[y : y + height, x : x + width]
    np.testing.assert_array_equal(fit_image(image, SIZE, roi), expected)
    np.testing.assert_array_equal(fit_image(outside, SIZE, roi), expected)


@pytest.mark.parametrize(
    "roi", [(37, 0, 24, 16), (0, 25, 24, 16), (60, 0, 1, 1), (0, 0, 61, 40), (-5, 0, 20, 20)]
)
def test_a_region_beyond_the_image_is_refused(roi) -> None:
    with pytest.raises(ImageError, match="beyond the image of 60x40"):
        fit_image(picture(), SIZE, roi)


def test_what_can_be_used_is_told_from_what_cannot(tmp_path: Path) -> None:
    paths = plain(tmp_path, [10] * 19)
    paths.insert(3, tmp_path / "text.png")
    paths[3].write_text("no picture")
    usable, skipped = usable_images(paths, size=SIZE, roi=None)
    assert usable == (*paths[:3], *paths[4:])
    assert [item.path for item in skipped] == [paths[3]]
    assert str(paths[3]) in skipped[0].reason


@pytest.mark.parametrize(("bad", "refused"), [(0, False), (2, False), (3, True), (20, True)])
def test_more_than_a_tenth_unusable_is_an_error(bad, refused, tmp_path: Path) -> None:
    paths = plain(tmp_path, [10] * 20)
    for path in paths[:bad]:
        path.write_bytes(path.read_bytes()[:40])
    if not refused:
        assert len(usable_images(paths, size=SIZE, roi=None)[1]) == bad
        return
    with pytest.raises(ImagesError, match=f"{bad} of 20 images cannot be used.*000\\.png"):
        usable_images(paths, size=SIZE, roi=None)


def test_images_too_small_for_the_region_are_unusable(tmp_path: Path) -> None:
    paths = plain(tmp_path, [10] * 4)
    with pytest.raises(ImagesError, match=r"4 of 4 .*000\.png: region of interest 0,0,21,20"):
        usable_images(paths, size=SIZE, roi=(0, 0, 21, 20))


@pytest.mark.parametrize(("count", "batch"), [(1, 16), (16, 16), (17, 16), (150, 7), (130, 64)])
def test_batches_keep_the_order(count, batch, tmp_path: Path) -> None:
    values = np.random.default_rng(0).permutation(256)[:count].tolist()
    batches = list(fitted_batches(plain(tmp_path, values), size=SIZE, roi=None, batch=batch))
    assert [len(part) for part in batches[:-1]] == [batch] * (len(batches) - 1)
    assert 0 < len(batches[-1]) <= batch
    whole = np.concatenate(batches)
    assert whole.shape == (count, *SIZE, 3)
    assert whole.dtype == np.uint8
    assert whole[:, 3, 3, 1].tolist() == values


def test_no_images_are_no_batches() -> None:
    assert list(fitted_batches([], size=SIZE, roi=None)) == []
    assert usable_images([], size=SIZE, roi=None) == ((), ())


def test_an_image_that_vanishes_is_an_error_that_names_it(tmp_path: Path) -> None:
    paths = plain(tmp_path, [1, 2, 3])
    paths[1].unlink()
    with pytest.raises(ImageError, match=r"001\.png"):
        list(fitted_batches(paths, size=SIZE, roi=None))


@pytest.mark.parametrize("name", [b"\xff\xfe bad.png", b"two\nlines.png", "Größe 大.png".encode()])
def test_any_name_is_read(name, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    write(path, np.full((8, 8, 3), 77, np.uint8))
    assert usable_images([path], size=SIZE, roi=None)[0] == (path,)
    (batch,) = fitted_batches([path], size=SIZE, roi=None)
    assert (batch == 77).all()
    path.write_bytes(b"")
    with pytest.raises(ImagesError) as caught:
        usable_images([path], size=SIZE, roi=None)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()  # printable, whatever the bytes of the name


@settings(deadline=None, max_examples=100)
@given(height=st.integers(1, 200), width=st.integers(1, 200), seed=st.integers(0, 1000))
def test_any_size_is_fitted_without_shift_or_change_of_brightness(height, width, seed) -> None:
    """A smooth picture keeps its values where they are: sampled at the same relative place."""
    random = np.random.default_rng(seed)
    fall, run, base = (*random.uniform(-60, 60, 2).tolist(), 128.0)

    def slope(rows: int, columns: int) -> np.ndarray:
        down = (np.arange(rows) + 0.5) / rows - 0.5
        across = (np.arange(columns) + 0.5) / columns - 0.5
        return base + fall * down[:, None] + run * across[None]

    image = np.repeat(slope(height, width).round()[..., None], 3, axis=2).astype(np.uint8)
    fitted = fit_image(image, SIZE)
    assert fitted.shape == (*SIZE, 3)
    # Half a pixel of the coarser picture at most, and rounding twice.
    most = abs(fall) / min(height, SIZE[0]) + abs(run) / min(width, SIZE[1]) + 1.5
    assert np.abs(fitted[..., 0] - slope(*SIZE)).max() <= most
    flat = np.full((height, width, 3), 77, np.uint8)
    assert (fit_image(flat, SIZE) == 77).all()
