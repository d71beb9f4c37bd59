"""What an inspector is worth on real parts, built and run as a user would; 256 px."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest

from edge.build import Built, Options, build

pytestmark = [pytest.mark.realdata, pytest.mark.slow]

Bottles = Callable[[str, str], Built]


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
