"""`edge set`: settings change without a build, and `edge info` says so."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from engines.bundle import Bundle


def test_set_and_info_tell_what_changed(run, bundle, tmp_path) -> None:
    before = Bundle.open(bundle).manifest.threshold.value
    mask = np.zeros((32, 32), np.uint8)
    mask[:8] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    words = ("--threshold", 0.5, "--min-area", 9, "--ignore", "mask.png", "--roi", "1,2,90,80")
    outcome = run("set", bundle, *words, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    told = json.loads(outcome.out)
    assert told["bundle"] == str(bundle)
    by_setting = {one["setting"]: (one["old"], one["new"]) for one in told["changes"]}
    name = Bundle.open(bundle).manifest.ignore
    roi = {"x": 1, "y": 2, "width": 90, "height": 80}
    assert by_setting == {
        "threshold": (before, 0.5),
        "min_area": (0, 9),
        "ignore": (None, name),
        "roi": (None, roi),
    }
    facts = json.loads(run("info", bundle, "--json").out)
    assert facts["changes"] == told["changes"]
    assert (facts["threshold"], facts["ignore"], facts["roi"]) == (0.5, name, roi)
    outcome = run("info", bundle)
    shown = " ".join(outcome.out.split())
    assert f"threshold changed {before} → 0.5" in shown
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
    nothing = run("set", bundle, "--roi", "none", "--ignore", "none", "--json")
    assert json.loads(nothing.out)["changes"] == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "nothing to change"),
        (("--threshold", "nan"), "--threshold"),
        (("--threshold", "high"), "--threshold"),
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
