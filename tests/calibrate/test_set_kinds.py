"""Good images of two kinds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibrate.dataset import dataset_from_folder
from calibrate.set_kinds import find_two_kinds

SETS = ("bottle", "magnetic_tile", "ksdd", "elpv_mono", "aitex_02", "screw_presence")
SETS += ("toy_figure", "casting", "ball_screw")


def write(folder: Path, *groups: np.ndarray, each: int = 8, noise: float = 3) -> list[Path]:
    rng, paths = np.random.default_rng(0), []
    for picture in groups:
        for _ in range(each):
            paths.append(folder / f"{len(paths):03}.png")
            light = rng.normal(1, 0.03) * picture + rng.normal(0, noise, picture.shape)
            cv2.imwrite(str(paths[-1]), np.clip(light, 0, 255).astype(np.uint8))
    return paths


def part(*, radius: int, level: int) -> np.ndarray:
    picture = np.full((48, 48, 3), 60.0)
    cv2.circle(picture, (24, 24), radius, (level, level, level), -1)
    return picture


def test_one_product_says_nothing(tmp_path: Path, drawn: Path) -> None:
    assert find_two_kinds(write(tmp_path, part(radius=15, level=180))) == ()
    assert find_two_kinds(sorted((drawn / "train/good").iterdir())) == ()


def test_two_products_are_told_and_named(tmp_path: Path) -> None:
    paths = write(tmp_path, part(radius=15, level=180), part(radius=6, level=230))
    (paths[3]).write_bytes(b"torn")
    (found,) = find_two_kinds(paths)
    assert "look like two kinds: 8 of 15 like 008.png, 7 like 000.png" in found


@pytest.mark.realdata
@pytest.mark.soak
@pytest.mark.parametrize("name", SETS)
def test_no_real_set_of_one_product_looks_like_two(realdata: Path, name: str) -> None:
    paths = dataset_from_folder(realdata / name).train
    assert find_two_kinds(paths) == ()
    first = dataset_from_folder(realdata / ("bottle" if name != "bottle" else "ksdd")).train
    assert any("two kinds" in line for line in find_two_kinds((*first[:60], *paths[:60])))
