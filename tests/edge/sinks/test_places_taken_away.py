"""Places that are removed, taken by something else or shared: what is lost is counted."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.result import Result, Verdict
from edge.sinks import database, disk_quota
from edge.sinks.database import SqliteSink
from edge.sinks.disk_quota import DiskLimits, DiskQuota
from edge.sinks.json_lines import JsonLinesSink
from edge.sinks.kept_parts import KeptPartsSink
from edge.sinks.locks import PlaceLock
from edge.sinks.rotated_file import RotatedFile
from edge.sinks.sink import SinkError
from edge.sinks.video import VideoSink

ROUNDS = 40


def result_of(number: int, image: np.ndarray | None = None) -> Result:
    when = 1_769_853_300_000_000_000 + number
    return Result("cam", number, when, Verdict.NG, 0.9, 0.5, image=image)


def _folder_removed(path: Path) -> None:
    shutil.rmtree(path.parent)


def _file_removed(path: Path) -> None:
    path.unlink()


def _folder_moved(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def _a_folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _a_pipe_instead(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _a_file_for_its_folder(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_bytes(b"")


def _back(path: Path) -> None:
    """Put the place back, whatever is there."""
    if path.parent.is_file():
        path.parent.unlink()
    if path.is_dir():
        path.rmdir()
    elif path.is_fifo():
        path.unlink()
    path.parent.mkdir(exist_ok=True)


HARMS = [
    _folder_removed,
    _file_removed,
    _folder_moved,
    _a_folder_instead,
    _a_pipe_instead,
    _a_file_for_its_folder,
]


def frames_in(path: Path) -> set[int]:
    if not path.is_file():
        return set()
    return {json.loads(line)["frame"] for line in path.read_bytes().splitlines()}


@pytest.mark.parametrize("harm", HARMS)
def test_each_line_is_in_a_file_or_counted(tmp_path, harm, caplog) -> None:
    path = tmp_path / "here" / "out.jsonl"
    path.parent.mkdir()
    with JsonLinesSink(path) as sink:
        for number in range(ROUNDS):
            if number == 10:
                before = frames_in(path)
                harm(path)
            if number == 30:
                _back(path)
            sink.write(result_of(number))
        assert sink.losses.trouble == "" or harm is _folder_moved  # within a second, there
    moved = frames_in(tmp_path / "elsewhere" / "out.jsonl")
    written = before | frames_in(path) | moved
    assert before == set(range(10))
    assert len(written) + sink.losses.total == ROUNDS
    if harm is not _folder_moved:
        assert set(range(30, ROUNDS)) <= frames_in(path)
    told = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(told) == (sink.losses.total > 0)


@pytest.mark.parametrize("harm", HARMS)
def test_each_row_is_in_a_database_or_counted(tmp_path, harm, monkeypatch) -> None:
    monkeypatch.setattr(database, "_RETRY_S", 0.0)
    monkeypatch.setattr(database, "MAX_WAITING", 5)
    path = tmp_path / "here" / "out.db"
    path.parent.mkdir()
    with SqliteSink(path) as sink:
        for number in range(ROUNDS):
            if number == 10:
                harm(path)
            if number == 30:
                _back(path)
            sink.write(result_of(number))
            sink.flush()
        assert sink.losses.trouble == ""
    with contextlib.closing(sqlite3.connect(path)) as opened:
        rows = {frame for (frame,) in opened.execute("SELECT frame FROM results")}
    gone = set(range(10))  # those that were removed with their place
    assert rows >= set(range(30, ROUNDS))
    assert len(rows - gone) + sink.losses.total == ROUNDS - 10


def test_a_second_program_replaces_no_results(tmp_path) -> None:
    path = tmp_path / "out.jsonl"
    with JsonLinesSink(path) as first:
        first.write(result_of(0))
        for append in (False, True):
            with pytest.raises(SinkError, match="another program writes to it; name"):
                JsonLinesSink(path, append=append)
        first.write(result_of(1))
    assert frames_in(path) == {0, 1}
    with JsonLinesSink(path) as second:
        second.write(result_of(2))
    assert frames_in(path) == {0, 1, 2}
    with JsonLinesSink(path, append=False) as third:
        third.write(result_of(3))
    assert frames_in(path) == {3}


def test_a_pipe_that_nobody_reads_is_not_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SinkError, match="No such device"):
        JsonLinesSink(tmp_path / "pipe")
    with pytest.raises(SinkError, match="it is a pipe"):
        SqliteSink(tmp_path / "pipe")
    os.mkfifo(tmp_path / "a.part.avi")
    with pytest.raises(SinkError, match="it is a pipe"):
        VideoSink(tmp_path / "a.avi")
    assert (tmp_path / "a.part.avi").is_fifo()


def test_two_programs_keep_their_parts_apart(tmp_path) -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    makers: list[Callable[[], KeptPartsSink | VideoSink]] = [
        lambda: KeptPartsSink(tmp_path),
        lambda: VideoSink(tmp_path),
    ]
    for make in makers:
        with make() as first:
            first.write(result_of(0, image))
            for another in makers:
                with pytest.raises(SinkError, match="writes there already"):
                    another()
    with VideoSink(tmp_path / "a.avi") as video:
        video.write(result_of(0, image))
        with pytest.raises(SinkError, match="writes there already"):
            VideoSink(tmp_path / "a.avi")
    assert (tmp_path / "a.avi").stat().st_size > 0
    assert not [one.name for one in tmp_path.iterdir() if one.name.startswith(".")]


def test_a_video_that_is_removed_is_counted_and_begun_anew(tmp_path) -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    path = tmp_path / "here" / "a.avi"
    path.parent.mkdir()
    with VideoSink(path) as sink:
        for number in range(60):
            if number == 30:
                shutil.rmtree(path.parent)
            if number == 55:
                path.parent.mkdir()
            sink.write(result_of(number, image))
    import cv2

    capture = cv2.VideoCapture(str(path))
    frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    assert frames >= 5
    assert frames + sink.losses.total == 60


def test_a_file_that_cannot_be_removed_stops_no_keeping(tmp_path, monkeypatch, caplog) -> None:
    quota = DiskQuota(tmp_path, DiskLimits(1000, min_free_bytes=0))
    stuck = {1, 3}
    unlink = Path.unlink

    def refuse(path: Path, *, missing_ok: bool = False) -> None:
        if int(path.name[21:27]) in stuck:
            raise PermissionError(1, "Operation not permitted", str(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    for number in range(20):
        quota.make_room(200)
        path = quota.path_for(f"20260101T000000.000Z_{number:06d}_NG.jpg")
        path.write_bytes(b"x" * 200)
        quota.add(path)
        held = sum(one.stat().st_size for one in tmp_path.rglob("*.jpg"))
        assert held == quota.used_bytes <= 1000
    kept = {int(one.name[21:27]) for one in tmp_path.rglob("*.jpg")}
    assert kept == {1, 3, 17, 18, 19}
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    stuck.update(range(20))
    with pytest.raises(OSError, match="full, and 5 files cannot be removed"):
        quota.make_room(200)
    stuck.clear()
    monkeypatch.setattr(disk_quota, "_AGAIN_S", -1.0)
    quota.make_room(200)
    assert quota.used_bytes == 800
    quota.close()


def test_lines_written_to_a_file_that_is_removed_at_that_moment_are_written_again(
    tmp_path, monkeypatch
) -> None:
    path = tmp_path / "out"
    file = RotatedFile(path)
    write = os.write

    def write_and_remove(descriptor: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", write)
        path.unlink()
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", write_and_remove)
    file.write(b"1")
    file.write(b"2")
    file.close()
    assert path.read_bytes() == b"1\n2\n"


def test_a_lock_whose_file_was_removed_before_it_was_had_is_none(tmp_path, monkeypatch) -> None:
    first = PlaceLock(tmp_path / "out.mp4")
    flock = fcntl.flock

    def late(descriptor: int, how: int) -> None:
        first.close()
        flock(descriptor, how)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", late)
        with pytest.raises(SinkError, match="try again"):
            PlaceLock(tmp_path / "out.mp4")
    PlaceLock(tmp_path / "out.mp4").close()
