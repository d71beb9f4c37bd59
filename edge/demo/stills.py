"""Pictures of the drawn line in the folders of MVTec AD."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edge.demo.defects import DEFECTS
from edge.demo.scene import draw_part
from edge.result import Image

_TRAIN, _TEST, _DEFECT = range(3)  # so that no two sets share a random stream


def draw_dataset(
    folder: Path,
    *,
    good: int = 60,
    test_good: int = 20,
    defects_each: int = 8,
    seed: int = 0,
    size: int = 256,
) -> int:
    """Write ``train/good``, ``test/<defect>`` and ``ground_truth/<defect>`` as PNG files.

    Every part is in place, as in the frames of `draw_conveyor`.

    Args:
        folder: made if need be; must be empty.
        good: pictures to learn from.
        test_good: further good pictures.
        defects_each: pictures of each of the defects, with masks.
        seed: the same seed draws the same pixels; another one, other parts.
        size: height and width in pixels.

    Returns:
        The number of pictures, masks not counted.

    Raises:
        FileExistsError: the folder holds something already.
        OSError: it cannot be written.
        ValueError: the size is out of range.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(f"{folder}: is not empty; give a new folder for the drawn pictures")
    for count, name, stream in ((good, "train", _TRAIN), (test_good, "test", _TEST)):
        home = _make_folder(folder / name / "good")
        for index in range(count):
            rng = np.random.default_rng([seed, stream, index])
            _write(home / f"{index:03}.png", draw_part(rng, size=size)[0])
    _draw_defects(folder, each=defects_each, seed=seed, size=size)
    return good + test_good + defects_each * len(DEFECTS)


def _draw_defects(folder: Path, *, each: int, seed: int, size: int) -> None:
    for kind, defect in enumerate(DEFECTS):
        home = _make_folder(folder / "test" / defect)
        truth = _make_folder(folder / "ground_truth" / defect)
        for index in range(each):
            rng = np.random.default_rng([seed, _DEFECT + kind, index])
            picture, mask = draw_part(rng, size=size, defect=defect)
            _write(home / f"{index:03}.png", picture)
            _write(truth / f"{index:03}_mask.png", mask)


def _make_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write(path: Path, picture: Image) -> None:
    done, encoded = cv2.imencode(".png", picture)
    if not done:
        raise OSError(f"{path}: OpenCV cannot encode PNG; reinstall opencv-python")
    path.write_bytes(encoded.tobytes())
