"""Good images that look unlike the others are named, shown and recorded."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibrate.learnt import LearntInspector
from calibrate.threshold import threshold_from_scores
from edge.building.held_out_record import held_out_record
from edge.building.methods import Taught
from edge.building.odd_images import describe_odd_images, odd_images, odd_pictures
from edge.inspection.held_out import RateOfRejects, scores_of_record, threshold_for_rate
from engines.threshold_records import MAX_KEPT, MAX_NAMED


def taught(scores: np.ndarray, folder: Path = Path("good")) -> Taught:
    files = tuple(folder / f"{index:03}.png" for index in range(len(scores)))
    held_out = np.asarray(scores, np.float32)
    inspector = LearntInspector(b"", 1, held_out, files, held_out, ())
    return Taught(inspector, None, len(scores), (), "", "", "")


@pytest.fixture
def scores() -> np.ndarray:
    found = np.random.default_rng(0).normal(0.1, 0.01, 60).astype(np.float32)
    found[[7, 40]] = 0.31, 0.36
    return found


def test_they_are_named_with_both_thresholds(scores) -> None:
    made = taught(scores)
    threshold = threshold_from_scores(scores, false_rejects=0.05)
    found = odd_images(made.inspector, threshold)
    assert [one.path.name for one in found] == ["040.png", "007.png"]
    line = describe_odd_images(found, threshold)
    assert line.startswith("these 2 good images look unlike the others: look at them: good/040.png")
    assert f"with them the threshold would be {threshold.with_odd:.4f}" in line
    assert f"without them it is {threshold.value:.4f}" in line
    scores[40] = 0.1
    threshold = threshold_from_scores(scores, false_rejects=0.01)
    found = odd_images(taught(scores).inspector, threshold)
    line = describe_odd_images(found, threshold)
    assert line.startswith("this good image looks unlike the others: look at it: good/007.png")
    assert "with it the threshold would be" in line


def test_none_is_named_where_none_is_odd() -> None:
    scores = np.random.default_rng(0).normal(0.1, 0.01, 60)
    threshold = threshold_from_scores(scores.astype(np.float32), false_rejects=0.01)
    assert odd_images(taught(scores).inspector, threshold) == ()
    assert describe_odd_images((), threshold) == ""


def test_they_are_shown_unless_they_have_gone(scores, tmp_path) -> None:
    made = taught(scores, tmp_path)
    cv2.imwrite(str(tmp_path / "040.png"), np.full((40, 60, 3), 128, np.uint8))
    threshold = threshold_from_scores(scores, false_rejects=0.01)
    found = odd_images(made.inspector, threshold)
    (picture,) = odd_pictures(found, size=(32, 32), roi=None)
    assert picture.caption == "Unlike the other good images: 040.png, 0.3600"
    assert picture.data_uri().startswith("data:image/jpeg")


def test_the_record_gives_back_what_was_held_out(scores, manifest_of) -> None:
    threshold = threshold_from_scores(scores, false_rejects=0.05)
    record = held_out_record(taught(scores), threshold)
    assert [one.file for one in record.odd] == ["040.png", "007.png"]
    assert (scores_of_record(record) == np.sort(scores)[::-1]).all()
    by_name = {f"{index:03}.png": score for index, score in enumerate(scores)}
    assert [by_name[name] for name in record.files] == scores_of_record(record).tolist()
    again = threshold_for_rate(manifest_of(record), RateOfRejects(0.05))
    assert again == threshold


def test_of_very_many_the_highest_are_kept(manifest_of) -> None:
    scores = np.random.default_rng(0).random(10_000).astype(np.float32)
    scores[: MAX_NAMED + 5] += 100
    threshold = threshold_from_scores(scores, false_rejects=0.01)
    record = held_out_record(taught(scores), threshold)
    assert (len(record.highest), len(record.files), record.images) == (MAX_KEPT, MAX_KEPT, 10_000)
    assert (threshold.odd, len(record.odd)) == (MAX_NAMED + 5, MAX_NAMED)
    assert threshold_for_rate(manifest_of(record), RateOfRejects(0.01)) == threshold


@pytest.fixture
def manifest_of():
    from bundle_files import manifest

    return lambda record: manifest(held_out=record)
