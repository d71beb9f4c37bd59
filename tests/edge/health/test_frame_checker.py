"""Frozen and resized in a stream, the inspector and the station: never OK, and told in time."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from dated_camera import DatedCamera
from replay import Replay
from still_scene import FPS

from cameras.connect import open_source
from cameras.frame import Frame
from edge.health.checks import ImageChecks
from edge.health.frame_checker import FrameChecker
from edge.health.frozen import UNSURE_S
from edge.inspection.inspector import load
from edge.plc.station import inspector_judge as station
from edge.plc.station.inspector_judge import InspectorJudge
from edge.plc.station.messages import Job, JudgeOptions
from edge.plc.station.snapshot import ErrorCode
from edge.result import Result, Verdict, error_from_frame
from engines.manifest import HealthRecord


def ok(frame: Frame) -> Result:
    if frame.image is None:
        return error_from_frame(frame, threshold=0.5)
    return Result(frame.source, frame.index, 0, Verdict.OK, 0.1, 0.5, image=frame.image)


def frames(pictures: list[np.ndarray | None], *, fps: float = FPS) -> list[Frame]:
    return [
        Frame("cam", index, 0, round(index / fps * 1e9), picture)
        for index, picture in enumerate(pictures)
    ]


def test_a_picture_of_another_size_is_an_error_until_the_camera_is_set_back() -> None:
    random = np.random.default_rng(0)
    large, small = (random.integers(0, 255, (*s, 3), np.uint8) for s in ((48, 64), (24, 32)))
    judge = FrameChecker(lambda: ImageChecks(None)).guard(ok)
    results = [judge(frame) for frame in frames([large, small, None, small, large])]
    assert [str(result.verdict) for result in results] == ["OK", "ERROR", "ERROR", "ERROR", "OK"]
    assert results[1].reason.startswith("size: the picture has 32x24 px, it had 64x48; ")
    assert results[1].image is small and results[1].score is None
    assert results[2].reason == "no image and no reason given"


def test_sizes_of_the_good_images_may_follow_each_other() -> None:
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 255, (*s, 3), np.uint8) for s in ((48, 64), (24, 32), (12, 8))]
    health = ImageChecks(HealthRecord(images=2, sizes=((24, 32), (48, 64))))
    judge = FrameChecker(lambda: health).guard(ok)
    results = [judge(frame) for frame in frames(pictures)]
    assert [str(result.verdict) for result in results] == ["OK", "OK", "ERROR"]


def test_an_inspector_that_takes_over_brings_its_own_limits() -> None:
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 255, (*s, 3), np.uint8) for s in ((48, 64), (24, 32))]
    record = HealthRecord(images=2, sizes=((24, 32), (48, 64)))
    at_work = [ImageChecks(None)]
    judge = FrameChecker(lambda: at_work[0]).guard(ok)
    given = frames([*pictures, pictures[1]])
    assert [str(judge(frame).verdict) for frame in given[:2]] == ["OK", "ERROR"]
    at_work[0] = ImageChecks(record)
    assert str(judge(given[2]).verdict) == "OK"


def test_what_is_left_out_is_left_out(scene) -> None:
    small = cv2.resize(scene, (64, 48))
    pictures: list[np.ndarray | None] = [*[scene] * 400, small]
    judge = FrameChecker(lambda: ImageChecks(None, off=frozenset({"frozen", "size"}))).guard(ok)
    assert {str(judge(frame).verdict) for frame in frames(pictures)} == {"OK"}


def test_a_recording_that_is_played_over_and_over_is_not_frozen(scene, tmp_path) -> None:
    cv2.imwrite(str(tmp_path / "part.png"), scene)
    with open_source(f"replay:{tmp_path}?fps=20") as source:
        judge = FrameChecker(lambda: ImageChecks(None), source).guard(ok)
        later = (
            dataclasses.replace(frame, monotonic_ns=frame.index * 1_000_000_000)
            for frame in itertools.islice(source, 30)
        )
        assert {str(judge(frame).verdict) for frame in later} == {"OK"}


def test_a_frozen_frame_keeps_what_is_worse(scene) -> None:
    """A black picture repeats as well; that it is black says more."""
    judge = FrameChecker(lambda: ImageChecks(None)).guard(
        lambda frame: error_from_frame(frame, threshold=0.5, reason="black: x")
    )
    reasons = {judge(frame).reason for frame in frames([scene] * 400)}
    assert reasons == {"black: x"}


def test_a_frozen_camera_is_an_error_in_results(scene) -> None:
    judge = FrameChecker(lambda: ImageChecks(None)).guard(ok)
    results = [judge(frame) for frame in frames([scene] * 400)]
    first = next(i for i, result in enumerate(results) if result.verdict is Verdict.ERROR)
    assert first == UNSURE_S * FPS
    assert {str(result.verdict) for result in results[first:]} == {"ERROR"}
    assert results[first].reason == (
        "frozen: the picture has not changed for 10.0 s; check the camera and what lies between"
    )
    assert results[first].image is scene


FAULTS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "frozen": lambda _, last: last,
    "black": lambda now, _: np.minimum(now, 6),
    "saturated": lambda now, _: cv2.convertScaleAbs(now, alpha=4.0),
    "blurred": lambda now, _: cv2.GaussianBlur(now, (0, 0), 4),
    "occluded": lambda now, _: np.vstack([now[:64] // 8, now[64:]]),
    "size": lambda now, _: now[:96],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_within_two_seconds_and_nothing_is_ok_after_it(
    fault, built: Path, drawn: Path
) -> None:
    """And when it is over, parts are judged again."""
    good = cv2.imread(str(min((drawn / "train" / "good").iterdir()))).astype(np.int16)
    random = np.random.default_rng(0)
    fps, begin, end = 10, 3.0, 7.0
    verdicts: list[tuple[float, Result]] = []
    with load(built, engine="onnxruntime") as inspector:
        judge = FrameChecker(lambda: inspector.health).guard(inspector.inspect)
        last = good.astype(np.uint8)
        for index in range(100):
            t = index / fps
            now = np.clip(good + random.normal(0, 1, good.shape).round(), 0, 255).astype(np.uint8)
            picture = np.asarray(FAULTS[fault](now, last) if begin <= t < end else now, np.uint8)
            if t < begin:
                last = now
            verdicts.append((t, judge(Frame("cam", index, 0, round(t * 1e9), picture))))
    told = [(t, result) for t, result in verdicts if result.verdict is Verdict.ERROR]
    assert begin <= told[0][0] <= begin + 2
    assert all(result.verdict is Verdict.ERROR for t, result in verdicts if told[0][0] <= t < end)
    assert {result.reason.partition(":")[0] for _, result in told} == {fault}
    after = [result.verdict for t, result in verdicts if t >= end + 1.2]
    assert set(after) == {Verdict.OK}


class Live(Replay):
    live = True


def test_the_inspectors_own_stream_looks_too(built: Path, drawn: Path, monkeypatch) -> None:
    good = cv2.imread(str(min((drawn / "train" / "good").iterdir())))
    large = cv2.resize(good, (256, 256))
    monkeypatch.setattr(
        "edge.inspection.streaming.open_source", lambda *_, **__: Live([good, large, good])
    )
    with load(built, engine="onnxruntime") as inspector:
        verdicts = [str(result.verdict) for result in inspector.stream("cam")]
        assert verdicts == ["OK", "ERROR", "OK"]
        assert str(inspector.inspect(large).verdict) != "ERROR"  # no camera: any size is fitted


def test_a_station_rejects_a_part_whose_camera_is_frozen(built: Path, drawn: Path, monkeypatch):
    good = cv2.imread(str(min((drawn / "train" / "good").iterdir())))

    camera = DatedCamera(*(1e3 * index / FPS for index in range(1000)), image=good)
    monkeypatch.setattr(station, "open_source", lambda *_, **__: camera)
    options = JudgeOptions(
        recipes={1: str(built)}, source="0", engine="onnxruntime", warm_up=1, deadline_ms=60_000
    )
    judge = InspectorJudge(options)
    try:
        judge.load(1)
        answers = []
        for seq in range(1, 20):
            camera.show(FPS - 1)  # nobody asks for these
            triggered_ns = camera.frames[seq * FPS - 1].monotonic_ns
            with camera.showing(1, after_s=0.05):
                answers.append(judge.inspect(Job(seq, 1, 1, triggered_ns, 10**19)))
    finally:
        judge.close()
    codes = [answer.error for answer in answers]
    first = codes.index(ErrorCode.BAD_PICTURE)
    assert 8 <= first <= 12
    assert set(codes[:first]) == {ErrorCode.NONE}
    assert set(codes[first:]) == {ErrorCode.BAD_PICTURE}
    assert answers[first].reason.startswith("frozen: ")
