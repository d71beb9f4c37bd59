"""A judgement without an engine, and a sink that keeps what is judged."""

from __future__ import annotations

from edge.result import Result, Verdict, error_from_frame
from edge.sinks.losses import LossCounter


def judged(frame) -> Result:
    """NG from 200 in the first pixel's blue."""
    if frame.image is None:
        return error_from_frame(frame, threshold=0.5)
    score = float(frame.image[0, 0, 0])
    verdict = Verdict.NG if score >= 200 else Verdict.OK
    return Result(frame.source, frame.index, frame.captured_at_ns, verdict, score, 0.5)


class Kept:
    """A sink that keeps what it gets."""

    lossless = True

    def __init__(self) -> None:
        self.losses = LossCounter("kept", "results")
        self.got: list[Result] = []

    def write(self, result: Result) -> None:
        self.got.append(result)
