import hashlib
import os

import cv2
import numpy as np
import pytest

from calibrate.dataset import DatasetError, Sample
from calibrate.defects.real import defect_samples, defects_from_folder, defects_from_samples
from cameras.errors import ImageError

SIZE = (64, 64)


def write(path, pixels=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((100, 80, 3), 90, np.uint8) if pixels is None else pixels
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return path


def spot(x=30, y=40, width=20, height=10):
    mask = np.zeros((100, 80), np.uint8)
    mask[y : y + height, x : x + width] = 255
    return mask


def pair(image, mask, pixels=None):
    write(image)
    write(mask, spot() if pixels is None else pixels)


def test_a_flat_folder(tmp_path):
    folder = tmp_path / "scratches"
    pair(folder / "a.jpg", folder / "a_mask.png")
    pair(folder / "b.v2.png", folder / "b.v2_mask.bmp")
    write(folder / ".hidden.png")
    (first, second) = defects_from_folder(folder, size=SIZE)
    assert (first.path.name, first.kind) == ("a.jpg", "scratches")
    assert second.path.name == "b.v2.png"
    assert first.image.shape == (*SIZE, 3)
    assert first.mask.dtype == np.bool_
    ys, xs = np.nonzero(first.mask)
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (26, 31, 24, 39)  # 100x80 to 64x64
    assert first.sha256 == hashlib.sha256((folder / "a.jpg").read_bytes()).hexdigest()


@pytest.mark.parametrize("mask", ["1_mask.png", "1.png", "1.jpg"])
@pytest.mark.parametrize("root", ["test/", ""])
def test_masks_apart(tmp_path, root, mask):
    pair(tmp_path / root / "crack/1.jpg", tmp_path / "ground_truth/crack" / mask)
    pair(tmp_path / root / "hole/1.jpg", tmp_path / "ground_truth/hole/1_mask.png", spot(x=10))
    write(tmp_path / root / "good/7.png")
    write(tmp_path / "train/good/7.png")
    crack, hole = defects_from_folder(tmp_path, size=(100, 80))
    assert (crack.kind, hole.kind) == ("crack", "hole")
    if not mask.endswith(".jpg"):
        assert np.array_equal(crack.mask, spot() > 0)
    assert np.array_equal(hole.mask, spot(x=10) > 0)


def test_one_folder_a_kind_with_masks_beside(tmp_path):
    pair(tmp_path / "crack/1.png", tmp_path / "crack/1_mask.png")
    pair(tmp_path / "hole/1.png", tmp_path / "hole/1_mask.png")
    assert [sample.defect for sample in defect_samples(tmp_path)] == ["crack", "hole"]


def test_the_folder_one_stands_in(tmp_path, monkeypatch):
    pair(tmp_path / "dents/1.png", tmp_path / "dents/1_mask.png")
    monkeypatch.chdir(tmp_path / "dents")
    from pathlib import Path

    assert [sample.defect for sample in defect_samples(Path())] == ["dents"]


def test_some_of_them_from_every_kind(tmp_path):
    for kind in ("crack", "dent", "hole"):
        for index in range(4):
            pair(tmp_path / kind / f"{index}.png", tmp_path / kind / f"{index}_mask.png")
    some = defects_from_folder(tmp_path, size=SIZE, most=3)
    assert [defect.kind for defect in some] == ["crack", "dent", "hole"]
    assert len(defects_from_folder(tmp_path, size=SIZE, most=99)) == 12
    with pytest.raises(ValueError, match="most is 0"):
        defects_from_folder(tmp_path, size=SIZE, most=0)


def test_region_of_interest(tmp_path):
    pair(tmp_path / "1.png", tmp_path / "1_mask.png")
    (defect,) = defects_from_folder(tmp_path, size=(40, 40), roi=(20, 30, 40, 40))
    ys, xs = np.nonzero(defect.mask)
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (10, 19, 10, 29)
    with pytest.raises(DatasetError, match="marks nothing inside the region of interest"):
        defects_from_folder(tmp_path, size=(40, 40), roi=(0, 60, 40, 40))
    with pytest.raises(ImageError, match=r"1\.png: region of interest"):
        defects_from_folder(tmp_path, size=(40, 40), roi=(60, 60, 40, 40))


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_hairline_is_not_lost_at_a_smaller_size(tmp_path, width):
    pair(tmp_path / "1.png", tmp_path / "1_mask.png", spot(x=41, width=width, height=50))
    (defect,) = defects_from_folder(tmp_path, size=(20, 16))
    assert defect.mask.sum() >= 8


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        ([], [], r"no defects; put NAME\.png and NAME_mask\.png into it"),
        (["a.png"], [], r"1 images without a mask: a\.png; draw each NAME_mask\.png"),
        (["x/a.png"], ["x/b_mask.png"], r"1 images without a mask: x/a\.png"),
        (["a.png"], ["a_mask.png", "b_mask.png"], r"1 masks without an image: b_mask\.png"),
        (
            ["test/x/a.png"],
            ["ground_truth/x/a_mask.png", "ground_truth/y/a_mask.png"],
            r"1 masks without an image: ground_truth/y/a_mask\.png",
        ),
        (
            [f"{name}.png" for name in "abcde"],
            [],
            r"5 images without a mask: a\.png, b\.png, c\.png, d\.png, and 1 more",
        ),
    ],
)
def test_what_does_not_fit_together_is_named(tmp_path, images, masks, message):
    for name in images:
        write(tmp_path / name)
    for name in masks:
        write(tmp_path / name, spot())
    with pytest.raises(DatasetError, match=message) as caught:
        defects_from_folder(tmp_path, size=SIZE)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_used(tmp_path):
    with pytest.raises(DatasetError, match="nowhere: no such folder"):
        defect_samples(tmp_path / "nowhere")
    image, mask = tmp_path / "a.png", tmp_path / "a_mask.png"
    pair(image, mask, np.zeros((100, 80), np.uint8))
    with pytest.raises(DatasetError, match=r"is a file"):
        defect_samples(image)
    with pytest.raises(DatasetError, match=r"a_mask\.png: marks nothing; paint the defect white"):
        defects_from_folder(tmp_path, size=SIZE)
    write(mask, np.ones((50, 50), np.uint8))
    with pytest.raises(DatasetError, match="the mask is 50x50 and its image 80x100"):
        defects_from_folder(tmp_path, size=SIZE)
    image.write_bytes(b"nothing")
    with pytest.raises(ImageError, match=r"a\.png: not an image"):
        defects_from_folder(tmp_path, size=SIZE)
    image.unlink()
    with pytest.raises(ImageError, match=r"a\.png: No such file"):
        defects_from_samples([Sample(image, "x", (mask,))], size=SIZE)
    with pytest.raises(DatasetError, match=r"a\.png: no mask; draw a_mask\.png"):
        defects_from_samples([Sample(image, "x")], size=SIZE)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(tmp_path):
    (tmp_path / "x").mkdir(mode=0)
    with pytest.raises(DatasetError, match="x: Permission denied"):
        defect_samples(tmp_path)
    (tmp_path / "x").chmod(0o700)


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "count"), [("bottle", 63), ("magnetic_tile", 392)])
def test_real_folders(realdata, name, count):
    folder = realdata / name
    if not folder.is_dir():
        pytest.skip(f"development data not here: {name}")
    assert len(defect_samples(folder)) == count
    some = defects_from_folder(folder, size=(256, 256), most=20)
    assert len({defect.kind for defect in some}) == len(
        {p.name for p in (folder / "ground_truth").iterdir()}
    )
    assert all(0 < defect.mask.mean() < 0.9 for defect in some)
