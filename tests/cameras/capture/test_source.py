"""Live capture in a process of its own: whatever dies, hangs or jumps, nothing lies or stays.

The machine that runs this may be busy: nothing here asserts how fast something is (see
tests/soak), only that it happens.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from processes import gone

from cameras.capture.ring import SLOTS
from cameras.capture.source import LiveSource
from cameras.connect import open_source
from cameras.devices.opencv import OpenCvDevice
from cameras.errors import CameraError

PATIENCE_S = 90
OWN = """
import sys
from cameras.connect import open_source
source = open_source(sys.argv[1], open_timeout=30)
frames = iter(source)
next(frames)
print(source.process_id, flush=True)
for frame in frames:
    pass
"""


def opened(camera, **options) -> LiveSource:
    return open_source(camera.address, open_timeout=30, **options)


def awaited(frames, wanted) -> list:
    """The frames up to the first that is wanted."""
    seen, until = [], time.monotonic() + PATIENCE_S
    for frame in frames:
        seen.append(frame)
        if wanted(frame):
            return seen
        assert time.monotonic() < until, seen[-1]
    raise AssertionError("the source ended")


def picture(frame) -> bool:
    return frame.image is not None


def missing(frame) -> bool:
    return frame.image is None


def children() -> set[str]:
    """Processes of ours that capture."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            if (
                parent == str(os.getpid())
                and b"cameras.capture.child" in (path / "cmdline").read_bytes()
            ):
                found.add(path.name)
    return found


def test_frames_stay_valid_while_they_are_kept_and_the_camera_goes_on(http, servers) -> None:
    with opened(http) as source:
        kept = []
        for frame in source:
            assert not frame.image.flags.writeable
            kept.append((frame, servers.number_in(frame.image)))
            if len(kept) == SLOTS + 8:
                break
        for frame, number in kept:
            assert servers.number_in(frame.image) == number
        numbers = [number for _, number in kept]
        assert numbers == sorted(set(numbers))
        assert sum(frame.image.base is not None for frame, _ in kept) > SLOTS // 2
        last = kept[0][0].image[10:, 10:]
        kept.clear()
        del frame
    # Also after the end, also a part of it.
    assert last.shape == (230, 310, 3)
    assert last.sum() > 0


def test_every_captured_frame_is_used_or_counted(http) -> None:
    with opened(http) as source:
        before, used = 0, 0
        for frame in source:
            used += frame.image is not None
            assert source.dropped >= before
            before = source.dropped
            if used == 12:
                break
            time.sleep(0.12)
        heartbeat = source._process.child.heartbeat
    assert source.dropped >= before
    assert source.dropped + used == source._captured
    with pytest.raises(ValueError, match="released"):
        _ = heartbeat.count


def test_a_killed_process_is_replaced(http, caplog) -> None:
    caplog.set_level(logging.ERROR)
    with opened(http, stall_after=0.5) as source:
        frames = iter(source)
        seen = awaited(frames, picture)
        for restarts in (1, 2):
            killed = source.process_id
            os.kill(killed, signal.SIGKILL)
            seen += awaited(frames, lambda f, n=restarts: picture(f) and source.restarts == n)
            assert source.process_id != killed
        indices = [frame.index for frame in seen]
        assert all(first < second for first, second in pairwise(indices))
    assert source.dropped + sum(map(picture, seen)) == source._captured
    assert sum("SIGKILL; restarting it" in message for message in caplog.messages) == 2
    assert "Zq9secret" not in caplog.text


def test_a_stopped_process_is_replaced(http) -> None:
    with opened(http) as source:
        frames = iter(source)
        awaited(frames, picture)
        stopped = source.process_id
        os.kill(stopped, signal.SIGSTOP)
        awaited(frames, lambda frame: picture(frame) and source.restarts == 1)
        assert gone(stopped)


def test_a_driver_that_never_returns_is_replaced(servers) -> None:
    """OpenCV's FFmpeg without a limit, and a camera that keeps the line and says nothing."""
    with servers.CameraProcess("http") as camera:
        never = 3_600_000
        device = OpenCvDevice(
            camera.address,
            cv2.CAP_FFMPEG,
            (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 30_000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, never),
        )
        with LiveSource(device, name="camera", stall_after=0.5, check="it") as source:
            frames = iter(source)
            awaited(frames, picture)
            camera.order("stall")
            seen = awaited(frames, lambda frame: "driver hangs" in frame.reason)
            assert source.restarts >= 0
            assert all(map(missing, seen[-2:]))
            camera.order("go")
            awaited(frames, picture)
            assert source.restarts >= 1


@pytest.mark.parametrize("fault", ["cut", "stop"])
def test_a_camera_that_went_away_and_came_back_is_found_again(process, servers, fault) -> None:
    with opened(process, stall_after=0.5) as source:
        frames = iter(source)
        awaited(frames, picture)
        if fault == "stop":
            process.signal(signal.SIGSTOP)
        else:
            process.close()
        seen = awaited(frames, missing)
        began = time.monotonic()
        # Nothing that is old comes afterwards.
        seen = awaited(frames, lambda _: time.monotonic() - began > 1.5)
        assert all(map(missing, seen))
        if fault == "stop":
            process.signal(signal.SIGCONT)
            awaited(frames, picture)
            return
        scheme = source.name.partition(":")[0]
        with servers.CameraProcess(scheme, port=process.port):
            awaited(frames, picture)


def test_what_a_library_writes_is_known_at_once() -> None:
    """Not when 4 KiB are together: the line may say that the pictures have another size now."""
    code = (
        "import ctypes, os, signal; from cameras.parent_link import write_lines_at_once\n"
        "write_lines_at_once(); ctypes.CDLL(None).printf(b'Reinit\\n')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False)
    assert done.stdout == b"Reinit\n"


def test_pictures_have_their_own_size_after_the_camera_changed_it(servers, caplog) -> None:
    caplog.set_level(logging.DEBUG, "edge.capture")  # what FFmpeg said, when it fails
    with servers.CameraProcess("rtsp") as camera, opened(camera, stall_after=0.5) as source:
        frames = iter(source)
        first = awaited(frames, picture)[-1].image
        camera.order("640x480")
        seen = awaited(frames, lambda frame: picture(frame) and frame.image.shape != first.shape)
        assert seen[-1].image.shape == (480, 640, 3)
        assert first.shape == (240, 320, 3)  # what is kept stays what it was
        assert servers.number_in(first) < servers.number_in(seen[-1].image)


@pytest.mark.parametrize("stopped", [False, True])
def test_nothing_is_left_behind_when_the_parent_is_killed(http, stopped) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", OWN, http.address], stdout=subprocess.PIPE, text=True
    )
    try:
        child = int(parent.stdout.readline())
        if stopped:
            os.kill(child, signal.SIGSTOP)
        parent.kill()
        assert gone(child)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()


def test_a_signal_to_the_whole_group_is_the_parents_affair(http) -> None:
    with opened(http) as source:
        frames = iter(source)
        awaited(frames, picture)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(source.process_id, number)
        for _ in range(5):
            awaited(frames, picture)
        assert source.restarts == 0


def test_closing_ends_everything_and_another_threads_wait(rtsp_process) -> None:
    before = threading.active_count()
    source = opened(rtsp_process)
    child = source.process_id
    ended = threading.Event()

    def consume() -> None:
        for _ in source:
            pass
        ended.set()

    thread = threading.Thread(target=consume)
    thread.start()
    time.sleep(0.2)
    source.close()
    source.close()
    assert ended.wait(PATIENCE_S)
    thread.join()
    assert gone(child)
    assert source.take() is None
    assert list(source) == []
    assert threading.active_count() == before


def test_opening_and_closing_often_leaves_nothing(servers) -> None:
    def held() -> tuple[int, int, int]:
        gc.collect()
        maps = Path("/proc/self/maps").read_text().count("memfd")
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), maps

    with servers.CameraProcess("http") as camera:
        before = held()
        for _ in range(4):
            with opened(camera) as source:
                awaited(iter(source), picture)
        del source
        assert held() == before
        with pytest.raises(CameraError, match="answers with status 404"):
            open_source(camera.address.replace("video", "nothing"))
        assert held() == before
    assert children() == set()


def test_one_thread_can_wait_for_several(servers) -> None:
    with (
        servers.CameraProcess("http") as camera,
        opened(camera) as one,
        opened(camera) as two,
    ):
        found = {one.name: 0, "two": 0}
        until = time.monotonic() + PATIENCE_S
        while min(found.values()) < 5 and time.monotonic() < until:
            for name, source in ((one.name, one), ("two", two)):
                frame = source.take(0.01)
                found[name] += frame is not None and picture(frame)
        assert min(found.values()) >= 5
        began = time.monotonic()
        os.kill(two.process_id, signal.SIGSTOP)  # costs the other nothing
        while time.monotonic() - began < 1:
            found[one.name] += one.take(0.05) is not None
        assert found[one.name] > 5


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
/* Seconds by which the wall clock is wrong, read anew each time. */
static long jump(void) {
    char text[32] = {0};
    int file = open(getenv("CLOCK_JUMP"), O_RDONLY);
    if (file < 0) return 0;
    if (read(file, text, 31) < 0) text[0] = 0;
    close(file);
    return atol(text);
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(clock, now);
    if (clock == CLOCK_REALTIME) now->tv_sec += jump();
    return status;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec spec;
    clock_gettime(CLOCK_REALTIME, &spec);
    now->tv_sec = spec.tv_sec;
    now->tv_usec = spec.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *now) {
    struct timespec spec;
    clock_gettime(CLOCK_REALTIME, &spec);
    if (now) *now = spec.tv_sec;
    return spec.tv_sec;
}
"""
JUMPS = """
import os, sys, time
from cameras.connect import open_source
source = open_source(sys.argv[1], open_timeout=30, stall_after=float(sys.argv[2]))
frames = iter(source)
stamps, child = [], source.process_id
for jump in (0, 3600, -3600, 86400, -86400, 0):
    with open(os.environ["CLOCK_JUMP"], "w") as file:
        file.write(str(jump))
    last = None
    for _ in range(15):
        frame = next(frames)
        assert frame.image is not None, frame.reason
        assert last is None or frame.monotonic_ns > last
        last = frame.monotonic_ns
    stamps.append(frame.captured_at_ns / 1e9)
assert (source.restarts, source.process_id) == (0, child)
print(*(round((stamp - stamps[0]) / 3600) for stamp in stamps))
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_a_clock_that_jumps_changes_nothing_but_the_records(rtsp_process, tmp_path) -> None:
    """An hour and a day, to and fro, in both processes and all their libraries."""
    library, jump = tmp_path / "jump.so", tmp_path / "jump"
    (tmp_path / "jump.c").write_text(SHIM)
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-o", library, tmp_path / "jump.c", "-ldl"], check=True
    )
    environment = {**os.environ, "LD_PRELOAD": str(library), "CLOCK_JUMP": str(jump)}
    # A busy machine may hold a process up for longer than a usual stall.
    ended = subprocess.run(
        [sys.executable, "-c", JUMPS, rtsp_process.address, "20"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S * 2,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["0", "1", "-1", "24", "-24", "0"]


def test_what_opencv_delivers_becomes_colour_or_is_refused() -> None:
    from cameras.devices.opencv import bgr_from_picture

    grey = np.full((4, 6), 7, np.uint8)
    for image in (grey, grey[..., None], np.full((4, 6, 3), 7, np.uint8)):
        found = bgr_from_picture(image)
        assert found.shape == (4, 6, 3)
        assert (found == 7).all()
    alpha = np.dstack([grey, grey, grey, grey * 0])
    assert (bgr_from_picture(alpha) == 7).all()
    for shape in ((4, 6, 2), (4, 6, 5), (2, 4, 6, 3)):
        with pytest.raises(CameraError, match="colour or grey"):
            bgr_from_picture(np.zeros(shape, np.uint8))
