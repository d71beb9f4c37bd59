"""Frame health: what is unfit to be judged is ERROR with its reason, what is fit is left alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.building.build import build
from edge.health.checks import CHECKS
from edge.health.learn import undetectable_checks
from edge.health.measurements import ImageStatsReader
from edge.inspection.inspector import Inspector, load
from edge.options import BuildOptions
from edge.result import Verdict
from engines.bundle import Bundle, write_bundle
from engines.manifest import HealthRecord, Manifest

SIZE = (128, 128)
RANDOM = np.random.default_rng(0)


def noisy(image: np.ndarray, sigma: float = 2.0) -> np.ndarray:
    """As a sensor sees it: from -0.5 on what was below nothing is nothing."""
    return np.clip(np.rint(image + RANDOM.normal(0, sigma, image.shape)), 0, 255).astype(np.uint8)


def covered(image: np.ndarray, side: int, grey: int) -> np.ndarray:
    turned = np.rot90(image, side).copy()
    turned[: len(turned) // 2] = grey
    return np.ascontiguousarray(np.rot90(turned, -side))


FAULTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "black": lambda image: noisy(image * 0),
    "black, a little light": lambda image: noisy(image * 0.2),
    "saturated": lambda image: noisy(image * 4.0),
    "blurred": lambda image: noisy(cv2.GaussianBlur(image, (0, 0), image.shape[1] / 48)),
    "occluded from above": lambda image: covered(image, 0, 15),
    "occluded from the right": lambda image: covered(image, 1, 240),
    "occluded from below": lambda image: covered(image, 2, 240),
    "occluded from the left": lambda image: covered(image, 3, 15),
    "blurred, nothing at all": lambda image: np.full_like(image, 120),
}


@pytest.fixture(scope="module")
def inspector(built: Path) -> Iterator[Inspector]:
    with load(built, engine="onnxruntime") as loaded:
        yield loaded


@pytest.fixture(scope="module")
def parts(drawn: Path) -> list[np.ndarray]:
    return [cv2.imread(str(path)) for path in sorted((drawn / "train" / "good").iterdir())]


# --- verdicts -------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_picture_is_an_error_with_its_reason(fault, inspector, parts) -> None:
    for image in parts[:4]:
        result = inspector.inspect(FAULTS[fault](image))
        assert (result.verdict, result.score, result.regions) == (Verdict.ERROR, None, ())
        assert result.reason.startswith(fault.split()[0].rstrip(",") + ": "), result.reason
        assert "; check " in result.reason and "\n" not in result.reason


def test_good_and_defective_parts_are_left_alone(inspector, parts, drawn) -> None:
    defects = [cv2.imread(str(path)) for path in sorted((drawn / "test").glob("*/*"))]
    assert len(defects) > 4
    for image in [*parts, *defects]:
        assert inspector.inspect(image).verdict is not Verdict.ERROR


def test_what_a_day_brings_is_no_fault(inspector, parts) -> None:
    """Noise, a lamp that ages, a part that lies a little aside."""
    for image in parts[:4]:
        for changed in (noisy(image, 4.0), noisy(image * 0.85), np.roll(image, 3, 1)):
            assert inspector.inspect(changed).verdict is not Verdict.ERROR


def test_the_engine_never_sees_a_bad_picture(inspector, parts, monkeypatch) -> None:
    def seen(images: np.ndarray) -> None:
        raise AssertionError("it was judged")

    monkeypatch.setattr(inspector.engine, "infer", seen)
    assert inspector.inspect(parts[0] * 0).verdict is Verdict.ERROR


def test_checks_can_be_left_out(built, parts) -> None:
    black = parts[0] * 0
    with load(built, engine="onnxruntime") as loaded:
        loaded.health = loaded.health.without("black", "blurred")
        assert loaded.inspect(black).reason.startswith("occluded: ")
        loaded.health = loaded.health.without("occluded", "saturated")
        assert loaded.inspect(black).verdict is not Verdict.ERROR
    with pytest.raises(ValueError, match="health 'colour': give one of black, "):
        loaded.health.without("colour")


def rewritten(built: Path, target: Path, **changed: object) -> Path:
    """The bundle with another manifest."""
    bundle = Bundle.open(built)
    files: dict[str, bytes | Path] = {name: bundle.read(name) for name in bundle.manifest.files}
    manifest = bundle.manifest.model_copy(update=changed)
    return write_bundle(target, manifest=manifest, files=files).path


def test_a_bundle_from_before_still_loads_and_looks_at_nothing(built, parts, tmp_path) -> None:
    path = rewritten(built, tmp_path / "old.edge", health=None)
    with load(path, engine="onnxruntime") as loaded:
        assert not loaded.health.needs_stats
        assert loaded.inspect(parts[0] * 0).verdict is not Verdict.ERROR
        assert loaded.inspect(parts[0]).verdict is Verdict.OK


def test_limits_survive_the_manifest(built) -> None:
    manifest = Bundle.open(built).manifest
    assert manifest.health is not None
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest
    assert manifest.health.images == 12
    assert manifest.health.sizes == ((128, 128),)
    assert set(manifest.health.caught.values()) == {1.0}
    assert undetectable_checks(manifest.health) == []
    old = manifest.model_dump()
    del old["health"]
    assert Manifest.model_validate(old).health is None


@pytest.mark.parametrize("part", ["low", "high", "typical", "detail"])
def test_torn_limits_are_refused(built, part) -> None:
    record = Bundle.open(built).manifest.health
    assert record is not None and record.occluded is not None
    torn = record.model_dump()
    torn["occluded"][part] = torn["occluded"][part][:-1]
    with pytest.raises(ValueError, match="different sizes"):
        HealthRecord.model_validate(torn)


@pytest.mark.usefixtures("light_builds")
def test_a_region_of_interest_wants_pictures_of_the_size_it_was_given_in(drawn, tmp_path) -> None:
    options = BuildOptions(
        precision="fp32", size=(64, 64), prototypes=16, engine="onnxruntime", roi=(8, 8, 112, 112)
    )
    made = build(drawn / "train" / "good", tmp_path / "roi.edge", options=options)
    image = cv2.imread(str(min((drawn / "train" / "good").iterdir())))
    with load(made.bundle.path, engine="onnxruntime") as loaded:
        assert loaded.inspect(image).verdict is Verdict.OK
        result = loaded.inspect(cv2.resize(image, (160, 120)))
        assert result.verdict is Verdict.ERROR
        assert result.reason.startswith("size: the picture has 160x120 px, the good images have 12")
        loaded.health = loaded.health.without("size")
        assert not loaded.inspect(cv2.resize(image, (160, 120))).reason.startswith("size")


def test_names_are_those_that_can_be_left_out() -> None:
    assert CHECKS == ("black", "saturated", "blurred", "occluded", "size", "frozen")


def test_occlusion_knows_the_place(inspector, parts) -> None:
    """Mirrored, every patch is known, but not there: a model of patches alone cannot tell."""
    stats = ImageStatsReader(SIZE).read(parts[0])
    occlusion = inspector.health.occlusion
    assert occlusion is not None
    assert occlusion.measure_share(stats) == 0
    moved = dataclasses.replace(stats, light=np.roll(stats.light, 4, axis=0))
    assert occlusion.measure_share(moved) > occlusion.limit
