"""Lines on standard input trigger parts."""

from __future__ import annotations

import io
import json
import sys
import threading
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from judging import Kept, judged
from replay import Replay

from edge.health.checks import ImageChecks
from edge.inspection.verdict import DecisionSettings
from edge.service.line_triggers import open_triggers
from edge.stream.trigger_lines import TriggeredCamera, trigger_by_lines
from edge.stream.triggered import TriggerOptions
from process.threads import FAILURES

LONG = TriggerOptions(deadline_ms=20_000, under_way=100)


def camera(name: str, values: list[int]) -> TriggeredCamera:
    images = [np.full((8, 8, 3), value, np.uint8) for value in values]
    inspector = SimpleNamespace(
        inspect=judged, settings=DecisionSettings(0.5), health=ImageChecks(None)
    )
    return TriggeredCamera(name, Replay(images), inspector, LONG)


def test_each_line_is_a_part_of_every_camera(caplog) -> None:
    kept = Kept()
    summary = trigger_by_lines(
        [camera("a", [1, 2, 250]), camera("b", [4, 5, 6])],
        ["7\n", "nonsense\n", "\n", "9\n", "-1\n", "9" * 40],
        sinks=[kept],
        stop=threading.Event(),
    )
    assert {name: (one.ok, one.ng) for name, one in summary.cameras.items()} == {
        "a": (2, 1),
        "b": (3, 0),
    }
    for name, scores in {"a": [1, 2, 250], "b": [4, 5, 6]}.items():
        own = [result for result in kept.got if result.camera == name]
        assert [(result.part, result.score) for result in own] == list(
            zip([7, 2, 9], scores, strict=True)
        )
    assert len([1 for record in caplog.records if "no part's number" in record.message]) == 3


def test_a_byte_that_is_no_text_spoils_its_own_line_alone(monkeypatch, caplog) -> None:
    kept = Kept()
    typed = io.TextIOWrapper(io.BytesIO(b"1\n\xff2\n3\n"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", typed)
    noted = FAILURES.count
    trigger_by_lines([camera("", [1, 2, 3])], open_triggers(), sinks=[kept], stop=threading.Event())
    assert [result.part for result in kept.got] == [1, 3]
    assert "no part's number" in caplog.text
    assert FAILURES.count == noted


def test_a_line_without_an_end_is_told_of_and_takes_no_memory(monkeypatch, caplog) -> None:
    kept = Kept()
    long = "1" * 10_000_000
    typed = io.TextIOWrapper(io.BytesIO(f"1\n{long}\n3\n{long}".encode()), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", typed)
    lines = open_triggers()
    tracemalloc.start()
    trigger_by_lines([camera("", [1, 2, 3])], lines, sinks=[kept], stop=threading.Event())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [result.part for result in kept.got] == [1, 3]
    assert peak < 5_000_000
    told = [record.message for record in caplog.records if "longer than" in record.message]
    assert len(told) == 2
    assert max(map(len, told)) < 200


class Broken:
    """Lines of which some cannot be read."""

    def __init__(self, *lines: str | Exception) -> None:
        self.lines = list(lines)

    def __iter__(self) -> Broken:
        return self

    def __next__(self) -> str:
        if not self.lines:
            raise StopIteration
        line = self.lines.pop(0)
        if isinstance(line, Exception):
            raise line
        return line


def test_what_reading_a_line_raises_is_told_and_the_next_line_is_read(monkeypatch) -> None:
    kept, noted = Kept(), FAILURES.count
    lines = Broken("1\n", UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), MemoryError(), "3\n")
    trigger_by_lines([camera("", [1, 2, 3])], lines, sinks=[kept], stop=threading.Event())
    assert [result.part for result in kept.got] == [1, 3]
    assert FAILURES.count == noted + 1, "of the memory"


@pytest.mark.parametrize("way", ["number", "stop"])
def test_it_ends_after_a_number_or_when_it_is_told(way) -> None:
    stop, ended = threading.Event(), threading.Event()

    def lines():
        yield "\n"
        yield "\n"
        if way == "stop":
            stop.set()
        ended.wait(30)  # as standard input that nobody closes

    limit = 2 if way == "number" else None
    summary = trigger_by_lines([camera("", [1, 2, 3])], lines(), max_parts=limit, stop=stop)
    assert summary.frames == summary.ok <= 2
    assert not summary.cameras
    ended.set()


def test_the_command_inspects_a_part_for_each_line(run, built, good, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("5\n\nx\n8\n"))
    words = ("stream", good, "--bundle", built, "--engine", "onnxruntime", "--triggered")
    outcome = run(*words, "--results", "o.jsonl", "--json", "--no-show", "--deadline-ms", 60_000)
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["frames"] == 3
    lines = [json.loads(line) for line in Path("o.jsonl").read_text().splitlines()]
    assert [line["part"] for line in lines] == [5, 2, 8]
    assert all(line["score"] is not None for line in lines), lines
