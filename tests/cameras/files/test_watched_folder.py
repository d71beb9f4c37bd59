"""A watched folder: what a host saves is inspected once, as it comes, however it is written."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

import cameras.files.watched_folder
from cameras.connect import open_source

WAIT_S = 30


def png(value: int) -> bytes:
    return cv2.imencode(".png", np.full((32, 32, 3), value, np.uint8))[1].tobytes()


class Watched:
    """A source that a thread watches, so that a test can wait for what comes, and no longer."""

    def __init__(self, address: str) -> None:
        self.source = open_source(address)
        self.frames: list = []
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        for frame in self.source:
            self.frames.append(frame)

    def wait(self, count: int) -> list[int | None]:
        """The values of the frames as soon as there are so many."""
        began = time.monotonic()
        while len(self.frames) < count and time.monotonic() - began < WAIT_S:
            time.sleep(0.01)
        return [None if f.image is None else int(f.image[0, 0, 0]) for f in self.frames]

    def close(self) -> None:
        self.source.close()
        self._thread.join()


@pytest.fixture
def watched(tmp_path) -> Iterator:
    opened: list[Watched] = []

    def watch(query: str = "") -> Watched:
        opened.append(Watched(f"watch:{tmp_path}?poll_ms=5&settle_ms=20{query}"))
        return opened[-1]

    yield watch
    for each in opened:
        each.close()


def save(path, data: bytes) -> None:
    """Save as a careful host does: under another name, then renamed."""
    hidden = path.with_name(f".{path.name}")
    hidden.write_bytes(data)
    hidden.rename(path)


def test_what_comes_is_delivered_once_and_what_was_there_is_not(tmp_path, watched) -> None:
    save(tmp_path / "old.png", png(1))
    watch = watched()
    assert (watch.source.live, watch.source.length) == (False, None)
    assert watch.source.name == f"watch:{tmp_path}"
    for number in range(2, 12):
        save(tmp_path / f"{number}.png", png(number))
        assert watch.wait(number - 1)[-1] == number
    time.sleep(0.1)
    assert watch.wait(10) == list(range(2, 12))
    assert watch.frames[0].source == str(tmp_path / "2.png")
    assert [frame.index for frame in watch.frames] == list(range(10))


def test_what_was_there_comes_first_and_in_order_if_asked_for(tmp_path, watched) -> None:
    for number, name in enumerate("dbac"):
        save(tmp_path / f"{name}.png", png(number))
        os.utime(tmp_path / f"{name}.png", ns=(0, 10**15 + number))
    watch = watched("&existing=all")
    assert watch.wait(4) == [0, 1, 2, 3]


def test_a_file_that_grows_is_read_when_it_is_whole(tmp_path, watched) -> None:
    watch = watched()
    data = png(77)
    with (tmp_path / "slow.png").open("wb") as file:
        for begin in range(0, len(data), len(data) // 6 + 1):
            file.write(data[begin : begin + len(data) // 6 + 1])
            file.flush()
            time.sleep(0.08)  # longer than it takes to settle
    assert watch.wait(1) == [77]


def test_a_file_that_stays_broken_is_an_error_and_once(tmp_path, watched, monkeypatch) -> None:
    monkeypatch.setattr(cameras.files.watched_folder, "_PATIENCE_S", 0.2)
    watch = watched()
    save(tmp_path / "broken.png", png(5)[:60])
    assert watch.wait(1) == [None]
    assert str(tmp_path / "broken.png") in watch.frames[0].reason
    save(tmp_path / "good.png", png(6))
    assert watch.wait(2) == [None, 6]
    time.sleep(0.3)
    assert len(watch.frames) == 2


def test_a_file_that_is_replaced_is_a_new_picture(tmp_path, watched) -> None:
    watch = watched()
    for number in range(4):
        save(tmp_path / "latest.png", png(number))
        assert watch.wait(number + 1)[-1] == number
    with (tmp_path / "latest.png").open("r+b") as file:  # written over in place
        file.write(png(9))
        file.truncate()
    assert watch.wait(5) == [0, 1, 2, 3, 9]


def test_a_file_that_is_renamed_is_one_picture(tmp_path, watched) -> None:
    watch = watched()
    first = tmp_path / "tmp.png"
    first.write_bytes(png(8)[:50])
    time.sleep(0.1)
    with first.open("ab") as file:
        file.write(png(8)[50:])
    first.rename(tmp_path / "part.png")
    assert watch.wait(1) == [8]
    (tmp_path / "part.png").rename(tmp_path / "done_part.png")
    save(tmp_path / "next.png", png(9))
    assert watch.wait(2) == [8, 9]
    time.sleep(0.1)
    assert len(watch.frames) == 2


def test_a_picture_that_is_gone_before_it_was_read_is_an_error(tmp_path, watched) -> None:
    watch = watched("&pattern=part*")
    path = tmp_path / "part1.png"
    path.write_bytes(png(1)[:40])
    time.sleep(0.2)
    path.unlink()
    assert watch.wait(1) == [None]
    assert "was removed before it could be read" in watch.frames[0].reason


def test_what_does_not_match_is_left_alone(tmp_path, watched) -> None:
    watch = watched("&pattern=cam1_*.png")
    (tmp_path / "cam1_x.png").mkdir()
    for name in ("cam2_1.png", ".cam1_1.png", "cam1_1.txt", "cam1_1.png"):
        save(tmp_path / name, png(3))
    assert watch.wait(1) == [3]
    time.sleep(0.1)
    assert len(watch.frames) == 1


def test_a_folder_that_goes_is_told_once_and_comes_back(tmp_path, watched) -> None:
    folder = tmp_path / "share"
    folder.mkdir()
    save(folder / "old.png", png(1))
    watch = Watched(f"watch:{folder}?poll_ms=5&settle_ms=20")
    try:
        folder.rename(tmp_path / "away")
        assert watch.wait(1) == [None]
        assert "No such file or directory; it is tried again" in watch.frames[0].reason
        time.sleep(0.5)
        (tmp_path / "away").rename(folder)
        save(folder / "new.png", png(2))
        assert watch.wait(2) == [None, 2]  # what was there before is not inspected again
    finally:
        watch.close()


def test_closing_ends_the_wait(watched) -> None:
    watch = watched()
    began = time.monotonic()
    watch.close()
    assert time.monotonic() - began < 3


def test_a_long_listing_is_made_less_often(tmp_path, monkeypatch) -> None:
    source = open_source(f"watch:{tmp_path}?poll_ms=1")
    listed = 0
    real = source._listed

    def slow():
        nonlocal listed
        listed += 1
        time.sleep(0.05)
        return real()

    monkeypatch.setattr(source, "_listed", slow)
    threading.Timer(1.0, source.close).start()
    assert list(source) == []
    assert listed <= 2  # 50 ms of work a second
