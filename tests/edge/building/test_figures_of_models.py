"""What backbones and networks are worth on real parts, built as a user would."""

from __future__ import annotations

from pathlib import Path

import pytest
from plain_builds import leave_out

from edge.building.build import build
from edge.options import BuildOptions

pytestmark = [pytest.mark.realdata, pytest.mark.slow]

TILES = 60  # of 714: enough to tell backbones apart, at 128 px
ANY = {"max_flips": 1000, "max_score_error": 100.0}
"""What is taught so little is over the limits of parity; that is another test's matter."""


def test_the_bundled_backbone_is_worth_a_resnet18_on_magnetic_tiles(
    resnet18: str, realdata: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Surfaces that took no part in its training; parts of the good and the labelled ones."""
    source, tiles = realdata / "magnetic_tile", tmp_path / "tiles"
    good = sorted((source / "train" / "good").iterdir())
    (tiles / "train" / "good").mkdir(parents=True)
    for path in good[:: len(good) // TILES][:TILES]:
        (tiles / "train" / "good" / path.name).symlink_to(path.resolve())
    for path in sorted(source.glob("test/*/*"))[::10]:
        mask = source / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
        for taken in (path, mask):
            place = tiles / taken.relative_to(source)
            if taken.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(taken.resolve())
    leave_out(monkeypatch, compared=False)
    found = {}
    for name, backbone in (("bundled", "bundled"), ("resnet18", resnet18)):
        # In fp32 on the reference there is no parity to look at.
        options = BuildOptions(
            precision="fp32",
            backbone=backbone,
            engine="onnxruntime",
            prototypes=512,
            size=(128, 128),
        )
        built = build(tiles, tmp_path / f"{name}.edge", options=options)
        found[name] = built.bundle.manifest.figures["image_auroc"]
    assert found["bundled"] >= 0.95 * found["resnet18"]
    assert found["resnet18"] > 0.7


@pytest.mark.soak
def test_a_short_prn_tells_bottles_apart_in_int8(
    realdata: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fortieth of a full training, at half the size."""
    leave_out(monkeypatch)
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("openvino", reason="the engine that CPUs deploy is not installed")
    options = BuildOptions(
        model="prn", precision="int8", engine="openvino", size=(128, 128), steps=75
    )
    options = options.model_copy(update=ANY)
    built = build(realdata / "bottle", tmp_path / "prn.edge", options=options)
    found = built.bundle.manifest.figures
    assert found["image_auroc"] >= 0.97
    assert found["pixel_auroc"] >= 0.94
