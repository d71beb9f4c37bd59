"""What an inspector is worth on real parts, built and run as a user would; 160 px."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest
from plain_builds import leave_out

from edge.building.build import build
from edge.building.built import Built
from edge.options import BuildOptions

pytestmark = [pytest.mark.realdata, pytest.mark.slow]

Bottles = Callable[[str], Built]


@pytest.fixture(scope="module")
def bottles(realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> Bottles:
    """Build at a precision on every fourth of 209 good bottles; half of 83 labelled measure it.

    Those, and an eighth of the prototypes, are enough for bottles.
    """
    pytest.importorskip("openvino", reason="the engine that CPUs deploy is not installed")
    folder = tmp_path_factory.mktemp("figures")
    source, some = realdata / "bottle", folder / "bottle"
    good, labelled = sorted(source.glob("train/good/*")), sorted(source.glob("test/*/*"))
    masks = [
        source / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
        for path in labelled[::2]
    ]
    for path in (*good[::4], *labelled[::2], *filter(Path.exists, masks)):
        place = some / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path.resolve())

    @cache
    def built(precision: str) -> Built:
        options = BuildOptions(
            precision=precision, engine="openvino", prototypes=512, size=(160, 160)
        )
        with pytest.MonkeyPatch.context() as patch:
            leave_out(patch, compared=precision != "fp32")
            return build(some, folder / f"{precision}.edge", options=options)

    return built


def figures(built: Built) -> Mapping[str, float]:
    return built.bundle.manifest.figures


def test_bottles_in_fp32(bottles: Bottles) -> None:
    found = bottles("fp32")
    assert figures(found)["image_auroc"] >= 0.995
    assert figures(found)["pixel_auroc"] >= 0.97
    assert figures(found)["false_rejects"] <= found.threshold.bound * 20 + 1
    assert figures(found)["escapes"] <= 0.25 * figures(found)["defect_images"]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_other_precisions_lose_next_to_nothing(precision: str, bottles: Bottles) -> None:
    built = bottles(precision)
    reference, found = figures(bottles("fp32")), figures(built)
    assert found["image_auroc"] >= reference["image_auroc"] - 0.002
    assert found["pixel_auroc"] >= reference["pixel_auroc"] - 0.003
    assert built.parity is not None and built.parity.problem is None
    assert all(engine.flips == 0 for engine in built.parity.record.engines)
