from __future__ import annotations

import os
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from cameras.connect import open_source
from cameras.errors import CameraError, SourceError

DATA = Path(__file__).resolve().parents[3] / "../shared/data"


def write_image(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", np.full((8, 10, 3), value, np.uint8))[1].tobytes())


def write_video(path: Path, count: int = 30) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20, (64, 48))
    for number in range(count):
        writer.write(np.full((48, 64, 3), number * 8 % 256, np.uint8))
    writer.release()


def values(source) -> list[int | None]:
    return [None if frame.image is None else int(frame.image[0, 0, 0]) for frame in source]


def test_a_folder_is_read_in_order_of_names_and_completely(tmp_path) -> None:
    for number in range(40):
        write_image(tmp_path / f"{number:03d}.png", number)
    (tmp_path / "notes.txt").write_text("no picture")
    write_image(tmp_path / ".hidden.png", 255)
    with open_source(tmp_path) as source:
        assert (source.live, source.name) == (False, str(tmp_path))
        frames = list(source)
    assert [int(frame.image[0, 0, 0]) for frame in frames] == list(range(40))
    assert [frame.index for frame in frames] == list(range(40))
    assert frames[3].source == str(tmp_path / "003.png")
    assert frames[3].captured_at_ns > 1_700_000_000_000_000_000


def test_an_unreadable_image_is_a_frame_with_a_reason_and_the_rest_follows(tmp_path) -> None:
    write_image(tmp_path / "a.png", 1)
    (tmp_path / "b.png").write_bytes(b"")
    (tmp_path / "c.png").mkdir()
    (tmp_path / "d.png").symlink_to(tmp_path / "gone.png")
    write_image(tmp_path / "e.png", 5)
    with open_source(str(tmp_path)) as source:
        frames = list(source)
    assert [frame.image is None for frame in frames] == [False, True, True, True, False]
    assert all(str(tmp_path) in frame.reason for frame in frames[1:4])


def test_globs_reach_into_folders(tmp_path) -> None:
    for name in ("a/1.png", "a/b/2.png", "c/3.png"):
        write_image(tmp_path / name, int(Path(name).stem))
    with open_source(f"{tmp_path}/**/*.png") as source:
        assert sorted(values(source)) == [1, 2, 3]
    with open_source(f"{tmp_path}/[ac]/*") as source:
        assert values(source) == [1, 3]


def test_a_name_of_any_bytes_is_a_source(tmp_path) -> None:
    path = tmp_path / os.fsdecode(b"\xff\xfe.png")
    write_image(path, 7)
    with open_source(str(path)) as source:
        (frame,) = source
    assert frame.image[0, 0, 0] == 7
    assert frame.source.encode("utf-8")
    assert source.name.endswith("\\xff\\xfe.png")


def test_a_video_delivers_every_frame(tmp_path) -> None:
    write_video(tmp_path / "line.avi")
    with open_source(tmp_path / "line.avi") as source:
        assert (source.rate_hz, source.live) == (20.0, False)
        got = values(source)
    assert len(got) == 30
    assert np.abs(np.array(got) - np.arange(30) * 8).max() <= 3


def test_a_video_whose_name_is_not_utf_8_is_read(tmp_path) -> None:
    write_video(tmp_path / "line.avi", 5)
    path = tmp_path / os.fsdecode(b"line\xff.avi")
    (tmp_path / "line.avi").rename(path)
    with open_source(path) as source:
        assert len(values(source)) == 5


def test_a_video_that_was_cut_off_ends_with_a_reason(tmp_path) -> None:
    path = tmp_path / "line.avi"
    write_video(path, 60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with open_source(path) as source:
        frames = list(source)
    assert len(frames) < 60
    assert frames[-1].image is None
    assert "damaged" in frames[-1].reason


def test_leaving_early_ends_the_reading(tmp_path) -> None:
    for number in range(100):
        write_image(tmp_path / f"{number:03d}.png", number)
    before = threading.active_count()
    with open_source(tmp_path) as source:
        for frame in source:
            if frame.index == 2:
                break
    assert threading.active_count() == before
    with open_source(tmp_path):
        pass
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.png", "no such file"),
        ("nothing-here/*.png", "no image matches"),
        ("empty", "no images in this folder; looked for PNG"),
        ("deep", r"sub-folders have some: use '.*/deep/\*\*/\*'"),
        ("text.txt", "neither an image nor a video"),
        ("zero.mp4", "is empty"),
        ("text.mp4", "neither an image nor a video"),
    ],
)
def test_what_cannot_be_read_is_said_at_the_start(tmp_path, name, words) -> None:
    (tmp_path / "empty").mkdir()
    write_image(tmp_path / "deep/good/1.png")
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "zero.mp4").touch()
    with pytest.raises(SourceError, match=words) as caught:
        open_source(str(tmp_path / name))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("ftp://user:secret@host/a.mp4", "unknown scheme"),
        ("csi://left", "write csi://0"),
        ("csi://0", "without GStreamer"),
        ("/dev/video77", "no such camera"),
        (77, "no such camera"),
        ("77", "no such camera"),
        ("", "no source named"),
        ("a\0b", "no source named"),
    ],
)
def test_wrong_sources_are_named_without_secrets(source, words) -> None:
    if source == "csi://0" and "GStreamer:                   YES" in cv2.getBuildInformation():
        pytest.skip("this OpenCV has GStreamer")
    with pytest.raises(SourceError, match=words) as caught:
        open_source(source)
    assert "secret" not in str(caught.value)


def test_a_device_that_is_no_camera_is_refused() -> None:
    with pytest.raises(CameraError, match="/dev/null"):
        open_source("/dev/null")


def test_times_must_be_positive(tmp_path) -> None:
    with pytest.raises(ValueError, match="stall_after"):
        open_source(tmp_path, stall_after=0)


@pytest.mark.realdata
def test_a_real_video_is_read_to_its_end() -> None:
    path = DATA / "videos/bottles_on_table.mp4"
    if not path.exists():
        pytest.skip("the development data folder is not here")
    with open_source(path) as source:
        frames = 0
        for frame in source:
            assert frame.image is not None
            assert frame.image.shape == (360, 640, 3)
            frames += 1
    assert frames == 1189


def test_a_pattern_below_a_folder_with_brackets_matches(tmp_path) -> None:
    folder = tmp_path / "[line 3]"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.zeros((8, 8, 3), np.uint8))
    with open_source(str(folder / "*.png")) as source:
        assert [frame.image is not None for frame in source] == [True]
    with pytest.raises(SourceError) as caught:
        open_source(str(folder / "*.bmp"))
    assert "[[]" not in str(caught.value)


@pytest.mark.parametrize("written", ["a%5Fb", "a_b"])
def test_percent_signs_of_a_file_address_are_decoded_unless_they_are_its_name(
    tmp_path, written
) -> None:
    (tmp_path / written).mkdir()
    cv2.imwrite(str(tmp_path / written / "a.png"), np.zeros((8, 8, 3), np.uint8))
    with open_source(f"file://{tmp_path}/a%5Fb/a.png") as source:
        assert next(iter(source)).image is not None


def test_a_question_mark_may_be_a_folders_own(tmp_path) -> None:
    (tmp_path / "what?").mkdir()
    with open_source(f"watch:{tmp_path}/what?") as source:
        assert source.name.endswith("what?")
    with open_source(f"watch:{tmp_path}?pattern=*.png") as source:
        assert "pattern" not in source.name
