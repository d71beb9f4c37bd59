"""Masks that cannot be right are told, or refused, before anything is learnt."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibrate.dataset import DatasetError, Sample, check_masks

SPOT = np.zeros((20, 30), np.uint8)
SPOT[4:8, 4:8] = 255


def sample(folder: Path, *masks: np.ndarray, defect: str = "crack", size=(20, 30)) -> Sample:
    name = f"{len(list(folder.iterdir()))}"
    image = folder / f"{name}.png"
    cv2.imwrite(str(image), np.zeros((*size, 3), np.uint8))
    paths = [folder / f"{name}_{index}_mask.png" for index in range(len(masks))]
    for path, mask in zip(paths, masks, strict=True):
        cv2.imwrite(str(path), mask)
    return Sample(image, defect, tuple(paths))


def test_masks_that_are_right_say_nothing(tmp_path: Path) -> None:
    blank = np.zeros_like(SPOT)
    samples = [sample(tmp_path, SPOT, SPOT), sample(tmp_path), sample(tmp_path, SPOT)]
    assert check_masks([*samples, sample(tmp_path, blank, defect="good")]) == ()


def test_inverted_blank_and_mislaid_masks_are_told(tmp_path: Path) -> None:
    samples = [sample(tmp_path, SPOT), sample(tmp_path, 255 - SPOT)]
    samples += [sample(tmp_path, np.zeros_like(SPOT)), sample(tmp_path, SPOT, defect="good")]
    large, blank, mislaid = check_masks(samples)
    assert large.startswith("1 of 3 masks mark more than half of their picture, such as ")
    assert samples[1].masks[0].name in large
    assert "1 of 3 masks mark nothing" in blank
    assert "1 good images have a mask" in mislaid


def test_a_mask_of_another_size_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"the mask is 30x20 and its image 31x20 pixels"):
        check_masks([sample(tmp_path, SPOT), sample(tmp_path, SPOT, size=(20, 31))])


def test_the_mask_of_an_image_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    torn = sample(tmp_path, SPOT)
    torn.path.write_bytes(b"no image")
    assert check_masks([torn]) == ()


def test_a_picture_that_exif_turns_is_as_large_as_its_mask(tmp_path: Path) -> None:
    turned = sample(tmp_path, SPOT)
    encoded = cv2.imencode(".jpg", np.zeros((30, 20, 3), np.uint8))[1].tobytes()
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    turned.path.write_bytes(encoded[:2] + segment + encoded[2:])
    assert check_masks([turned]) == ()
