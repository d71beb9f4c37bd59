"""Folder layouts after the documentation of public sets, and those that factories make."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibrate.dataset import GOOD, dataset_from_folder


def encoded(suffix: str, *, marked: bool) -> bytes:
    pixels = np.zeros((6, 8), np.uint8)
    pixels[2:4, 3:6] = 255 * marked
    return cv2.imencode(suffix, pixels)[1].tobytes()


BLANK = {suffix: encoded(suffix, marked=False) for suffix in (".png", ".bmp")}
MARKED = {suffix: encoded(suffix, marked=True) for suffix in (".png", ".bmp")}


def make(folder: Path, *names: str) -> Path:
    """Make files: ``good/{1,2}.png`` is two, ``!`` behind a name marks a defect in a mask."""
    for name in (one for pattern in names for one in spread(pattern)):
        path = folder / name.rstrip("!")
        path.parent.mkdir(parents=True, exist_ok=True)
        suffix = path.suffix.lower()
        content = MARKED if name.endswith("!") else BLANK
        path.write_bytes(content.get(suffix, b""))
    return folder


def spread(pattern: str) -> list[str]:
    before, brace, rest = pattern.partition("{")
    if not brace:
        return [pattern]
    choices, _, after = rest.partition("}")
    return [one for choice in choices.split(",") for one in spread(before + choice + after)]


LAYOUTS = {
    # name: (files, layout, good to learn from, measured on as kind: (images, with masks), left out)
    "MVTec AD": (
        [
            "train/good/{000,001,002}.png",
            "test/good/000.png",
            "test/{broken,bent}/{000,001}.png",
            "ground_truth/{broken,bent}/{000,001}_mask.png!",
            "{license,readme}.txt",
        ],
        ("split", 3, {"good": (1, 0), "bent": (2, 2), "broken": (2, 2)}, {".txt": 2}),
    ),
    "MVTec LOCO AD": (
        [
            "train/good/{000,001}.png",
            "validation/good/{000,001,002}.png",
            "test/good/000.png",
            "test/{logical,structural}_anomalies/{000,001}.png",
            "defects_config.json",
            "ground_truth/{logical,structural}_anomalies/000/{000,001}.png!",
            "ground_truth/{logical,structural}_anomalies/001/000.png!",
        ],
        (
            "split",
            2,
            {"good": (4, 0), "logical_anomalies": (2, 2), "structural_anomalies": (2, 2)},
            {".json": 1},
        ),
    ),
    "MVTec AD 2": (
        [
            "{train,validation}/good/{000_regular,001_regular}.png",
            "test_public/{good,bad}/{000_regular,000_overexposed}.png",
            "test_public/ground_truth/bad/{000_regular,000_overexposed}_mask.png!",
            "test_private{,_mixed}/{000,001,002}.png",
        ],
        (
            "split",
            2,
            {"good": (4, 0), "bad": (2, 2)},
            {"without labels in test_private": 3, "without labels in test_private_mixed": 3},
        ),
    ),
    "BTAD 01": (
        [
            "train/ok/{0000,0001}.bmp",
            "test/ok/0000.bmp",
            "test/ko/{0000,0001}.bmp",
            "ground_truth/ko/{0000,0001}.png!",
        ],
        ("split", 2, {"good": (1, 0), "ko": (2, 2)}, {}),
    ),
    "BTAD 03": (
        [
            "train/ok/{0000,0001}.bmp",
            "test/ok/0000.bmp",
            "test/ko/0000.bmp",
            "test/ko/Thumbs.db",
            "ground_truth/ko/0000.bmp!",
            "ground_truth/ok/0000.bmp",
        ],
        ("split", 2, {"good": (1, 1), "ko": (1, 1)}, {".db": 1}),
    ),
    "VisA": (
        [
            "Data/Images/Normal/{0000,0001}.JPG",
            "Data/Images/Anomaly/{000,001}.JPG",
            "Data/Masks/Anomaly/{000,001}.png!",
            "image_anno.csv",
        ],
        ("labelled", 2, {"Anomaly": (2, 2)}, {".csv": 1}),
    ),
    "VisA, its 1-class split": (
        [
            "train/good/{0000,0001}.JPG",
            "test/good/0002.JPG",
            "test/bad/{000,001}.JPG",
            "ground_truth/bad/{000,001}.png!",
        ],
        ("split", 2, {"good": (1, 0), "bad": (2, 2)}, {}),
    ),
    "KolektorSDD": (
        [
            "kos{01,02}/Part{0,1,2}.jpg",
            "kos01/Part{0,1,2}_label.bmp",
            "kos02/Part{0,2}_label.bmp",
            "kos02/Part1_label.bmp!",
        ],
        ("marked", 5, {"defect": (1, 1)}, {}),
    ),
    "KolektorSDD2": (
        [
            "train/{10000,10001,10002}.png",
            "train/{10000,10002}_GT.png",
            "train/10001_GT.png!",
            "test/{20000,20001}.png",
            "test/20000_GT.png",
            "test/20001_GT.png!",
        ],
        ("marked", 2, {"good": (1, 1), "defect": (1, 1)}, {"of defects in train": 1}),
    ),
    "DAGM 2007": (
        [
            "Train/{0001,0002,0003}.PNG",
            "Train/Label/0002_label.PNG!",
            "Train/Label/Labels.txt",
            "Test/{0001,0002}.PNG",
            "Test/Label/0001_label.PNG!",
        ],
        (
            "marked",
            2,
            {},
            {"of defects in Train": 1, "without labels in Test": 2, ".txt": 1},
        ),
    ),
    "plain": (
        ["{2,10,9}.png", "4.jfif", "5.{heic,json}", "notes"],
        ("plain", 4, {}, {".heic": 1, ".json": 1, "without a suffix": 1}),
    ),
    "plain, with sub-folders": (
        ["1.png", "rejects/{1,2}.png", "monday/1.png", "monday/deep/1.png"],
        ("plain", 1, {}, {"in rejects": 2, "in monday": 1}),
    ),
    "plain, with masks beside": (
        ["{1,2,3}.png", "2_mask.png!", "3_mask.png"],
        ("marked", 2, {"defect": (1, 1)}, {}),
    ),
    "ok and ng": (["ok/{1,2}.png", "ng/1.png"], ("labelled", 2, {"ng": (1, 0)}, {})),
    "OK and NG": (["OK/{1,2}.BMP", "NG/1.BMP"], ("labelled", 2, {"NG": (1, 0)}, {})),
    "good and bad": (
        ["good/{1,2}.png", "bad/{1,2}.png", "ground_truth/bad/2.png!"],
        ("labelled", 2, {"bad": (2, 1)}, {}),
    ),
    "Good and Bad, in a split": (
        ["Train/Good/{1,2}.png", "Test/Good/3.png", "TEST/Bad/4.png", "Ground_Truth/BAD/4.png!"],
        ("split", 2, {"good": (1, 0), "Bad": (1, 1)}, {}),
    ),
    "good, and kinds of defects": (
        [
            "good/1.png",
            "good/monday/2.png",
            "crack/deep/1.png",
            "hole/{1,1_mask}.png",
            "3.png",
            "ground_truth/crack/deep/1_mask.png!",
            "build/a.edge/golden/good.png",
            "empty/x.txt",
        ],
        (
            "labelled",
            2,
            {"crack": (1, 1), "hole": (1, 1)},
            {"beside the folder good": 1, ".txt": 1},
        ),
    ),
    "train, val, test with defects in train": (
        ["train/{good,bad}/1.png", "val/{good,bad}/1.png", "test/{good,bad}/1.png", "new/1.png"],
        (
            "split",
            1,
            {"good": (2, 0), "bad": (2, 0)},
            {"of defects in train": 1, "beside the folder train": 1},
        ),
    ),
    "images and masks apart": (
        ["images/good/{1,2}.jpg", "images/scratch/3.jpg", "masks/scratch/3.png!"],
        ("labelled", 2, {"scratch": (1, 1)}, {}),
    ),
    "train without a folder good": (
        ["train/{1,2}.png", "test/{good,crack}/1.png", "test/9.png"],
        ("split", 2, {"good": (1, 0), "crack": (1, 0)}, {"without labels in test": 1}),
    ),
    "sub-folders of test": (
        [
            "train/good/monday/1.png",
            "test/good/{tue,wed}/1.png",
            "test/crack/tue/1.png",
            "ground_truth/crack/tue/1_mask.png!",
        ],
        ("split", 1, {"good": (2, 0), "crack": (1, 1)}, {}),
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_file_is_learnt_measured_or_counted(name: str, tmp_path: Path) -> None:
    files, (layout, learnt, measured, left_out) = LAYOUTS[name]
    data = dataset_from_folder(make(tmp_path, *files))
    found = {}
    for sample in data.test:
        images, masks = found.get(sample.defect, (0, 0))
        found[sample.defect] = images + 1, masks + bool(sample.masks)
    assert (data.layout, len(data.train), found) == (layout, learnt, measured)
    assert {group.what: len(group.paths) for group in data.left_out} == left_out
    used = [*data.train, *(one.path for one in data.test)]
    used += [path for group in data.left_out for path in group.paths]
    used += [mask for sample in data.test for mask in sample.masks]
    assert len(used) == len(set(used))
    assert [sample.defect == GOOD for sample in data.test] == sorted(
        (sample.defect == GOOD for sample in data.test), reverse=True
    )


def test_masks_of_one_image_are_together(tmp_path: Path) -> None:
    data = dataset_from_folder(make(tmp_path, *LAYOUTS["MVTec LOCO AD"][0]))
    masks = {
        f"{one.defect}/{one.path.name}": [mask.name for mask in one.masks] for one in data.test
    }
    assert masks["logical_anomalies/000.png"] == ["000.png", "001.png"]
    assert masks["structural_anomalies/001.png"] == ["000.png"]


def test_one_line_tells_what_is_used_and_what_is_not(tmp_path: Path) -> None:
    make(tmp_path, "{a,b,c,d,e,f,g,h,i,j,k,l}.heic", "{a,b,c,d,e,f,g,h,i,j}.json", "1.png")
    assert dataset_from_folder(tmp_path).account == (
        "1 good images to learn from; 22 files not used: 12 .heic, 10 .json"
    )


def test_linked_folders_are_read_once_and_never_round_in_a_circle(tmp_path: Path) -> None:
    data = make(tmp_path / "set", "good/1.png", "crack/1.png")
    make(tmp_path / "elsewhere", "{2,3}.png")
    (data / "good/more").symlink_to(tmp_path / "elsewhere")
    (data / "good/again").symlink_to(tmp_path / "elsewhere")
    (data / "good/round").symlink_to(data)
    (data / "a_copy").symlink_to(data / "good")
    (data / "itself").symlink_to(data / "itself")
    found = dataset_from_folder(data)
    assert sorted(path.name for path in found.train) == ["1.png", "2.png", "3.png"]
    assert [one.defect for one in found.test] == ["crack"]
    assert sorted(path.name for path in found.links) == ["a_copy", "more", "round"]
    assert [group.what for group in found.left_out] == ["without a suffix"]
    assert found.notes[-1].startswith("linked folders that lead to what was read already:")
