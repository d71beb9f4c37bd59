"""Inspect so many frames with all sinks, self-tests and exchanges; print what has grown.

    python tests/rig/leak_run.py BUNDLE FOLDER FRAMES LEAK

LEAK bytes are kept from each frame: what measures must be seen to find them.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from replay import Replay

from edge.inspection.hot_swap import HotSwapInspector
from edge.inspection.inspector import load
from edge.options import LifeOptions
from edge.service.camera_status import CameraStatus, StatusOptions
from edge.service.result_counts import ResultCounts
from edge.service.supervisor import Supervisor
from edge.sinks.database import SqliteSink
from edge.sinks.disk_quota import DiskLimits
from edge.sinks.json_lines import JsonLinesSink
from edge.sinks.kept_parts import KeptPartsSink
from edge.stream.loop import stream

WARM = 0.3
"""Share of the frames before the first measurement: caches, arenas and rings fill up."""


def rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def main(bundle: Path, folder: Path, frames: int, leak: int) -> None:
    pictures = [cv2.imread(str(path)) for path in sorted(bundle.glob("golden/*.png"))]
    kept: list[bytes] = []
    before: list[int] = []

    def images() -> Iterator[np.ndarray]:
        for number in range(frames):
            if number == int(WARM * frames):
                before.extend((rss_bytes(), open_files(), threading.active_count()))
            if leak:
                kept.append(os.urandom(leak))
            if number % (frames // 10) == frames // 20:
                supervisor.reload()
            yield pictures[number % 8 != 0]

    stop = threading.Event()
    sinks = [
        JsonLinesSink(folder / "results.jsonl", append=True, max_bytes=200_000),
        SqliteSink(folder / "results.db", max_rows=1000),
        KeptPartsSink(folder / "kept", limits=DiskLimits(4_000_000, min_free_bytes=0)),
    ]
    with (
        HotSwapInspector(lambda: load(bundle, engine="onnxruntime")) as exchange,
        Supervisor(LifeOptions(self_test_s=1.0), stop=stop) as supervisor,
    ):
        counts = ResultCounts(live=False)
        options = StatusOptions(live=False)
        status = CameraStatus("", exchange, counts=counts, options=options, sinks=sinks)
        supervisor.add_camera(status)
        supervisor.begin()
        ended: list[int] = []

        def count(frame, result) -> None:
            counts.add(frame, result)
            if frame.index == frames - 1:
                ended.extend((rss_bytes(), open_files(), threading.active_count()))

        with contextlib.ExitStack() as stack:
            for sink in sinks:
                stack.enter_context(sink)
            summary = stream(exchange.inspect, Replay(images()), sinks=sinks, on_result=count)
    report = {
        "frames": summary.frames,
        "ng": summary.ng,
        "error": summary.error,
        "not_written": summary.not_written,
        "reloads": exchange.reloads,
        "rss_mib": round((ended[0] - before[0]) / 2**20, 2),
        "fds": ended[1] - before[1],
        "threads": ended[2] - before[2],
    }
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
