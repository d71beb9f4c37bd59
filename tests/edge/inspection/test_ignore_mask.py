"""Kinds of masks: each is used as it is meant, or refused."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge.given import GivenSettings
from edge.inspection.ignore_mask import counted_cells, mask_from_file
from edge.inspection.settings import settings_in_use
from edge.inspection.verdict import decide
from edge.result import Verdict
from engines.bundle import Bundle

SIDE = 128
BOX = (slice(24, 104), slice(24, 104))


def drawn_mask(side: int = SIDE, white: int = 255, black: int = 0, dtype=np.uint8) -> np.ndarray:
    mask = np.full((side, side), black, dtype)
    mask[24 * side // SIDE : 104 * side // SIDE, 24 * side // SIDE : 104 * side // SIDE] = white
    return mask


def but_one(side: int) -> np.ndarray:
    mask = np.full((side, side), 255, np.uint8)
    mask[0, 0] = 0
    return mask


def smooth(mask: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(mask, (9, 9), 0)


ROI = (14, 14, 100, 100)
USED = {
    "black and white": ("m.png", drawn_mask(), None),
    "values 0 and 1": ("m.png", drawn_mask(white=1), None),
    "two greys": ("m.bmp", drawn_mask(white=90, black=30), None),
    "in colour": ("m.png", cv2.cvtColor(drawn_mask(), cv2.COLOR_GRAY2BGR), None),
    "of 16 bits": ("m.tif", drawn_mask(white=65535, dtype=np.uint16), None),
    "of the picture, with a region": ("m.png", drawn_mask(), ROI),
    "of the region": ("m.png", drawn_mask()[14:114, 14:114], ROI),
}
REFUSED = {
    "of another size": ("m.png", drawn_mask(100), None, "100x100 px, the pictures .* 128x128 px"),
    "white but for one pixel, of another size": ("m.png", but_one(100), None, "has 100x100 px"),
    "white but for one pixel": ("m.png", but_one(SIDE), None, "leaves nothing .* 0.01%"),
    "all white": ("m.png", np.full((SIDE, SIDE), 255, np.uint8), None, "leaves nothing"),
    "all black": ("m.png", np.zeros((SIDE, SIDE), np.uint8), None, "nothing white"),
    "smooth edges": ("m.png", smooth(drawn_mask()), None, "m.png: .* values and must be of two"),
    "a JPEG": ("m.jpg", smooth(drawn_mask()), None, "of two"),
    "a photograph": ("m.png", np.add.outer(*[np.arange(SIDE, dtype=np.uint8)] * 2), None, "of two"),
    "a region's, with another region": ("m.png", drawn_mask(100), (0, 0, 90, 90), "90x90 px: give"),
}


@pytest.mark.parametrize("kind", USED)
def test_a_mask_that_fits_is_used(bundle, tmp_path, kind) -> None:
    name, image, roi = USED[kind]
    assert cv2.imwrite(str(tmp_path / name), image)
    given = GivenSettings(threshold=0.5, ignore=str(tmp_path / name), roi=roi)
    told: list[str] = []
    settings = settings_in_use(Bundle.open(bundle), given, say=told.append)
    assert len(told) == (roi is not None)  # the region's larger part
    hot = np.zeros((SIDE, SIDE), np.float32)
    hot[BOX] = 1.0
    if roi is not None:
        hot = cv2.resize(hot[14:114, 14:114], (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    found = decide(hot, 1.0, settings=settings, frame_shape=(SIDE, SIDE, 3))
    assert found.verdict is Verdict.OK
    assert (found.ignored == (hot == 1)).all()
    hot[:9] = 1.0
    found = decide(hot, 1.0, settings=settings, frame_shape=(SIDE, SIDE, 3))
    assert found.verdict is Verdict.NG


@pytest.mark.parametrize("kind", REFUSED)
def test_a_mask_that_does_not_fit_is_refused(bundle, tmp_path, kind) -> None:
    name, image, roi, says = REFUSED[kind]
    assert cv2.imwrite(str(tmp_path / name), image)
    given = GivenSettings(ignore=str(tmp_path / name), roi=roi)
    with pytest.raises(ValueError, match=says):
        settings_in_use(Bundle.open(bundle), given, say=print)


def test_the_word_none_is_no_mask(tmp_path) -> None:
    assert mask_from_file(tmp_path.__class__("none")) == "none"


def test_a_frame_of_another_size_is_an_error_with_a_mask(bundle) -> None:
    """The learnt images may have several sizes: only the frame tells."""
    settings = settings_in_use(Bundle.open(bundle), GivenSettings(), say=print)
    settings = type(settings)(settings.threshold, ignore=drawn_mask())
    blank = np.zeros((SIDE, SIDE), np.float32)
    found = decide(blank, 0.0, settings=settings, frame_shape=(64, 128, 3))
    assert found.verdict is Verdict.ERROR
    assert found.reason == (
        "the ignore mask has 128x128 px, the picture 128x64 px: give a mask of one of these sizes"
    )


@pytest.mark.parametrize("side", [26, 14, 20])
def test_each_cell_takes_the_place_where_it_begins(side) -> None:
    """Whole numbers: in floating point 5 * (26 / 10) falls just short of 13."""
    rows = np.arange(side)
    for cells in range(1, 60):
        mask = np.repeat(np.where(rows % 2, 255, 0).astype(np.uint8)[:, None], 3, axis=1)
        counted = counted_cells(mask, map_shape=(cells, 1), roi=None)[:, 0]
        assert counted.tolist() == [row * side // cells % 2 == 0 for row in range(cells)]
