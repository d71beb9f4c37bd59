"""Limits from good images: none that mean nothing, none that a good image breaks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibrate.images import fit_image
from edge.building.build import build
from edge.health.checks import ImageChecks
from edge.health.learn import (
    learn_health,
    record_from_samples,
    sample_from_image,
    undetectable_checks,
)
from edge.health.measurements import ImageStatsReader
from edge.options import BuildOptions

SIZE = (128, 128)


@pytest.fixture(scope="module")
def parts(drawn: Path) -> list[np.ndarray]:
    return [cv2.imread(str(path)) for path in sorted((drawn / "train" / "good").iterdir())]


def test_a_product_without_contrast_gets_no_limits_that_mean_nothing(tmp_path) -> None:
    """Noise alone, nearly white: blurred it looks as sharp, and nothing is left to burn."""
    random = np.random.default_rng(3)
    paths = []
    for index in range(6):
        grey = np.clip(random.normal(256, 3, (96, 96, 1)), 0, 255).astype(np.uint8)
        paths.append(tmp_path / f"{index}.png")
        cv2.imwrite(str(paths[-1]), np.repeat(grey, 3, axis=2))
    record = learn_health(paths, size=(96, 96), roi=None)
    assert {"saturated", "blurred"} <= set(undetectable_checks(record))
    assert record.black is not None
    health = ImageChecks(record)
    image = fit_image(cv2.imread(str(paths[0])), (96, 96))
    assert health.find_problem(ImageStatsReader((96, 96)).read(image)) == ""


@pytest.mark.usefixtures("light_builds")
def test_the_build_says_what_it_cannot_see(tmp_path, drawn) -> None:
    """Pictures of many exposures: whatever covers a part of one looks like another."""
    folder = tmp_path / "good"
    folder.mkdir()
    for index, path in enumerate(sorted((drawn / "train" / "good").iterdir())):
        gain = (0.05, 0.4, 1.0, 3.0)[index % 4]
        cv2.imwrite(str(folder / path.name), cv2.convertScaleAbs(cv2.imread(str(path)), alpha=gain))
    said: list[str] = []
    options = BuildOptions(precision="fp32", size=(64, 64), prototypes=16, engine="onnxruntime")
    made = build(folder, tmp_path / "x.edge", options=options, say=said.append)
    missing = undetectable_checks(made.bundle.manifest.health)
    assert "occluded" in missing
    for check in missing:
        assert f"health: on these images {check} pictures cannot be told from good ones" in said


def test_one_image_is_enough_to_learn_from_and_is_healthy(parts) -> None:
    reader = ImageStatsReader(SIZE)
    one = sample_from_image(reader, fit_image(parts[0], SIZE), shape=SIZE, turn=0)
    record = record_from_samples([one])
    assert ImageChecks(record).find_problem(one.good) == ""
    assert ImageChecks(record).find_problem(one.faults["black"]).startswith("black: ")


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "part", "most"), [("bottle", 4, 0), ("magnetic_tile", 12, 0)])
def test_no_false_alarm_on_real_parts(name, part, most, realdata: Path) -> None:
    """Good and defective parts that took no part; see docs/health.md for all of them."""
    train = sorted((realdata / name / "train" / "good").iterdir())[::part]
    health = ImageChecks(learn_health(train, size=(256, 256), roi=None))
    reader = ImageStatsReader((256, 256))
    found = []
    for path in sorted((realdata / name / "test").glob("*/*"))[:: part // 2]:
        stats = reader.read(fit_image(cv2.imread(str(path)), (256, 256)))
        found.append(health.find_problem(stats))
    assert len(found) > 40
    assert sum(problem != "" for problem in found) <= most, [p for p in found if p]
