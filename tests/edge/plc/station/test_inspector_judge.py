"""The judge of a station: bundles, files and live cameras as sources of pictures."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import cv2
import numpy as np
import pytest
from dated_camera import DatedCamera
from waiting import wait_until

from cameras.errors import CameraError
from cameras.frame import Frame
from cameras.source import frame_now
from edge.plc.station import inspector_judge as module
from edge.plc.station import worker_process
from edge.plc.station.inspector_judge import InspectorJudge
from edge.plc.station.messages import Job, JudgeOptions, SourceTrouble
from edge.plc.station.snapshot import ErrorCode, ResultEvaluation
from edge.plc.station.worker import RecipeError
from edge.plc.station.worker_process import tell_troubles
from edge.stream import reopening
from process.threads import GuardedThread

GREY = np.full((128, 128, 3), 120, np.uint8)
LATER_NS = 10**18


def job(seq: int = 1, *, triggered_ns: int = 0) -> Job:
    return Job(seq, 3, 4, triggered_ns, LATER_NS)


@pytest.fixture
def options(built, drawn) -> JudgeOptions:
    return JudgeOptions(
        recipes={1: str(built), 2: str(drawn / "nothing.edge")},
        source=str(drawn / "test" / "good"),
        engine="onnxruntime",
        warm_up=1,
        deadline_ms=60_000,
    )


@pytest.fixture
def good(drawn) -> np.ndarray:
    return cv2.imread(str(min((drawn / "train" / "good").iterdir())))


@pytest.fixture
def judge(options) -> Iterator[InspectorJudge]:
    judge = InspectorJudge(options)
    yield judge
    judge.close()


def test_files_begin_anew_at_their_end(judge) -> None:
    recipe = judge.load(1)
    assert recipe.simulated
    assert len(recipe.model_hash) == 64
    scores = [judge.inspect(job(seq)).score for seq in range(1, 10)]
    assert scores[:4] == scores[4:8]
    assert all(score is not None for score in scores)


def test_a_refused_recipe_leaves_the_one_before(judge) -> None:
    judge.load(1)
    before = judge.inspect(job()).score
    with pytest.raises(RecipeError, match=r"recipe 2: .*no such bundle") as refused:
        judge.load(2)
    assert refused.value.code is ErrorCode.RECIPE_REFUSED
    with pytest.raises(RecipeError, match="recipe 7: unknown") as unknown:
        judge.load(7)
    assert unknown.value.code is ErrorCode.UNKNOWN_RECIPE
    [judge.inspect(job()) for _ in range(3)]
    assert judge.inspect(job()).score == before


def test_a_damaged_bundle_is_refused(options, bundle) -> None:
    model = bundle / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    judge = InspectorJudge(JudgeOptions(**{**asdict_of(options), "recipes": {1: str(bundle)}}))
    with pytest.raises(RecipeError, match="recipe 1: "):
        judge.load(1)
    judge.close()


def asdict_of(options: JudgeOptions) -> dict[str, object]:
    return {name: getattr(options, name) for name in options.__slots__}


def test_an_inspector_that_is_too_slow_is_told(options) -> None:
    judge = InspectorJudge(JudgeOptions(**{**asdict_of(options), "deadline_ms": 1e-4}))
    with pytest.raises(RecipeError, match="longer than") as slow:
        judge.load(1)
    assert slow.value.code is ErrorCode.TOO_SLOW
    judge.close()


def test_no_camera(options) -> None:
    judge = InspectorJudge(JudgeOptions(**{**asdict_of(options), "source": "/nowhere/cam"}))
    with pytest.raises(RecipeError, match="/nowhere/cam") as missing:
        judge.load(1)
    assert missing.value.code is ErrorCode.NO_PICTURE
    judge.close()


@pytest.mark.parametrize(("settle_ms", "taken"), [(0.0, 2), (25.0, 4)])
def test_a_live_picture_is_younger_than_the_trigger(options, monkeypatch, settle_ms, taken) -> None:
    """What the camera took before shows the part before."""
    source = DatedCamera(-50, -1, 10, 20, 30, image=GREY)
    now = time.monotonic_ns()
    monkeypatch.setattr(module, "open_source", lambda *_args, **_words: source)
    judge = InspectorJudge(JudgeOptions(**{**asdict_of(options), "settle_ms": settle_ms}))
    assert not judge.load(1).simulated
    with source.showing(len(source.frames), after_s=0.2):
        answer = judge.inspect(job(triggered_ns=now))
    expected_us = (source.frames[taken].monotonic_ns - now) // 1000
    assert answer.acquire_us == expected_us
    judge.close()


class Failing(DatedCamera):
    """Raises at once."""

    def __iter__(self) -> Iterator[Frame]:
        raise CameraError("cam: gone")


@pytest.mark.parametrize("kind", [DatedCamera, Failing])
def test_a_camera_that_ended_or_failed_is_opened_again_and_parts_are_rejected_meanwhile(
    options, good, monkeypatch, kind
) -> None:
    monkeypatch.setattr(reopening, "PAUSES_S", (0.1, 0.2))
    comes = DatedCamera(10**7, 10**7, image=good)
    cameras = iter([kind(image=good), CameraError("cam: no answer"), comes])

    def opened(*_args: object, **_words: object) -> DatedCamera:
        item = next(cameras)
        if isinstance(item, CameraError):
            raise item
        return item

    monkeypatch.setattr(module, "open_source", opened)
    judge = InspectorJudge(options)
    judge.load(1)
    wait_until(lambda: judge._camera._end is not None)
    answer = judge.inspect(job(1))
    assert (answer.error, answer.evaluation) == (
        ErrorCode.NO_PICTURE,
        ResultEvaluation.NOT_DECIDABLE,
    )
    assert answer.reason.startswith("cam: ") and answer.reason.endswith("; opening it again")
    wait_until(lambda: judge._camera._end is None)
    with comes.showing(1, after_s=0.2):
        assert judge.inspect(job(2)).error is ErrorCode.NONE
    judge.close()


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (frame_now("cam", 0, None, "no frame for 1.0 s;\ncheck the cable"), ErrorCode.NO_PICTURE),
        (frame_now("cam", 0, np.zeros((4, 4), np.uint8)), ErrorCode.BAD_PICTURE),
        (frame_now("cam", 0, np.zeros((4, 4, 3), np.float32)), ErrorCode.BAD_PICTURE),
        (frame_now("cam", 0, np.zeros((128, 128, 3), np.uint8)), ErrorCode.BAD_PICTURE),
    ],
)
def test_what_is_no_picture_is_not_decided(options, frame, error) -> None:
    judge = InspectorJudge(options, grab=lambda _job: frame)
    judge.load(1)
    answer = judge.inspect(job(5))
    assert (answer.seq, answer.error, answer.evaluation) == (
        5,
        error,
        ResultEvaluation.NOT_DECIDABLE,
    )
    assert answer.score is None
    assert "\n" not in answer.reason
    judge.close()


def test_a_camera_that_fails_costs_one_part(options, good) -> None:
    frames = iter([CameraError("cam: gone"), frame_now("cam", 1, good)])

    def grab(_job: Job) -> Frame:
        item = next(frames)
        if isinstance(item, CameraError):
            raise item
        return item

    judge = InspectorJudge(options, grab=grab)
    judge.load(1)
    assert judge.inspect(job(1)).error is ErrorCode.NO_PICTURE
    answer = judge.inspect(job(2))
    assert answer.error is ErrorCode.NONE
    assert answer.acquired_at_ns > 0
    judge.close()


def test_a_failing_engine_is_said(options, good) -> None:
    judge = InspectorJudge(options, grab=lambda _job: frame_now("cam", 1, good))
    assert judge.inspect(job()).reason == "no recipe is loaded"
    judge.load(1)
    judge._inspector.inspector.engine.close()
    answer = judge.inspect(job())
    assert answer.error is ErrorCode.ENGINE
    assert "closed" in answer.reason
    judge.close()


def test_a_station_tells_drift_in_its_answers(options, drawn) -> None:
    """Parts with a defect one after another; the decision stays what it is."""
    source = str(drawn / "test" / "missing_hole")
    judge = InspectorJudge(JudgeOptions(**{**asdict_of(options), "source": source}))
    judge.load(1)
    answers = [judge.inspect(job(seq)) for seq in range(1, 25)]
    judge.close()
    assert answers[5].drift == "steady"
    assert answers[5].trouble == ""
    assert answers[-1].drift == "higher"
    assert answers[-1].trouble.startswith("drift: parts score higher")
    assert {one.evaluation for one in answers} == {ResultEvaluation.NOT_OK}


def test_strangers_that_take_all_places_are_a_trouble_of_the_source(options, monkeypatch) -> None:
    monkeypatch.setattr(worker_process, "TELL_EVERY_S", 0.01)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    judge = InspectorJudge(replace(options, source=f"post://127.0.0.1:{port}"))
    told: list[object] = []
    over = threading.Event()

    class Told:
        def send(self, message: object, *, wait: bool) -> bool:
            told.append(message)
            return len(told) > 1  # at first the station does not read

    with ExitStack() as stack:
        stack.callback(judge.close)
        judge.load(1)
        assert judge.state == SourceTrouble()
        for _ in range(20):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        wait_until(lambda: "all places are taken" in judge.state.text)
        telling = GuardedThread(lambda: tell_troubles(Told(), judge, over), name="telling")
        telling.start()
        wait_until(lambda: len(told) == 2)
        over.set()
        telling.join()
    assert [type(one) for one in told] == [SourceTrouble] * 2
    assert all(one.text.startswith(f"post://127.0.0.1:{port}") for one in told)
