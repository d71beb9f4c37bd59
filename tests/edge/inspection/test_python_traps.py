"""What a program that embeds an inspector does sooner or later, and what it meets."""

from __future__ import annotations

import asyncio
import copy
import logging
import multiprocessing
import os
import pickle
import random
import resource
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edge
from edge.inspection.given_image import frame_from_image
from edge.inspection.inspector import Inspector, load
from edge.result import Verdict
from engines.errors import EngineError

ENGINE = "onnxruntime"


@pytest.fixture(scope="module")
def inspector(built: Path) -> Iterator[Inspector]:
    with load(built, engine=ENGINE) as loaded:
        yield loaded


# --- threshold and settings -----------------------------------------------------------------


def test_a_threshold_acts_on_the_next_inspection_and_changes_no_bundle(
    built, spoilt_image, snapshot
) -> None:
    before = snapshot(built)
    with load(built, engine=ENGINE) as loaded:
        score = loaded.inspect(spoilt_image).score
        loaded.threshold = np.nextafter(np.float32(score), np.float32(9))
        passed = loaded.inspect(spoilt_image)
        assert (passed.verdict, passed.threshold) == (Verdict.OK, loaded.threshold)
        loaded.threshold = score
        assert loaded.inspect(spoilt_image, deadline_ms=20_000).verdict is Verdict.NG
        missing = loaded.inspect(None)
        assert (missing.verdict, missing.threshold) == (Verdict.ERROR, score)
    assert snapshot(built) == before


def test_settings_act_too_and_what_makes_no_sense_changes_nothing(built, spoilt_image) -> None:
    with load(built, engine=ENGINE) as loaded:
        whole = loaded.settings
        loaded.settings = replace(whole, min_area=128 * 128)
        assert loaded.inspect(spoilt_image).verdict is Verdict.OK
        loaded.settings = whole
        wrong: list[tuple[str, object, type[Exception], str]] = [
            ("threshold", np.nan, ValueError, "must be a finite number"),
            ("threshold", "0.5", TypeError, "threshold '0.5': must be a number"),
            ("threshold", None, TypeError, "threshold None: must be a number"),
            ("threshold", True, TypeError, "must be a number"),
            ("settings", 0.5, TypeError, "settings of type float; give dataclasses.replace"),
            ("settings", replace(whole, min_area=1 << 40), ValueError, "no part could ever be NG"),
            ("settings", replace(whole, ignore=np.eye(7, dtype=np.uint8)), ValueError, "7x7 px"),
        ]
        for name, value, error, why in wrong:
            with pytest.raises(error, match=why):
                setattr(loaded, name, value)
            assert loaded.settings is whole


def test_a_threshold_set_by_one_thread_is_whole_for_the_others(inspector, good_image) -> None:
    """Each result has one of the thresholds, and the verdict of that one."""
    before, stop = inspector.settings, threading.Event()

    def set_it() -> None:
        while not stop.is_set():
            for threshold in (1e-6, 9.0):
                inspector.threshold = threshold

    setting = threading.Thread(target=set_it)
    setting.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(inspector.inspect, [good_image] * 24))
    finally:
        stop.set()
        setting.join()
        inspector.settings = before
    for result in results:
        is_low = result.threshold == pytest.approx(1e-6)
        assert (result.verdict is Verdict.NG) == is_low
    assert len({result.score for result in results}) == 1


# --- several images -------------------------------------------------------------------------


def test_a_batch_is_bit_by_bit_what_single_inspections_are(
    inspector, drawn, good_image, spoilt_image
) -> None:
    folder = sorted((drawn / "test" / "good").iterdir())
    images = [spoilt_image, None, good_image / 255, *folder, "missing.png", good_image[..., 0]]
    images += [good_image[:, ::-1]] * 8
    results = inspector.inspect_batch(iter(images))
    assert [result.frame for result in results] == list(range(len(images)))
    for image, result in zip(images, results, strict=True):
        if image is images[2]:
            assert "whether white is 1 or 255" in result.reason
            continue
        alone = inspector.inspect(image)
        named = {"frame": result.frame, "captured_at_ns": result.captured_at_ns}
        assert result == replace(alone, **named)
        assert np.array_equal(result.image, alone.image) or alone.image is None
        kept = result.anomaly_map.base if result.anomaly_map is not None else None
        assert kept is None or kept.nbytes == result.anomaly_map.nbytes  # not those of others
    assert inspector.inspect_batch([]) == []


def test_an_engine_that_fails_for_one_image_fails_for_it_alone(
    inspector, good_image, spoilt_image, monkeypatch
) -> None:
    infer = inspector.engine.infer
    poison = spoilt_image[0, 0].copy()
    bad = good_image.copy()
    bad[0, 0] = 1, 2, 3

    def fail(images: np.ndarray) -> tuple[np.ndarray, ...]:
        if (images[:, 0, 0] == (1, 2, 3)).all(axis=1).any():
            raise EngineError("the device refused")
        return infer(images)

    assert tuple(poison) != (1, 2, 3)
    monkeypatch.setattr(inspector.engine, "infer", fail)
    results = inspector.inspect_batch([good_image, bad, spoilt_image])
    assert [one.verdict for one in results] == [Verdict.OK, Verdict.ERROR, Verdict.NG]
    assert results[1].reason == "the device refused"


# --- results --------------------------------------------------------------------------------


def test_a_pickled_result_says_all_and_leaves_the_frame_behind(inspector, spoilt_image) -> None:
    large = np.repeat(np.repeat(spoilt_image, 8, axis=0), 8, axis=1)
    result = inspector.inspect(large)
    sent = pickle.dumps(result)
    back = pickle.loads(sent)
    assert back == result and hash(back) == hash(result)
    assert back.image is None and result.image is large
    assert len(sent) < 100_000 < large.nbytes
    bare = replace(back, anomaly_map=None, defect_mask=None, regions=())
    assert np.array_equal(edge.draw(back), edge.draw(bare))  # nothing at places that are wrong
    image, back = pickle.loads(pickle.dumps((large, result)))
    assert np.array_equal(edge.draw(replace(back, image=image)), edge.draw(result))
    for copied in (copy.copy(result), copy.deepcopy(result), replace(result)):
        assert copied == result and np.array_equal(copied.image, large)
    assert copy.deepcopy(result).image is not large
    frame = edge.Frame("cam", 1, 2, 3, large)
    assert pickle.loads(pickle.dumps(frame)) == frame != replace(frame, image=large + 1)
    assert frame in [replace(frame, image=None), frame]


def test_results_compare_by_what_they_say(inspector, spoilt_image) -> None:
    result = inspector.inspect(spoilt_image)
    assert result == replace(result, image=None, speed={})
    assert result != replace(result, anomaly_map=result.anomaly_map + 1)
    assert result != replace(result, anomaly_map=None)
    assert result != replace(result, threshold=9.0)
    assert result != "NG"
    assert len({result, replace(result, speed={})}) == 1
    assert replace(result, score=float("nan")) != result


def test_a_result_is_shown_in_a_line_and_in_a_notebook_as_a_picture(
    inspector, spoilt_image
) -> None:
    result = inspector.inspect(spoilt_image)
    assert repr(result).startswith(f"Result(NG, score {result.score:.6g}, threshold ")
    assert "1 region" in repr(result) and len(repr(result)) < 200
    long = replace(result, verdict=Verdict.ERROR, score=None, reason="x" * 999, source="y" * 999)
    assert len(repr(long)) < 300 and "no score" in repr(long)
    shown = cv2.imdecode(np.frombuffer(result._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(shown, edge.draw(result))
    wide = replace(result, image=np.zeros((500, 4000, 3), np.uint8))
    shown = cv2.imdecode(np.frombuffer(wide._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (128, 1024, 3)
    assert inspector.inspect(None)._repr_png_() is None
    assert repr(edge.Frame("cam", 1, 2, 3, spoilt_image)) == (
        "Frame(source='cam', index=1, image=(128, 128, 3))"
    )


# --- life and death -------------------------------------------------------------------------


def test_an_inspector_is_neither_pickled_nor_copied(inspector) -> None:
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="an inspector lives in one process and cannot be"):
            attempt(inspector)


def test_one_that_is_left_unclosed_is_told_and_releases_its_engine(built, good_image) -> None:
    closed = []
    left = load(built, engine=ENGINE)
    left.inspect(good_image, deadline_ms=20_000)  # whose thread must not keep it
    left.engine.close = partial(closed.append, None)
    with pytest.warns(ResourceWarning, match=r"flange.edge: an inspector was left unclosed; use"):
        del left  # and it is gone: it is part of no circle
    assert closed == [None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with load(built, engine=ENGINE) as whole:
            pass
        del whole


def test_a_closed_one_is_not_warmed_up_and_not_trusted(built) -> None:
    with load(built, engine=ENGINE) as loaded:
        pass
    for attempt in (loaded.warm_up, loaded.check):
        with pytest.raises(EngineError, match="closed"):
            attempt()


def test_an_interrupt_in_a_stream_releases_engine_and_source(inspector, drawn, monkeypatch) -> None:
    infer = inspector.engine.infer

    def interrupt(images: np.ndarray) -> tuple[np.ndarray, ...]:
        raise KeyboardInterrupt

    before = threading.active_count()
    results = inspector.stream(drawn / "test" / "good")
    next(results)
    monkeypatch.setattr(inspector.engine, "infer", interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(results)
    assert threading.active_count() == before
    monkeypatch.setattr(inspector.engine, "infer", infer)
    abandoned = inspector.stream(drawn / "test" / "good")
    assert next(abandoned).verdict is Verdict.OK  # the lock is free
    del abandoned
    assert threading.active_count() == before


def test_two_inspectors_work_side_by_side(built, inspector, good_image, spoilt_image) -> None:
    with load(built, engine=ENGINE, threshold=1e-6) as other:
        pairs = [(one.inspect(spoilt_image), one.inspect(good_image)) for one in (inspector, other)]
    assert pairs[0][0].score == pairs[1][0].score
    assert [pair[1].verdict for pair in pairs] == [Verdict.OK, Verdict.NG]


def what_is_global() -> dict[str, object]:
    """What a library must leave alone in a program."""
    loggers = {None, "edge", "edge.inspection.inspector"}
    return {
        "folder": Path.cwd(),
        "environment": dict(os.environ),
        "signals": {one: signal.getsignal(one) for one in signal.valid_signals()},
        "loggers": [
            (one, logging.getLogger(one).level, list(logging.getLogger(one).handlers))
            for one in loggers
        ],
        "threads of OpenCV": cv2.getNumThreads(),
        "hooks": (sys.excepthook, threading.excepthook, sys.unraisablehook),
        "floats": np.geterr(),
        "warnings": list(warnings.filters),
        "random": (random.getstate(), np.random.get_state()[1].tolist()),
        "processes": multiprocessing.get_start_method(allow_none=True),
        "limits": resource.getrlimit(resource.RLIMIT_NOFILE),
        "threads": threading.active_count(),
        "files": len(list(Path("/proc/self/fd").iterdir())),
    }


def test_a_whole_life_leaves_the_program_as_it_was(built, drawn, good_image) -> None:
    with load(built, engine=ENGINE):  # what is made once a process, such as a font
        pass
    before = what_is_global()
    for _ in range(2):
        with load(built, engine=ENGINE) as loaded:
            edge.draw(loaded.inspect(good_image, deadline_ms=20_000))
            next(loaded.stream(drawn / "test" / "good"))
            loaded.threshold = 0.5
    assert what_is_global() == before


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_is_given_there_is_a_frame_or_a_told_mistake(data) -> None:
    kinds = ["?", "u1", "<u2", ">u2", "i1", "i8", "f2", "f8", "c16", "O", "M8[s]", "S3", "V4"]
    shape = data.draw(st.lists(st.integers(0, 5), max_size=5).map(tuple))
    array = np.zeros(shape, np.dtype(data.draw(st.sampled_from(kinds))))
    kind = data.draw(st.sampled_from(["array", "text", "bytes", "odd"]))
    image = {
        "array": array,
        "text": data.draw(st.text(max_size=20)),
        "bytes": data.draw(st.binary(max_size=40)),
        "odd": data.draw(st.sampled_from([1.5, {}, (), object(), np.float32(1), type, [array]])),
    }[kind]
    try:
        frame = frame_from_image(image, bit_depth=data.draw(st.sampled_from([None, 12])))
    except (TypeError, ValueError) as error:
        assert "\n" not in str(error)
    else:
        assert (frame.image is None) == bool(frame.reason)
        assert frame.image is None or (frame.image.dtype, frame.image.ndim) == (np.uint8, 3)


# --- other processes ------------------------------------------------------------------------


def in_a_fork(work) -> list[str]:
    """What a forked child says; it has 10 s."""
    context = multiprocessing.get_context("fork")
    reading, writing = context.Pipe(duplex=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # there are threads: that is it
        child = context.Process(target=lambda: writing.send(work()))
        child.start()
    try:
        assert reading.poll(10), "it hangs"
        return reading.recv()
    finally:
        child.kill()
        child.join()


def refusal(call) -> str:
    try:
        return str(call())
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"


def test_a_fork_is_told_by_whatever_was_made_before_it(inspector, built, drawn, good_image) -> None:
    from cameras.connect import open_source

    folder = drawn / "train" / "good"
    streaming = inspector.stream(folder)
    next(streaming)
    source = open_source(folder)
    frames = iter(source)
    next(frames)
    inbox = open_source("post://127.0.0.1:0")
    parts = edge.Triggered(inspector, open_source(folder))
    waiting = edge.AsyncInspector(load(built, engine=ENGINE))
    with pytest.raises(TypeError, match="a triggered line lives in one process"):
        pickle.dumps(parts)

    def work() -> list[str]:
        said = [
            refusal(lambda: inspector.inspect(good_image).reason),
            refusal(lambda: inspector.inspect(good_image, deadline_ms=50).reason),
            refusal(lambda: inspector.inspect_batch([good_image])[0].reason),
            refusal(inspector.check),
            refusal(inspector.warm_up),
            refusal(lambda: next(streaming)),
            refusal(lambda: next(frames)),
            refusal(lambda: next(iter(inbox))),
            refusal(lambda: parts.trigger().result(5).reason),
            refusal(lambda: asyncio.run(waiting.inspect(good_image)).reason),
        ]
        for one in (source, inbox, parts, inspector):
            one.close()  # nothing of the other process's
        with load(built, engine=ENGINE) as own:
            said.append(str(own.inspect(good_image).verdict))
        return said

    with source, inbox, parts:
        said = in_a_fork(work)
        assert parts.trigger().result(10).verdict in Verdict
    assert said.pop() == "OK"
    assert all("before this one" in one and "was forked from it" in one for one in said), said
    assert next(streaming).verdict is Verdict.OK
    streaming.close()
    asyncio.run(waiting.close())
