from __future__ import annotations

import contextlib
import json
import os
import resource

import cv2
import numpy as np
import pytest

from edge.result import Result, Verdict
from edge.sinks import window
from edge.sinks.files import Painter, PicturesSink, ResultsSink, SinkError, VideoSink


def result_of(number: int, *, verdict: Verdict = Verdict.OK, image=True, size=(48, 64)) -> Result:
    noise = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Result(
        source="parts/été 1.png",
        frame=number,
        captured_at_ns=1_769_853_300_123_000_000 + number * 40_000_000,
        verdict=verdict,
        score=0.25,
        threshold=0.5,
        image=noise if image else None,
    )


@contextlib.contextmanager
def largest_file(size: int):
    """A disk that is full after `size` bytes, as far as this process can tell."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def frames_in(path) -> list[np.ndarray]:
    capture, frames = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), []
    while (read := capture.read())[0]:
        frames.append(read[1])
    capture.release()
    return frames


def test_each_result_is_a_line_as_soon_as_it_is_written(tmp_path) -> None:
    path = tmp_path / "out.jsonl"
    with ResultsSink(path) as sink:
        for number in range(3):
            sink.write(result_of(number))
            lines = path.read_text("utf-8").splitlines()
            assert len(lines) == number + 1
    assert json.loads(lines[2]) == result_of(2).to_json()
    assert "été" in lines[0]


def test_lines_replace_or_append(tmp_path) -> None:
    path = tmp_path / "out.jsonl"
    for append, count in ((False, 1), (True, 2), (False, 1)):
        with ResultsSink(path, append=append) as sink:
            sink.write(result_of(0))
        assert len(path.read_text("utf-8").splitlines()) == count


def test_a_full_disk_is_said_once_and_every_lost_line_is_counted(caplog) -> None:
    with ResultsSink("/dev/full") as sink:
        for number in range(50):
            sink.write(result_of(number))
    assert sink.lost == 50
    (record,) = caplog.records
    assert "No space left" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_a_line_that_was_cut_off_does_not_damage_the_next(tmp_path, caplog) -> None:
    path = tmp_path / "out.jsonl"
    with ResultsSink(path) as sink:
        with largest_file(1000):
            for number in range(20):
                sink.write(result_of(number))
        written = 20 - sink.lost
        for number in range(20, 25):
            sink.write(result_of(number))
    assert 0 < written < 20
    whole = []
    for line in path.read_text("utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            whole.append(json.loads(line)["frame"])
    assert whole == [*range(written), *range(20, 25)]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".mov"])
def test_a_video_has_every_frame_and_its_name_only_when_complete(tmp_path, suffix) -> None:
    path = tmp_path / f"out{suffix}"
    with VideoSink(path, rate_hz=10) as sink:
        for number in range(12):
            sink.write(result_of(number))
        assert not path.exists()
    assert len(frames_in(path)) == 12
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    assert sink.lost == 0


def test_a_video_survives_other_sizes_and_missing_images(tmp_path) -> None:
    path = tmp_path / os.fsdecode(b"out\xff.avi")
    with VideoSink(path) as sink:
        sink.write(result_of(0, verdict=Verdict.ERROR, image=False))
        sink.write(result_of(1, size=(49, 65)))
        sink.write(result_of(2, size=(100, 30)))
        sink.write(result_of(3, verdict=Verdict.ERROR, image=False))
    path.rename(tmp_path / "out.avi")
    frames = frames_in(tmp_path / "out.avi")
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 3
    assert sink.lost == 0


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
            sink.write(result_of(number, size=(120, 160)))
    assert sink.lost > 0
    assert not path.exists()
    assert "incomplete" in caplog.records[-1].getMessage()


def test_sinks_that_cannot_be_opened_say_so_before_the_start(tmp_path) -> None:
    (tmp_path / "file").touch()
    for make in (
        lambda: ResultsSink(tmp_path),
        lambda: ResultsSink(tmp_path / "none/out.jsonl"),
        lambda: VideoSink(tmp_path / "out.gif"),
        lambda: VideoSink(tmp_path / "none/out.mp4"),
        lambda: PicturesSink(tmp_path / "file"),
        lambda: PicturesSink(tmp_path, suffix=".bmp"),
    ):
        with pytest.raises(SinkError) as caught:
            make()
        assert "\n" not in str(caught.value)


def test_pictures_are_named_by_time_frame_and_verdict(tmp_path) -> None:
    verdicts = [Verdict.OK, Verdict.NG, Verdict.ERROR]
    with PicturesSink(tmp_path / "all", suffix=".png") as sink:
        for number, verdict in enumerate(verdicts):
            sink.write(result_of(number, verdict=verdict))
    names = sorted(path.name for path in (tmp_path / "all").iterdir())
    assert names[1] == "20260131T095500.163Z_000001_NG_t-1.png"
    assert [name.split("_")[2] for name in names] == ["OK", "NG", "ERROR"]
    assert cv2.imread(str(tmp_path / "all" / names[0])).shape == (48, 64, 3)
    with PicturesSink(tmp_path / "bad", only_ng=True) as sink:
        for number, verdict in enumerate(verdicts):
            sink.write(result_of(number, verdict=verdict))
    assert [path.suffix for path in (tmp_path / "bad").iterdir()] == [".jpg"]


def test_a_picture_that_does_not_fit_is_counted_and_leaves_no_half_file(tmp_path, caplog) -> None:
    with PicturesSink(tmp_path) as sink, largest_file(100):
        sink.write(result_of(0))
        sink.write(result_of(1))
    assert sink.lost == 2
    assert len(caplog.records) == 1
    assert list(tmp_path.iterdir()) == []


def test_sinks_that_share_a_painter_draw_once() -> None:
    paint, result = Painter(), result_of(0)
    assert paint(result) is paint(result)
    assert paint(result_of(1)) is not paint(result)


def test_a_window_without_a_display_is_refused(monkeypatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(SinkError, match="no display"):
        window.WindowSink()


def test_a_display_that_does_not_answer_is_refused_and_kills_nothing(monkeypatch) -> None:
    monkeypatch.setenv("DISPLAY", ":4242")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(SinkError, match=r":4242|no windows"):
        window.WindowSink()


def test_a_window_shows_the_newest_and_ends_with_a_key(monkeypatch) -> None:
    shown, keys = [], [-1, -1, ord("q")]
    monkeypatch.setattr(window, "_require_display", lambda: None)
    for name, stand_in in {
        "namedWindow": lambda *_: None,
        "resizeWindow": lambda *_: None,
        "imshow": lambda _, picture: shown.append(picture),
        "waitKey": lambda _: keys.pop(0),
        "getWindowProperty": lambda *_: 1.0,
        "destroyAllWindows": lambda: None,
    }.items():
        monkeypatch.setattr(window.cv2, name, stand_in)
    with window.WindowSink() as sink:
        sink.write(result_of(0))
        sink.write(result_of(1))
        assert sink.poll()
        assert sink.poll()
        assert len(shown) == 1
        assert not sink.poll()
        assert not sink.poll()
