"""What a threshold would do, counted by the one decision rule."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from bundle_files import manifest
from hypothesis import given, settings
from hypothesis import strategies as st
from results import result_of

from calibrate.threshold import reaches, upper_bound
from edge.result import Verdict
from edge.review.parts import ReviewedPart
from edge.review.scores import ScoresOfBundle, scores_hold_since
from edge.sinks.database import SqliteSink
from edge.sinks.kept_parts import KeptPartsSink
from engines.bundle import Bundle

BUILT = datetime(2026, 11, 1, tzinfo=timezone.utc)
CELL = {"size": 0.1, "kind": "darker", "contrast": 2.0, "drawn": 3, "found": 2}
DRAWN = {"threshold": 0.5, "images": 5, "shorter_side": 99.0, "cells": [CELL], "outlook": "fine"}
FLOATS = st.floats(0, 2, width=32)


def part(number: int, score: float | None, mark: str, *, days: float = 1) -> ReviewedPart:
    at_ns = int((BUILT + timedelta(days=days)).timestamp() * 1e9)
    return ReviewedPart(number, "left", "cam", 0, at_ns, "NG", score, 0.5, "", mark=mark)


@settings(deadline=None, max_examples=40)
@given(
    good=st.lists(FLOATS, min_size=1, max_size=30),
    drawn=st.lists(FLOATS, min_size=1, max_size=30),
    marked=st.lists(st.tuples(FLOATS, st.sampled_from(["good", "defective"])), max_size=20),
    threshold=FLOATS,
    at=st.integers(0, 29),
)
def test_counts_are_those_of_the_one_rule(good, drawn, marked, threshold, at) -> None:
    threshold = good[at] if at < len(good) else threshold  # often a score itself
    scores = ScoresOfBundle(
        np.sort(np.asarray(good, np.float32))[::-1],
        tuple(map(str, good)),
        np.sort(np.asarray(drawn, np.float32)),
        len(drawn),
        None,
        tuple(part(number, *one) for number, one in enumerate(marked)),
    )
    found = scores.at(threshold)
    assert found.good_rejected == sum(reaches(one, threshold) for one in good)
    assert found.bound == upper_bound(found.good_rejected, len(good), 0.95)
    assert found.drawn_passed == sum(not reaches(one, threshold) for one in drawn)
    by_mark = {
        mark: [one for one, said in marked if said == mark] for mark in ("good", "defective")
    }
    assert found.marked_good_rejected == sum(reaches(one, threshold) for one in by_mark["good"])
    assert found.marked_defective_passed == sum(
        not reaches(one, threshold) for one in by_mark["defective"]
    )


def test_of_a_manifest_and_of_an_older_one() -> None:
    record = {"images": 5, "highest": (0.6, 0.5, 0.4, 0.3, 0.2), "files": tuple("abcde")}
    drawn = {**DRAWN, "scores": (0.3, 0.5, 0.9)}
    found = ScoresOfBundle.from_manifest(manifest(held_out=record, drawn_defects=drawn))
    counts = found.at(0.5)
    assert (counts.good, counts.good_rejected, counts.drawn, counts.drawn_passed) == (5, 2, 3, 1)
    old = ScoresOfBundle.from_manifest(
        manifest(held_out={"images": 2, "highest": (0.6, 0.5)}, drawn_defects=DRAWN)
    )
    assert (old.names, old.at(0.5).drawn_passed, old.at(0.51).drawn_passed) == ((), 1, None)
    none = ScoresOfBundle.from_manifest(manifest()).at(0.5)
    assert (none.good, none.bound, none.drawn) == (0, 1.0, 0)


def test_scores_of_another_version_are_told_apart_and_made_anew() -> None:
    """What was marked before the inspector was taught says nothing of it as it is now."""
    made = manifest(created=BUILT)
    assert scores_hold_since(made) == BUILT
    change = {"changed": BUILT + timedelta(days=2), "setting": "ignore", "old": None, "new": "x"}
    masked = made.model_copy(
        update={"changes": manifest(changes=(change, {**change, "setting": "threshold"})).changes}
    )
    parts = [part(1, 0.9, "good", days=-1), part(2, 0.7, "good"), part(3, None, "good")]
    parts += [part(4, 0.8, "defective", days=3), part(5, 0.8, "ignored", days=3)]
    scores = ScoresOfBundle.from_manifest(masked).with_parts(parts, masked)
    assert [one.id for one in scores.marked] == [4]
    assert [one.id for one in scores.outdated] == [1, 2]
    anew = scores.rescored(lambda one: {1: 0.1}.get(one.id))
    assert {one.id: one.score for one in anew.marked} == {4: 0.8, 1: 0.1}
    assert anew.outdated == ()


def test_names_that_do_not_fit_the_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="1 images are named of 2 scores"):
        manifest(held_out={"images": 2, "highest": (0.6, 0.5), "files": ("a",)})


def test_the_command_counts_what_was_marked_before(run, bundle, good_image, spoilt_image) -> None:
    """Parts of another version are scored anew: the same picture has the score of this bundle."""
    made = Bundle.open(bundle).manifest
    folder = bundle.parent / "kept"
    old_ns = int((made.created - timedelta(days=1)).timestamp() * 1e9)
    with KeptPartsSink(folder) as kept, SqliteSink(folder / "results.db") as database:
        for number, image in enumerate((good_image, spoilt_image)):
            result = result_of(number, Verdict.NG)
            result = dataclasses.replace(result, captured_at_ns=old_ns, image=image, score=99.0)
            kept.write(result)
            database.write(result)
    assert run("review", "mark", folder, "good", 1).code == 0
    assert run("review", "mark", folder, "defective", 2).code == 0
    words = ("try", folder, bundle, "--engine", "onnxruntime", "--json")
    own, high = (
        json.loads(run("review", *words, *more).out) for more in ((), ("--threshold", 1e6))
    )
    assert own["threshold"] == made.threshold.value
    assert (own["good"], own["marked_good"], own["marked_good_rejected"]) == (12, 1, 0)
    assert (own["marked_defective"], own["marked_defective_passed"]) == (1, 0)
    assert own["drawn"] == made.drawn_defects.drawn
    assert own["drawn_passed"] == made.drawn_defects.drawn - made.drawn_defects.found
    assert (high["marked_defective_passed"], high["drawn_passed"]) == (1, own["drawn"])
    assert high["good_rejected"] == 0 < own["bound"]
