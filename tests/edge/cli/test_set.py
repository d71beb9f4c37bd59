"""`edge set`: settings change without a build, and `edge info` says so."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from engines.bundle import Bundle
from engines.manifest_file import text_from_manifest


def test_set_and_info_tell_what_changed(run, bundle, tmp_path) -> None:
    before = Bundle.open(bundle).manifest.threshold.value
    mask = np.zeros((80, 90), np.uint8)
    mask[:20] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    pixels = Bundle.open(bundle).manifest.pixel_threshold
    words = ("--threshold", 0.5, "--min-area", 9, "--ignore", "mask.png", "--roi", "1,2,90,80")
    outcome = run("set", bundle, *words, "--pixel-threshold", 0.6, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    told = json.loads(outcome.out)
    assert told["bundle"] == str(bundle)
    by_setting = {one["setting"]: (one["old"], one["new"]) for one in told["changes"]}
    name = Bundle.open(bundle).manifest.ignore
    roi = {"x": 1, "y": 2, "width": 90, "height": 80}
    assert by_setting == {
        "threshold": (before, 0.5),
        "pixel_threshold": (pixels, 0.6),
        "min_area": (0, 9),
        "ignore": (None, name),
        "roi": (None, roi),
    }
    facts = json.loads(run("info", bundle, "--json").out)
    assert facts["changes"] == told["changes"]
    assert (facts["threshold"], facts["ignore"], facts["roi"]) == (0.5, name, roi)
    assert facts["pixel_threshold"] == 0.6
    outcome = run("info", bundle)
    shown = " ".join(outcome.out.split())
    assert f"threshold {before} → 0.5" in shown
    assert "none → 1,2,90,80" in shown
    assert told["changes"][0]["by"] in shown
    assert "measure again" in outcome.err


def test_set_prints_old_and_new_and_says_when_it_was_so_already(run, bundle) -> None:
    outcome = run("set", bundle, "--min-area", 5)
    assert outcome.code == 0
    assert "0 → 5" in outcome.out
    again = run("set", bundle, "--min-area", 5)
    assert again.code == 0
    assert "nothing changed" in again.out + again.err
    nothing = run(
        *("set", bundle, "--roi", "none", "--ignore", "none", "--pixel-threshold", "none", "--json")
    )
    assert json.loads(nothing.out)["changes"] == []


def test_the_pixel_threshold_of_the_build_comes_back_with_a_word(run, bundle) -> None:
    built = Bundle.open(bundle).manifest.pixel_threshold
    for value in (0.5, 0.7):
        assert run("set", bundle, "--pixel-threshold", value).code == 0
    outcome = run("set", bundle, "--pixel-threshold", "none")
    assert outcome.code == 0 and f"0.7 → {built}" in outcome.out
    assert Bundle.open(bundle).manifest.pixel_threshold == built


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "nothing to change"),
        (("--threshold", "nan"), "--threshold"),
        (("--threshold", "high"), "--threshold"),
        (("--pixel-threshold", "inf"), "'inf': give a number above 0, or none"),
        (("--pixel-threshold", "-1"), "'-1': give a number above 0, or none"),
        (("--pixel-threshold", "0"), "--pixel-threshold"),
        (("--min-area", "-1"), "--min-area"),
        (("--min-area", "1000000000"), "no part could ever be NG"),
        (
            ("--roi", "100,50,800,600"),
            "100,50,800,600 reaches beyond the pictures that were learnt",
        ),
        (("--roi", "1,2,3"), "x,y,width,height"),
        (("--ignore", "nowhere.png"), "nowhere.png"),
        (("--threshold", "0.5", "--min-area", "1000000000"), "no part could ever be NG"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_changes_nothing(
    run, bundle, words, says, snapshot
) -> None:
    before = snapshot(bundle)
    outcome = run("set", bundle, *words)
    assert (outcome.code, says in outcome.line()) == (2, True), outcome.err
    assert snapshot(bundle) == before


def test_a_disk_that_refuses_is_one_line(run, bundle, little_disk, snapshot) -> None:
    before = snapshot(bundle)
    with little_disk(1000):
        outcome = run("set", bundle, "--threshold", 0.5)
    assert outcome.code == 1
    assert "it is as before" in outcome.line()
    assert snapshot(bundle) == before


def test_a_rate_of_false_rejects_sets_the_threshold_that_the_held_out_scores_give(
    run, bundle
) -> None:
    manifest = Bundle.open(bundle).manifest
    scores = manifest.held_out.highest
    assert scores == tuple(sorted(scores, reverse=True)) and len(scores) == 12
    outcome = run("set", bundle, "--false-rejects", 0.25, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    told = json.loads(outcome.out)
    assert told["threshold"]["rejected"] == 3
    assert scores[3] < told["threshold"]["value"] <= scores[2]
    kept = Bundle.open(bundle).manifest
    assert kept.threshold.value == told["threshold"]["value"] == told["changes"][0]["new"]
    assert kept.threshold.method == "edge set, order statistic"
    assert kept.threshold.false_reject_bound == told["threshold"]["bound"]
    assert kept.held_out == manifest.held_out
    again = run("set", bundle, "--false-rejects", 0.25)
    assert "nothing changed" in again.err
    assert "3 of 12 different good images that were not learnt from reach" in again.err
    assert "(25.00% asked for); 11 further good images, none of them rejected" in again.err
    assert "warning" not in again.err
    far = run("set", bundle, "--false-rejects", 0.001, "--extrapolate")
    assert far.code == 0 and "extrapolated beyond the scores" in far.err
    assert "warning: 12 good images are far too few for a rate of 0.10%" in far.err
    assert Bundle.open(bundle).manifest.threshold.value > scores[0]


def test_a_rate_that_a_bundle_cannot_support_is_refused(run, bundle, snapshot) -> None:
    before = snapshot(bundle)
    for words, says in (
        (("--false-rejects", 0.01), "12 held-out good images cannot support a rate of 1.000%"),
        (("--false-rejects", 0.2, "--threshold", 0.5), "give one"),
        (("--extrapolate",), "give both"),
        (("--false-rejects", 1), "--false-rejects"),
    ):
        outcome = run("set", bundle, *words)
        assert (outcome.code, says in outcome.line()) == (2, True), outcome.err
    path = bundle / "manifest.json"
    old = Bundle.open(bundle).manifest.model_copy(update={"held_out": None})
    path.write_bytes(text_from_manifest(old))
    outcome = run("set", bundle, "--false-rejects", 0.25)
    assert outcome.code == 2 and "an older version built it" in outcome.line()
    path.unlink()
    assert {**snapshot(bundle), **before} == before
