"""What a bundle keeps: used by all that load it, and changed without a build."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from waiting import wait_until

import edge
from calibrate.progress import Stages
from edge.evaluation.evaluate import evaluate_bundle
from edge.inspection import upkeep
from edge.inspection.hot_swap import HotSwapInspector
from edge.inspection.inspector import load
from edge.inspection.settings import SettingsError, change_settings
from edge.inspection.upkeep import Upkeep
from edge.options import EvaluateOptions
from edge.result import Verdict
from engines.bundle import Bundle
from engines.errors import BundleError, EngineError

ENGINE = "onnxruntime"
MIDDLE = np.zeros((128, 128), np.uint8)
MIDDLE[24:104, 24:104] = 255


def test_what_is_changed_is_what_is_loaded(bundle, spoilt_image) -> None:
    changes = change_settings(bundle, threshold=0.5, min_area=7, ignore=MIDDLE, roi=(0, 0, 99, 98))
    assert [one.setting for one in changes] == ["threshold", "min_area", "ignore", "roi"]
    assert "@" in changes[0].by
    with load(bundle, engine=ENGINE) as inspector:
        kept = inspector.settings
        assert (kept.threshold, kept.min_area, kept.roi) == (0.5, 7, (0, 0, 99, 98))
        assert (kept.ignore == MIDDLE).all()
        assert kept.pixel_threshold == pytest.approx(Bundle.open(bundle).manifest.pixel_threshold)
    with load(bundle, engine=ENGINE, threshold=0.25, min_area=0, ignore="none", roi="none") as one:
        assert (one.settings.threshold, one.settings.min_area) == (0.25, 0)
        assert one.settings.ignore is one.settings.roi is None
    back = change_settings(bundle, ignore="none", roi="none")
    assert [(one.setting, one.new) for one in back] == [("ignore", None), ("roi", None)]
    assert change_settings(bundle, roi="none") == ()


def test_a_mask_in_the_bundle_takes_a_defect_out(bundle, spoilt_image) -> None:
    with load(bundle, engine=ENGINE) as inspector:
        assert inspector.inspect(spoilt_image).verdict is Verdict.NG
    change_settings(bundle, ignore=MIDDLE)
    with load(bundle, engine=ENGINE) as inspector:
        result = inspector.inspect(spoilt_image)
    assert result.score < result.anomaly_map.max()
    assert all(region.x < 24 or region.y < 24 for region in result.regions)


@pytest.mark.parametrize("changes", [{}, {"min_area": 60}, {"ignore": MIDDLE}, {"threshold": 0.2}])
def test_an_evaluation_counts_as_the_inspector_does(bundle, drawn, changes) -> None:
    if changes:
        change_settings(bundle, **changes)
    figures = evaluate_bundle(
        bundle, drawn, options=EvaluateOptions(engine=ENGINE), stages=Stages()
    )
    with load(bundle, engine=ENGINE) as inspector:
        good, bad = (
            [
                inspector.inspect(cv2.imread(str(path))).verdict
                for path in sorted((drawn / "test").glob("*/*.png"))
                if (path.parent.name == "good") == is_good
            ]
            for is_good in (True, False)
        )
    assert (figures.false_rejects, figures.good_images) == (good.count(Verdict.NG), len(good))
    assert (figures.escapes, figures.defect_images) == (bad.count(Verdict.OK), len(bad))


@pytest.mark.parametrize("threshold", [1e-4, 1e6])
def test_the_golden_images_are_tested_by_what_was_built(
    bundle, monkeypatch, threshold, good_image
) -> None:
    """A high threshold makes the self-test no laxer, a low one no stricter."""
    change_settings(bundle, threshold=threshold)
    with load(bundle, engine=ENGINE) as inspector:
        inspector.check()
        infer = inspector.engine.infer
        monkeypatch.setattr(
            inspector.engine, "infer", lambda images: tuple(o * 1.1 for o in infer(images))
        )
        with pytest.raises(edge.EngineError, match="gives golden/"):
            inspector.check()


def test_a_region_elsewhere_does_not_ask_for_pictures_of_the_old_size(bundle, good_image) -> None:
    """The size is checked where the region is the one that was learnt from."""
    scene = np.full((200, 300, 3), 255, np.uint8)
    scene[40:168, 100:228] = good_image
    with load(bundle, engine=ENGINE, roi=(100, 40, 128, 128)) as inspector:
        assert inspector.inspect(scene).verdict is Verdict.OK


WHITE, BLACK = np.full((128, 128), 255, np.uint8), np.zeros((128, 128), np.uint8)
ODD = np.zeros((128, 128, 3), np.uint8)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "nothing to change"),
        ({"threshold": float("nan")}, "finite number"),
        ({"threshold": 1e300}, "finite number"),
        ({"pixel_threshold": 1e300}, "finite number"),
        ({"pixel_threshold": -1}, "must lie above 0"),
        ({"pixel_threshold": 0.0}, "none goes back to that of the build"),
        ({"min_area": -1}, "0 or more"),
        ({"min_area": 10**9}, "no part could ever be NG"),
        ({"roi": (0, 0, 0, 5)}, "x,y,width,height"),
        ({"roi": (-1, 0, 9, 5)}, "x,y,width,height"),
        ({"roi": (1, 0, 128, 128)}, "1,0,128,128 reaches beyond .* of 128x128 px"),
        ({"roi": (0, 1, 128, 128)}, "reaches beyond the pictures that were learnt"),
        ({"ignore": WHITE}, "leaves nothing to inspect"),
        ({"ignore": BLACK}, "nothing white"),
        ({"ignore": ODD}, "grey picture"),
        ({"threshold": 0.5, "roi": (0, 0, 20, 20), "min_area": 401}, "choose a smaller one"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    bundle, changes, says, snapshot
) -> None:
    before = snapshot(bundle)
    with pytest.raises(SettingsError, match=says):
        change_settings(bundle, **changes)
    assert snapshot(bundle) == before


def test_no_bundle_is_an_error(tmp_path) -> None:
    with pytest.raises(BundleError, match="no such bundle"):
        change_settings(tmp_path / "none.edge", threshold=0.5)


def test_an_inspector_at_work_takes_a_change_over(bundle, monkeypatch) -> None:
    monkeypatch.setattr(upkeep, "LOOK_S", 0.02)
    with (
        HotSwapInspector(lambda: load(bundle, engine=ENGINE)) as inspector,
        Upkeep(self_test_s=0, watch_bundles=True) as watching,
    ):
        watching.add(inspector, bundle=bundle)
        change_settings(bundle, threshold=0.5, ignore=MIDDLE)
        wait_until(lambda: inspector.reloads == 1)
        assert inspector.settings.threshold == 0.5
        assert (inspector.settings.ignore == MIDDLE).all()
    assert len(Bundle.open(bundle).manifest.changes) == 2


def test_a_smallest_area_beyond_the_picture_is_refused(bundle) -> None:
    with pytest.raises(SettingsError, match="no part could ever be NG"):
        change_settings(bundle, min_area=10**9)
    change_settings(bundle, roi=(0, 0, 10, 10))
    with pytest.raises(SettingsError, match="no part could ever be NG"):
        change_settings(bundle, min_area=200)


def test_an_inspector_does_not_begin_with_a_smallest_area_beyond_the_picture(bundle) -> None:
    """Given by hand, as `edge stream --min-area` does: every defect would be OK."""
    with pytest.raises(EngineError, match="min_area"), load(bundle, engine=ENGINE, min_area=10**6):
        pass


@pytest.mark.parametrize("roi", [(0, 0, 30_000, 30_000), (60_000, 60_000, 10, 10)])
def test_a_region_beyond_every_picture_is_refused(bundle, roi) -> None:
    with pytest.raises(SettingsError, match="no picture is that large"):
        change_settings(bundle, roi=roi)


def test_a_name_from_the_environment_is_cleaned(bundle, monkeypatch) -> None:
    monkeypatch.setenv("LOGNAME", "e\x1b[31mvil\n" + "x" * 1000)
    (change,) = change_settings(bundle, threshold=0.5)
    assert change.by.isprintable()
    assert len(change.by) <= 100
