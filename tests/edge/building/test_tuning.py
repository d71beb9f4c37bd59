"""What a tuned build says, and that it looks at no label before it has chosen."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from calibrate.protoad import tune
from edge.building.build import build
from edge.building.built import Built
from edge.options import BuildOptions
from edge.plans import bundle_info

pytestmark = pytest.mark.usefixtures("light_builds")


@pytest.fixture(autouse=True)
def few(monkeypatch) -> None:
    monkeypatch.setattr(tune, "PROTOTYPES", (16, 64))
    monkeypatch.setattr(tune, "IMAGES", 6)


def tuned(images: Path, output: Path, **changes) -> Built:
    given = {"precision": "fp32", "engine": "onnxruntime", "size": (64, 64), "tune": True}
    return build(images, output, options=BuildOptions(**{**given, **changes}))


def test_the_choice_is_told_and_no_label_changes_it(drawn, tmp_path) -> None:
    made = tuned(drawn, tmp_path / "labelled.edge", prototypes=16)
    manifest = made.bundle.manifest
    record = manifest.tuning
    assert record is not None
    assert manifest.figures
    assert (record.images, record.drawn) == (6, 30)
    assert [form.metric for form in record.forms] == ["whitened", "cosine", "whitened"]
    assert made.to_json()["tuning"]["chosen"] == record.chosen
    assert bundle_info(made.bundle.path)["tuning"]["reason"] == record.reason
    page = (made.bundle.path / "report.html").read_text(encoding="utf-8")
    assert "no labelled image was looked at" in page
    wrong = shutil.copytree(drawn, tmp_path / "wrong")
    shutil.rmtree(wrong / "ground_truth")
    shutil.rmtree(wrong / "test")
    again = tuned(wrong, tmp_path / "plain.edge", prototypes=16).bundle.manifest
    assert not again.figures
    assert again.tuning == record


def test_auto_chooses_the_number_alone(drawn, tmp_path) -> None:
    made = tuned(drawn, tmp_path / "x.edge", tune=False, prototypes="auto").bundle.manifest
    assert made.tuning is not None
    assert {form.metric for form in made.tuning.forms} == {"whitened"}
    assert {form.prototypes for form in made.tuning.forms} == {16, 64, 4096}


@pytest.mark.parametrize(
    ("words", "says"),
    [(("--tune",), "--tune is ProtoAD's"), (("--prototypes", "auto"), "auto is ProtoAD's")],
)
def test_prn_is_not_tuned(run, good, words, says) -> None:
    outcome = run("build", good, "--model", "prn", *words)
    assert outcome.code == 2
    assert says in outcome.line()
