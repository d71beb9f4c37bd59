"""What live capture promises, with the counts it is promised for; `just soak`, quiet machine.

Figures are printed (``-s``). How old a picture is comes from the number that the camera drew into
it, not from what the source says.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from cameras.connect import open_source

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]

MAIN = "from edge.cli.main import main; main()"
HANGS = """
import time
from engines.cpu.onnxruntime import OnnxRuntimeEngine as Engine
infer, hangs_at_s = Engine.infer, time.monotonic() + 5
def hanging(self, images):
    while time.monotonic() > hangs_at_s:
        time.sleep(0.1)
    return infer(self, images)
Engine.infer = hanging
"""
RATE_HZ = 30.0
OLD_S = 0.2
ROUNDS = int(os.environ.get("EDGE_SOAK_ROUNDS", "20"))
KILLS = int(os.environ.get("EDGE_SOAK_KILLS", "50"))
SECONDS = float(os.environ.get("EDGE_SOAK_SECONDS", "60"))


@dataclass
class Seen:
    """What came of some faults, in seconds."""

    stale: list[float] = field(default_factory=list)
    back: list[float] = field(default_factory=list)
    old: int = 0
    pictures: int = 0

    def __str__(self) -> str:
        return (
            f"{len(self.stale)} faults: STALE after at most {max(self.stale):.3f} s, back after at "
            f"most {max(self.back):.2f} s (median {np.median(self.back):.2f}); "
            f"{self.old} of {self.pictures} pictures older than {OLD_S} s"
        )


def watched(frames: Iterator, camera, seen: Seen, *, until) -> None:
    """Take frames up to the first that `until` wants, and count those that are old."""
    limit = time.monotonic() + 120
    for frame in frames:
        if frame.image is not None:
            seen.pictures += 1
            seen.old += camera.age_s(frame.image) > OLD_S
        if until(frame):
            return
        assert time.monotonic() < limit, frame


def fresh(frames: Iterator, camera, seen: Seen, seconds: float) -> None:
    """Let it run for so long."""
    end = time.monotonic() + seconds
    watched(frames, camera, seen, until=lambda _: time.monotonic() > end)


def fault(frames: Iterator, camera, seen: Seen, *, begin, end, lasting_s: float):
    """One fault from begin to end; the camera afterwards."""
    began = time.monotonic()
    begin()
    watched(frames, camera, seen, until=lambda frame: frame.image is None)
    seen.stale.append(time.monotonic() - began)
    fresh(frames, camera, seen, lasting_s)
    camera = end() or camera
    ended = time.monotonic()
    watched(frames, camera, seen, until=lambda frame: frame.image is not None)
    seen.back.append(time.monotonic() - ended)
    fresh(frames, camera, seen, 0.5)
    return camera


@pytest.mark.parametrize("kind", ["stalled", "stopped"])
def test_a_stall_is_known_and_passes(servers, scheme, kind) -> None:
    seen = Seen()
    with (
        servers.CameraProcess(scheme, rate_hz=RATE_HZ) as camera,
        open_source(camera.address) as source,
    ):
        frames = iter(source)
        fresh(frames, camera, seen, 2)
        for turn in range(ROUNDS):
            if kind == "stalled":
                begin, end = lambda: camera.order("stall"), lambda: camera.order("go")
            else:
                begin = lambda: camera.signal(signal.SIGSTOP)  # noqa: E731
                end = lambda: camera.signal(signal.SIGCONT)  # noqa: E731
            fault(frames, camera, seen, begin=begin, end=end, lasting_s=0.3 * (turn % 7))
        print(f"\n{scheme} {kind}: {seen}; restarts {source.restarts}")
    assert max(seen.stale) <= 1.0
    assert max(seen.back) <= 5.0
    assert seen.old == 0


def test_a_killed_camera_is_found_again_every_time(servers, scheme) -> None:
    seen, before = Seen(), []
    camera = servers.CameraProcess(scheme, rate_hz=RATE_HZ)
    try:
        with open_source(camera.address) as source:
            frames = iter(source)
            fresh(frames, camera, seen, 2)

            def restarted():
                before.append(camera)
                return servers.CameraProcess(scheme, rate_hz=RATE_HZ, port=before[-1].port)

            for turn in range(KILLS):
                camera = fault(
                    frames,
                    camera,
                    seen,
                    begin=camera.close,
                    end=restarted,
                    lasting_s=0.25 * (turn % 9),
                )
            outage = Seen()
            camera = fault(
                frames, camera, outage, begin=camera.close, end=restarted, lasting_s=SECONDS
            )
            print(f"\n{scheme} killed: {seen}; restarts {source.restarts}")
            print(f"{scheme} {SECONDS:g} s away: {outage}")
    finally:
        camera.close()
    assert max(seen.stale) <= 1.0
    assert max(seen.back + outage.back) <= 5.0
    assert seen.old == 0


def test_frames_are_fresh_for_a_slow_engine(servers, scheme) -> None:
    ages, used = [], 0
    with servers.CameraProcess(scheme, rate_hz=RATE_HZ) as camera:
        source = open_source(camera.address)
        with source:
            frames = iter(source)
            fresh(frames, camera, Seen(), 2)
            used_before = source._used
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                frame = next(frames)
                assert frame.image is not None, frame.reason
                ages.append(camera.age_s(frame.image))
                used += 1
                time.sleep(0.1)
        assert source._used == used_before + used
        assert source.dropped + source._used == source._captured
    p50, p99 = np.percentile(ages, [50, 99]) * 1e3
    print(f"\n{scheme}: {used} frames in {SECONDS:g} s, age p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    assert p99 <= 100


def test_the_hand_over_adds_little(servers, scheme) -> None:
    """From the end of decoding to the frame in the inspecting process, engine at 100 fps."""
    added = []
    with (
        servers.CameraProcess(scheme, rate_hz=RATE_HZ) as camera,
        open_source(camera.address) as source,
    ):
        frames = iter(source)
        fresh(frames, camera, Seen(), 2)
        end = time.monotonic() + SECONDS / 2
        while time.monotonic() < end:
            frame = next(frames)
            added.append((time.monotonic_ns() - frame.monotonic_ns) / 1e6)
            time.sleep(0.01)
    p50, p99 = np.percentile(added, [50, 99])
    print(f"\n{scheme}: hand-over p50 {p50:.2f} ms, p99 {p99:.2f} ms over {len(added)} frames")
    assert p99 <= 10


def test_two_hundred_reopens_leak_nothing(servers, scheme) -> None:
    def held() -> tuple[int, int, int, float]:
        gc.collect()
        files = len(list(Path("/proc/self/fd").iterdir()))
        mapped = Path("/proc/self/maps").read_text().count("memfd")
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return files, threading.active_count(), mapped, pages * os.sysconf("SC_PAGESIZE") / 2**20

    def once() -> None:
        with open_source(camera.address, open_timeout=10) as source:
            assert next(iter(source)).image is not None

    with servers.CameraProcess(scheme, rate_hz=RATE_HZ) as camera:
        for _ in range(3):
            once()
        *before, memory = held()
        for _ in range(10 * ROUNDS):
            once()
        *after, memory_after = held()
    grown = memory_after - memory
    print(f"\n{scheme}: {10 * ROUNDS} reopens, {before} -> {after}, {grown:+.2f} MiB")
    assert after == before
    assert grown <= 16


@pytest.mark.parametrize("state", ["run", "stale", "connect", "hung"])
def test_a_stop_is_clean_whatever_goes_on(servers, bundle, tmp_path, state) -> None:
    """`edge stream` ends with 0 within 3 s of SIGTERM, and leaves no process."""
    # The test camera shows no part, and it is the engine's end that is to be seen.
    signs = '["black", "saturated", "blurred", "occluded", "size"]'
    (tmp_path / "edge.toml").write_text(f"[stream]\nhealth_off = {signs}\n")
    slowest = 0.0
    for turn in range(ROUNDS):
        results = tmp_path / f"{turn}.jsonl"
        with servers.CameraProcess("rtsp", rate_hz=RATE_HZ) as camera:
            code = HANGS + MAIN if state == "hung" else MAIN
            command = [sys.executable, "-c", code, "stream", camera.address]
            command += ["--bundle", str(bundle), "--engine", "onnxruntime", "--no-show"]
            command += ["--results", str(results)]
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=tmp_path
            )
            _await_text(results, '"engine"', process)
            if state == "stale":
                camera.signal(signal.SIGSTOP)
                _await_text(results, "no frame for", process)
            elif state == "connect":
                camera.close()
                _await_text(results, "no frame for", process)
                time.sleep(0.1 * (turn % 10))
            elif state == "hung":
                _await_text(results, "an earlier inspection hangs", process)
            children = _children(process.pid)
            assert children
            began = time.monotonic()
            process.terminate()
            _, told = process.communicate(timeout=60)
            slowest = max(slowest, time.monotonic() - began)
            assert process.returncode == 0, told
            time.sleep(0.1)
            assert not [child for child in children if Path(f"/proc/{child}").exists()]
    print(f"\n{state}: {ROUNDS} times SIGTERM, exit 0 after at most {slowest:.2f} s")
    assert slowest <= 3


def _await_text(path: Path, text: str, process: subprocess.Popen) -> None:
    limit = time.monotonic() + 120
    while not (path.exists() and text in path.read_text()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.02)


def _children(parent: int) -> list[str]:
    return Path(f"/proc/{parent}/task/{parent}/children").read_text().split() + [
        child
        for task in Path(f"/proc/{parent}/task").iterdir()
        if task.name != str(parent)
        for child in (task / "children").read_text().split()
    ]
