"""Build: a folder of images becomes a bundle, the same one each time, or the old one stays."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from plain_builds import leave_out

from calibrate.backbones.backbone import BackboneError
from calibrate.dataset import DatasetError
from calibrate.images import ImagesError
from calibrate.progress import Stages
from calibrate.protoad import folds
from edge.building import precision_gate
from edge.building.build import build
from edge.building.built import Built
from edge.inspection.inspector import load
from edge.options import BuildOptions
from edge.result import Verdict
from engines.bundle import Bundle
from engines.errors import BundleError

ROOT = Path(__file__).resolve().parents[3]
ENGINE = "onnxruntime"


def options(**changes) -> BuildOptions:
    given = {"precision": "fp32", "engine": ENGINE, "size": (128, 128), "prototypes": 64}
    return BuildOptions(**{**given, **changes})


def quick(**changes) -> BuildOptions:
    """For builds of which only the frame around them matters."""
    return options(**{"size": (64, 64), "prototypes": 16, **changes})


@pytest.fixture(scope="module")
def made(drawn, tmp_path_factory) -> Built:
    """A build from a data set with labelled defects. Read-only."""
    output = tmp_path_factory.mktemp("made") / "flange.edge"
    stages, told = Stages(), []
    result = build(drawn, output, options=options(prototypes=256), stages=stages, say=told.append)
    assert told[0].startswith("12 good images to learn from, 4 good and 6 defective ones")
    assert told[1:] == ["ALARM: 3 of 6 labelled defects pass: the inspector is nearly blind"]
    return result


def test_regions_have_a_threshold_of_their_own_that_the_build_learns(made) -> None:
    manifest = made.bundle.manifest
    assert (manifest.score_kind, manifest.score_rule.counts) == ("top", (1, 10, 20, 51))
    assert manifest.pixel_threshold <= manifest.threshold.value
    assert made.to_json()["pixel_threshold"] == manifest.pixel_threshold
    report = (made.bundle.path / "report.html").read_text()
    assert f"where the map reaches {manifest.pixel_threshold:.4f}" in report


@pytest.mark.usefixtures("light_builds")
@pytest.mark.parametrize("score", ["smoothed", "raw"])
def test_the_other_scores_are_built_and_pass_their_self_test(score, good, tmp_path) -> None:
    built = build(good, tmp_path / "out.edge", options=quick(score=score)).bundle
    assert built.manifest.score_kind == score
    with load(built.path, engine=ENGINE) as inspector:
        result = inspector.inspect(cv2.imread(str(min(good.iterdir()))))
    assert result.region_threshold == pytest.approx(
        built.manifest.threshold.value if score == "smoothed" else built.manifest.pixel_threshold
    )
    assert (result.score == result.anomaly_map.max()) == (score == "smoothed")


def test_the_object_for_machines_has_the_promised_fields(made) -> None:
    said = json.loads(json.dumps(made.to_json(), allow_nan=False))
    promised = ("bundle", "model", "precision", "prototypes", "threshold", "false_reject_bound")
    assert {*promised, "seconds", "engines"} <= set(said)
    assert said["bundle"] == str(made.bundle.path)
    assert (said["model"], said["precision"]) == ("protoad", "fp32")
    assert 1 < said["prototypes"] <= 256
    assert said["engines"][0] == ENGINE
    assert said["threshold"] == made.threshold.value
    assert 0 < said["false_reject_bound"] < 1
    assert said["images"] == 12
    assert said["skipped"] == {}
    assert sum(said["stages"].values()) <= said["seconds"] + 0.01
    assert said["odd_images"] == {}
    assert said["alarm"].startswith("3 of 6 labelled defects pass")
    (own,) = [one for one in said["operating_points"] if one["recommended"]]
    assert np.float32(own["threshold"]) == np.float32(said["threshold"])
    assert own["escapes"] == said["figures"]["escapes"]
    assert own["escape_rate"] == own["escapes"] / 6


def test_the_bundle_says_what_was_done(made) -> None:
    manifest = Bundle.open(made.bundle.path).manifest
    assert manifest == made.bundle.manifest
    assert (manifest.name, manifest.deployed_engine, manifest.executes) == ("flange", ENGINE, "f32")
    assert (manifest.size, manifest.layers) == ((128, 128), ("layer2", "layer3"))
    assert manifest.backbone.stages == ("layer1", "layer2", "layer3")
    assert (manifest.images.used, manifest.images.skipped) == (12, 0)
    assert manifest.threshold.value == made.threshold.value
    assert manifest.threshold.held_out_images == 12
    assert manifest.threshold.method == "cross-fitted, highest scores"
    assert "12 good images are far too few" in manifest.threshold.warning
    assert manifest.figures["good_images"] == 4
    assert manifest.figures["defect_images"] == 6
    assert 0.5 < manifest.figures["image_auroc"] <= 1
    assert [image.kind for image in manifest.golden] == ["good", "bad"]
    files = {"model.onnx", "golden/good.png", "golden/bad.png", "report.html"}
    assert set(manifest.files) == files


def test_the_report_shows_figures_and_needs_nothing_else(made) -> None:
    page = (made.bundle.path / "report.html").read_text()
    assert "flange: inspector" in page
    assert f"{made.threshold.value:.4f}" in page
    assert "image AUROC" in page
    assert "Operating points" in page and "recommended" in page
    assert "Escapes and false rejects, by threshold" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script src" not in page


def test_plans_are_compiled_ahead_where_the_package_is_installed(made) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    assert len(made.plans) == 1
    assert (made.bundle.plans / made.plans[0]).is_file()


def test_golden_images_have_the_scores_of_the_deployed_engine(made) -> None:
    with load(made.bundle.path, engine=ENGINE) as inspector:
        for golden in made.bundle.manifest.golden:
            image = cv2.imread(str(made.bundle.path / golden.file))
            assert inspector.inspect(image).score == pytest.approx(golden.score, abs=1e-6)
    good, bad = made.bundle.manifest.golden
    assert good.score < bad.score


def test_good_images_that_were_learnt_from_are_ok(made, drawn) -> None:
    with load(made.bundle.path, engine=ENGINE) as inspector:
        verdicts = [result.verdict for result in inspector.stream(drawn / "train" / "good")]
    assert verdicts == [Verdict.OK] * 12


@pytest.mark.usefixtures("light_builds")
def test_a_folder_of_good_images_alone_gets_a_spoilt_golden_image(good, tmp_path) -> None:
    result = build(good, tmp_path / "plain.edge", options=quick())
    assert result.measured is None
    assert result.bundle.manifest.figures == {}
    first, second = result.bundle.manifest.golden
    assert second.score > max(first.score, 0.05)
    load(result.bundle.path, engine=ENGINE).close()


@pytest.mark.usefixtures("light_builds")
def test_the_region_of_interest_is_kept_and_is_all_that_counts(good, tmp_path) -> None:
    roi = (32, 16, 64, 96)
    result = build(good, tmp_path / "roi.edge", options=quick(roi=roi))
    picture = cv2.imread(str(min(good.iterdir())))
    outside = picture.copy()
    outside[:, :30] = 255
    with load(result.bundle.path, engine=ENGINE) as inspector:
        assert inspector.settings.roi == roi
        assert inspector.inspect(outside).score == inspector.inspect(picture).score


def test_the_same_seed_builds_the_same_graph(good, tmp_path, monkeypatch) -> None:
    """In int8 on the engine that CPUs deploy; no gate, few folds."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    leave_out(monkeypatch, compared=False)

    def found(**changes) -> tuple[str, float]:
        made = build(good, tmp_path / "x.edge", options=quick(**changes))
        digest = hashlib.sha256((made.bundle.path / "model.onnx").read_bytes()).hexdigest()
        assert made.bundle.manifest.files["model.onnx"].sha256 == digest
        return digest, made.threshold.value

    eight = {"precision": "int8", "engine": "openvino"}
    assert found(seed=1, **eight) == found(seed=1, **eight)
    assert found(seed=1) != found(seed=2)


@pytest.mark.usefixtures("light_builds")
def test_unreadable_images_are_left_out_and_named(good, tmp_path) -> None:
    (good / "torn.png").write_bytes(min(good.iterdir()).read_bytes()[:100])
    told: list[str] = []
    result = build(good, tmp_path / "skips.edge", options=quick(), say=told.append)
    assert [item.path.name for item in result.skipped] == ["torn.png"]
    (line,) = (line for line in told if line.startswith("skipped"))
    assert "torn.png" in line
    counts = result.bundle.manifest.images
    assert (counts.used, counts.skipped) == (12, 1)
    assert list(result.to_json()["skipped"]) == [str(good / "torn.png")]


def few(folder: Path, count: int) -> None:
    for path in sorted(folder.iterdir())[count:]:
        path.unlink()


def torn(folder: Path, count: int) -> None:
    for path in sorted(folder.iterdir())[:count]:
        path.write_bytes(b"no picture")


@pytest.mark.parametrize(
    ("spoil", "changes", "error", "message"),
    [
        (lambda f: few(f, 0), {}, DatasetError, "no good images"),
        (lambda f: few(f, 1), {}, ImagesError, "1 usable good images; at least 5"),
        (lambda f: few(f, 4), {}, ImagesError, "4 usable good images; at least 5"),
        (lambda f: torn(f, 2), {}, ImagesError, "2 of 12 images cannot be used, more than 10%"),
        (shutil.rmtree, {}, DatasetError, "no such folder"),
        (None, {"size": (100, 128)}, BackboneError, "must be a multiple of 16"),
        (None, {"layers": ("layer9",)}, BackboneError, "no layer layer9"),
        (None, {"backbone": "missing.onnx"}, BackboneError, "no such file"),
        (None, {"roi": (100, 0, 64, 64)}, ImagesError, "12 of 12 .*beyond the image of 128x128"),
    ],
)
def test_what_cannot_be_built_is_said_and_leaves_the_old_bundle(
    spoil, changes, error, message, good, bundle, snapshot
) -> None:
    before = snapshot(bundle)
    if spoil:
        spoil(good)
    with pytest.raises(error, match=message) as caught:
        build(good, bundle, options=quick(**changes))
    assert "\n" not in str(caught.value)
    assert snapshot(bundle) == before
    load(bundle, engine=ENGINE).close()


@pytest.mark.usefixtures("light_builds")
def test_a_folder_that_is_no_bundle_is_not_overwritten(good, tmp_path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match="exists and is no bundle"):
        build(good, precious, options=quick())
    assert [path.name for path in precious.iterdir()] == ["notes.txt"]


def test_every_stage_is_told_from_start_to_end(good, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(precision_gate, "engines_to_compare", lambda deployed, _: (deployed,))
    monkeypatch.setattr(folds, "FOLDS", 2)
    told: dict[str, list[float]] = {}
    stages = Stages(lambda name, share: told.setdefault(name, []).append(share))
    chosen = quick(precision="int8", max_flips=99, max_score_error=99.0)
    result = build(good, tmp_path / "told.edge", options=chosen, stages=stages)
    wanted = ["images", "likeness", "graph", "features", "precision", "prototypes", "means"]
    wanted += ["metric", "score"]
    assert list(told)[: len(wanted)] == wanted
    assert all(shares[0] == 0.0 and shares[-1] == 1.0 for shares in told.values())
    assert list(result.stages) == list(told)


# --- killed ---------------------------------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
from calibrate.progress import Stages
from calibrate.protoad import folds
from edge.building.build import build
from edge.options import BuildOptions
folds.FOLDS = 2
options = BuildOptions(
    precision="fp32", engine="onnxruntime", size=(64, 64), prototypes=16, seed=int(sys.argv[3])
)
stages = Stages(lambda name, share: print(f"{name} {share:.2f}", flush=True))
build(Path(sys.argv[1]), Path(sys.argv[2]), options=options, stages=stages)
print("done", flush=True)
"""


def told_by(child: subprocess.Popen[str]) -> Iterator[str]:
    assert child.stdout is not None
    for line in child.stdout:
        yield line.strip()


@pytest.mark.slow
def test_a_build_that_is_killed_leaves_the_old_bundle_or_the_new(good, bundle, monkeypatch) -> None:
    """SIGKILL during the work, and around the moment when the bundle is written."""
    dice = random.Random(5)
    seeds = {Bundle.open(bundle).manifest.seed}
    moments = ["features 0.00"]
    moments += ["tensorrt-rtx 1.00" if _has_rtx() else "drawn defects 1.00"]
    for seed, moment in enumerate(moments, start=10):
        command = [sys.executable, "-c", CHILD, str(good), str(bundle), str(seed)]
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        ) as child:
            assert any(line == moment for line in told_by(child)), "it ended before"
            try:
                child.wait(dice.uniform(0, 0.05))
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
        seeds.add(seed)
        found = Bundle.open(bundle)
        assert found.manifest.seed in seeds
        load(bundle, engine=ENGINE).close()
    leave_out(monkeypatch, compared=False)
    result = build(good, bundle, options=quick(seed=99))
    assert Bundle.open(bundle).manifest.seed == 99
    load(result.bundle.path, engine=ENGINE).close()
    left = [path.name for path in bundle.parent.iterdir() if path.name.startswith(".")]
    assert left == []


def _has_rtx() -> bool:
    from importlib.util import find_spec

    return find_spec("tensorrt_rtx") is not None
