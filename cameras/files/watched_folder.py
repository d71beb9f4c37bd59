"""A folder into which a host saves pictures: ``watch:FOLDER``; each is inspected once, as it comes.

The folder is listed again and again: notifications of the kernel do not reach network shares. A
listing that takes long is made less often, so that it never takes more than a twentieth of a core.

No listing proves that a file is gone for good: a share whose server stumbles lists half of its
files, and one that is unmounted leaves an empty folder. What was inspected is remembered.
"""

from __future__ import annotations

import errno
import fnmatch
import itertools
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cameras.errors import ImageError, SourceError
from cameras.frame import Frame
from cameras.image_files import IMAGE_SUFFIXES, image_from_file
from cameras.options import OpenOptions
from cameras.redaction import printable_path
from cameras.source import frame_now

_POLL_MS = 50.0
_SETTLE_MS = 100.0
_PATIENCE_S = 2.0  # within which a picture that cannot be read may yet become whole
_SHARE = 20  # of the time, one part is spent listing
_MIN_REMEMBERED = 10_000  # files that are gone, in case they come back
_REMOVED = (errno.ENOENT, errno.ESTALE)


class FileStamp(NamedTuple):
    """What changes when a file is written anew."""

    inode: int
    size: int
    changed_ns: int


class _Listing(NamedTuple):
    """The images in a folder at one moment, and which folder it was: device and inode."""

    folder: tuple[int, int]
    stamps: dict[str, FileStamp]


class InspectedFiles:
    """Which files of a folder have been inspected; the folder and its files may come and go.

    A name stays known while its file is away. So that memory is bounded, only as many names are
    kept beyond those that are there as there have ever been at once, and at least 10 000; those
    that have been away for longest are forgotten first.
    """

    def __init__(self) -> None:
        self._here: dict[str, FileStamp] = {}
        self._away: dict[str, FileStamp] = {}  # the longest first
        self._max_away = _MIN_REMEMBERED

    def add(self, name: str, stamp: FileStamp) -> None:
        """Note that a file that is here has been inspected."""
        self._away.pop(name, None)
        self._here[name] = stamp

    def find_new(self, listed: Mapping[str, FileStamp], *, came_back: bool) -> list[str]:
        """Return the names that have not been inspected, or have been written anew since.

        A file that was inspected and then renamed is not new.

        Args:
            listed: what is there now.
            came_back: whether the folder was away, or is another one: its files may have other
                inodes than before, and may have been renamed meanwhile.
        """
        self._max_away = max(self._max_away, len(self._here))
        gone = {name: stamp for name, stamp in self._here.items() if name not in listed}
        moved = set(gone.values())
        if came_back:
            moved.update(self._away.values())
            everything = (self._away | self._here).items()
            self._away = {name: _without_inode(stamp) for name, stamp in everything}
            self._here = {}
        else:
            self._away.update(gone)
            for name in gone:
                del self._here[name]
        for name, stamp in listed.items():
            if self._here.get(name) == stamp:
                continue
            was_replaced = self._here.pop(name, None) is not None
            is_known = self._away.get(name) in (stamp, _without_inode(stamp))
            if is_known or (stamp in moved and not was_replaced):
                self.add(name, stamp)
        too_many = max(0, len(self._away) - self._max_away)
        for name in list(itertools.islice(self._away, too_many)):
            del self._away[name]
        return [name for name in listed if name not in self._here]


@dataclass(frozen=True, slots=True)
class _Growing:
    """A file that may not be whole yet, and when it was last seen to change."""

    stamp: FileStamp
    since_s: float


def open_watched_folder(folder: Path, options: OpenOptions) -> WatchedFolder:
    """Wait for pictures in a folder.

    A picture counts when its size and time of change have stood still for a while; a host that
    saves under another name and renames is always safe. One that is replaced is inspected again.

    Args:
        folder: images directly in it count, hidden files do not.
        options: ``pattern`` (default ``*``), ``existing`` (skip, the default, or all: whether
            pictures that are there at the start count), ``poll_ms`` (50), ``settle_ms`` (100).

    Raises:
        SourceError: no such folder, or a wrong option.
    """
    poll_ms = options.number("poll_ms", low=1, high=3_600_000)
    settle_ms = options.number("settle_ms", low=0, high=3_600_000)
    pattern = options.text("pattern") or "*"
    existing = options.choice("existing", ("skip", "all"))
    options.refuse_unknown()
    if not folder.is_dir():
        raise SourceError(
            f"{printable_path(folder)}: no such folder to watch; make it, or name another"
        )
    return WatchedFolder(
        folder,
        pattern=pattern,
        poll_s=(_POLL_MS if poll_ms is None else poll_ms) / 1000,
        settle_s=(_SETTLE_MS if settle_ms is None else settle_ms) / 1000,
        inspect_existing=existing == "all",
        bit_depth=options.bit_depth,
    )


class WatchedFolder(AbstractContextManager["WatchedFolder"]):
    """Pictures in the order of their times of change, every one; see `open_watched_folder`.

    Attributes:
        folder: that is watched.
    """

    live = False
    dropped = 0
    rate_hz: float | None = None

    def __init__(
        self,
        folder: Path,
        *,
        pattern: str,
        poll_s: float,
        settle_s: float,
        inspect_existing: bool,
        bit_depth: int | None = None,
    ) -> None:
        self.name = f"watch:{printable_path(folder)}"
        self.folder = folder
        self._pattern = pattern
        self._poll_s = poll_s
        self._settle_s = settle_s
        self._bit_depth = bit_depth
        self._stop = threading.Event()
        self._index = 0
        self._inspected = InspectedFiles()
        self._growing: dict[str, _Growing] = {}
        self._lost = False  # the folder itself; told once
        self._folder: tuple[int, int] | None = None
        if not inspect_existing:
            try:
                listing = self._list()
            except OSError as error:
                raise SourceError(
                    f"{self.name}: {error.strerror}; check path and permissions"
                ) from error
            self._folder = listing.folder
            for name, stamp in listing.stamps.items():
                self._inspected.add(name, stamp)

    def __iter__(self) -> Iterator[Frame]:
        """Yield pictures as they come, until `close`."""
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                listing = self._list()
            except OSError as error:
                yield from self._report_gone(error)
                self._stop.wait(max(self._poll_s, 0.2))
                continue
            took = time.monotonic() - began
            for frame in self._deliver_new(listing):
                yield frame
                if self._stop.is_set():
                    return
            self._stop.wait(max(self._poll_s, _SHARE * took))

    def close(self) -> None:
        """End the iteration; a second call does nothing."""
        self._stop.set()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _list(self) -> _Listing:
        """List the images that are there now.

        Raises:
            OSError: the folder, or one of its files, cannot be asked.
        """
        # One folder from beginning to end, even if another is mounted or renamed in its place.
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            status = os.fstat(folder)
            with os.scandir(folder) as entries:
                stamps = {
                    entry.name: stamp
                    for entry in entries
                    if self._matches(entry.name) and (stamp := _stamp_from_entry(entry)) is not None
                }
        finally:
            os.close(folder)
        return _Listing((status.st_dev, status.st_ino), stamps)

    def _matches(self, name: str) -> bool:
        if name.startswith(".") or Path(name).suffix.lower() not in IMAGE_SUFFIXES:
            return False
        return fnmatch.fnmatchcase(name, self._pattern)

    def _report_gone(self, error: OSError) -> Iterator[Frame]:
        """The folder cannot be listed, such as a share whose server is down: tell it once."""
        if not self._lost:
            self._lost = True
            reason = f"{self.name}: {error.strerror}; trying again; check the path and the server"
            yield self._make_frame(self.folder, None, reason)

    def _deliver_new(self, listing: _Listing) -> Iterator[Frame]:
        """Yield what is whole and was not yet delivered."""
        listed = listing.stamps
        came_back = self._lost or listing.folder != self._folder
        self._lost, self._folder = False, listing.folder
        new = self._inspected.find_new(listed, came_back=came_back)
        inodes = {stamp.inode for stamp in listed.values()}
        for name in [name for name in self._growing if name not in listed]:
            if self._growing.pop(name).stamp.inode not in inodes:  # and not merely renamed
                path = self.folder / name
                reason = (
                    f"{printable_path(path)}: was removed before it could be read; keep it longer"
                )
                yield self._make_frame(path, None, reason)
        for name in sorted(new, key=lambda name: (listed[name].changed_ns, os.fsencode(name))):
            if self._has_settled(name, listed[name]):
                yield from self._read(name, listed[name])

    def _has_settled(self, name: str, stamp: FileStamp) -> bool:
        now = time.monotonic()
        growing = self._growing.get(name)
        if growing is None or growing.stamp != stamp:
            growing = self._growing[name] = _Growing(stamp, now)
        return now - growing.since_s >= self._settle_s

    def _read(self, name: str, stamp: FileStamp) -> Iterator[Frame]:
        """Yield the picture if it is whole, or if it will not become so."""
        path = self.folder / name
        image, reason = None, ""
        try:
            image = image_from_file(path, bit_depth=self._bit_depth)
        except ImageError as error:
            reason = str(error)
        try:
            if _stamp_from_status(path.stat()) != stamp:
                return  # it was written meanwhile: the next listing sees it change
        except OSError:
            reason = reason or f"{printable_path(path)}: was removed while it was read"
        waited = time.monotonic() - self._growing[name].since_s
        if image is None and waited < max(_PATIENCE_S, self._settle_s):
            return
        del self._growing[name]
        self._inspected.add(name, stamp)
        yield self._make_frame(path, image, "" if image is not None else reason)

    def _make_frame(self, path: Path, image: npt.NDArray[np.uint8] | None, reason: str) -> Frame:
        index, self._index = self._index, self._index + 1
        return frame_now(printable_path(path), index, image, reason)


def _stamp_from_entry(entry: os.DirEntry[str]) -> FileStamp | None:
    """Return the stamp of a regular file; None if it is none, or was removed since it was listed.

    Raises:
        OSError: it cannot be asked, such as on a share whose server is down.
    """
    try:
        return _stamp_from_status(entry.stat()) if entry.is_file() else None
    except OSError as error:
        # A link to nowhere, or to itself, is no picture, and no reason to see none of the others.
        if error.errno not in _REMOVED and not entry.is_symlink():
            raise
        return None


def _without_inode(stamp: FileStamp) -> FileStamp:
    return stamp._replace(inode=0)


def _stamp_from_status(status: os.stat_result) -> FileStamp:
    return FileStamp(status.st_ino, status.st_size, status.st_mtime_ns)
