from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge.inspection.verdict import DecisionSettings, decide, find_regions
from edge.result import Verdict
from engines.score_rule import ScoreRule, ScoreTerm

MAPS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 24), st.integers(1, 24)),
    elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
)


def regions_of(anomaly_map, **changes):
    arguments = {
        "threshold": 0.5,
        "min_area": 0,
        "counted": None,
        "roi": None,
        "frame_shape": anomaly_map.shape,
    }
    regions, _ = find_regions(anomaly_map, **(arguments | changes))
    return regions


@settings(deadline=None)
@given(MAPS)
def test_regions_are_those_of_an_independent_labelling(anomaly_map) -> None:
    regions = regions_of(anomaly_map)
    labels, count = scipy.ndimage.label(anomaly_map >= 0.5, structure=np.ones((3, 3)))
    expected = []
    for number, (rows, columns) in enumerate(scipy.ndimage.find_objects(labels), start=1):
        inside = labels == number
        expected.append(
            (
                columns.start,
                rows.start,
                columns.stop - columns.start,
                rows.stop - rows.start,
                int(inside.sum()),
                float(anomaly_map[inside].max()),
            )
        )
    found = [(r.x, r.y, r.width, r.height, r.area, r.peak) for r in regions]
    assert count == len(found)
    assert sorted(found) == sorted(expected)
    assert [r.peak for r in regions] == sorted((r.peak for r in regions), reverse=True)


@settings(deadline=None)
@given(
    MAPS,
    st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(1, 300), st.integers(1, 300)),
)
def test_boxes_stay_inside_the_region_of_interest(anomaly_map, roi) -> None:
    x, y, width, height = roi
    frame_shape = (y + height + 5, x + width + 5, 3)
    for region in regions_of(anomaly_map, roi=roi, frame_shape=frame_shape):
        assert region.width >= 1
        assert region.height >= 1
        assert x <= region.x
        assert region.x + region.width <= x + width
        assert y <= region.y
        assert region.y + region.height <= y + height
        assert 1 <= region.area <= max(1, width * height)


def test_boxes_and_areas_are_in_pixels_of_the_frame() -> None:
    anomaly_map = np.zeros((64, 64), np.float32)
    anomaly_map[16:32, 8:16] = 1.0
    (region,) = regions_of(anomaly_map, frame_shape=(256, 640, 3))
    assert (region.x, region.y, region.width, region.height) == (80, 64, 80, 64)
    assert region.area == 80 * 64
    (region,) = regions_of(anomaly_map, roi=(100, 50, 128, 64), frame_shape=(256, 640, 3))
    assert (region.x, region.y, region.width, region.height) == (116, 66, 16, 16)


def test_score_at_the_threshold_is_ng_and_just_below_is_ok() -> None:
    anomaly_map = np.full((8, 8), 0.5, np.float32)
    at = decide(anomaly_map, 0.5, settings=DecisionSettings(0.5), frame_shape=(8, 8, 3))
    assert at.verdict is Verdict.NG
    lower = float(np.nextafter(np.float32(0.5), np.float32(0)))
    below = decide(anomaly_map, lower, settings=DecisionSettings(0.5), frame_shape=(8, 8, 3))
    assert below.verdict is Verdict.OK


def test_a_small_defect_is_ok_when_a_smallest_area_is_set() -> None:
    anomaly_map = np.zeros((32, 32), np.float32)
    anomaly_map[4:6, 4:6] = 0.9  # 4 map pixels = 400 pixels of a 320 x 320 frame
    frame_shape = (320, 320, 3)
    for min_area, verdict in [(0, Verdict.NG), (400, Verdict.NG), (401, Verdict.OK)]:
        got = decide(
            anomaly_map,
            0.9,
            settings=DecisionSettings(0.5, min_area=min_area),
            frame_shape=frame_shape,
        )
        assert got.verdict is verdict, min_area
        assert got.score == pytest.approx(0.9)


def test_an_ignore_mask_takes_a_defect_out_of_score_and_regions() -> None:
    anomaly_map = np.full((32, 32), 0.1, np.float32)
    anomaly_map[:8, :8] = 0.9
    ignore = np.zeros((320, 320), np.uint8)
    ignore[:80, :80] = 255
    found = decide(
        anomaly_map, 0.9, settings=DecisionSettings(0.5, ignore=ignore), frame_shape=(320, 320, 3)
    )
    assert (found.verdict, found.regions) == (Verdict.OK, ())
    assert found.score == pytest.approx(0.1)
    anomaly_map[20, 20] = 0.8
    found = decide(
        anomaly_map, 0.9, settings=DecisionSettings(0.5, ignore=ignore), frame_shape=(320, 320, 3)
    )
    assert (found.verdict, len(found.regions)) == (Verdict.NG, 1)
    assert found.score == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("pixel_threshold", "min_area", "area"),
    [(None, 0, 25), (0.8, 0, 4), (0.8, 4, 4), (0.95, 0, 25), (0.95, 25, 25), (0.2, 0, 25)],
)
def test_regions_begin_at_the_pixel_threshold_or_where_none_does_at_the_threshold(
    pixel_threshold, min_area, area
) -> None:
    anomaly_map = np.full((32, 32), 0.1, np.float32)
    anomaly_map[10:15, 10:15] = 0.6
    anomaly_map[11:13, 11:13] = 0.9
    settings = DecisionSettings(0.5, min_area=min_area, pixel_threshold=pixel_threshold)
    found = decide(anomaly_map, 0.55, settings=settings, frame_shape=(32, 32, 3))
    assert (found.verdict, [region.area for region in found.regions]) == (Verdict.NG, [area])
    below = decide(anomaly_map, 0.45, settings=settings, frame_shape=(32, 32, 3))
    assert (below.verdict, below.regions) == (Verdict.OK, ())
    larger = DecisionSettings(0.5, min_area=area + 1, pixel_threshold=pixel_threshold)
    found = decide(anomaly_map, 0.55, settings=larger, frame_shape=(32, 32, 3))
    assert (found.verdict, found.regions) == (Verdict.OK, ())


def test_a_score_above_all_of_the_map_has_its_region_at_the_peak() -> None:
    """That of the map before smoothing; with a smallest area it is OK, as in earlier versions."""
    anomaly_map = np.full((32, 32), 0.1, np.float32)
    anomaly_map[7, 9] = 0.4
    found = decide(anomaly_map, 0.6, settings=DecisionSettings(0.5), frame_shape=(32, 32, 3))
    assert [(one.x, one.y, one.area, one.peak) for one in found.regions] == [(9, 7, 1, 0.4)]
    settings = DecisionSettings(0.5, min_area=1)
    found = decide(anomaly_map, 0.6, settings=settings, frame_shape=(32, 32, 3))
    assert found.verdict is Verdict.OK


def test_a_mask_that_hides_everything_is_an_error_not_ok() -> None:
    ignore = np.full((8, 8), 255, np.uint8)
    found = decide(
        np.zeros((8, 8), np.float32),
        0.0,
        settings=DecisionSettings(0.5, ignore=ignore),
        frame_shape=(8, 8, 3),
    )
    assert (found.verdict, found.score) == (Verdict.ERROR, None)
    assert "nothing to inspect" in found.reason


@settings(deadline=None)
@given(
    st.sampled_from([np.nan, np.inf, -np.inf]),
    st.integers(0, 63),
    st.booleans(),
    st.sampled_from([0, 10]),
    st.booleans(),
)
def test_nothing_that_is_not_finite_is_ever_ok_or_ng(value, place, in_map, min_area, masked):
    anomaly_map = np.zeros((8, 8), np.float32)
    score = 0.0
    if in_map:
        anomaly_map.flat[place] = value
    else:
        score = value
    ignore = np.full((8, 8), 255, np.uint8) if masked else None
    found = decide(
        anomaly_map,
        score,
        settings=DecisionSettings(0.5, min_area=min_area, ignore=ignore),
        frame_shape=(8, 8, 3),
    )
    assert (found.verdict, found.score, found.regions) == (Verdict.ERROR, None, ())
    assert found.reason


@pytest.mark.parametrize(
    "bad",
    [
        {"threshold": float("nan")},
        {"threshold": 0.5, "pixel_threshold": float("inf")},
        {"threshold": 0.5, "min_area": -1},
        {"threshold": 0.5, "roi": (0, 0, 0, 5)},
        {"threshold": 0.5, "ignore": np.zeros((4, 4, 3), np.uint8)},
    ],
)
def test_settings_without_meaning_are_refused(bad) -> None:
    with pytest.raises(ValueError, match="must be"):
        DecisionSettings(**bad)


def test_the_score_outside_a_mask_is_the_mean_of_the_highest_where_that_is_the_score() -> None:
    anomaly_map = np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)
    ignore = np.zeros((10, 10), np.uint8)
    ignore[9] = 255
    settings = DecisionSettings(
        0.5, ignore=ignore, score_rule=ScoreRule(terms=(ScoreTerm(count=4),))
    )
    found = decide(anomaly_map, 0.9, settings=settings, frame_shape=(10, 10, 3))
    assert found.score == pytest.approx(float(anomaly_map[8, 6:].mean()))
    few = DecisionSettings(0.5, ignore=ignore, score_rule=ScoreRule(terms=(ScoreTerm(count=1000),)))
    found = decide(anomaly_map, 0.9, settings=few, frame_shape=(10, 10, 3))
    assert found.score == pytest.approx(float(anomaly_map[:9].mean()))


@pytest.mark.parametrize("shape", [(1, 140_001), (140_001, 1), (511, 513), (600, 600)])
def test_areas_without_end_are_all_found(shape) -> None:
    """Every other pixel is an area of its own: more of them than 16 bits can count."""
    values = np.zeros(shape, np.float32)
    values[::2, ::2] = 1.0
    found = regions_of(values)
    assert len(found) == int(values.sum())
    assert {(region.width, region.height, region.area) for region in found} == {(1, 1, 1)}


def test_an_area_inside_the_box_of_another_keeps_its_own_peak() -> None:
    values = np.zeros((64, 64), np.float32)
    values[8:40, 8], values[39, 8:40] = 0.6, 0.7  # an angle
    values[12:16, 30:34] = 0.9  # in its box, apart from it
    found = regions_of(values)
    assert [round(region.peak, 3) for region in found] == [0.9, 0.7]
    assert [region.area for region in found] == [16, 63]


def test_a_map_that_is_hot_everywhere_is_one_area() -> None:
    values = np.linspace(0.6, 0.8, 64 * 48, dtype=np.float32).reshape(64, 48)
    (found,) = regions_of(values, frame_shape=(128, 96))
    assert (found.x, found.y, found.width, found.height, found.area) == (0, 0, 96, 128, 128 * 96)
    assert np.float32(found.peak) == values.max()
