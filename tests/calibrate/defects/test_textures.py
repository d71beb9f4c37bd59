import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate.dataset import DatasetError
from calibrate.defects.textures import (
    GRID,
    draw_texture,
    recolour,
    shuffle_cells,
    textures_from_folder,
    window_of,
)
from cameras.errors import ImageError

SIZES = st.tuples(st.integers(32, 90), st.integers(32, 90))


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())


def test_a_folder_is_read_in_depth_and_evenly(tmp_path):
    for index in range(9):
        write(tmp_path / f"kind{index % 3}" / f"{index}.png", np.full((40, 60, 3), index * 20))
    write(tmp_path / ".trash/x.png", noise(20, 20))
    (tmp_path / "LICENSE").write_text("free")
    found = textures_from_folder(tmp_path, size=(32, 64))
    assert len(found) == 9
    assert {texture.shape for texture in found} == {(48, 96, 3)}
    assert {int(texture.mean()) for texture in found} == {index * 20 for index in range(9)}
    some = textures_from_folder(tmp_path, size=(32, 64), most=3)
    assert [int(texture.mean()) for texture in some] == [0, 20, 40]  # one of each folder


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(DatasetError, match="no images; give a folder of texture images"):
        textures_from_folder(tmp_path, size=(32, 32))
    with pytest.raises(DatasetError, match="nowhere: no such folder"):
        textures_from_folder(tmp_path / "nowhere", size=(32, 32))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(DatasetError, match="is a file"):
        textures_from_folder(tmp_path / "broken.png", size=(32, 32))
    with pytest.raises(ImageError, match=r"broken\.png"):
        textures_from_folder(tmp_path, size=(32, 32))


@given(SIZES, SIZES, st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_windows_of_any_texture(texture, size, seed):
    source = noise(*texture)
    before = source.copy()
    window = window_of(source, size, rng=np.random.default_rng(seed))
    assert (window.shape, window.dtype) == ((*size, 3), np.uint8)
    assert np.array_equal(source, before)
    assert np.array_equal(window, window_of(source, size, rng=np.random.default_rng(seed)))


@given(SIZES, st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_drawn_and_shuffled_have_the_size_asked_for(size, seed):
    rng = np.random.default_rng(seed)
    assert draw_texture(size, rng=rng).shape == (*size, 3)
    assert shuffle_cells(noise(*size), rng=rng).shape == (*size, 3)


def test_shuffled_keeps_the_cells():
    image = noise(64, 96)
    results = [shuffle_cells(image, rng=np.random.default_rng(seed)) for seed in range(20)]

    def cells(picture):
        parts = picture.reshape(GRID, 8, GRID, 12, 3).swapaxes(1, 2).reshape(GRID * GRID, -1)
        return sorted(part.tobytes() for part in parts)

    same = [cells(result) == cells(image) for result in results]
    assert 3 <= sum(same) <= 17  # the others are recoloured as well
    assert not any(np.array_equal(result, image) for result in results)


def test_recoloured_changes_tones_and_not_places():
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    pictures = [recolour(ramp, rng=np.random.default_rng(seed)) for seed in range(30)]
    assert len({picture.tobytes() for picture in pictures}) == 30
    flat = np.full((4, 4, 3), 90, np.uint8)
    for seed in range(10):
        result = recolour(flat, rng=np.random.default_rng(seed))
        assert np.ptp(result.reshape(-1, 3), axis=0).max() == 0
