"""Drawn results as pictures: named, whole, and counted when they do not fit."""

from __future__ import annotations

import cv2
import pytest
from results import largest_file, noise, result_of

from edge.result import Verdict
from edge.sinks.pictures import PicturesSink
from edge.sinks.sink import Painter, SinkError

VERDICTS = [Verdict.OK, Verdict.NG, Verdict.ERROR]


def test_pictures_are_named_by_time_frame_and_verdict(tmp_path) -> None:
    with PicturesSink(tmp_path / "all") as sink:
        for number, verdict in enumerate(VERDICTS):
            sink.write(result_of(number, verdict, source="parts/été 1.png"))
    names = sorted(path.name for path in (tmp_path / "all").iterdir())
    assert names[1] == "20260131T095500.163Z_000001_NG_t-1.jpg"
    assert [name.split("_")[2] for name in names] == ["OK", "NG", "ERROR"]
    assert cv2.imread(str(tmp_path / "all" / names[0])).shape == (48, 64, 3)
    with PicturesSink(tmp_path / "bad", only_ng=True) as sink:
        for number, verdict in enumerate(VERDICTS):
            sink.write(result_of(number, verdict))
    assert [path.name.split("_")[2] for path in (tmp_path / "bad").iterdir()] == ["NG"]


def test_a_picture_that_does_not_fit_is_counted_and_leaves_no_half_file(tmp_path, caplog) -> None:
    with PicturesSink(tmp_path) as sink, largest_file(100):
        sink.write(result_of(0, image=noise()))
        sink.write(result_of(1, image=noise()))
    assert sink.losses.total == 2
    assert len(caplog.records) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_had_is_told_before_the_start(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="name another folder") as caught:
        PicturesSink(tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_sinks_that_share_a_painter_draw_once() -> None:
    paint, result = Painter(), result_of(0)
    assert paint(result) is paint(result)
    assert paint(result_of(1)) is not paint(result)
