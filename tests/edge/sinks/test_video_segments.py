"""A video in pieces: whole, within the quota, and told when the disk is full."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from videos import frames_in

from edge.result import Result, Verdict
from edge.sinks import video_segments as module
from edge.sinks.files import Painter, SinkError
from edge.sinks.video_segments import SegmentsSink

START_NS = 1_769_853_300_123_000_000
NOISE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)


def result_of(number: int, *, image: bool = True) -> Result:
    return Result(
        source="rtsp://cam/1",
        frame=number,
        captured_at_ns=START_NS + number * 40_000_000,
        verdict=Verdict.OK if image else Verdict.ERROR,
        score=0.25,
        threshold=0.5,
        image=NOISE if image else None,
    )


def videos_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_pieces_have_every_frame_and_the_oldest_make_room(tmp_path, monkeypatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("edge.sinks.video_segments.time.monotonic", lambda: clock[0])
    with SegmentsSink(tmp_path, rate_hz=10, paint=Painter(), least_free_bytes=0) as sink:
        sink.write(result_of(0, image=False))
        for number in range(1, 31):
            clock[0] += module.SEGMENT_S / 10
            sink.write(result_of(number))
    videos = videos_in(tmp_path)
    assert sum(map(frames_in, videos)) == 30
    assert [path.name.split("_")[1] for path in videos] == ["000001", "000011", "000021"]
    assert all(path.name.endswith("_VIDEO.mp4") for path in videos)
    assert (sink.lost, sink.trouble) == (0, "")
    most = 3 * max(path.stat().st_size for path in videos)
    with SegmentsSink(
        tmp_path, rate_hz=10, paint=Painter(), most_bytes=most, least_free_bytes=0
    ) as sink:
        for number in range(31, 80):
            clock[0] += module.SEGMENT_S / 10
            sink.write(result_of(number))
    videos = videos_in(tmp_path)
    assert sum(path.stat().st_size for path in videos) <= most
    assert videos[0].name.split("_")[1] != "000001"
    assert sink.lost == 0


def test_without_room_it_says_so_and_takes_up_again(tmp_path, monkeypatch, caplog) -> None:
    with SegmentsSink(tmp_path, rate_hz=10, paint=Painter(), least_free_bytes=0) as sink:
        for number in range(30):
            sink.write(result_of(number))
        monkeypatch.setattr(sink._quota, "_free_bytes", lambda: -1)
        for number in range(30, 60):
            sink.write(result_of(number))
        assert "free" in sink.trouble
        assert sink.lost in range(10, 31)
        monkeypatch.undo()
        for number in range(60, 70):
            sink.write(result_of(number))
        assert sink.trouble == ""
    written = sum(map(frames_in, videos_in(tmp_path)))
    assert written == 10  # the first piece made room, in vain
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_a_folder_that_cannot_be_had_is_told_before_the_start(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="name another folder"):
        SegmentsSink(tmp_path / "file", rate_hz=10, paint=Painter())
