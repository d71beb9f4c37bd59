from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np

from cameras.frame import Frame
from edge.result import Region, Result, Verdict, error_from_frame
from edge.stream.summary import Summary

FIELDS = [
    "camera",
    "part",
    "recipe",
    "source",
    "frame",
    "captured_at_ns",
    "verdict",
    "score",
    "threshold",
    "regions",
    "reason",
    "drift",
    "speed",
]


def test_a_result_line_has_exactly_the_documented_fields_and_is_json() -> None:
    result = Result(
        source="a.png",
        frame=3,
        captured_at_ns=1_700_000_000_000_000_000,
        verdict=Verdict.NG,
        score=float(np.float32(0.7)),
        threshold=0.5,
        regions=(Region(x=1, y=2, width=3, height=4, area=5, peak=0.7),),
        speed={"engine": np.float32(1.23456)},
        anomaly_map=np.zeros((2, 2), np.float32),
        image=np.zeros((4, 4, 3), np.uint8),
    )
    line = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert list(line) == FIELDS
    assert line["verdict"] == "NG"
    assert line["regions"] == [{"x": 1, "y": 2, "width": 3, "height": 4, "area": 5, "peak": 0.7}]
    assert line["speed"] == {"engine": 1.235}


def test_the_documented_examples_have_the_fields_of_the_code() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs/results.md").read_text("utf-8")
    line, summary = (json.loads(part.split("```")[0]) for part in text.split("```json\n")[1:])
    assert list(line) == FIELDS
    assert list(line["regions"][0]) == [field.name for field in dataclasses.fields(Region)]
    own = [field.name for field in dataclasses.fields(Summary)]
    assert list(summary) == own
    assert list(summary["cameras"]["left"]) == own[:-1]


def test_no_nan_reaches_json() -> None:
    result = Result("a", 0, 0, Verdict.ERROR, math.nan, math.inf)
    line = result.to_json()
    assert line["score"] is None
    assert line["threshold"] is None


def test_a_missing_frame_becomes_an_error_with_its_reason() -> None:
    frame = Frame("rtsp://cam", 7, 1, 2, None, "no frame for 1.0 s")
    result = error_from_frame(frame, threshold=0.5)
    assert (result.verdict, result.score, result.reason) == (
        Verdict.ERROR,
        None,
        "no frame for 1.0 s",
    )
    assert error_from_frame(frame, threshold=0.5, reason="other").reason == "other"


def test_verdicts_print_as_their_name() -> None:
    assert f"{Verdict.NG}" == str(Verdict.NG) == "NG"
