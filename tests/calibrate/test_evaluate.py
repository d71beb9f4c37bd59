import json
from pathlib import Path

import numpy as np
import pytest

from calibrate.dataset import Sample
from calibrate.evaluate import Scored, evaluate


def scored(score, defect="good", *, name="a", anomaly_map=None, mask=None, reason=""):
    path = Path(defect, f"{name}{score}.png")
    return Scored(Sample(path, defect), score, anomaly_map, mask, reason)


def field(*, peak=None, low=0.1):
    values = np.full((8, 8), low, dtype=np.float32)
    if peak is not None:
        values[2:4, 2:4] = peak
    return values


SPOT = field(peak=1.0, low=0.0).astype(bool)


def test_counts_and_figures():
    result = evaluate(
        iter(
            [
                scored(0.1, anomaly_map=field()),
                scored(0.2, anomaly_map=field()),
                scored(0.6, anomaly_map=field()),
                scored(0.9, "crack", anomaly_map=field(peak=0.9), mask=SPOT),
                scored(0.5, "crack", anomaly_map=field(peak=0.5), mask=SPOT),
                scored(0.3, "stain", anomaly_map=field(peak=0.3), mask=SPOT),
            ]
        ),
        threshold=0.5,
    )
    assert (result.good_images, result.defect_images) == (3, 3)
    assert (result.false_rejects, result.escapes) == (1, 1)
    assert result.image_auroc == pytest.approx(7 / 9)
    assert (result.pixel_auroc, result.pixel_ap) == (1.0, 1.0)
    assert result.aupro == pytest.approx(1.0)
    assert result.f1_max == pytest.approx(6 / 7)
    assert 0.2 < result.f1_max_threshold < 0.3
    assert (result.per_defect["crack"].images, result.per_defect["crack"].escapes) == (2, 0)
    assert (result.per_defect["stain"].images, result.per_defect["stain"].escapes) == (1, 1)
    assert result.per_defect["stain"].image_auroc == pytest.approx(2 / 3)
    assert not result.skipped
    assert not result.reasons


def test_a_score_at_the_threshold_is_rejected():
    result = evaluate([scored(0.5), scored(0.5, "crack")], threshold=0.5)
    assert (result.false_rejects, result.escapes) == (1, 0)


def test_json_holds_the_promised_fields_and_no_nan():
    result = evaluate([scored(0.1), scored(0.4, "crack")], threshold=0.3)
    record = json.loads(json.dumps(result.to_json(), allow_nan=False))
    promised = {"image_auroc", "pixel_auroc", "aupro", "f1_max", "false_rejects", "escapes"}
    promised |= {"good_images", "defect_images", "threshold"}
    assert promised <= set(record)
    assert record["per_defect"] == {"crack": {"images": 1, "escapes": 0, "image_auroc": 1.0}}
    assert record["pixel_auroc"] is None
    assert record["reasons"]["pixels"] == "2 images have no anomaly map and are left out"


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ([], "no images"),
        ([scored(0.1, anomaly_map=field())], "no defect images"),
        ([scored(0.1, "crack", anomaly_map=field())], "no good images"),
    ],
)
def test_what_is_undefined_is_none_with_its_reason(images, reason):
    result = evaluate(images, threshold=0.5)
    assert result.image_auroc is result.f1_max is result.aupro is result.pixel_auroc is None
    assert result.f1_max_threshold is None
    assert result.reasons["image_auroc"] == result.reasons["f1_max"] == reason
    assert "no image has a mask" in result.reasons["aupro"]
    json.dumps(result.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (scored(None, "crack", reason="cannot be decoded"), "cannot be decoded"),
        (scored(None, "crack"), "no score"),
        (scored(float("nan"), "crack"), "the score is nan"),
        (scored(float("inf"), "crack"), "the score is inf"),
        (
            scored(0.4, "crack", anomaly_map=field(low=np.nan)),
            "the anomaly map has values that are not finite",
        ),
    ],
)
def test_images_without_a_usable_score_are_errors_and_named(bad, reason):
    result = evaluate([scored(0.1), bad], threshold=0.5)
    assert list(result.errors.values()) == [reason]
    assert next(iter(result.errors)).startswith("crack")
    assert [one.verdict for one in result.images] == ["OK", "ERROR"]
    assert (result.good_images, result.defect_images, result.escapes) == (1, 0, 0)


def test_defects_without_a_mask_do_not_count_as_sound_pixels():
    with_mask = scored(0.9, "crack", anomaly_map=field(peak=0.9), mask=SPOT)
    without = scored(0.8, "stain", anomaly_map=field(low=5.0))
    result = evaluate([scored(0.1, anomaly_map=field()), with_mask, without], threshold=0.5)
    assert result.pixel_auroc == 1.0
    assert result.reasons["pixels"] == "1 defect images have no mask and are left out"


def test_a_mask_that_shows_nothing_is_reported():
    blank = scored(0.9, "crack", anomaly_map=field(), mask=np.zeros((8, 8), dtype=bool))
    result = evaluate([scored(0.1, anomaly_map=field()), blank], threshold=0.5)
    assert "1 defect images have a mask without a defective pixel" in result.reasons["pixels"]


@pytest.mark.parametrize("threshold", [float("nan"), float("inf")])
def test_threshold_must_be_finite(threshold):
    with pytest.raises(ValueError, match="threshold"):
        evaluate([], threshold=threshold)


def test_maps_and_masks_of_different_size_are_an_error():
    wrong = scored(0.9, "crack", anomaly_map=field(), mask=np.zeros((4, 4), dtype=bool))
    with pytest.raises(ValueError, match=r"\(8, 8\).*\(4, 4\)"):
        evaluate([wrong], threshold=0.5)


def test_a_name_that_is_not_utf8_reaches_json():
    path = Path("caf\udce9.png")
    item = Scored(Sample(path, "good"), None, reason="cannot be decoded")
    text = json.dumps(evaluate([item], threshold=0.5).to_json(), ensure_ascii=False)
    assert "caf\\\\xe9.png" in text
    text.encode("utf-8")
