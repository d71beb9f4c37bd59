"""The drawn pictures; `just golden` draws the references."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.drawing.grid import Row, draw_grid
from edge.drawing.overlay import draw
from edge.inspection.verdict import DecisionSettings, decide
from edge.result import Region, Result, Verdict

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
OUTAGE = "rtsp://***@line3/cam0: no frame for 1.0 s; check address, cable and network"


def part(height: int, width: int) -> np.ndarray:
    """Draw a washer on a grey belt, (H, W, 3) uint8 BGR."""
    image = np.full((height, width, 3), (150, 146, 140), np.uint8)
    middle, radius = (width // 2, height // 2), min(height, width) // 3
    cv2.circle(image, middle, radius, (92, 88, 84), -1, cv2.LINE_AA)
    cv2.circle(image, middle, radius // 2, (150, 146, 140), -1, cv2.LINE_AA)
    return image


def heat(peak: float) -> np.ndarray:
    rows, columns = np.mgrid[:64, :64]
    spot = np.exp(-((rows - 40) ** 2 + (columns - 40) ** 2) / 60)
    return (0.1 + (peak - 0.1) * spot).astype(np.float32)


def result_of(image, anomaly_map, **changes) -> Result:
    chosen = DecisionSettings(0.5, **changes)
    found = decide(anomaly_map, float(anomaly_map.max()), settings=chosen, frame_shape=image.shape)
    return Result(
        source="line3",
        frame=0,
        captured_at_ns=0,
        verdict=found.verdict,
        score=found.score,
        threshold=0.5,
        regions=found.regions,
        reason=found.reason,
        defect_mask=found.defect_mask,
        ignored=found.ignored,
        anomaly_map=anomaly_map,
        roi=chosen.roi,
        image=image,
    )


def error(image) -> Result:
    return Result("line3", 0, 0, Verdict.ERROR, None, 0.5, (), OUTAGE, image=image)


def row_of(result: Result, title: str, mask: np.ndarray | None) -> Row:
    """A row of the grid that shows a result."""
    found = (result.score, result.verdict, result.defect_mask)
    return Row(result.image, result.anomaly_map, mask, title, *found)


def rows() -> list[Row]:
    truth = heat(0.9) > 0.5
    good, bad = (result_of(part(240, 320), heat(peak)) for peak in (0.4, 0.9))
    lost = Row(part(240, 320), None, None, "cannot be judged", None, Verdict.ERROR)
    return [row_of(bad, "scratch", truth), row_of(good, "good", None), lost]


CASES = {
    "grid": lambda: draw_grid(rows(), threshold=0.5),
    "overlay_ok": lambda: draw(result_of(part(240, 320), heat(0.3)), rate_hz=29.9),
    "overlay_ng": lambda: draw(result_of(part(240, 320), heat(0.9)), rate_hz=29.9),
    "overlay_ng_small": lambda: draw(result_of(part(128, 128), heat(0.9)), rate_hz=29.9),
    "overlay_ng_roi": lambda: draw(result_of(part(240, 320), heat(0.9), roi=(80, 60, 160, 120))),
    "overlay_error": lambda: draw(error(None)),
    "overlay_error_small": lambda: draw(error(part(128, 128))),
}


@pytest.mark.parametrize("name", CASES)
def test_pictures_look_as_they_were_approved(name) -> None:
    path = GOLDEN / f"{name}.png"
    picture = CASES[name]()
    if os.environ.get("GOLDEN") == "write":
        cv2.imwrite(str(path), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if int(cv2.__version__.split(".")[0]) < 5:
        pytest.skip("the references were drawn with the letters of OpenCV 5")
    expected = cv2.imread(str(path))
    assert picture.shape == expected.shape
    difference = np.abs(picture.astype(int) - expected).max(axis=-1)
    assert difference.mean() < 1.0
    assert (difference > 40).mean() < 0.01


def test_drawing_changes_neither_the_image_nor_its_size() -> None:
    image = part(200, 300)
    before = image.copy()
    picture = draw(result_of(image, heat(0.9)))
    assert (image == before).all()
    assert picture.shape == image.shape
    assert picture.dtype == np.uint8


def test_below_half_the_threshold_nothing_is_tinted() -> None:
    image = part(240, 320)
    picture = draw(result_of(image, np.full((64, 64), 0.24, np.float32)))
    assert (picture[60:] == image[60:]).all()
    tinted = draw(result_of(image, np.full((64, 64), 0.4, np.float32)))
    assert (tinted[60:] != image[60:]).any()


def test_the_same_value_has_the_same_colour_in_every_frame() -> None:
    flat = np.full((240, 320, 3), 128, np.uint8)
    alone, beside = np.full((64, 64), 0.4, np.float32), np.full((64, 64), 0.4, np.float32)
    beside[60, 60] = 5.0
    one, two = draw(result_of(flat, alone)), draw(result_of(flat, beside))
    assert (one[120, 100] == two[120, 100]).all()


def test_an_ignored_area_is_not_outlined() -> None:
    flat = np.full((256, 256, 3), 128, np.uint8)
    anomaly_map = np.zeros((64, 64), np.float32)
    anomaly_map[20:30, 20:30] = 0.9
    ignore = np.zeros((256, 256), np.uint8)
    ignore[64:136, 64:136] = 255
    outlined = draw(result_of(flat, anomaly_map), opacity=0)
    ignored = draw(result_of(flat, anomaly_map, ignore=ignore), opacity=0)
    assert np.ptp(outlined[50:].astype(int), axis=-1).max() > 80
    hatched = (ignored[50:] != 128).any(axis=-1)
    assert not np.ptp(ignored[50:].astype(int), axis=-1).any()  # grey: no colour of a defect
    assert hatched[14:86, 64:136].mean() > 0.05
    hatched[14:86, 64:136] = False
    assert not hatched.any()


def test_the_verdict_has_its_colour() -> None:
    pictures = {
        Verdict.OK: draw(result_of(part(240, 320), heat(0.3))),
        Verdict.NG: draw(result_of(part(240, 320), heat(0.9))),
        Verdict.ERROR: draw(error(part(240, 320))),
    }
    strongest = {name: int(p[5, 8].argmax()) for name, p in pictures.items()}
    assert strongest == {Verdict.OK: 1, Verdict.NG: 2, Verdict.ERROR: 2}
    assert pictures[Verdict.ERROR][5, 8, 1] > 100  # amber, not red


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(1, 400),
    st.integers(1, 400),
    st.sampled_from(list(Verdict)),
    st.one_of(st.none(), st.floats(allow_nan=True)),
    st.floats(-1e6, 1e6),
    st.text(max_size=300),
    st.one_of(st.none(), st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1e30])),
)
def test_whatever_the_result_a_picture_comes(
    height, width, verdict, score, threshold, reason, value
) -> None:
    anomaly_map = None if value is None else np.full((8, 8), value, np.float32)
    regions = (Region(x=0, y=0, width=width, height=height, area=1, peak=1.0),)
    result = Result(
        source="a",
        frame=0,
        captured_at_ns=0,
        verdict=verdict,
        score=score,
        threshold=threshold,
        regions=regions,
        reason=reason,
        anomaly_map=anomaly_map,
        roi=(width // 2, height // 2, 10, 10),
        image=np.zeros((height, width, 3), np.uint8),
    )
    assert draw(result, rate_hz=1e9).shape == (height, width, 3)
