"""Engines, preparations and decisions that are wrong are caught before the first OK, and later."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edge.inspection.inspector as module
from calibrate.images import fit_image
from edge.inspection.inspector import Inspector, load
from edge.inspection.self_test import check_decision, check_preparation
from edge.inspection.verdict import DecisionSettings, Judgement, decide
from edge.result import Verdict
from engines.cpu.onnxruntime import OnnxRuntimeEngine
from engines.errors import EngineError

ENGINE = "onnxruntime"


def changed(how: Callable[[np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
    """A preparation that does something to the picture afterwards."""
    return lambda image, size, roi=None: np.ascontiguousarray(how(fit_image(image, size, roi)))


def moved(how: Callable[[tuple[int, ...]], tuple[int, ...]]) -> Callable[..., np.ndarray]:
    """A preparation that takes another part of the picture."""

    def fit(image, size, roi=None):
        height, width = image.shape[:2]
        return fit_image(image, size, how(roi or (0, 0, width, height)))

    return fit


def first_again() -> Callable[..., np.ndarray]:
    first: list[np.ndarray] = []

    def fit(image, size, roi=None):
        first.append(fit_image(image, size, roi))
        return first[0]

    return fit


def padded(image, size, roi=None):
    """The aspect ratio kept, with bars."""
    inside = fit_image(image, (size[0], size[1] * 9 // 10), roi)
    return cv2.copyMakeBorder(inside, 0, 0, 0, size[1] - inside.shape[1], cv2.BORDER_CONSTANT)


GAMMA = (255 * (np.arange(256) / 255) ** 0.8).astype(np.uint8)
PREPARATIONS = {
    "colours swapped": changed(lambda x: x[..., ::-1]),
    "two colours swapped": changed(lambda x: x[..., [1, 0, 2]]),
    "mirrored": changed(lambda x: x[:, ::-1]),
    "upside down": changed(lambda x: x[::-1]),
    "turned by 180": changed(lambda x: x[::-1, ::-1]),
    "turned by 90": changed(np.rot90),
    "transposed": changed(lambda x: x.transpose(1, 0, 2)),
    "inverted": changed(lambda x: 255 - x),
    "brighter": changed(lambda x: cv2.add(x, (8, 8, 8, 0))),
    "darker": changed(lambda x: (x * 0.95).astype(np.uint8)),
    "gamma": changed(lambda x: GAMMA[x]),
    "grey": changed(lambda x: cv2.cvtColor(cv2.cvtColor(x, 6), 8)),
    "black": changed(lambda x: x * 0),
    "scaled to 1": changed(lambda x: (x / 255).astype(np.float32)),
    "one short": changed(lambda x: x[:-1]),
    "channels first": changed(lambda x: x.transpose(2, 0, 1)),
    "shifted": changed(lambda x: np.roll(x, 6, axis=1)),
    "one too bright": changed(
        lambda x: x + (np.indices(x.shape).sum(0) == 40).astype(np.uint8) * 9
    ),
    "the middle alone": moved(lambda r: (r[0] + 5, r[1] + 5, r[2] - 10, r[3] - 10)),
    "another place": moved(lambda r: (r[0] + 8, r[1], r[2] - 8, r[3])),
    "half": moved(lambda r: (r[0], r[1], r[2] // 2, r[3])),
    "the first one again": first_again(),
    "with bars": padded,
}


@pytest.mark.parametrize("name", PREPARATIONS)
def test_a_wrong_preparation_is_caught(name, built, monkeypatch) -> None:
    monkeypatch.setattr(module, "fit_image", PREPARATIONS[name])
    with pytest.raises(EngineError, match="self-test: a picture is prepared"):
        load(built, engine=ENGINE)


@pytest.mark.parametrize("roi", [(40, 30, 200, 150), (0, 0, 640, 480), (1, 2, 130, 131)])
def test_a_region_of_interest_that_is_not_kept_is_caught(roi) -> None:
    check_preparation(fit_image, size=(128, 128), roi=roi)
    for how in (
        lambda r: None,
        lambda r: (r[1], r[0], r[2], r[3]) if r[0] != r[1] else (0, 0, r[2] + 16, r[3]),
        lambda r: (r[0], r[1], r[2] + 16, r[3]),
        lambda r: (r[0] + 12, r[1] + 12, r[2], r[3]),
    ):
        with pytest.raises(EngineError):
            check_preparation(
                lambda image, size, roi, how=how: fit_image(image, size, how(roi)),
                size=(128, 128),
                roi=roi,
            )


@settings(deadline=None)
@given(
    st.tuples(st.integers(16, 400), st.integers(16, 400)),
    st.none() | st.tuples(*[st.integers(0, 300)] * 2, st.integers(16, 900), st.integers(16, 900)),
    st.floats(-1e6, 1e6),
    st.integers(0, 10),
)
def test_what_is_right_always_passes(size, roi, threshold, min_area) -> None:
    check_preparation(fit_image, size=size, roi=roi)
    wanted = DecisionSettings(threshold, roi=roi, min_area=min_area)
    check_decision(decide, settings=wanted, manifest=SimpleNamespace(size=size, health=None))


def answer(verdict: Verdict) -> Callable[..., Judgement]:
    return lambda *_, **__: Judgement(verdict, 0.0)


def with_threshold(factor: float) -> Callable[..., Judgement]:
    def wrong(anomaly_map, score, *, settings, frame_shape):
        other = DecisionSettings(settings.threshold * factor, roi=settings.roi)
        return decide(anomaly_map, score, settings=other, frame_shape=frame_shape)

    return wrong


def blind(anomaly_map, score, *, settings, frame_shape):
    """NaN is not above anything."""
    verdict = Verdict.NG if score >= settings.threshold else Verdict.OK
    return Judgement(verdict, score)


def turned(anomaly_map, score, *, settings, frame_shape):
    found = decide(anomaly_map, score, settings=settings, frame_shape=frame_shape)
    other = {Verdict.OK: Verdict.NG, Verdict.NG: Verdict.OK}.get(found.verdict, found.verdict)
    return dataclasses.replace(found, verdict=other)


def above_it(anomaly_map, score, *, settings, frame_shape):
    """What is equal to the threshold does not reach it."""
    lower = float(np.nextafter(np.float32(score), np.float32(-np.inf)))
    return decide(anomaly_map, lower, settings=settings, frame_shape=frame_shape)


DECISIONS = {
    "always OK": answer(Verdict.OK),
    "always NG": answer(Verdict.NG),
    "always ERROR": answer(Verdict.ERROR),
    "twice the threshold": with_threshold(2),
    "half the threshold": with_threshold(0.5),
    "a thousandth more": with_threshold(1.001),
    "a thousandth less": with_threshold(0.999),
    "no threshold": with_threshold(0),
    "blind to NaN": blind,
    "turned round": turned,
    "only above the threshold": above_it,
}


@pytest.mark.parametrize("name", DECISIONS)
def test_a_wrong_decision_is_caught(name, built, monkeypatch) -> None:
    monkeypatch.setattr(module, "decide", DECISIONS[name])
    with pytest.raises(EngineError, match=r"self-test: .* instead of"):
        load(built, engine=ENGINE)


def test_settings_that_can_never_reject_are_refused(built) -> None:
    with pytest.raises(EngineError, match=r"at the threshold is OK instead of NG.*min_area"):
        load(built, engine=ENGINE, min_area=10**9)


ENGINES = {
    "scores too high": lambda maps, scores: (maps * 1.05, scores * 1.05),
    "scores too low": lambda maps, scores: (maps * 0.95, scores * 0.95),
    "scores alone": lambda maps, scores: (maps, scores * 1.02),
    "zero": lambda maps, scores: (maps * 0, scores * 0),
    "NaN score": lambda maps, scores: (maps, scores * np.nan),
    "NaN map": lambda maps, scores: (maps * np.nan, scores),
    "one NaN in the map": lambda maps, scores: (
        np.where(np.indices(maps.shape).sum(0) == 7, np.nan, maps),
        scores,
    ),
    "infinite": lambda maps, scores: (maps + np.inf, scores),
    "empty map": lambda maps, scores: (maps * 0, scores),
    "map of another size": lambda maps, scores: (maps[:, ::2, ::2], scores),
    "the same for each": lambda maps, scores: (maps * 0 + 0.1, scores * 0 + 0.1),
    "outputs of half a picture": lambda maps, scores: (maps[:, :5], scores),
}


@pytest.fixture
def inspector(built) -> Inspector:
    with load(built, engine=ENGINE) as loaded:
        yield loaded


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_that_goes_wrong_later_is_caught_by_the_next_test(
    name, inspector, monkeypatch
) -> None:
    inspector.check()
    right = OnnxRuntimeEngine.infer
    wrong = ENGINES[name]
    monkeypatch.setattr(OnnxRuntimeEngine, "infer", lambda self, x: wrong(*right(self, x)))
    with pytest.raises(EngineError, match="gives golden/"):
        inspector.check()


def test_an_engine_that_gives_its_last_answer_again_is_caught(inspector, monkeypatch) -> None:
    right, answers = OnnxRuntimeEngine.infer, []

    def stuck(self, images):
        answers.append(right(self, images))
        return answers[0]

    monkeypatch.setattr(OnnxRuntimeEngine, "infer", stuck)
    with pytest.raises(EngineError, match="gives golden/bad"):
        inspector.check()


def test_it_is_tested_with_what_it_was_loaded_with(bundle) -> None:
    with load(bundle, engine=ENGINE) as loaded:
        for path in (bundle / "golden").iterdir():
            path.write_bytes(b"another bundle's")
        loaded.check()
