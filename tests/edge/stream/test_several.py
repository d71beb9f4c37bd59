"""Several cameras: each its own verdicts, and what happens to one stays with it."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections import Counter

import cv2
import numpy as np
import pytest
from judging import Kept

import edge.stream.several
from cameras.errors import CameraError, SourceError
from cameras.files.replay import Replay
from cameras.files.source import open_path
from edge.inspection.engine_pool import EnginePool
from edge.result import Result, Verdict
from edge.sinks.json_lines import JsonLinesSink
from edge.stream.several import Camera, stream_all
from engines.bundle import Bundle
from engines.errors import EngineError

GOOD, BAD = 20, 200


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(edge.stream.several, "PAUSES_S", (0.01, 0.02))
    before = threading.active_count()
    yield
    deadline = time.monotonic() + 20
    while threading.active_count() > before:
        assert time.monotonic() < deadline, threading.enumerate()
        time.sleep(0.01)


def judge(frame) -> Result:
    score = None if frame.image is None else float(frame.image.max()) / 255
    verdict = Verdict.ERROR
    if score is not None:
        verdict = Verdict.NG if score >= 0.5 else Verdict.OK
    return Result(
        frame.source,
        frame.index,
        frame.captured_at_ns,
        verdict,
        score,
        0.5,
        reason=frame.reason,
        image=frame.image,
    )


def images(count: int, value: int = GOOD) -> list[np.ndarray]:
    return [np.full((8, 8, 3), value, np.uint8)] * count


class Live(Replay):
    """A camera with its own rate, which can be told to fail."""

    live = True

    def __init__(self, images, *, rate_hz: float = 200.0, **options) -> None:
        super().__init__(images, **options)
        self.rate_hz = rate_hz

    def __iter__(self):
        for frame in super().__iter__():
            time.sleep(1 / self.rate_hz)
            yield frame
        while not self._closed:  # a camera does not end
            time.sleep(0.002)


def camera(name: str, source, inspect=judge, **options) -> Camera:
    """A camera around a source, or around what makes one."""
    return Camera(
        name=name,
        open=source if callable(source) else lambda: source,
        judging=lambda _: contextlib.nullcontext(inspect),
        threshold=0.5,
        **options,
    )


def test_every_file_of_every_camera_is_inspected_in_its_order(tmp_path) -> None:
    for name, bad in {"left": 2, "right": 5}.items():
        (tmp_path / name).mkdir()
        for number in range(12):
            image = images(1, BAD if number < bad else GOOD)[0]
            cv2.imwrite(str(tmp_path / name / f"{number:02d}.png"), image)
    with JsonLinesSink(tmp_path / "out.jsonl") as sink:
        summary = stream_all(
            [
                camera(name, lambda name=name: open_path(tmp_path / name))
                for name in ("left", "right")
            ],
            sinks=[sink],
        )
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for name, bad in {"left": 2, "right": 5}.items():
        own = [line for line in lines if line["camera"] == name]
        assert [line["frame"] for line in own] == list(range(12))
        assert [line["verdict"] for line in own] == ["NG"] * bad + ["OK"] * (12 - bad)
        assert (summary.cameras[name].ng, summary.cameras[name].frames) == (bad, 12)
    assert (summary.frames, summary.ng, summary.error, summary.not_written) == (24, 7, 0, 0)
    text = json.loads(json.dumps(summary.to_json(), allow_nan=False))
    assert list(text["cameras"]) == ["left", "right"]
    assert "cameras" not in text["cameras"]["left"]


def test_a_camera_keeps_its_own_sinks_and_listener() -> None:
    sinks = {"a": Kept(), "b": Kept()}
    heard: Counter[str] = Counter()

    def hear(frame, result: Result) -> None:
        assert frame.index == result.frame
        heard[result.camera] += 1

    stream_all([camera(n, Replay(images(9)), sinks=[sinks[n]], on_result=hear) for n in ("a", "b")])
    assert {name: {r.camera for r in sink.got} for name, sink in sinks.items()} == {
        "a": {"a"},
        "b": {"b"},
    }
    assert heard == {"a": 9, "b": 9}


def _raising(frame) -> Result:
    raise KeyError("a mistake")


def _dead():
    raise CameraError("dead: does not answer")


def _dies():
    source = Live(images(1))
    source.close()
    return source


@pytest.mark.parametrize(
    ("source", "inspect", "reason"),
    [
        (_dead, judge, "dead: does not answer"),
        (_dies, judge, "the camera ended"),
        (lambda: Live(images(10_000)), _raising, "KeyError"),
        (lambda: Live(itertools.chain(images(3), _broken_images())), judge, "ValueError"),
    ],
)
def test_what_fails_gives_errors_of_its_own_and_the_others_go_on(source, inspect, reason) -> None:
    kept, stop = Kept(), threading.Event()

    def enough(_, result: Result) -> None:
        if result.frame == 100:
            stop.set()

    summary = stream_all(
        [
            camera("ill", source, inspect),
            camera("well", Live(images(10_000)), on_result=enough),
        ],
        sinks=[kept],
        stop=stop,
    )
    ill, well = summary.cameras["ill"], summary.cameras["well"]
    assert (well.ok, well.ng, well.error) == (well.frames, 0, 0)
    assert well.frames >= 101
    assert ill.error > 1
    assert ill.error + ill.ok == ill.frames
    told = {r.reason for r in kept.got if r.camera == "ill" and r.verdict is Verdict.ERROR}
    assert all(reason in why for why in told), told


def _broken_images():
    raise ValueError("a mistake in a source")
    yield


def test_a_camera_that_comes_back_is_taken_up_again() -> None:
    tries = itertools.count()
    stop = threading.Event()
    kept = Kept()

    def source():
        if next(tries) < 3:
            raise CameraError("line3: does not answer")
        return Live(images(10_000))

    def enough(_, result: Result) -> None:
        if result.verdict is Verdict.OK:
            stop.set()

    stream_all([camera("line3", source, on_result=enough)], sinks=[kept], stop=stop)
    assert [r.verdict for r in kept.got[:3]] == [Verdict.ERROR] * 3
    assert kept.got[3].verdict is Verdict.OK


def test_what_was_named_wrongly_ends_it_at_once() -> None:
    def wrong():
        raise SourceError("nowhere: no such file")

    with pytest.raises(SourceError, match="nowhere"):
        stream_all([camera("a", wrong), camera("b", Live(images(10_000)))])
    with pytest.raises(ValueError, match="a name of its own"):
        stream_all([camera("a", Replay([])), camera("a", Replay([]))])


def test_files_that_break_are_not_inspected_twice() -> None:
    def breaking():
        return Replay(itertools.chain(images(4), _broken_images()))

    summary = stream_all([camera("files", breaking)])
    assert (summary.ok, summary.error) == (4, 1)


def test_a_number_of_frames_is_each_cameras() -> None:
    summary = stream_all([camera(name, Replay(images(50))) for name in ("a", "b")], max_frames=7)
    assert {name: one.frames for name, one in summary.cameras.items()} == {"a": 7, "b": 7}


def test_a_hung_inspection_does_not_hold_up_the_end(monkeypatch) -> None:
    monkeypatch.setattr(edge.stream.several, "STOP_S", 0.2)
    go_on, stop = threading.Event(), threading.Event()

    def hanging(frame) -> Result:
        go_on.wait(30)
        return judge(frame)

    def enough(_, result: Result) -> None:
        if result.frame == 20:
            stop.set()

    cameras = [
        camera("hung", Live(images(10_000)), hanging),
        camera("well", Live(images(10_000)), on_result=enough),
    ]
    summary = stream_all(cameras, stop=stop)
    assert summary.cameras["well"].ok >= 21
    assert summary.cameras["hung"].frames == 0
    go_on.set()


@pytest.fixture
def pool():
    return EnginePool(engine="onnxruntime")


def test_bundles_of_one_model_share_an_engine_and_keep_their_settings(
    built, bundle, good, pool
) -> None:
    from engines.bundle import edit_manifest

    first = Bundle.open(built)
    other = edit_manifest(Bundle.open(bundle), threshold=9.0)
    with pool.inspector(first) as one, pool.inspector(other) as two:
        assert one.engine.shared is two.engine.shared
        assert two.settings.threshold == 9.0 != one.settings.threshold
        image = cv2.imread(str(next(good.iterdir())))
        assert one.inspect(image).score == two.inspect(image).score
        engine = one.engine.shared.engine
    with pytest.raises(EngineError, match="closed"):
        engine.infer(image[None])
    with pool.inspector(first) as again:  # the engine is closed: another is opened
        assert again.inspect(image).verdict is not Verdict.ERROR


def test_an_ill_engine_is_not_shared_with_who_comes_next(built, pool) -> None:
    with pool.inspector(Bundle.open(built)) as one:
        ill = one.engine.shared.engine
        infer = ill.infer
        ill.infer = lambda images: tuple(output * 3 for output in infer(images))
        with pool.inspector(Bundle.open(built)) as two:
            assert two.engine.shared is not one.engine.shared


def test_four_cameras_with_one_engine_get_the_verdicts_of_one(built, drawn, pool) -> None:
    files = sorted((drawn / "test").rglob("*.png"))
    shown = [cv2.imread(str(path)) for path in files]
    with contextlib.ExitStack() as stack:
        alone = stack.enter_context(pool.inspector(Bundle.open(built)))
        truth = [alone.inspect(image).score for image in shown]
        inspectors = [stack.enter_context(pool.inspector(Bundle.open(built))) for _ in range(4)]
        kept = Kept()
        summary = stream_all(
            [
                camera(f"c{n}", Replay(shown), inspector.inspect)
                for n, inspector in enumerate(inspectors)
            ],
            sinks=[kept],
        )
    assert summary.frames == 4 * len(files)
    for number in range(4):
        scores = [r.score for r in kept.got if r.camera == f"c{number}"]
        np.testing.assert_allclose(scores, truth, rtol=1e-5)
