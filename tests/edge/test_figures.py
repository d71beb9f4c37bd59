"""What an inspector is worth on real parts, built and run as a user would; 256 px."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from edge.build import Built, Options, build

pytestmark = [pytest.mark.realdata, pytest.mark.slow]

WEIGHTS = "weights/resnet18_imagenet1k_v1_to_layer3.safetensors"
TILES = 250  # of 714: enough to tell backbones apart
ANY = {"max_flips": 1000, "max_score_error": 100.0}
"""What is taught so little is over the limits of parity; that is another test's matter."""
Bottles = Callable[[str, str], Built]


@pytest.fixture(scope="module")
def resnet18(realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The exported ImageNet ResNet-18 that the bundled backbone stands in for."""
    pytest.importorskip("openvino", reason="the engine that CPUs deploy is not installed")
    from calibrate.backbones.export import export_backbone

    output = tmp_path_factory.mktemp("backbone") / "resnet18.onnx"
    return str(export_backbone("resnet18", weights=realdata / WEIGHTS, output=output))


@pytest.fixture(scope="module")
def bottles(resnet18: str, realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> Bottles:
    """Build with a backbone at a precision on all 209 good bottles, measured on 83 labelled."""
    folder = tmp_path_factory.mktemp("figures")
    files = {"bundled": "bundled", "resnet18": resnet18}

    @cache
    def built(backbone: str, precision: str) -> Built:
        options = Options(precision=precision, backbone=files[backbone], engine="openvino")
        output = folder / f"{backbone}_{precision}.edge"
        return build(realdata / "bottle", output, options=options)

    return built


def figures(built: Built) -> Mapping[str, float]:
    return built.bundle.manifest.figures


@pytest.mark.parametrize(
    ("backbone", "image_auroc", "pixel_auroc"),
    [("resnet18", 0.998, 0.980), ("bundled", 0.995, 0.975)],
)
def test_bottles_in_fp32(
    backbone: str, image_auroc: float, pixel_auroc: float, bottles: Bottles
) -> None:
    found = bottles(backbone, "fp32")
    assert figures(found)["image_auroc"] >= image_auroc
    assert figures(found)["pixel_auroc"] >= pixel_auroc
    assert figures(found)["false_rejects"] <= found.threshold.bound * 20 + 1


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_other_precisions_lose_next_to_nothing(precision: str, bottles: Bottles) -> None:
    built = bottles("bundled", precision)
    reference, found = figures(bottles("bundled", "fp32")), figures(built)
    assert found["image_auroc"] >= reference["image_auroc"] - 0.002
    assert found["pixel_auroc"] >= reference["pixel_auroc"] - 0.003
    assert built.parity is not None and built.parity.problem is None
    assert all(engine.flips == 0 for engine in built.parity.engines)


def test_the_bundled_backbone_is_worth_a_resnet18_on_magnetic_tiles(
    resnet18: str, realdata: Path, tmp_path: Path
) -> None:
    """Surfaces that took no part in its training; a part of the good ones, all labelled ones."""
    source, tiles = realdata / "magnetic_tile", tmp_path / "tiles"
    good = sorted((source / "train" / "good").iterdir())
    (tiles / "train" / "good").mkdir(parents=True)
    for path in good[:: len(good) // TILES][:TILES]:
        (tiles / "train" / "good" / path.name).symlink_to(path.resolve())
    for part in ("test", "ground_truth"):
        (tiles / part).symlink_to((source / part).resolve())
    found = {}
    for name, backbone in (("bundled", "bundled"), ("resnet18", resnet18)):
        # In fp32 on the reference there is no parity to look at.
        options = Options(
            precision="fp32", backbone=backbone, engine="onnxruntime", prototypes=1024
        )
        built = build(tiles, tmp_path / f"{name}.edge", options=options)
        found[name] = figures(built)["image_auroc"]
    assert found["bundled"] >= 0.95 * found["resnet18"]
    assert found["resnet18"] > 0.7


def test_a_short_prn_tells_bottles_apart_in_int8(realdata: Path, tmp_path: Path) -> None:
    """A thirtieth of a full training, at half the size."""
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("openvino", reason="the engine that CPUs deploy is not installed")
    options = Options(model="prn", precision="int8", engine="openvino", size=(128, 128), steps=100)
    options = replace(options, **ANY)
    found = figures(build(realdata / "bottle", tmp_path / "prn.edge", options=options))
    assert found["image_auroc"] >= 0.97
    assert found["pixel_auroc"] >= 0.94
