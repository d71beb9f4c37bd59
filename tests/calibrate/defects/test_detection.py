from itertools import product
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrate.defects.changes import DefectKind
from calibrate.defects.detection import (
    JudgedDefect,
    clear_cells,
    detection_of,
    share_found,
    smallest_found,
)
from calibrate.defects.draw import CONTRASTS, SIZES, DrawnDefect
from engines.drawn_record import DrawnCellRecord, DrawnDefectsRecord

GOOD = (0.1, 0.2, 0.3)


def judged_with(found, *, score=lambda defect: defect.size) -> list[JudgedDefect]:
    """Every combination twice; `found` tells of a defect whether it is."""
    defects = [
        DrawnDefect(size, contrast, kind, outline)
        for size, contrast, kind, outline in product(
            SIZES, CONTRASTS, get_args(DefectKind), ("blob", "scratch")
        )
    ]
    return [JudgedDefect(one, score(one), found(one)) for one in defects]


def record_of(found, **changes) -> DrawnDefectsRecord:
    given = {"good": GOOD, "threshold": 0.3, "images": 3, "shorter_side": 500.0}
    return detection_of(judged_with(found), **{**given, **changes})


def cells(shares: dict[float, float]) -> list[DrawnCellRecord]:
    return [
        DrawnCellRecord(size=size, kind="darker", contrast=2, drawn=100, found=round(100 * share))
        for size, share in shares.items()
    ]


def test_all_is_counted_by_size_kind_and_contrast() -> None:
    record = record_of(lambda one: one.size >= 0.08 and one.kind != "noise")
    assert (record.drawn, record.found) == (150, 3 * 3 * 4 * 2)
    assert share_found([cell for cell in record.cells if cell.kind == "noise"]) == 0
    assert share_found([cell for cell in record.cells if cell.size == 0.16]) == 0.8
    assert share_found([]) is None
    assert {cell.drawn for cell in record.cells} == {2}
    assert {cell.size for cell in clear_cells(record.cells, size=0.16)} == {0.16, 0.32}
    assert {cell.contrast for cell in clear_cells(record.cells)} == {2.0, 4.0}


def test_the_smallest_size_is_told_in_px_and_mm() -> None:
    record = record_of(lambda one: one.size >= 0.08, scale=0.1)
    assert record.smallest is not None
    assert 0.04 < record.smallest < 0.08
    assert record.smallest_px == pytest.approx(500 * record.smallest)
    assert record.smallest_mm == pytest.approx(50 * record.smallest)
    assert record_of(lambda _: True).smallest_mm is None


@pytest.mark.parametrize(
    ("shares", "smallest"),
    [
        ({0.02: 0.9, 0.08: 1.0}, 0.02),
        ({0.02: 0.0, 0.08: 1.0}, 0.04),
        ({0.02: 0.0, 0.08: 0.5}, 0.08),
        ({0.02: 0.3, 0.08: 0.4}, None),
        ({0.02: 0.6, 0.04: 0.2, 0.08: 1.0}, 0.0449),
    ],
)
def test_the_smallest_size_of_which_half_are_found(shares, smallest) -> None:
    assert smallest_found(cells(shares)) == (smallest and pytest.approx(smallest, rel=0.01))


@given(st.lists(st.integers(0, 100), min_size=2, max_size=6))
def test_finding_more_never_makes_the_smallest_size_larger(found: list[int]) -> None:
    sizes = [0.01 * 2**step for step in range(len(found))]
    before = smallest_found(cells({s: n / 100 for s, n in zip(sizes, found, strict=True)}))
    more = [min(100, number + 10) for number in found]
    after = smallest_found(cells({s: n / 100 for s, n in zip(sizes, more, strict=True)}))
    assert before is None or (after is not None and after <= before + 1e-9)


@pytest.mark.parametrize(
    ("found", "outlook"),
    [
        (lambda _: True, "fine"),
        (lambda one: one.size > 0.02, "fine"),
        (lambda one: one.size > 0.05, "short-sighted"),
        (lambda one: one.size > 0.1 and one.kind != "noise", "blind"),
        (lambda one: one.size < 0.1, "blind"),
        (lambda one: one.contrast < 2, "blind"),
    ],
)
def test_the_outlook_is_that_of_the_clear_defects(found, outlook) -> None:
    record = record_of(found)
    assert record.outlook == outlook
    assert (outlook in record.warning) == (outlook != "fine")


def test_the_advice_suits_the_cause() -> None:
    threshold_is = record_of(lambda _: False, good=(0.001, 0.002)).warning
    scores_are = record_of(lambda _: False, good=(0.5, 0.6)).warning
    assert "its threshold does not" in threshold_is
    assert "--size" in scores_are


def test_machines_get_what_follows_from_the_record_too() -> None:
    said = record_of(lambda one: one.size >= 0.08, scale=0.1).to_json()
    assert said["found"] == 90
    assert said["smallest_mm"] == pytest.approx(0.1 * said["smallest_px"])
    assert len(said["cells"]) == 75
