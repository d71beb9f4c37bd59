"""PRN from folder to verdict: everything that works for ProtoAD works for it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from plain_builds import leave_out

pytest.importorskip("torch", reason="torch is not installed")

from calibrate.prn.options import TrainingError
from calibrate.progress import Stages
from edge.building.build import build
from edge.building.built import Built
from edge.evaluation.evaluate import evaluate_bundle
from edge.inspection.inspector import load
from edge.options import BuildOptions, EvaluateOptions
from engines.bundle import Bundle
from engines.score_rule import ScoreRule, ScoreTerm

ENGINE = "onnxruntime"
STEPS = 6


def options(**changes) -> BuildOptions:
    given = {
        "model": "prn",
        "precision": "fp32",
        "engine": ENGINE,
        "size": (64, 64),
        "steps": STEPS,
        "batch": 4,
    }
    return BuildOptions(**{**given, **changes})


@pytest.fixture(scope="module")
def told() -> list[tuple[str, str]]:
    return []


@pytest.fixture(scope="module")
def made(drawn, tmp_path_factory, told) -> Built:
    """A build that learnt from two of the labelled defects. Read-only."""
    output = tmp_path_factory.mktemp("prn") / "flange.edge"
    chosen = options(defects=drawn, most_defects=2)
    stages = Stages(tell=lambda name, line: told.append((name, line)))
    with pytest.MonkeyPatch.context() as patch:
        leave_out(patch)
        return build(drawn, output, options=chosen, stages=stages)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_bundle_says_what_was_done(made) -> None:
    manifest = Bundle.open(made.bundle.path).manifest
    assert (manifest.model, manifest.method, manifest.score_kind) == ("prn", "k-means", "top100")
    assert manifest.layers == ("layer1", "layer2", "layer3")
    assert manifest.images.used + manifest.threshold.held_out_images == 12
    assert manifest.prototypes == 1
    assert manifest.threshold.method == "held out, highest scores"
    assert 0 < manifest.threshold.value < 1
    training = manifest.training
    assert (training.size, training.steps, training.batch) == ("compact", STEPS, 4)
    assert training.loss > 0
    assert manifest.seconds > 0
    assert manifest.score_rule == ScoreRule(terms=(ScoreTerm(count=100),))
    assert manifest.threshold.value <= manifest.pixel_threshold < 1


def test_a_checkpoint_is_not_left_behind(made) -> None:
    assert [path.name for path in made.bundle.path.parent.iterdir()] == ["flange.edge"]


def test_progress_tells_loss_and_time(told, made) -> None:
    lines = [line for name, line in told if name == "training"]
    assert any("loss" in line and "left" in line for line in lines)
    assert lines[-1].startswith(f"step {STEPS} of {STEPS}")


def test_defects_that_were_learnt_from_are_recorded_and_refused(made, drawn, tmp_path) -> None:
    learnt = made.bundle.manifest.training.defects
    files = {digest(path): path for path in (drawn / "test").rglob("*.png")}
    assert len(learnt) == 2
    assert set(learnt) <= set(files)
    assert made.bundle.manifest.figures["defect_images"] == 4
    data = Path(shutil.copytree(drawn, tmp_path / "again"))
    kind = files[learnt[0]].parent.name
    shutil.copy(files[learnt[0]], data / "test" / kind / "another_name.png")
    found = evaluate_bundle(
        made.bundle.path, data, options=EvaluateOptions(engine=ENGINE), stages=Stages()
    )
    assert found.defect_images == 4
    assert len(found.skipped) == 3
    assert all("learnt from it" in reason for reason in found.skipped.values())


def test_the_report_shows_the_loss(made) -> None:
    page = (made.bundle.path / "report.html").read_text()
    assert f"Training: {STEPS} steps" in page
    assert 'class="loss"' in page
    assert "2 real ones, not counted" in page


def test_score_is_the_mean_of_the_hundred_highest(made, drawn) -> None:
    image = cv2.imread(str(next((drawn / "test" / "good").iterdir())))
    with load(made.bundle.path, engine=ENGINE) as inspector:
        result = inspector.inspect(image)
    highest = np.sort(result.anomaly_map.ravel())[-100:]
    assert result.score == pytest.approx(float(highest.mean()), abs=1e-5)


def test_with_an_ignore_mask_the_score_is_computed_in_the_same_way(made, drawn) -> None:
    image = cv2.imread(str(next((drawn / "test" / "good").iterdir())))
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[:, image.shape[1] // 2 :] = 255
    with load(made.bundle.path, engine=ENGINE, ignore=mask) as inspector:
        result = inspector.inspect(image)
    highest = np.sort(result.anomaly_map[:, :32].ravel())[-100:]
    assert result.score == pytest.approx(float(highest.mean()), abs=1e-5)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_low_precision_builds_and_its_plan_compiles(good, tmp_path, precision, monkeypatch) -> None:
    """One step teaches nothing: what the precision changes is not the question here."""
    leave_out(monkeypatch, plans=True)
    free = options(precision=precision, steps=1, max_flips=99, max_score_error=1e9)
    built = build(good, tmp_path / "x.edge", options=free)
    assert built.parity is not None and built.parity.record.labelled == 0
    assert built.bundle.manifest.precision == precision
    load(built.bundle.path, engine=ENGINE).close()  # golden images give their scores


@pytest.fixture(scope="module")
def whole(drawn, tmp_path_factory) -> Built:
    """A short build from good images alone, that nothing stopped. Read-only."""
    output = tmp_path_factory.mktemp("whole") / "whole.edge"
    with pytest.MonkeyPatch.context() as patch:
        leave_out(patch)
        return build(drawn / "train" / "good", output, options=options(steps=3))


def test_a_build_that_was_stopped_goes_on_to_the_same_graph(
    whole, good, tmp_path, monkeypatch
) -> None:
    leave_out(monkeypatch)

    def stopped(_: str, line: str) -> None:
        if line.startswith("step 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(good, tmp_path / "x.edge", options=options(steps=3), stages=Stages(tell=stopped))
    assert (tmp_path / "x.edge.training").is_dir()
    with pytest.raises(TrainingError, match="other images, seed"):
        build(good, tmp_path / "x.edge", options=options(steps=3, seed=9))
    said: list[str] = []
    again = build(good, tmp_path / "x.edge", options=options(steps=3), say=said.append)
    assert any("goes on" in line for line in said)
    assert again.bundle.manifest.files["model.onnx"] == whole.bundle.manifest.files["model.onnx"]
    assert not (tmp_path / "x.edge.training").exists()


def test_commands_work_as_with_protoad(run, made, built, drawn) -> None:
    bundle = made.bundle.path
    done = run("info", bundle, "--json")
    assert json.loads(done.out)["training"]["steps"] == STEPS
    done = run("bench", bundle, "--engine", ENGINE, "--frames", "2", "--json")
    assert json.loads(done.out)["engine_ms"]["p50"] > 0
    words = ("--bundle", bundle, "--engine", ENGINE, "--json")
    done = run("stream", drawn / "test/good", *words)
    assert json.loads(done.out)["frames"] == 4
    words = ("--engine", ENGINE, "--frames", "2", "--picture", "c.png")
    done = run("compare", built, bundle, drawn, *words, "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert [entry["model"] for entry in said["bundles"]] == ["protoad", "prn"]
    assert said["left_out"] == 2
    assert {entry["defect_images"] for entry in said["bundles"]} == {4}
    for entry in said["bundles"]:
        assert entry["engine_ms"]["p50"] > 0
        assert entry["model_mib"] > 0
    picture = cv2.imread("c.png")
    assert picture.shape[1] > 4 * 224
    table = run("compare", built, bundle, drawn, "--engine", ENGINE, "--frames", "1").out
    assert "image auroc" in table
    assert "build, s" in table


@pytest.mark.usefixtures("light_builds")
def test_build_prn_by_command(run, good) -> None:
    words = ("--model", "prn", "--size", "64", "--steps", "2", "--batch", "2", "--precision")
    done = run("build", good, *words, "fp32", "--engine", ENGINE, "--json", "--output", "p.edge")
    assert done.code == 0, done.err
    assert json.loads(done.out)["model"] == "prn"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--layers", "layer2"), "PRN compares the stages"),
        (("--size", "72"), "multiples of 32"),
        (("--batch", "3"), "'--batch': 3 should be a multiple of 2"),
        (("--defects", "nowhere"), "nowhere"),
        (("--textures", "nowhere"), "nowhere"),
    ],
)
def test_bad_use_is_one_line(run, good, words, says) -> None:
    given = {"--size": "64", "--steps": "1"} | dict([words])
    flat = [word for pair in given.items() for word in pair]
    outcome = run("build", good, "--model", "prn", *flat, "--engine", ENGINE)
    assert outcome.code == 2
    assert says in outcome.line()


def test_a_comparison_needs_two(run, built, drawn) -> None:
    assert "name two or more" in run("compare", built, drawn, "--engine", ENGINE).line()


def test_prototypes_beyond_the_images_are_refused(good, tmp_path) -> None:
    with pytest.raises((TrainingError, ValueError)):
        build(good, tmp_path / "x.edge", options=options(prototypes=500))
