"""One rule: verdict, regions and colours agree, and so do building, evaluating and inspecting."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import example, given, settings
from hypothesis import strategies as st

from calibrate.dataset import GOOD, Sample
from calibrate.evaluate import Scored, evaluate
from calibrate.metrics import best_f1
from calibrate.precision.parity import agreeing_threshold
from calibrate.threshold import reaches, threshold_from_scores
from edge.drawing.overlay import draw
from edge.drawing.palette import AT_THRESHOLD, DEFECT, heat_levels
from edge.inspection.map_score import score_from_map
from edge.inspection.verdict import DecisionSettings, Judgement, decide
from edge.result import Result, Verdict
from engines.score_rule import ScoreRule, ScoreTerm

SIDES = st.tuples(st.integers(1, 12), st.integers(1, 12))
THRESHOLDS = st.one_of(
    st.sampled_from([0.7, 0.1, 1 / 3, 0.0, -0.7, 1e-40, 16777217.0]),
    st.floats(-1e30, 1e30),
    st.floats(0, 1),
)


def near(threshold: float) -> list[float]:
    """float32 values on both sides of a threshold, and the one that it becomes."""
    at = np.float32(threshold)
    return [float(np.nextafter(at, np.float32(-np.inf))), float(at), float(np.nextafter(at, 9e37))]


TERMS = st.builds(
    ScoreTerm,
    count=st.sampled_from([1, 1, 3, 100]),
    gain=st.sampled_from([1.0, 1.0, 2.5]),
    offset=st.sampled_from([0.0, 0.0, -0.5]),
)
RULES = st.builds(
    ScoreRule,
    terms=st.lists(TERMS, min_size=1, max_size=3).map(tuple),
    stride=st.sampled_from([1, 1, 4]),
)


@st.composite
def cases(draw_) -> tuple[np.ndarray, float, DecisionSettings, tuple[int, int, int]]:
    """A map, a score of some kind, settings and the shape of a frame."""
    shape, threshold = draw_(SIDES), draw_(THRESHOLDS)
    other = draw_(st.none() | st.sampled_from(near(threshold)) | THRESHOLDS)
    beside = near(threshold if other is None else other)[1:]
    values = [*near(threshold), *beside, 0.0, draw_(st.floats(-(2**99), 2**99, width=32))]
    random = np.random.default_rng(draw_(st.integers(0, 2**32 - 1)))
    kinds = [(8, 1, 1, 1, 1, 8, 0), (1, 1, 1, 1, 1, 1, 1), (1, 8, 1, 0, 0, 0, 0)]
    shares = draw_(st.sampled_from([*kinds, (1, 0, 0, 0, 0, 0, 0), (0, 0, 0, 1, 1, 8, 0)]))
    anomaly_map = random.choice(
        np.array(values, np.float32), shape, p=np.array(shares) / sum(shares)
    ).astype(np.float32)
    rule = draw_(RULES)
    highest = score_from_map(anomaly_map, rule)
    score = draw_(st.sampled_from([highest, *near(threshold)]))
    frame_shape = (draw_(st.integers(20, 60)), draw_(st.integers(20, 60)), 3)
    roi = draw_(st.none() | st.just((3, 5, 14, 11)))
    sides = frame_shape[:2] if roi is None or draw_(st.booleans()) else (11, 14)
    ignore = draw_(st.none() | st.just(random.integers(0, 2, sides) * 255))
    chosen = DecisionSettings(
        threshold,
        min_area=draw_(st.sampled_from([0, 0, 1, 30, 200])),
        ignore=None if ignore is None else ignore.astype(np.uint8),
        roi=roi,
        score_rule=rule,
        pixel_threshold=other,
    )
    return anomaly_map, score, chosen, frame_shape


def result_of(found: Judgement, anomaly_map, chosen, frame_shape) -> Result:
    return Result(
        source="line",
        frame=0,
        captured_at_ns=0,
        verdict=found.verdict,
        score=found.score,
        threshold=chosen.threshold,
        regions=found.regions,
        anomaly_map=anomaly_map,
        defect_mask=found.defect_mask,
        roi=chosen.roi,
        image=np.full(frame_shape, 128, np.uint8),
        pixel_threshold=chosen.pixel_threshold,
    )


@settings(max_examples=250, deadline=None)
@given(cases())
def test_verdict_and_regions_agree(case) -> None:
    anomaly_map, score, chosen, frame_shape = case
    found = decide(anomaly_map, score, settings=chosen, frame_shape=frame_shape)
    if found.verdict is Verdict.ERROR:
        assert "leaves nothing" in found.reason
        return
    assert (found.score >= chosen.threshold) == reaches(found.score, chosen.threshold)
    if found.verdict is Verdict.OK:
        assert (found.regions, found.defect_mask) == ((), None)
        assert not reaches(found.score, chosen.threshold) or chosen.min_area > 0
        return
    assert reaches(found.score, chosen.threshold)
    assert found.regions, "an NG shows why"
    assert all(region.area >= chosen.min_area for region in found.regions)
    _, count = scipy.ndimage.label(found.defect_mask, structure=np.ones((3, 3)))
    assert count == len(found.regions)
    counted = anomaly_map
    if chosen.ignore is not None:
        part = chosen.ignore
        if chosen.roi is not None and part.shape != (11, 14):
            part = part[5:16, 3:17]
        rows, columns = (
            (np.arange(side) * cells) // side
            for side, cells in zip(anomaly_map.shape, part.shape, strict=True)
        )
        ignored = part[rows][:, columns] >= 128
        assert (found.ignored == ignored).all()
        assert not (found.defect_mask & ignored).any()
        counted = anomaly_map[~ignored]
    means = [term.mean_at(chosen.threshold) for term in chosen.score_rule.terms]
    last = chosen.threshold if chosen.min_area else float(counted.max())
    levels = (chosen.region_threshold, *sorted(means, reverse=True), last)
    level = next(level for level in levels if reaches(counted, level).any())
    assert reaches(anomaly_map[found.defect_mask], level).all()
    assert all(reaches(region.peak, level) for region in found.regions)
    if chosen.min_area == 0:
        assert found.defect_mask.sum() == reaches(counted, level).sum()


@settings(max_examples=250, deadline=None)
@given(cases())
def test_colours_of_a_defect_are_where_the_regions_are_and_nowhere_else(case) -> None:
    anomaly_map, score, chosen, frame_shape = case
    found = decide(anomaly_map, score, settings=chosen, frame_shape=frame_shape)
    x, y, across, down = chosen.roi or (0, 0, frame_shape[1], frame_shape[0])
    levels = heat_levels(
        anomaly_map,
        threshold=chosen.region_threshold,
        defect_mask=found.defect_mask,
        size=(across, down),
    )
    hot = levels >= AT_THRESHOLD
    assert hot.any() == bool(found.regions)
    inside = np.zeros_like(hot)
    for region in found.regions:
        left, top = region.x - x, region.y - y
        inside[top : top + region.height, left : left + region.width] = True
        assert hot[top : top + region.height, left : left + region.width].any()
    reach = 2 * max(down // anomaly_map.shape[0], across // anomaly_map.shape[1]) + 3
    assert not (hot & ~scipy.ndimage.binary_dilation(inside, np.ones((reach, reach)))).any()
    picture = draw(result_of(found, anomaly_map, chosen, frame_shape))
    below_the_bar = picture[16:]
    if not found.regions:
        assert not (below_the_bar == DEFECT).all(axis=-1).any()


SCORES = st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=40)


def verdicts(scores, threshold: float) -> list[Verdict]:
    """What an inspector says to pictures whose whole map is the score."""
    chosen = DecisionSettings(threshold)
    maps = [np.full((2, 3), score, np.float32) for score in scores]
    return [
        decide(one, float(one.max()), settings=chosen, frame_shape=(20, 30, 3)).verdict
        for one in maps
    ]


def false_rejects(scores, threshold: float) -> int:
    items = [Scored(Sample(Path(f"{n}.png"), GOOD), float(one)) for n, one in enumerate(scores)]
    return evaluate(items, threshold=threshold).false_rejects


@settings(max_examples=150, deadline=None)
@given(SCORES, st.floats(0.001, 0.9))
def test_a_threshold_that_was_set_written_and_read_counts_the_same(scores, rate) -> None:
    held_out = np.array(scores, np.float32)
    found = threshold_from_scores(held_out, false_rejects=rate)
    read = json.loads(json.dumps({"threshold": found.value}))["threshold"]
    assert verdicts(held_out, read).count(Verdict.NG) == found.rejected
    assert false_rejects(held_out, read) == found.rejected
    assert int((held_out >= np.float32(read)).sum()) == found.rejected


@settings(max_examples=200, deadline=None)
@given(st.data(), THRESHOLDS)
@example(None, 0.7)
def test_any_threshold_counts_the_same_for_build_evaluation_and_inspection(data, given_) -> None:
    scores = near(given_) if data is None else data.draw(st.lists(st.sampled_from(near(given_))))
    count = int(reaches(np.array(scores, np.float32), given_).sum())
    assert verdicts(scores, given_).count(Verdict.NG) == count
    assert false_rejects(scores, given_) == count


@given(THRESHOLDS, st.integers(0, 2))
def test_whoever_reads_a_result_line_finds_the_verdict_in_it(threshold, which) -> None:
    """In double precision, as every reader of JSON compares."""
    score = near(threshold)[which]
    anomaly_map = np.full((4, 4), score, np.float32)
    chosen = DecisionSettings(threshold)
    found = decide(anomaly_map, score, settings=chosen, frame_shape=(20, 20, 3))
    result = result_of(found, anomaly_map, chosen, (20, 20, 3))
    line = json.loads(json.dumps(result.to_json()))
    assert (line["score"] >= line["threshold"]) == (line["verdict"] == "NG")
    assert all(region["peak"] >= line["threshold"] for region in line["regions"])


def test_a_score_equal_to_a_threshold_of_few_digits_is_ng_with_a_region() -> None:
    seven = np.float32(0.7)
    anomaly_map = np.full((8, 8), seven, np.float32)
    found = decide(anomaly_map, float(seven), settings=DecisionSettings(0.7), frame_shape=(8, 8, 3))
    assert (found.verdict, len(found.regions)) == (Verdict.NG, 1)
    assert found.score == 0.7


@settings(deadline=None)
@given(SCORES.filter(lambda scores: len(set(scores)) > 1), st.data())
def test_the_best_threshold_separates_what_it_says(scores, data) -> None:
    """Also where no float32 lies between two scores."""
    scores = [*scores, float(np.nextafter(np.float32(max(scores)), np.float32(9e37)))]
    defects = data.draw(st.permutations([True, False, *[False] * (len(scores) - 2)]))
    best = best_f1(scores, defects=defects)
    rejected = [verdict is Verdict.NG for verdict in verdicts(scores, best.threshold)]
    hits = sum(a and b for a, b in zip(rejected, defects, strict=True))
    assert best.value.value == pytest.approx(2 * hits / (sum(rejected) + sum(defects)))


@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)), min_size=1))
def test_a_threshold_at_which_precisions_agree_gives_the_same_verdicts(pairs) -> None:
    spans = [[(min(pair), max(pair)) for pair in pairs]]
    value = agreeing_threshold(spans, flips=0, near=0.5, within=2.0)
    assert value is not None
    lows, highs = ([span[side] for span in spans[0]] for side in (0, 1))
    assert verdicts(lows, value) == verdicts(highs, value)
