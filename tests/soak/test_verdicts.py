"""How long a stream takes to say ERROR when its engine no longer answers; `just soak -s`."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cameras.source import frame_now
from edge.inspection.inspector import load
from edge.result import Verdict
from edge.stream.run import open_judge

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]

TIMES = 20


def test_an_engine_that_hangs_is_an_error_within_half_a_second(bundle: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (8, 240, 320, 3), np.uint8)
    took = []
    with load(bundle, engine="onnxruntime") as inspector:
        signs = ("black", "saturated", "blurred", "occluded", "size", "frozen")
        inspector.health = inspector.health.without(*signs)
        go_on, infer = threading.Event(), inspector.engine.infer
        go_on.set()

        def hanging(images):
            go_on.wait(10)
            return infer(images)

        inspector.engine.infer = hanging
        camera = SimpleNamespace(live=True)
        frames = (frame_now("cam", n, image) for n, image in enumerate(itertools.cycle(noise)))
        with open_judge(inspector, camera) as inspect:
            for _ in range(TIMES):
                healthy = [inspect(frame) for frame in itertools.islice(frames, 5)]
                assert healthy[-1].verdict is not Verdict.ERROR, healthy[-1].reason
                go_on.clear()
                began = time.monotonic()
                result = inspect(next(frames))
                took.append(time.monotonic() - began)
                assert result.verdict is Verdict.ERROR
                assert inspect(next(frames)).verdict is Verdict.ERROR
                go_on.set()
                time.sleep(0.1)
    print(f"\n{TIMES} hangs: ERROR after at most {max(took):.3f} s")
    assert max(took) <= 0.5
