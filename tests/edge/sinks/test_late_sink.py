"""A sink that is opened beside the work: nothing waits for it, nothing is lost unseen."""

from __future__ import annotations

import threading

from results import result_of
from waiting import wait_until

from edge.sinks import late_sink as module
from edge.sinks.late_sink import LateSink
from edge.sinks.losses import LossCounter
from edge.sinks.sink import SinkError


class Taking:
    """A sink that takes what it gets."""

    lossless = False

    def __init__(self) -> None:
        self.losses = LossCounter("place", "results")
        self.frames: list[int] = []
        self.closed = 0

    def write(self, result) -> None:
        self.frames.append(result.frame)

    def close(self) -> None:
        self.closed += 1


def test_one_that_cannot_be_opened_is_tried_again_and_what_is_lost_is_counted(monkeypatch) -> None:
    inner, tries = Taking(), []

    def open_it() -> Taking:
        tries.append(0)
        if len(tries) < 3:
            raise SinkError("kept: another program writes there already")
        return inner

    with LateSink(open_it, where="kept", refusals=(SinkError,)) as sink:
        wait_until(lambda: sink.losses.reason)
        sink.write(result_of(0))
        assert len(tries) == 1  # not with every part
        monkeypatch.setattr(module, "_RETRY_S", 0.0)
        sink._retry_s = 0.0
        sink.write(result_of(1))
        assert "another program" in sink.losses.trouble
        sink.write(result_of(2))
        assert (inner.frames, sink.losses.total, sink.losses.trouble) == ([2], 2, "")
        sink.flush()
    assert inner.closed == 1


def test_a_place_that_hangs_while_it_is_opened_keeps_nobody_from_ending(monkeypatch) -> None:
    monkeypatch.setattr(module, "_CLOSE_S", 0.05)
    hangs = threading.Event()
    sink = LateSink(lambda: hangs.wait(30), where="kept", refusals=(SinkError,))
    try:
        sink.close()
        assert sink.losses.total == 0
    finally:
        hangs.set()
