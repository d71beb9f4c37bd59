"""Inspectors are exchanged while they inspect: no frame is lost, and nothing bad takes over."""

from __future__ import annotations

import shutil
import threading
import time

import numpy as np
import pytest
from replay import Replay

from cameras.source import frame_now
from edge.inspection import hot_swap as module
from edge.inspection.hot_swap import HotSwapInspector
from edge.inspection.inspector import load
from edge.result import Result, Verdict
from edge.stream.loop import stream
from engines.bundle import Bundle
from engines.changes import edit_manifest
from engines.cpu.onnxruntime import OnnxRuntimeEngine
from engines.errors import EngineError

ENGINE = "onnxruntime"


@pytest.fixture
def engines(monkeypatch):
    """How many engines are open."""
    count = [0]
    born, close = OnnxRuntimeEngine.__init__, OnnxRuntimeEngine.close
    open_ones: set[int] = set()

    def opened(self, *args, **words):
        born(self, *args, **words)
        open_ones.add(id(self))
        count[0] = len(open_ones)

    def closed(self):
        open_ones.discard(id(self))
        count[0] = len(open_ones)
        close(self)

    monkeypatch.setattr(OnnxRuntimeEngine, "__init__", opened)
    monkeypatch.setattr(OnnxRuntimeEngine, "close", closed)
    yield count
    assert count[0] == 0


def test_no_frame_is_lost_and_each_is_judged_by_the_old_or_the_new(
    bundle, engines, good_image
) -> None:
    edit_manifest(Bundle.open(bundle), threshold=1.0)
    results: list[Result] = []
    done = threading.Event()

    def images():
        while not done.is_set():
            yield good_image

    with HotSwapInspector(lambda: load(bundle, engine=ENGINE)) as exchange:

        def exchange_often() -> None:
            for number in range(2, 7):
                edit_manifest(Bundle.open(bundle), threshold=float(number))
                assert exchange.reload()
            done.set()

        other = threading.Thread(target=exchange_often)
        other.start()
        stream(
            exchange.inspect,
            Replay(images()),
            on_result=lambda _, result: results.append(result),
        )
        other.join()
        assert engines[0] == 1
        assert exchange.reloads == 5
    assert [result.frame for result in results] == list(range(len(results)))
    assert {result.verdict for result in results} == {Verdict.OK}
    thresholds = [result.threshold for result in results]
    assert thresholds == sorted(thresholds)
    assert len(set(thresholds)) > 2


@pytest.mark.parametrize("harm", ["damaged", "missing", "wrong graph", "memory"])
def test_what_does_not_pass_changes_nothing(
    harm, bundle, built, engines, good_image, monkeypatch, caplog
) -> None:
    with HotSwapInspector(lambda: load(bundle, engine=ENGINE), name="cam 1") as exchange:
        before = exchange.inspector
        if harm == "damaged":
            with (bundle / "model.onnx").open("r+b") as file:
                file.write(b"x")
        elif harm == "missing":
            shutil.rmtree(bundle)
        elif harm == "memory":
            monkeypatch.setattr("edge.inspection.opening.open_engine", raising(MemoryError()))
        else:
            right = OnnxRuntimeEngine.infer
            monkeypatch.setattr(
                OnnxRuntimeEngine,
                "infer",
                lambda self, x: tuple(
                    output * (1 if self is before.engine else 1.5) for output in right(self, x)
                ),
            )
        assert not exchange.reload()
        assert exchange.inspector is before
        assert (exchange.refused, exchange.reloads, engines[0]) == (1, 0, 1)
        assert exchange.inspect(frame_now("cam", 0, good_image)).verdict is Verdict.OK
        assert exchange.test()
    (record,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert "cam 1: not replaced, the one at work goes on" in record.getMessage()


def raising(error: BaseException):
    def raises(*_, **__):
        raise error

    return raises


def test_one_that_fails_its_test_gives_error_until_one_passes(
    bundle, engines, good_image, monkeypatch, caplog
) -> None:
    frame = frame_now("cam", 0, good_image)
    right, wrong = OnnxRuntimeEngine.infer, [1.0]
    monkeypatch.setattr(
        OnnxRuntimeEngine, "infer", lambda self, x: tuple(o * wrong[0] for o in right(self, x))
    )
    with HotSwapInspector(lambda: load(bundle, engine=ENGINE)) as exchange:
        assert exchange.inspect(frame).verdict is Verdict.OK
        wrong[0] = 0.5
        assert not exchange.test()
        result = exchange.inspect(frame)
        assert result.verdict is Verdict.ERROR
        assert "self-test failed" in result.reason
        assert result.score is None
        assert not exchange.test()
        wrong[0] = 1.0
        assert exchange.test()
        assert exchange.failed_check == ""
        assert exchange.inspect(frame).verdict is Verdict.OK
        assert exchange.failed_tests == 2
    assert "are in doubt" in caplog.text


def test_one_that_fails_is_replaced_by_one_that_does_not(
    bundle, engines, good_image, monkeypatch
) -> None:
    right, broken = OnnxRuntimeEngine.infer, []
    monkeypatch.setattr(
        OnnxRuntimeEngine,
        "infer",
        lambda self, x: tuple(o * (np.nan if self in broken else 1) for o in right(self, x)),
    )
    with HotSwapInspector(lambda: load(bundle, engine=ENGINE)) as exchange:
        broken.append(exchange.inspector.engine)
        assert exchange.test()
        assert exchange.inspector.engine not in broken
        assert exchange.inspect(frame_now("cam", 0, good_image)).verdict is Verdict.OK


def test_an_answer_that_was_under_way_when_the_test_failed_is_not_ok(
    bundle, engines, good_image, monkeypatch
) -> None:
    """The slow inspection ends only after another inspector has taken over."""
    right, broken, slow, held = OnnxRuntimeEngine.infer, [], threading.Event(), threading.Event()

    def infer(self, images):
        outputs = right(self, images)
        if self not in broken:
            return outputs
        if threading.current_thread().name == "camera":
            return outputs
        return tuple(output * np.nan for output in outputs)

    monkeypatch.setattr(OnnxRuntimeEngine, "infer", infer)
    with HotSwapInspector(lambda: load(bundle, engine=ENGINE)) as exchange:
        results: list[Result] = []
        inspector = exchange.inspector
        inspect = inspector.inspect

        def slowly(frame, **words):
            result = inspect(frame, **words)
            slow.set()
            assert held.wait(30)
            return result

        monkeypatch.setattr(inspector, "inspect", slowly)
        camera = threading.Thread(
            target=lambda: results.append(exchange.inspect(frame_now("cam", 0, good_image))),
            name="camera",
        )
        camera.start()
        assert slow.wait(30)
        broken.append(inspector.engine)
        tester = threading.Thread(target=exchange.test)
        tester.start()
        while exchange.inspector is inspector:
            time.sleep(0.01)
        assert exchange.busy_s() > 0
        held.set()
        camera.join()
        tester.join()
    assert [result.verdict for result in results] == [Verdict.ERROR]


def test_a_closed_one_says_so(bundle, engines, good_image) -> None:
    exchange = HotSwapInspector(lambda: load(bundle, engine=ENGINE))
    exchange.close()
    exchange.close()
    with pytest.raises(EngineError, match="closed"):
        exchange.inspect(frame_now("cam", 0, good_image))


def test_closing_waits_neither_for_what_hangs_nor_for_what_is_being_opened(
    bundle, engines, good_image, monkeypatch
) -> None:
    monkeypatch.setattr(module, "CLOSE_S", 0.05)
    opening, go_on = threading.Event(), threading.Event()
    made = []

    def open_it():
        if made:
            opening.set()
            assert go_on.wait(60)
        made.append(load(bundle, engine=ENGINE))
        return made[-1]

    exchange = HotSwapInspector(open_it)
    reloading = threading.Thread(target=exchange.reload)
    reloading.start()
    assert opening.wait(60)
    exchange.close()  # returns, though the reload has not
    go_on.set()
    reloading.join()
    with pytest.raises(EngineError, match="closed"):
        exchange.inspect(frame_now("cam", 0, good_image))
    assert engines[0] == 0

    exchange = HotSwapInspector(lambda: load(bundle, engine=ENGINE))
    inspector, begun, hold = exchange.inspector, threading.Event(), threading.Event()

    def hanging(frame, **words):
        begun.set()
        assert hold.wait(60)

    monkeypatch.setattr(inspector, "inspect", hanging)
    camera = threading.Thread(target=exchange.inspect, args=(frame_now("cam", 0, good_image),))
    camera.start()
    assert begun.wait(60)
    exchange.close()
    assert engines[0] == 1
    hold.set()
    camera.join()
    inspector.close()
