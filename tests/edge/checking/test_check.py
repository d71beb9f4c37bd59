"""A folder of good images is checked as a build would read it, and a build says the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibrate.threshold import images_needed, upper_bound
from edge.checking.check import CheckedSet, check_images
from edge.checking.kinds import kinds_of_vectors
from edge.checking.looks import looks_of
from edge.checking.report import check_report
from edge.health.measurements import ImageStatsReader
from edge.options import BuildOptions, CheckOptions

SIZE = (128, 128)
OPTIONS = BuildOptions(size=SIZE)


@pytest.fixture(scope="module")
def checked(drawn, tmp_path_factory: pytest.TempPathFactory) -> CheckedSet:
    """Twelve drawn parts; three of them again, one twice; a black picture; files of other kinds."""
    folder = tmp_path_factory.mktemp("check") / "parts"
    shutil.copytree(drawn / "train" / "good", folder)
    first, second, third, *_ = sorted(folder.iterdir())
    shutil.copy(first, folder / "again.png")
    for name, source, quality in (
        ("b.jpg", first, 80),
        ("c.jpg", second, 90),
        ("d.jpg", third, 70),
    ):
        cv2.imwrite(
            str(folder / name), cv2.imread(str(source)), [cv2.IMWRITE_JPEG_QUALITY, quality]
        )
    cv2.imwrite(str(folder / "dark.png"), np.zeros((*SIZE, 3), np.uint8))
    (folder / "notes.txt").write_text("x")
    return check_images(folder, options=OPTIONS)


def test_images_are_counted_once(checked) -> None:
    assert len(checked.read.usable) == 17
    assert checked.read.clusters.count == 13
    groups = [
        {checked.read.usable[index].name for index in one} for one in checked.read.clusters.shared
    ]
    assert [len(group) for group in groups] == [3, 2, 2]
    assert {"again.png", "b.jpg"} < groups[0]
    assert len(checked.read.different) == 13
    assert checked.bound == upper_bound(0, 13, 0.95)
    for one in checked.rates:
        assert one.needed == images_needed(one.rate)
        assert one.missing == max(0, one.needed - 13)


def test_what_is_amiss_is_said_and_shown(checked) -> None:
    text = "\n".join(checked.lines)
    assert "17 images, 13 different ones" in text
    assert "1 good image is all black: dark.png" in text
    assert "1 file not used" in text
    assert "kinds of files differ: " in text
    found = checked.to_json()
    json.dumps(found, allow_nan=False)
    assert found["different_images"] == 13
    assert len(found["clusters"]) == 3
    assert found["size"] == [128, 128]
    page = check_report(checked)
    assert page.count("<img") >= 4
    assert "<script" not in page
    assert "all black" in page
    assert "://" not in page


def test_looks_are_told_apart_from_the_usual() -> None:
    random, reader = np.random.default_rng(0), ImageStatsReader(SIZE)
    coarse = random.integers(60, 160, (16, 16, 3)).astype(np.uint8)
    base = cv2.resize(coarse, SIZE, interpolation=cv2.INTER_NEAREST)
    images = [cv2.add(base, random.integers(0, 9, base.shape).astype(np.uint8)) for _ in range(12)]
    images += [base * 0, base * 0 + 255, base // 4, cv2.GaussianBlur(base, (0, 0), 4)]
    paths = [Path(f"{index:02}.png") for index in range(len(images))]
    found = looks_of(paths, [reader.read(image) for image in images]).findings
    assert {one.look: [path.stem for path in one.paths] for one in found} == {
        "black": ["12"],
        "burnt out": ["13"],
        "darker": ["14"],
        "blurred": ["15"],
    }


@pytest.mark.parametrize("second", [0, 5, 20])
def test_two_products_are_told_but_not_one(second) -> None:
    random = np.random.default_rng(1)
    vectors = random.normal(0, 0.1, (30 + second, 8)).astype(np.float32)
    vectors[30:] += 1
    paths = [Path(f"{index:02}.png") for index in range(len(vectors))]
    groups = kinds_of_vectors(paths, vectors).groups
    assert [len(group) for group in groups] == ([30, second] if second else [])


def test_the_command_takes_what_a_build_takes(run, good) -> None:
    outcome = run("check", good, "--size", 64, "--report", "check.html", "--json")
    assert outcome.code == 0
    found = json.loads(outcome.out)
    assert found["good_images"] == found["different_images"] == 12
    assert Path("check.html").read_text().startswith("<!doctype html>")
    shown = run("check", good, "--size", 64)
    assert shown.code == 0
    assert "still missing" in shown.out
    missing = run("check", "none")
    assert missing.code == 2
    assert "no such folder" in missing.line()
    for name, field in CheckOptions.model_fields.items():
        assert field.description == BuildOptions.model_fields[name].description
