"""What the page costs: the rate of a stream that is watched against the same that is not.

Run with `just benchmark`; on a machine that does nothing else.
"""

from __future__ import annotations

import itertools
import os
import resource
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
from replay import Replay

from edge.inspection.inspector import Inspector, load
from edge.options import LifeOptions
from edge.service.camera_status import CameraStatus, StatusOptions
from edge.service.gallery import Galleries
from edge.service.http_server import Monitor
from edge.service.result_counts import ResultCounts
from edge.service.supervisor import Supervisor
from edge.stream.loop import stream

pytestmark = pytest.mark.benchmark

TURNS = 48
SECONDS = 3.0
STARTING_S = 1.0
WATCHING = Path(__file__).resolve().parents[1] / "rig" / "watching.py"


class Camera(Replay):
    """A camera that always has a next picture: the processor is what limits the rate."""

    live = True


class Told:
    """What `Supervisor` asks of an inspector; the report is to have its usual size."""

    failed_check = ""
    tested_s = 0.0
    reloads = refused = failed_tests = 0

    def busy_s(self) -> float:
        return 0.0


@contextmanager
def monitored(watched: bool, counts: list[str]) -> Iterator[tuple[list, object]]:
    """Sinks and listener of a stream with the page; watched by one, and by fifty slow ones."""
    galleries = Galleries()
    supervisor = Supervisor(LifeOptions(), stop=threading.Event())
    gallery, results = galleries.gallery(""), ResultCounts()
    options = StatusOptions(live=True)
    status = CameraStatus("", Told(), counts=results, options=options, sinks=[gallery])
    supervisor.add_camera(status)
    supervisor.begin()
    with Monitor("127.0.0.1:0", supervisor.to_json, pictures=galleries) as monitor:
        if not watched:
            yield [gallery], results.add
            return
        # Theirs are other machines: here they get what the inspection leaves.
        clients = subprocess.Popen(
            ["nice", "-n", "19", sys.executable, str(WATCHING), str(monitor.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            time.sleep(STARTING_S)  # Python does
            yield [gallery], results.add
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
        bare = rate_hz(inspector, images)
        for turn in range(TURNS):
            # Against the mean of before and after: the machine's own rate drifts by more.
            with monitored(turn % 2 == 0, counts) as (sinks, on_result):
                rate = rate_hz(inspector, images, sinks=sinks, on_result=on_result)
            before, bare = bare, rate_hz(inspector, images)
            (watched if turn % 2 == 0 else idle).append(2 * rate / (before + bare))
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall_s = len(watched) * (SECONDS + STARTING_S) * (os.cpu_count() or 1)
    with capsys.disabled():
        print(
            f"\nwith the page, nobody there {said_of(idle)}; one watcher and fifty slow clients "
            f"{said_of(watched)}, who themselves take {spent.ru_utime + spent.ru_stime:.2f} s of "
            f"the processors' {wall_s:.0f} s; (pictures, connections) of each time: {counts}"
        )
    assert all(int(count.split()[0]) > 0 for count in counts)


def said_of(ratios: list[float]) -> str:
    error = statistics.stdev(ratios) / len(ratios) ** 0.5
    return f"{statistics.mean(ratios):.3f} +- {error:.3f} (median {statistics.median(ratios):.3f})"
