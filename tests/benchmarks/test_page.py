"""What the page costs: the rate of a stream that is watched against the same that is not.

Run with `just benchmark`; on a machine that does nothing else.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from cameras.replay import Replay
from edge.gallery import Galleries
from edge.inspector import Inspector, load
from edge.life import Life
from edge.monitor import Monitor
from edge.pulse import PulseOptions
from edge.stream import stream

pytestmark = pytest.mark.benchmark

TURNS = 7
SECONDS = 6.0
WATCHING = Path(__file__).resolve().parents[1] / "rig" / "watching.py"


class Camera(Replay):
    """A camera that always has a next picture: the processor is what limits the rate."""

    live = True


class Told:
    """What `Life` asks of an exchange; the report is to have its usual size."""

    distrust = ""
    tested_s = 0.0
    reloads = refused = failed_tests = 0

    def busy_s(self) -> float:
        return 0.0


@contextmanager
def monitored(watched: bool, counts: list[str]) -> Iterator[tuple[list, object]]:
    """Sinks and listener of a stream with the page; watched by one, and by fifty slow ones."""
    galleries = Galleries()
    life = Life(stop=threading.Event())
    gallery = galleries.gallery("")
    pulse = life.camera("", Told(), options=PulseOptions(live=True), sinks=[gallery])
    life.begin()
    with Monitor("127.0.0.1:0", life.to_json, expose=None, pictures=galleries) as monitor:
        if not watched:
            yield [gallery], pulse.result
            return
        clients = subprocess.Popen(
            [sys.executable, str(WATCHING), str(monitor.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            time.sleep(1.0)  # Python starts
            yield [gallery], pulse.result
        finally:
            counts.append(clients.communicate(timeout=60)[0].strip())


def rate_hz(inspector: Inspector, images: list[np.ndarray], *, sinks=(), on_result=None) -> float:
    stop = threading.Event()
    ending = threading.Timer(SECONDS, stop.set)
    source = Camera(itertools.cycle(images))
    ending.start()
    summary = stream(inspector.inspect, source, sinks=sinks, on_result=on_result, stop=stop)
    return summary.rate_hz


def test_the_page_and_fifty_slow_clients_cost_little(
    line: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [
        cv2.resize(cv2.imread(str(path)), (640, 480))
        for path in sorted((line / "images" / "train" / "good").iterdir())
    ]
    counts: list[str] = []
    idle, watched = [], []
    with load(line / "part.edge") as inspector:
        inspector.health = inspector.health.without("size")
        rate_hz(inspector, images)
        for _ in range(TURNS):
            bare = rate_hz(inspector, images)
            with monitored(False, counts) as (sinks, on_result):
                idle.append(rate_hz(inspector, images, sinks=sinks, on_result=on_result) / bare)
            with monitored(True, counts) as (sinks, on_result):
                rate = rate_hz(inspector, images, sinks=sinks, on_result=on_result)
            bare = (bare + rate_hz(inspector, images)) / 2
            watched.append(rate / bare)
            with capsys.disabled():
                print(
                    f"\nbare {bare:.1f} Hz, with the page {idle[-1]:.3f}, watched {watched[-1]:.3f}"
                )
    with capsys.disabled():
        print(
            f"median: with the page, nobody there {statistics.median(idle):.3f}; one watcher and "
            f"fifty slow clients {statistics.median(watched):.3f}; (pictures, connections of slow "
            f"clients) in {SECONDS:g} s: {counts}"
        )
    assert all(int(count.split()[0]) > 0 for count in counts)
