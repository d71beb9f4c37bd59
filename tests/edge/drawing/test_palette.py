"""One palette: heat, verdicts, and the style sheets that show them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge.drawing.palette import (
    AT_THRESHOLD,
    VERDICT_COLOURS,
    VERDICT_COLOURS_ON_DARK,
    heat_colours,
    heat_levels,
    lay_heat,
)
from edge.drawing.report import Report, report_html
from edge.result import Verdict

PAGE = Path(__file__).resolve().parents[3] / "edge/service/page/page.css"


def level_of(value: float, threshold: float, *, defect: bool = False) -> int:
    field = np.full((4, 4), value, np.float32)
    mask = np.ones((4, 4), bool) if defect else None
    levels = heat_levels(field, threshold=threshold, defect_mask=mask, size=(8, 8))
    return int(levels[4, 4])


def test_heat_is_clear_below_half_the_threshold_and_has_one_scale() -> None:
    assert level_of(0.49, 1.0) == level_of(0.0, 1.0) == 0
    assert 0 < level_of(0.8, 1.0) == level_of(8.0, 10.0) < AT_THRESHOLD
    assert level_of(1.0, 1.0, defect=True) == AT_THRESHOLD
    assert level_of(1.5, 1.0, defect=True) == level_of(99.0, 1.0, defect=True) == 255
    assert level_of(float("nan"), 1.0, defect=True) == 255


def test_what_does_not_count_stays_below_the_colours_of_a_defect() -> None:
    assert level_of(1.5, 1.0) == level_of(99.0, 1.0) == AT_THRESHOLD - 1
    assert level_of(float("nan"), 1.0) == AT_THRESHOLD - 1


def test_a_defect_below_the_threshold_has_its_colour_and_shape_all_the_same() -> None:
    """An NG by many middling values, none of which reaches the pixel threshold."""
    field = np.zeros((16, 16), np.float32)
    field[4:12, 4:12] = 0.7
    size = (64, 64)
    levels = heat_levels(field, threshold=1.0, defect_mask=field > 0, size=size)
    assert set(np.unique(levels[20:44, 20:44])) == {AT_THRESHOLD}
    hot = levels >= AT_THRESHOLD
    assert not (hot[:14].any() or hot[50:].any() or hot[:, :14].any() or hot[:, 50:].any())
    assert heat_levels(field, threshold=1.0, defect_mask=None, size=size).max() < AT_THRESHOLD


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1e-45])
def test_without_a_scale_a_defect_has_its_colour_all_the_same(threshold) -> None:
    assert level_of(0.5, threshold, defect=True) >= AT_THRESHOLD
    assert level_of(0.0, threshold) < AT_THRESHOLD


SIDES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@given(hnp.arrays(bool, SIDES), SIDES)
def test_no_pixel_of_a_defect_is_lost_at_any_size(mask, size) -> None:
    """Each pixel of the mask has a picture's pixel that shows it, near where it is."""
    field = np.zeros(mask.shape, np.float32)
    hot = heat_levels(field, threshold=1.0, defect_mask=mask, size=size) >= AT_THRESHOLD
    assert hot.shape == size[::-1]
    reach = [max(1.0, side / cells) for side, cells in zip(hot.shape, mask.shape, strict=True)]
    shown = np.argwhere(hot) + 0.5
    for place in np.argwhere(mask):
        middle = (place + 0.5) * np.array(hot.shape) / mask.shape
        assert (np.abs(shown - middle) <= reach).all(axis=1).any()
    if not mask.any():
        assert not hot.any()


def test_heat_is_laid_only_where_there_is_some() -> None:
    picture = np.full((20, 30, 3), 90, np.uint8)
    levels = np.zeros((20, 30), np.uint8)
    lay_heat(picture, levels, opacity=1.0)
    assert (picture == 90).all()
    levels[5:8, 10:14] = 255
    lay_heat(picture, levels, opacity=1.0)
    assert (picture[levels == 0] == 90).all()
    assert np.abs(picture[6, 12].astype(int) - heat_colours(levels)[6, 12]).max() <= 1


def test_the_threshold_is_orange() -> None:
    blue, green, red = heat_colours(np.full((1, 1), AT_THRESHOLD, np.uint8))[0, 0].tolist()
    assert red > 240 and 100 < green < 180 and blue < 60


def colours_in(text: str, kind: str) -> set[str]:
    return set(re.findall(rf"--{kind}: *(#[0-9a-f]{{6}})", text))


@pytest.mark.parametrize("verdict", list(Verdict))
def test_page_and_report_show_verdicts_in_the_colours_of_the_pictures(verdict) -> None:
    kind = verdict.value.lower()
    dark, light = (
        f"#{red:02x}{green:02x}{blue:02x}"
        for blue, green, red in (VERDICT_COLOURS_ON_DARK[verdict], VERDICT_COLOURS[verdict])
    )
    assert colours_in(PAGE.read_text(), kind) == {dark}
    if verdict is not Verdict.ERROR:
        report = report_html(Report("x", {}))
        assert colours_in(report, {"ok": "good", "ng": "bad"}[kind]) == {light, dark}


@pytest.mark.parametrize("colours", [VERDICT_COLOURS, VERDICT_COLOURS_ON_DARK])
def test_verdicts_are_green_red_and_amber(colours) -> None:
    strongest = {verdict: int(np.argmax(colour)) for verdict, colour in colours.items()}
    assert strongest == {Verdict.OK: 1, Verdict.NG: 2, Verdict.ERROR: 2}
    assert colours[Verdict.ERROR][1] > colours[Verdict.NG][1] + 50
