"""Stages: how far, and how long."""

from __future__ import annotations

import time

import pytest

from calibrate.progress import Stages


def test_progress_is_passed_on_and_time_is_kept() -> None:
    told: list[tuple[str, float]] = []
    stages = Stages(lambda name, share: told.append((name, share)))
    with stages.stage("first") as advance:
        advance(0.5)
        time.sleep(0.02)
    with stages.stage("second"):
        pass
    first, second = ("first", "second")
    assert told == [(first, 0.0), (first, 0.5), (first, 1.0), (second, 0.0), (second, 1.0)]
    assert list(stages.seconds) == ["first", "second"]
    assert stages.seconds["first"] >= 0.02


def test_a_stage_that_comes_again_adds_up() -> None:
    stages = Stages()
    for _ in range(2):
        with stages.stage("again"):
            time.sleep(0.01)
    assert stages.seconds["again"] >= 0.02


def test_a_stage_that_fails_is_not_said_to_be_done() -> None:
    told: list[float] = []
    stages = Stages(lambda _, share: told.append(share))
    with pytest.raises(RuntimeError, match="broken"), stages.stage("failing"):
        raise RuntimeError("broken")
    assert told == [0.0]
    assert stages.seconds == {}


def test_a_note_goes_to_whoever_is_told() -> None:
    told: list[tuple[str, str]] = []
    Stages(tell=lambda name, line: told.append((name, line))).note("training", "loss 0.1")
    Stages().note("training", "to nobody")
    assert told == [("training", "loss 0.1")]
