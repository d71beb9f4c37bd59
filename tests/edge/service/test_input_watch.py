"""What is told of a camera once many results are in: drift, and pictures of another kind."""

from __future__ import annotations

import numpy as np
import pytest

from cameras.frame import Frame
from edge.inspection.held_out import scores_of_record
from edge.inspection.hot_swap import HotSwapInspector
from edge.inspection.inspector import load
from edge.result import Result, Verdict
from edge.service.input_watch import InputWatch

SECOND = 10**9
COLOUR = np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8)
GREY = np.repeat(COLOUR[:, :, :1], 3, axis=2)


@pytest.fixture(scope="module")
def inspector(built):
    with HotSwapInspector(lambda: load(built, engine="onnxruntime")) as opened:
        yield opened


def feed(watch: InputWatch, score: float | None, image=COLOUR, index: int = 0) -> Result:
    frame = Frame("cam", index, 0, index * SECOND, image)
    verdict = Verdict.ERROR if score is None else Verdict.OK
    return watch.add(frame, Result("cam", index, 0, verdict, score, 1.0, image=image))


def test_drift_is_in_results_status_and_once_in_the_log(inspector, caplog) -> None:
    watch = InputWatch("line3", inspector)
    held_out = scores_of_record(inspector.inspector.bundle.manifest.held_out)
    middle = float(np.median(held_out))
    assert feed(watch, middle).drift == "steady"
    assert {feed(watch, None).drift for _ in range(50)} == {"steady"}  # an ERROR is no score
    found = [feed(watch, 9.0).drift for _ in range(40)]
    assert found[8] == "steady"
    assert found[-1] == "higher"
    assert [text for text in watch.troubles if text.startswith("drift: parts score higher")]
    assert watch.to_json()["drift"]["parts"] == 41
    said = [one.message for one in caplog.records if "drift" in one.message]
    assert len(said) == 1
    assert said[0].startswith("line3: drift: ")


def test_other_settings_than_those_of_the_build_have_no_drift(built) -> None:
    mask = np.zeros((128, 128), np.uint8)
    mask[:9] = 255
    for given in ({"ignore": mask}, {"roi": (0, 0, 90, 90)}):
        opening = HotSwapInspector(lambda given=given: load(built, engine="onnxruntime", **given))
        with opening as opened:
            watch = InputWatch("", opened)
            assert {feed(watch, 9.0).drift for _ in range(40)} == {"unknown"}


def test_frames_that_show_one_part_count_once(inspector) -> None:
    watch = InputWatch("", inspector, running=True)
    for second in range(40):
        feed(watch, 9.0, index=second)
    assert watch.to_json()["drift"]["parts"] == 1
    moving = [np.roll(COLOUR, 16 * number, axis=0) // (1 + number % 2) for number in range(20)]
    for number, image in enumerate(moving):
        feed(watch, 9.0, image, index=100 + number)
        feed(watch, 9.0, GREY, index=100 + number)  # within the same second
    assert watch.to_json()["drift"]["parts"] == 21


def test_another_size_or_colour_is_told_once_and_ends(inspector, caplog) -> None:
    bundle = inspector.inspector.bundle
    health = bundle.manifest.health
    assert health.grey in (True, False)
    learnt, other = (GREY, COLOUR) if health.grey else (COLOUR, GREY)
    watch = InputWatch("", inspector)
    for _ in range(3):
        feed(watch, None, learnt)
    assert watch.troubles == []
    for _ in range(250):
        feed(watch, None, other[:64])
    (told,) = watch.troubles
    assert "pictures have 128x64 px, the good images 128x128" in told
    assert "pictures are" in told
    assert watch.to_json()["other_source"] == told
    assert len([one for one in caplog.records if "other source" in one.message]) == 1
    feed(watch, None, learnt)
    assert watch.troubles == []


def test_a_bundle_from_before_has_no_colour_to_compare(inspector) -> None:
    from edge.health.unlike import UnlikeDetector

    health = inspector.inspector.bundle.manifest.health
    old = UnlikeDetector(health.model_copy(update={"grey": None}))
    assert old.add(GREY) == old.add(COLOUR) == ""
