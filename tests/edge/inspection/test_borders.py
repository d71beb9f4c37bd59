"""What goes wrong inside stays with its part, its bundle or its process, and is told."""

from __future__ import annotations

import os
import warnings
from functools import partial
from pathlib import Path

import cv2
import pytest

from cameras.source import frame_now
from edge.inspection.hot_swap import HotSwapInspector
from edge.inspection.inspector import load
from edge.plc.station.inspector_judge import InspectorJudge
from edge.plc.station.messages import JudgeOptions
from edge.plc.station.snapshot import ErrorCode
from edge.plc.station.worker import RecipeError
from edge.result import Verdict
from edge.stream.loop import stream
from engines.bundle import Bundle, write_bundle
from process.threads import FAILURES

ENGINE = "onnxruntime"


def rewrite(path: Path, *, files: dict[str, bytes] | None = None, cells: int | None = None) -> None:
    """Write a bundle anew with other files, or another grid: whole by every checksum."""
    bundle = Bundle.open(path)
    manifest = bundle.manifest
    if cells is not None:
        health = manifest.health
        assert health is not None and health.occluded is not None
        grids = dict.fromkeys(("low", "high", "typical", "detail"), (1.0,) * cells)
        occluded = health.occluded.model_copy(update=grids)
        health = health.model_copy(update={"occluded": occluded})
        manifest = manifest.model_copy(update={"health": health})
    content = {name: bundle.read(name) for name in manifest.files}
    write_bundle(path, manifest=manifest, files=content | (files or {}))


@pytest.fixture
def odd_bundle(bundle):
    """Makes it one that is sealed and cannot be used."""
    name = Bundle.open(bundle).manifest.golden[0].file
    return {
        "golden": partial(rewrite, bundle, files={name: b"no picture"}),
        "grid": partial(rewrite, bundle, cells=25),
    }


@pytest.mark.parametrize("odd", ["golden", "grid"])
def test_a_bundle_that_cannot_be_used_is_refused_and_the_one_at_work_goes_on(
    odd, odd_bundle, bundle, built, good_image
) -> None:
    noted = FAILURES.count
    recipes = {1: str(built), 2: str(bundle)}
    judge = InspectorJudge(
        JudgeOptions(recipes, "none", engine=ENGINE, deadline_ms=1e5, self_test_s=0),
        grab=lambda job: frame_now("grab", 0, good_image),
    )
    with HotSwapInspector(partial(load, bundle, engine=ENGINE)) as inspector:
        odd_bundle[odd]()
        assert not inspector.reload()
        assert (inspector.refused, inspector.failed_check) == (1, "")
        assert inspector.inspect(frame_now("cam", 0, good_image)).verdict is Verdict.OK
    try:
        judge.load(1)
        with pytest.raises(RecipeError, match="build the bundle again") as refused:
            judge.load(2)
    finally:
        judge.close()
    assert refused.value.code is ErrorCode.RECIPE_REFUSED
    assert FAILURES.count == noted, "foreseen"


def fail(error: Exception, *_args, **_words):
    raise error


@pytest.mark.parametrize(
    ("error", "says", "is_foreseen"),
    [
        (MemoryError(), "out of memory", True),
        (cv2.error("x"), "error: x", False),
        (RuntimeError("a mistake"), "RuntimeError: a mistake", False),
    ],
)
def test_what_an_inspection_raises_is_an_error_of_its_part_alone(
    error, says, is_foreseen, built, good_image, monkeypatch
) -> None:
    noted = FAILURES.count
    images = [frame_now("folder", index, good_image) for index in range(3)]
    seen = []
    with load(built, engine=ENGINE) as inspector:
        infer = inspector.engine.infer
        answers = iter([infer, partial(fail, error), infer])

        def answer(images):
            return next(answers)(images)

        monkeypatch.setattr(inspector.engine, "infer", answer)
        summary = stream(inspector.inspect, images, on_result=lambda _, result: seen.append(result))
    assert (summary.ok, summary.error) == (2, 1)
    assert [result.verdict for result in seen] == [Verdict.OK, Verdict.ERROR, Verdict.OK]
    assert says in seen[1].reason
    assert FAILURES.count == noted + (not is_foreseen)


def test_one_self_test_without_memory_takes_trust_until_the_next(built, monkeypatch) -> None:
    opens = iter([partial(load, built, engine=ENGINE), partial(fail, MemoryError())])

    def open_it():
        return next(opens)()

    with HotSwapInspector(open_it) as inspector:
        check = inspector.inspector.check
        monkeypatch.setattr(inspector.inspector, "check", partial(fail, MemoryError()))
        assert not inspector.test()
        assert "out of memory" in inspector.failed_check
        monkeypatch.setattr(inspector.inspector, "check", check)
        assert inspector.test()
        assert inspector.failed_check == ""


def test_an_inspector_says_that_it_was_left_behind_by_a_fork(built, good_image) -> None:
    """As in a pool of processes: its threads did not come along, and it would wait for ever."""
    with load(built, engine=ENGINE) as inspector:
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # there are threads: that is it
            child = os.fork()
        if child == 0:
            with inspector._lock:  # as of a thread that inspected at that moment
                result = inspector.inspect(good_image, deadline_ms=100)
                inspector.close()
            os.write(writing, f"{result.verdict} {result.reason}".encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as answer:
            said = answer.read()
        assert os.waitpid(child, 0)[1] == 0
        assert inspector.inspect(good_image).verdict is Verdict.OK
    assert said.startswith(f"ERROR made in process {os.getpid()}, before this one, {child}")
