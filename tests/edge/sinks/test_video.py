"""Videos: whole, in one file or in segments within a quota, and told when the disk is full."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from results import largest_file, noise, result_of

from edge.result import Verdict
from edge.sinks import video as module
from edge.sinks.disk_quota import DiskLimits
from edge.sinks.sink import SinkError
from edge.sinks.video import VideoSink

ENDLESS = DiskLimits(min_free_bytes=0)


def frames_of(path: Path) -> list[np.ndarray]:
    capture, frames = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), []
    while (read := capture.read())[0]:
        frames.append(read[1])
    capture.release()
    return frames


def videos_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".mov"])
def test_a_video_has_every_frame_and_its_name_only_when_complete(tmp_path, suffix) -> None:
    path = tmp_path / f"out{suffix}"
    with VideoSink(path, rate_hz=10) as sink:
        for number in range(12):
            sink.write(result_of(number, image=noise(number)))
        assert not path.exists()
    assert len(frames_of(path)) == 12
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    assert sink.losses.total == 0


def test_a_video_survives_other_sizes_and_missing_images(tmp_path) -> None:
    path = tmp_path / os.fsdecode(b"out\xff.avi")
    with VideoSink(path) as sink:
        sink.write(result_of(0, Verdict.ERROR, image=None))
        sink.write(result_of(1, image=noise(1, (49, 65))))
        sink.write(result_of(2, image=noise(2, (100, 30))))
        sink.write(result_of(3, Verdict.ERROR, image=None))
    path.rename(tmp_path / "out.avi")
    frames = frames_of(tmp_path / "out.avi")
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 3
    assert sink.losses.total == 0


def test_an_earlier_video_stays_when_the_new_one_gets_no_frame(tmp_path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"earlier")
    with VideoSink(path):
        pass
    assert path.read_bytes() == b"earlier"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_video_on_a_full_disk_is_reported_and_does_not_raise(tmp_path, caplog) -> None:
    path = tmp_path / "out.avi"
    with largest_file(20_000), VideoSink(path) as sink:
        for number in range(60):
            sink.write(result_of(number, image=noise(number, (120, 160))))
    assert sink.losses.total > 0
    assert not path.exists()
    assert "incomplete" in caplog.records[-1].getMessage()


def test_segments_have_every_frame_and_the_oldest_make_room(tmp_path, monkeypatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("edge.sinks.video.time.monotonic", lambda: clock[0])
    with VideoSink(tmp_path, rate_hz=10, limits=ENDLESS) as sink:
        sink.write(result_of(0, Verdict.ERROR, image=None))
        for number in range(1, 31):
            clock[0] += module.SEGMENT_S / 10
            sink.write(result_of(number, image=noise()))
    videos = videos_in(tmp_path)
    assert sum(len(frames_of(video)) for video in videos) == 30
    assert [path.name.split("_")[1] for path in videos] == ["000001", "000011", "000021"]
    assert all(path.name.endswith("_VIDEO.mp4") for path in videos)
    assert (sink.losses.total, sink.losses.trouble) == (0, "")
    most = 3 * max(path.stat().st_size for path in videos)
    with VideoSink(tmp_path, rate_hz=10, limits=DiskLimits(most, min_free_bytes=0)) as sink:
        for number in range(31, 80):
            clock[0] += module.SEGMENT_S / 10
            sink.write(result_of(number, image=noise()))
    videos = videos_in(tmp_path)
    assert sum(path.stat().st_size for path in videos) <= most
    assert videos[0].name.split("_")[1] != "000001"
    assert sink.losses.total == 0


def test_without_room_it_says_so_and_resumes(tmp_path, monkeypatch, caplog) -> None:
    with VideoSink(tmp_path, rate_hz=10, limits=ENDLESS) as sink:
        for number in range(30):
            sink.write(result_of(number))
        monkeypatch.setattr(sink._quota, "_free_bytes", lambda: -1)
        for number in range(30, 60):
            sink.write(result_of(number))
        assert "free" in sink.losses.trouble
        assert sink.losses.total in range(10, 31)
        monkeypatch.undo()
        for number in range(60, 70):
            sink.write(result_of(number))
        assert sink.losses.trouble == ""
    written = sum(len(frames_of(video)) for video in videos_in(tmp_path))
    assert written == 10  # the first segment made room, in vain
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


@pytest.mark.parametrize("name", ["out.gif", "none/out.mp4", "file", "file/none"])
def test_what_cannot_be_recorded_is_told_before_the_start(tmp_path, name) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError) as caught:
        VideoSink(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_link_in_the_place_of_a_recording_s_beginning_is_refused(tmp_path) -> None:
    other = tmp_path / "other"
    other.write_text("another's")
    (tmp_path / "out.part.mp4").symlink_to(other)
    with pytest.raises(SinkError, match="it is a symbolic link"):
        VideoSink(tmp_path / "out.mp4")
    assert other.read_text() == "another's"
