"""`edge teach` and `edge rollback`, as a user would: seen before it is in service, and undone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import edge
from edge.inspection.settings import change_settings
from edge.teaching.marked_parts import MarkedParts, TeachError
from edge.teaching.proposal import ProposalRefusedError, accept
from edge.teaching.teach import correct
from engines.bundle import Bundle
from engines.errors import BundleError
from engines.manifest import Manifest
from engines.versions import KEPT, history_of, keep_version, roll_back, versions_of


@pytest.fixture
def scratched(good_image) -> list[np.ndarray]:
    """Good parts with a mark that none of the learnt ones has; each elsewhere."""
    images = []
    for number in range(4):
        image = good_image.copy()
        cv2.circle(image, (40 + 12 * number, 64), 7, (40, 90, 200), -1)
        images.append(image)
    return images


@pytest.fixture
def parts(tmp_path, scratched, spoilt_image) -> Path:
    """Four good parts with that mark, and a defective one."""
    for kind in ("good", "defective"):
        (tmp_path / "marked" / kind).mkdir(parents=True)
    for number, image in enumerate(scratched):
        cv2.imwrite(str(tmp_path / "marked" / "good" / f"{number}.png"), image)
    cv2.imwrite(str(tmp_path / "marked" / "defective" / "0.png"), spoilt_image)
    return tmp_path / "marked"


def verdicts(bundle: Path, images) -> list[str]:
    with edge.load(bundle, engine="onnxruntime") as inspector:
        return [str(inspector.inspect(image).verdict) for image in images]


def without_history(bundle: Path) -> Manifest:
    return Bundle.open(bundle).manifest.model_copy(update={"history": ()})


def test_false_rejects_are_taught_and_undone(run, bundle, parts, scratched, spoilt_image) -> None:
    assert verdicts(bundle, [*scratched, spoilt_image]) == ["NG"] * 5
    before = Bundle.open(bundle).manifest
    asked = run("teach", bundle, parts, "--engine", "onnxruntime", "--force")
    assert asked.code == 0
    assert "without a terminal, so nothing is changed; --yes" in asked.err
    assert Bundle.open(bundle).manifest == before
    done = run("teach", bundle, parts, "--engine", "onnxruntime", "--force", "--yes", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["learnt"], found["known"]) == (4, 0)
    assert verdicts(bundle, [*scratched, spoilt_image]) == ["OK"] * 4 + ["NG"]
    after = Bundle.open(bundle).manifest
    assert after.prototypes == before.prototypes + found["prototypes_added"]
    assert after.images.used == before.images.used + 4
    # They were chosen because they were rejected: no word on how often that happens.
    assert after.held_out.highest == before.held_out.highest
    assert after.held_out.learnt_images > before.held_out.learnt_images
    assert len(after.learnt_images) == len(before.learnt_images) + 4
    assert run("rollback", bundle).code == 0
    assert without_history(bundle) == before
    assert run("rollback", bundle).code == 0  # and the other way
    assert without_history(bundle) == after.model_copy(update={"history": ()})
    assert [one.what for one in history_of(bundle)] == ["built", "taught", *["rolled back"] * 2]
    assert all("@" in one.by for one in history_of(bundle)[1:])
    shown = " ".join(run("info", bundle).out.split())
    assert f"learnt_images {len(after.learnt_images)} files, told by --json" in shown
    assert "taught 4 good parts, " in shown
    listed = run("rollback", bundle, "--list")
    assert listed.out.splitlines()[2].split()[0] == "2"  # to and fro: two, and no copies


def test_what_lets_more_defects_pass_is_refused(run, bundle, parts) -> None:
    """Defective parts, taught as good ones because it is forced: then there is a word against."""
    for good in (parts / "good").iterdir():
        good.unlink()
    shutil.copy(parts / "defective" / "0.png", parts / "good" / "odd.png")
    marked = MarkedParts([parts / "good" / "odd.png"], [parts / "defective" / "0.png"])
    forced = correct(Bundle.open(bundle), marked, engine="onnxruntime", leave_out=False)
    problems = "; ".join(forced.problems())
    assert "marked defects that pass: 1, before: 0" in problems
    assert "far above the threshold, as defective parts are: odd.png" in problems
    with pytest.raises(ProposalRefusedError, match="marked defects that pass: 1"):
        accept(forced)
    before = Bundle.open(bundle).manifest
    refused = run("teach", bundle, parts, "--engine", "onnxruntime", "--yes")
    assert refused.code == 1
    says = "refused: far above the threshold, as defective parts are: odd.png; look at those parts"
    assert refused.err.startswith(says)
    assert Bundle.open(bundle).manifest == before
    assert versions_of(bundle) == []


def test_an_odd_part_is_left_out_and_named(run, bundle, parts, good_image) -> None:
    for good in (parts / "good").iterdir():
        good.unlink()
    (parts / "defective" / "0.png").rename(parts / "good" / "odd.png")
    cv2.imwrite(str(parts / "good" / "plain.png"), np.minimum(good_image, 254) + 1)
    before = Bundle.open(bundle).manifest
    done = run("teach", bundle, parts, "--engine", "onnxruntime", "--yes")
    assert done.code == 0, done.err
    says = "left out: far above the threshold, as defective parts are: odd.png; --force teaches"
    assert says in done.err
    assert len(Bundle.open(bundle).manifest.learnt_images) == len(before.learnt_images) + 1
    assert Bundle.open(bundle).manifest.threshold.value == before.threshold.value


def test_what_is_there_is_no_earlier_version(bundle) -> None:
    """As after a rollback that a kill has ended once what was there had been kept."""
    change_settings(bundle, min_area=1)
    keep_version(Bundle.open(bundle))
    change_settings(bundle, min_area=2)
    for _ in range(KEPT + 1):
        keep_version(Bundle.open(bundle))
    assert len(versions_of(bundle)) == 2
    restored, _ = roll_back(bundle)
    assert restored.manifest.min_area == 1


def test_a_damaged_bundle_is_rolled_back(bundle) -> None:
    before = Bundle.open(bundle).manifest
    keep_version(Bundle.open(bundle))
    (bundle / "model.onnx").write_bytes(b"no graph")
    restored, _ = roll_back(bundle)
    assert without_history(bundle) == before
    assert restored == Bundle.open(bundle)
    assert len(versions_of(bundle)) == 1


def test_a_threshold_set_by_hand_stays(bundle, parts) -> None:
    change_settings(bundle, threshold=0.123)
    marked = MarkedParts(sorted((parts / "good").iterdir()), [])
    correction = correct(Bundle.open(bundle), marked, engine="onnxruntime", leave_out=False)
    assert correction.threshold is None
    assert correction.manifest.threshold == Bundle.open(bundle).manifest.threshold


def test_what_was_learnt_is_not_learnt_again(bundle, parts) -> None:
    marked = MarkedParts(sorted((parts / "good").iterdir()), [])
    accept(correct(Bundle.open(bundle), marked, engine="onnxruntime", leave_out=False), force=True)
    with pytest.raises(TeachError, match="4 of the pictures were learnt before"):
        correct(Bundle.open(bundle), marked, engine="onnxruntime", leave_out=False)


def test_a_bundle_that_was_changed_meanwhile_stays(bundle, parts) -> None:
    marked = MarkedParts(sorted((parts / "good").iterdir()), [])
    correction = correct(Bundle.open(bundle), marked, engine="onnxruntime", leave_out=False)
    change_settings(bundle, min_area=7)
    with pytest.raises(BundleError, match="somebody changed it meanwhile"):
        accept(correction, force=True)
    assert Bundle.open(bundle).manifest.min_area == 7


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("{bundle}",), "give a folder of parts, or --marked"),
        (("{bundle}", "nowhere"), "nowhere: no such folder"),
        (("{bundle}", "empty"), "no pictures in it"),
        (("nowhere.edge", "empty"), "nowhere.edge: no such bundle"),
        (("{bundle}", "bad"), "1 of 1 images cannot be used"),
    ],
)
def test_what_cannot_be_is_one_line(run, bundle, tmp_path, words, says) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"no picture")
    outcome = run("teach", *(word.format(bundle=bundle) for word in words))
    assert outcome.code == 2
    assert says in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_versions_are_kept_whole_and_the_oldest_goes(bundle) -> None:
    wanted = []
    for number in range(KEPT + 3):
        change_settings(bundle, min_area=number + 1)
        wanted.append(keep_version(Bundle.open(bundle)).number)
    found = versions_of(bundle)
    assert [one.number for one in found] == wanted[: -KEPT - 1 : -1]
    for one in found:
        assert Bundle.open(one.path).manifest.min_area == one.number
    restored, _ = roll_back(bundle, found[-1].number)
    assert restored.manifest.min_area == found[-1].number


def test_a_damaged_version_hides_no_other(run, bundle) -> None:
    for number in range(2):
        change_settings(bundle, min_area=number + 1)
        keep_version(Bundle.open(bundle))
    model = versions_of(bundle)[0].path / "model.onnx"
    model.unlink()
    model.write_bytes(b"cut")
    outcome = run("rollback", bundle, "--list")
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[2].split()[:2] == ["2", "damaged"]
    assert len(outcome.out.splitlines()) == 4
