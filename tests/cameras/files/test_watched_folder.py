"""A watched folder: what a host saves is inspected once, as it comes, however it is written."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import pytest

import cameras.files.watched_folder
from cameras.connect import open_source
from cameras.files.watched_folder import FileStamp, InspectedFiles

WAIT_S = 30
OLD = [0, 1, 2, 3]  # pictures that are in the folder of `Listings`, and inspected


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

    def values(self) -> list[int | None]:
        """The values of the frames that came so far."""
        return [None if f.image is None else int(f.image[0, 0, 0]) for f in self.frames]

    def wait(self, count: int) -> list[int | None]:
        """The values of the frames as soon as there are so many."""
        began = time.monotonic()
        while len(self.frames) < count and time.monotonic() - began < WAIT_S:
            time.sleep(0.01)
        return self.values()

    def close(self) -> None:
        self.source.close()
        self._thread.join()


class Listings(Watched):
    """A folder of inspected pictures, of which each listing is counted.

    Nothing has to settle, so that what one listing finds is delivered before the next one.
    """

    def __init__(self, folder) -> None:
        folder.mkdir()
        for value in OLD:
            save(folder / f"{value}.png", png(value))
        super().__init__(f"watch:{folder}?poll_ms=5&settle_ms=0&existing=all")
        self.count = 0
        self._list, self.source._list = self.source._list, self._count
        assert self.wait(len(OLD)) == OLD

    def _count(self):
        self.count += 1
        return self._list()

    def wait_for_listings(self, more: int) -> None:
        """Wait until so many more have begun, and all but the last have been dealt with."""
        count, began = self.count + 1 + more, time.monotonic()
        while self.count < count:
            assert time.monotonic() - began < WAIT_S
            time.sleep(0.005)

    def __enter__(self) -> Listings:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Entries(list):
    """A listing as `os.scandir` returns it."""

    def __enter__(self) -> Entries:
        return self

    def __exit__(self, *_: object) -> None:
        pass


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
    assert watch.source.live is False
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
    os.mkfifo(tmp_path / "cam1_p.png")
    # None of these hides the others.
    (tmp_path / "cam1_itself.png").symlink_to(tmp_path / "cam1_itself.png")
    (tmp_path / "cam1_nowhere.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "cam1_zero.png").symlink_to("/dev/zero")
    for name in ("cam2_1.png", ".cam1_1.png", "cam1_1.txt", "cam1_1.png"):
        save(tmp_path / name, png(3))
    assert watch.wait(1) == [3]
    time.sleep(0.1)
    assert len(watch.frames) == 1


def test_a_folder_that_goes_is_told_once_and_comes_back(tmp_path) -> None:
    with Listings(tmp_path / "share") as share:
        (tmp_path / "share").rename(tmp_path / "away")
        share.wait_for_listings(3)
        (tmp_path / "away").rename(tmp_path / "share")
        share.wait_for_listings(3)
        assert share.values() == [*OLD, None]  # what was inspected is not inspected again
        reason = share.frames[-1].reason
        assert "No such file or directory; trying again; check the path and the server" in reason
        save(tmp_path / "share/new.png", png(200))
        assert share.wait(len(OLD) + 2) == [*OLD, None, 200]


def test_a_listing_that_fails_half_way_forgets_nothing(tmp_path, monkeypatch) -> None:
    real = os.scandir

    class HalfWay(Entries):
        def __iter__(self):
            yield from list(super().__iter__())[: len(self) // 2]
            raise OSError(errno.EIO, "Input/output error")

    with Listings(tmp_path / "share") as share:
        with monkeypatch.context() as patch:
            patch.setattr(os, "scandir", lambda folder: HalfWay(real(folder)))
            share.wait_for_listings(3)
        share.wait_for_listings(3)
        assert share.values() == [*OLD, None]
        assert "Input/output error; trying again" in share.frames[-1].reason


@pytest.mark.parametrize("kept", [0, 2], ids=["nothing", "some"])
def test_a_listing_that_lacks_files_forgets_nothing(tmp_path, monkeypatch, kept) -> None:
    """As when a share is unmounted: an empty folder is left; it is no error."""
    real = os.scandir
    with Listings(tmp_path / "share") as share:
        with monkeypatch.context() as patch:
            patch.setattr(os, "scandir", lambda folder: Entries(list(real(folder))[:kept]))
            share.wait_for_listings(3)
        share.wait_for_listings(3)
        assert share.values() == OLD


def test_a_folder_that_is_renamed_away_while_it_is_listed(tmp_path, monkeypatch) -> None:
    real, folder, away = os.scandir, tmp_path / "share", tmp_path / "away"
    renamed = threading.Event()

    def rename_first(opened):
        entries = list(real(opened))
        if folder.exists():
            folder.rename(away)
            renamed.set()
        return Entries(entries)

    with Listings(folder) as share:
        with monkeypatch.context() as patch:
            patch.setattr(os, "scandir", rename_first)
            assert renamed.wait(WAIT_S)
        share.wait_for_listings(3)
        away.rename(folder)
        share.wait_for_listings(3)
        assert share.values() == [*OLD, None]


def test_a_folder_that_is_replaced_by_a_copy_of_itself(tmp_path) -> None:
    """As a share that is mounted again: the same names, sizes and times, other inodes."""
    folder = tmp_path / "share"
    with Listings(folder) as share:
        shutil.copytree(folder, tmp_path / "copy")  # while the first keep their inodes
        folder.rename(tmp_path / "away")
        share.wait_for_listings(2)
        (tmp_path / "copy").rename(folder)
        share.wait_for_listings(3)
        assert share.values() == [*OLD, None]
        save(folder / "0.png", png(201))  # but one that was written anew is a new picture
        assert share.wait(len(OLD) + 2)[-1] == 201


def test_what_is_deleted_and_made_anew_is_a_new_picture(tmp_path) -> None:
    folder = tmp_path / "share"
    with Listings(folder) as share:
        (folder / "0.png").unlink()
        share.wait_for_listings(2)
        save(folder / "0.png", png(202))
        assert share.wait(len(OLD) + 1) == [*OLD, 202]
        (folder / "0.png").rename(folder / "1.png")  # an inspected picture over another
        share.wait_for_listings(2)
        assert share.values() == [*OLD, 202, 202]


def stamps(names: Iterable[str], *, inode: int = 0) -> dict[str, FileStamp]:
    return {name: FileStamp(inode + int(name), 100, 1000 + int(name)) for name in names}


def inspect_all(
    inspected: InspectedFiles, listed: dict[str, FileStamp], came_back=False
) -> list[str]:
    new = inspected.find_new(listed, came_back=came_back)
    for name in new:
        inspected.add(name, listed[name])
    return new


def test_names_are_remembered_while_they_are_away_and_memory_is_bounded() -> None:
    inspected = InspectedFiles()
    for number in range(25_000):  # a host that saves and deletes, for ever
        assert inspect_all(inspected, stamps([str(number)])) == [str(number)]
    remembered = len(inspected._here) + len(inspected._away)
    assert 10_000 <= remembered <= 10_001
    recent = stamps(map(str, range(24_000, 25_000)))
    assert inspect_all(inspected, recent) == []
    assert inspect_all(inspected, stamps(["3"])) == ["3"]  # away for too long


def test_a_large_folder_is_remembered_whole() -> None:
    inspected = InspectedFiles()
    listed = stamps(map(str, range(30_000)))
    assert len(inspect_all(inspected, listed)) == 30_000
    for nothing in ({}, {}):
        assert inspect_all(inspected, nothing, came_back=True) == []
    remounted = stamps(listed, inode=1_000_000)
    assert inspect_all(inspected, dict(list(remounted.items())[:7]), came_back=True) == []
    assert inspect_all(inspected, remounted) == []
    assert inspect_all(inspected, stamps(listed, inode=2_000_000)) == list(listed)  # all replaced


def test_what_is_renamed_while_the_folder_is_away_is_not_new() -> None:
    inspected = InspectedFiles()
    listed = stamps(["1", "2"])
    inspect_all(inspected, listed)
    assert inspect_all(inspected, {"done_1": listed["1"], "2": listed["2"]}, came_back=True) == []


def test_closing_ends_the_wait(watched) -> None:
    watch = watched()
    began = time.monotonic()
    watch.close()
    assert time.monotonic() - began < 3


def test_a_long_listing_is_made_less_often(tmp_path, monkeypatch) -> None:
    source = open_source(f"watch:{tmp_path}?poll_ms=1")
    listed = 0
    real = source._list

    def slow():
        nonlocal listed
        listed += 1
        time.sleep(0.05)
        return real()

    monkeypatch.setattr(source, "_list", slow)
    threading.Timer(1.0, source.close).start()
    assert list(source) == []
    assert listed <= 2  # 50 ms of work a second
