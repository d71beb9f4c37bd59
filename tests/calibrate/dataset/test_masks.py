import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from calibrate.dataset import DatasetError, dataset_from_folder, read_masks
from calibrate.dataset.names import natural_key

DATA = Path(__file__).resolve().parents[3] / "../shared/data"


def write(path, pixels=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.zeros((8, 8), dtype=np.uint8) if pixels is None else pixels
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return path


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(paths):
    return [path.name for path in paths]


def test_plain_folder_in_natural_order(tmp_path):
    touch(tmp_path, "b10.png", "b9.PNG", "b2.JpEg", "notes.txt", ".hidden.png", ".git/x.png")
    data = dataset_from_folder(tmp_path)
    assert names(data.train) == ["b2.JpEg", "b9.PNG", "b10.png"]
    assert data.test == data.notes == ()


@pytest.mark.parametrize("mask", ["7_mask.png", "7.png", "7.jpg", "7_mask.bmp"])
def test_mvtec_layout(tmp_path, mask):
    touch(tmp_path, "train/good/1.jpg", "test/good/1.jpg", "test/crack/7.jpg", "test/crack/8.jpg")
    touch(tmp_path, f"ground_truth/crack/{mask}")
    data = dataset_from_folder(tmp_path)
    assert names(data.train) == ["1.jpg"]
    assert [(s.defect, s.path.name) for s in data.test] == [
        ("good", "1.jpg"),
        ("crack", "7.jpg"),
        ("crack", "8.jpg"),
    ]
    assert [names(s.masks) for s in data.test] == [[], [mask], []]


def test_folders_without_images_are_told(tmp_path):
    touch(tmp_path, "good/1.png", "crack/1.png", "hole/x.txt")
    assert dataset_from_folder(tmp_path).notes == ("folders without images: hole",)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "found nothing; give the folder that holds the images"),
        (["a.txt", "b.heic"], r"found 1 files \.heic and 1 files \.txt; give"),
        (["monday/a.png"], "the folders monday; give one of those folders, or put the good"),
        (
            ["train/good/a.txt"],
            r"no good images \(\.bmp .*found 1 files \.txt and the folders train",
        ),
        (["test/good/1.png"], "found 1 labelled images to measure on and the folders test"),
        (["bottle/train/good/1.png", "screw/train/good/1.png"], "the folders bottle, screw; give"),
    ],
)
def test_a_folder_without_images_says_what_is_there(tmp_path, files, message):
    touch(tmp_path, *files)
    with pytest.raises(DatasetError, match=message) as caught:
        dataset_from_folder(tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_folder_and_file(tmp_path):
    with pytest.raises(DatasetError, match="no such folder"):
        dataset_from_folder(tmp_path / "nowhere")
    touch(tmp_path, "a.png")
    with pytest.raises(DatasetError, match="is a file"):
        dataset_from_folder(tmp_path / "a.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(tmp_path):
    touch(tmp_path, "good/sub/a.png")
    (tmp_path / "good/sub").chmod(0)
    with pytest.raises(DatasetError, match="sub: Permission denied"):
        dataset_from_folder(tmp_path)
    (tmp_path / "good/sub").chmod(0o700)


def test_masks_without_an_image_are_named(tmp_path):
    touch(tmp_path, "train/good/1.png", "test/crack/1.png")
    touch(tmp_path, "ground_truth/crack/1_mask.png", "ground_truth/crack/2_mask.png")
    touch(tmp_path, *(f"ground_truth/hole/{i}_mask.png" for i in range(5)))
    with pytest.raises(
        DatasetError, match=r"6 masks without an image: ground_truth/crack/2_mask\.png, "
    ):
        dataset_from_folder(tmp_path)


def test_names_that_are_not_utf8(tmp_path):
    raw = os.fsencode(tmp_path) + b"/caf\xe9.png"
    try:
        Path(os.fsdecode(raw)).touch()
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    (path,) = dataset_from_folder(tmp_path).train
    assert os.fsencode(path) == raw
    touch(tmp_path / "other", "train/good/1.png", "ground_truth/x/1.png")
    (tmp_path / "other/ground_truth/x/1.png").rename(
        os.fsdecode(os.fsencode(tmp_path) + b"/other/ground_truth/x/\xe9.png")
    )
    with pytest.raises(DatasetError, match=r"x/\\xe9\.png") as caught:
        dataset_from_folder(tmp_path / "other")
    str(caught.value).encode("utf-8")


@given(st.permutations(["1", "01", "2", "a", "a2", "a10", "A3", "b1c2", "b1c10"]))
def test_the_order_does_not_depend_on_the_order_found(shuffled):
    expected = ["01", "1", "2", "a", "a2", "A3", "a10", "b1c2", "b1c10"]
    assert sorted(shuffled, key=natural_key) == expected


def test_mask_is_cropped_then_resized(tmp_path):
    pixels = np.zeros((40, 60), dtype=np.uint8)
    pixels[10:20, 30:50] = 1  # class numbers count as well as white
    path = write(tmp_path / "m.png", pixels)
    whole = read_masks([path], image_size=(40, 60), size=(20, 30))
    assert whole.dtype == bool
    assert np.array_equal(whole, pixels[::2, ::2] > 0)
    crop = read_masks([path], image_size=(40, 60), size=(20, 40), roi=(20, 0, 40, 20))
    assert np.array_equal(crop, pixels[:20, 20:] > 0)


def test_mask_in_colour_with_alpha(tmp_path):
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    pixels[2, 3, 0] = 1
    mask = read_masks([write(tmp_path / "m.png", pixels)], image_size=(8, 8), size=(8, 8))
    assert np.argwhere(mask).tolist() == [[2, 3]]


def test_mask_in_sixteen_bits(tmp_path):
    pixels = np.zeros((8, 8), dtype=np.uint16)
    pixels[1, 1] = 1
    mask = read_masks([write(tmp_path / "m.png", pixels)], image_size=(8, 8), size=(8, 8))
    assert mask.sum() == 1


def test_lossy_mask_has_no_halo(tmp_path):
    pixels = np.zeros((64, 64), dtype=np.uint8)
    cv2.circle(pixels, (30, 30), 11, 255, -1)
    mask = read_masks([write(tmp_path / "m.jpg", pixels)], image_size=(64, 64), size=(64, 64))
    assert np.mean(mask != (pixels > 0)) < 0.01


def test_masks_that_cannot_be_used(tmp_path):
    path = write(tmp_path / "m.png")
    with pytest.raises(DatasetError, match=r"the mask is 8x8 and its image 9x10 pixels"):
        read_masks([path], image_size=(10, 9), size=(8, 8))
    (tmp_path / "empty.png").touch()
    for name in ("empty.png", "gone.png"):
        with pytest.raises(DatasetError, match=name):
            read_masks([tmp_path / name], image_size=(8, 8), size=(8, 8))
    whole = path.read_bytes()
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    for content, says in (
        (b"no picture", "not an image"),
        (whole[: len(whole) - 20], "cut short"),  # nothing would be marked in what is missing
        (whole[:16] + b"\0\1\0\0" * 2 + whole[24:], "more than 100 megapixels"),
    ):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=rf"m\.png: .*{says}"):
            read_masks([path], image_size=(8, 8), size=(8, 8))
    with pytest.raises(DatasetError, match="it is a pipe"):
        read_masks([pipe], image_size=(8, 8), size=(8, 8))


def test_a_mask_is_turned_as_its_image_is(tmp_path):
    pixels = np.zeros((8, 12), np.uint8)
    pixels[0, 2] = 255
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(tmp_path / "m.png", exif=exif)
    mask = read_masks([tmp_path / "m.png"], image_size=(12, 8), size=(12, 8))
    assert np.argwhere(mask).tolist() == [[2, 7]]


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "counts"), [("bottle", (209, 20, 63)), ("magnetic_tile", (714, 238, 392))]
)
def test_real_folders(name, counts):
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"development data not here: {name}")
    data = dataset_from_folder(folder)
    good = [sample for sample in data.test if sample.defect == "good"]
    bad = [sample for sample in data.test if sample.defect != "good"]
    assert (len(data.train), len(good), len(bad)) == counts
    assert all(sample.masks for sample in bad)
    for sample in bad[::40]:
        image = cv2.imread(str(sample.path))
        mask = read_masks(sample.masks, image_size=image.shape[:2], size=(256, 256))
        assert mask.any()
