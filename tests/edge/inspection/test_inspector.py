"""The inspector: a verdict is earned, everything else is ERROR, and nothing starts unproven."""

from __future__ import annotations

import inspect
import json
import math
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from memory import peak_bytes

import edge
from cameras.frame import Frame
from cameras.source import frame_now
from edge.inspection.inspector import Inspector, load
from edge.inspection.verdict import DecisionSettings
from edge.result import Verdict
from engines.bundle import Bundle
from engines.errors import EngineError

ENGINE = "onnxruntime"


@pytest.fixture(scope="module")
def inspector(built: Path) -> Iterator[Inspector]:
    with load(built, engine=ENGINE) as loaded:
        yield loaded


# --- the public face ------------------------------------------------------------------------


def test_the_public_signatures_are_these() -> None:
    def parameters(function: Callable[..., object]) -> list[str]:
        return [
            ("*" if p.kind is p.KEYWORD_ONLY else "")
            + p.name
            + ("" if p.default is p.empty else f"={p.default!r}")
            for p in inspect.signature(function).parameters.values()
        ]

    assert parameters(edge.load) == [
        "path",
        "*engine='auto'",
        "*threshold=None",
        "*min_area=None",
        "*ignore=None",
        "*roi=None",
        "*say=None",
        "*progress=None",
    ]
    assert parameters(edge.Inspector.inspect) == ["self", "image", "*deadline_ms=None"]
    assert parameters(edge.Inspector.inspect_batch) == ["self", "images"]
    assert parameters(edge.Inspector.stream) == ["self", "source"]
    assert parameters(edge.draw) == ["result", "*opacity=0.5", "*rate_hz=None"]


# --- verdicts -------------------------------------------------------------------------------


def test_a_good_part_is_ok_and_a_spoilt_one_is_not(inspector, good_image, spoilt_image) -> None:
    good, bad = inspector.inspect(good_image), inspector.inspect(spoilt_image)
    assert (good.verdict, good.regions, good.reason) == (Verdict.OK, (), "")
    assert bad.verdict is Verdict.NG
    assert good.score < good.threshold <= bad.score
    region = bad.regions[0]
    assert np.float32(region.peak) == bad.anomaly_map.max()
    assert region.x < 64 < region.x + region.width
    assert region.y < 64 < region.y + region.height
    assert set(bad.speed) == {"prepare", "engine", "decide"}
    assert bad.image is spoilt_image
    json.dumps(bad.to_json(), allow_nan=False)


def test_a_picture_of_any_size_is_fitted(inspector, spoilt_image) -> None:
    large = cv2.resize(spoilt_image, (512, 384), interpolation=cv2.INTER_CUBIC)
    result = inspector.inspect(large)
    assert result.verdict is Verdict.NG
    assert result.anomaly_map.shape == (128, 128)
    region = result.regions[0]
    assert region.x < 256 < region.x + region.width
    assert region.y < 192 < region.y + region.height


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (None, "no image and no reason given"),
        (np.zeros((64, 64, 3), np.float32), "type float32; give uint8"),
        (np.zeros((64, 64), np.uint8), "shape \\(64, 64\\)"),
        (np.zeros((1, 64, 64, 3), np.uint8), "shape \\(1, 64, 64, 3\\)"),
        (np.zeros((0, 64, 3), np.uint8), "shape \\(0, 64, 3\\)"),
        ([[1, 2, 3]], "type list"),
    ],
)
def test_a_frame_without_a_picture_is_an_error(inspector, picture, reason) -> None:
    result = inspector.inspect(frame_now("camera", 4, picture))
    assert (result.verdict, result.score, result.regions) == (Verdict.ERROR, None, ())
    assert result.anomaly_map is None
    assert re.search(reason, result.reason)


def test_a_frame_that_could_not_be_read_keeps_its_reason(inspector) -> None:
    result = inspector.inspect(Frame("line3", 8, 123, 456, None, "no frame for 1.0 s"))
    assert (result.verdict, result.reason) == (Verdict.ERROR, "no frame for 1.0 s")
    assert (result.source, result.frame, result.captured_at_ns) == ("line3", 8, 123)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 40_000, 3), (40_000, 1, 3), (128, 128, 3)])
def test_odd_shapes_get_a_verdict_and_no_exception(inspector, shape) -> None:
    result = inspector.inspect(np.full(shape, 90, np.uint8))
    assert result.verdict in Verdict
    assert (result.verdict is Verdict.ERROR) == (result.score is None)


def test_views_are_pictures_too(inspector, spoilt_image) -> None:
    """Mirrored, sliced, read-only: memory of any layout gives what a copy gives."""
    frozen = spoilt_image.copy()
    frozen.setflags(write=False)
    wide = np.repeat(spoilt_image, 2, axis=1)
    for view in (spoilt_image[:, ::-1], spoilt_image[::2, ::2], frozen, wide[:, ::2]):
        assert inspector.inspect(view).score == inspector.inspect(view.copy()).score


class Broken:
    """An engine that answers what it is told, or raises it."""

    name, device, executes, outputs, size = "broken", "none", "f32", (), (128, 128)

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def infer(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        if isinstance(self.answer, Exception):
            raise self.answer
        maps = np.full((len(images), 128, 128), 0.01, np.float32)
        scores = np.full(len(images), 0.01, np.float32)
        target, value = self.answer
        (maps[:, 5] if target == "map" else scores)[:] = value
        return maps, scores

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "answer",
    [
        ("map", math.nan),
        ("map", math.inf),
        ("map", -math.inf),
        ("score", math.nan),
        ("score", math.inf),
        ("score", -math.inf),
        EngineError("the device was lost"),
    ],
)
def test_an_engine_that_fails_gives_error_and_the_next_frame_its_own_verdict(
    answer, inspector, good_image, monkeypatch
) -> None:
    before = inspector.inspect(good_image)
    with monkeypatch.context() as patch:
        patch.setattr(inspector, "engine", Broken(answer))
        result = inspector.inspect(good_image)
        assert (result.verdict, result.score, result.regions) == (Verdict.ERROR, None, ())
        assert result.reason
    assert inspector.inspect(good_image).score == before.score


def test_a_closed_inspector_never_says_ok(built, good_image) -> None:
    loaded = load(built, engine=ENGINE)
    loaded.close()
    loaded.close()
    result = loaded.inspect(good_image)
    assert result.verdict is Verdict.ERROR
    assert "closed" in result.reason


# --- settings -------------------------------------------------------------------------------


def test_the_threshold_can_be_set_without_a_rebuild(built, good_image) -> None:
    with load(built, engine=ENGINE, threshold=1e-6) as strict:
        result = strict.inspect(good_image)
    assert (result.verdict, result.threshold) == (Verdict.NG, 1e-6)
    with pytest.raises(ValueError, match="threshold nan"):
        load(built, engine=ENGINE, threshold=math.nan)


def test_a_score_that_reaches_the_threshold_is_ng(built, inspector, spoilt_image) -> None:
    score = inspector.inspect(spoilt_image).score
    above = float(np.nextafter(np.float32(score), np.float32(1)))
    for threshold, verdict in ((score, Verdict.NG), (above, Verdict.OK)):
        with load(built, engine=ENGINE, threshold=threshold) as loaded:
            assert loaded.inspect(spoilt_image).verdict is verdict


def test_what_is_ignored_does_not_count(built, spoilt_image) -> None:
    mask = np.zeros((128, 128), np.uint8)
    mask[24:104, 24:104] = 255
    with load(built, engine=ENGINE, ignore=mask) as loaded:
        result = loaded.inspect(spoilt_image)
    assert result.regions == () or min(r.x for r in result.regions) < 24
    assert result.score < result.anomaly_map.max()
    assert result.ignored.mean() == pytest.approx((80 / 128) ** 2, abs=0.02)
    with load(built, engine=ENGINE, ignore=mask, roi="none") as loaded:
        smaller = loaded.inspect(cv2.resize(spoilt_image, (64, 64)))
    assert smaller.verdict is Verdict.ERROR
    assert "the ignore mask has 128x128 px, the picture 64x64 px" in smaller.reason


def test_small_regions_do_not_reject(built, inspector, spoilt_image) -> None:
    area = inspector.inspect(spoilt_image).regions[0].area
    for least, verdict in ((area, Verdict.NG), (area + 1, Verdict.OK)):
        with load(built, engine=ENGINE, min_area=least) as loaded:
            assert loaded.inspect(spoilt_image).verdict is verdict


def test_only_the_region_of_interest_is_inspected(built, good_image, spoilt_image) -> None:
    """The part stands in a larger picture; a fault beside it is none, and boxes are in place."""
    bundle = Bundle.open(built)
    scene = np.full((200, 300, 3), 255, np.uint8)
    settings = DecisionSettings(bundle.manifest.threshold.value, roi=(100, 40, 128, 128))
    with Inspector(bundle, engine=ENGINE, settings=settings) as loaded:
        scene[40:168, 100:228] = good_image
        good = loaded.inspect(scene)
        scene[40:168, 100:228] = spoilt_image
        bad = loaded.inspect(scene)
        small = loaded.inspect(scene[:100, :100])
    assert (good.verdict, bad.verdict) == (Verdict.OK, Verdict.NG)
    region = bad.regions[0]
    assert region.x < 164 < region.x + region.width
    assert region.y < 104 < region.y + region.height
    assert bad.roi == (100, 40, 128, 128)
    assert small.verdict is Verdict.ERROR
    assert "beyond the image of 100x100" in small.reason


@pytest.mark.parametrize("roi", [None, (100, 40, 128, 128)])
def test_warming_up_runs_the_engine(built, monkeypatch, roi) -> None:
    """Also where the golden image is smaller than the pictures that it was cropped from."""
    bundle = Bundle.open(built)
    settings = DecisionSettings(bundle.manifest.threshold.value, roi=roi)
    with Inspector(bundle, engine=ENGINE, settings=settings) as loaded:
        calls, infer = [], loaded.engine.infer
        monkeypatch.setattr(loaded.engine, "infer", lambda images: calls.append(1) or infer(images))
        loaded.warm_up(3)
    assert len(calls) == 3


# --- streams --------------------------------------------------------------------------------


def test_stream_takes_folders_frames_and_images(inspector, drawn, good_image) -> None:
    folder = drawn / "train" / "good"
    results = list(inspector.stream(folder))
    assert [Path(result.source) for result in results] == sorted(folder.iterdir())
    assert [result.frame for result in results] == list(range(12))
    verdicts = [result.verdict for result in results]
    assert verdicts.count(Verdict.OK) >= 11, (
        "so few images support no lower rate than one in twelve"
    )
    frames = [frame_now("line", 7, good_image), frame_now("line", 9, None, "torn")]
    results = list(inspector.stream(frames))
    assert [(r.frame, r.verdict, r.reason) for r in results] == [
        (7, Verdict.OK, ""),
        (9, Verdict.ERROR, "torn"),
    ]
    results = list(inspector.stream(image for image in (good_image, None, good_image)))
    assert [(r.frame, str(r.verdict)) for r in results] == [(0, "OK"), (1, "ERROR"), (2, "OK")]


def test_stream_is_lazy_and_leaves_no_thread(inspector, drawn, good_image) -> None:
    taken = []

    def images() -> Iterator[np.ndarray]:
        for number in range(100):
            taken.append(number)
            yield good_image

    stream = inspector.stream(images())
    assert taken == []
    assert next(stream).verdict is Verdict.OK
    assert taken == [0]
    before = threading.active_count()
    stream = inspector.stream(str(drawn / "train" / "good"))
    next(stream)
    stream.close()
    assert threading.active_count() == before


def test_a_steady_line_allocates_nothing_of_a_frames_size(built, good_image) -> None:
    """Engine, fitting and deciding together, on a good part of the model's size."""
    with load(built, engine=ENGINE) as loaded:
        for _ in range(3):
            loaded.inspect(good_image)
        peak = peak_bytes(lambda: loaded.inspect(good_image), times=10)
    assert peak < good_image.nbytes / 3, peak
