"""A folder into which a host saves pictures: ``watch:FOLDER``; each is inspected once, as it comes.

The folder is listed again and again: notifications of the kernel do not reach network shares. A
listing that takes long is made less often, so that it never takes more than a twentieth of a core.
"""

from __future__ import annotations

import fnmatch
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cameras.closing import Closing
from cameras.errors import ImageError, SourceError
from cameras.frame import Frame
from cameras.image_files import IMAGE_SUFFIXES, image_from_file
from cameras.options import Options
from cameras.redaction import shown
from cameras.source import frame_now

_POLL_MS = 50.0
_SETTLE_MS = 100.0
_PATIENCE_S = 2.0  # within which a picture that cannot be read may yet become whole
_SHARE = 20  # of the time, one part is spent listing


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What changes when a file is written anew."""

    inode: int
    size: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class _Growing:
    """A file that may not be whole yet, and when it was last seen to change."""

    stamp: _Stamp
    since_s: float


@dataclass(frozen=True, slots=True)
class _Watching:
    """See `open_folder`."""

    folder: Path
    pattern: str
    poll_s: float
    settle_s: float


def open_folder(folder: Path, *, options: Options) -> FolderWatch:
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
    watching = _Watching(
        folder,
        options.text("pattern") or "*",
        (_POLL_MS if poll_ms is None else poll_ms) / 1000,
        (_SETTLE_MS if settle_ms is None else settle_ms) / 1000,
    )
    existing = options.choice("existing", ("skip", "all"))
    options.done()
    if not folder.is_dir():
        raise SourceError(f"{shown(folder)}: no such folder to watch; make it, or name another")
    return FolderWatch(watching, inspect_existing=existing == "all")


class FolderWatch(Closing):
    """Pictures in the order of their times of change; every one is delivered; see `open_folder`."""

    live = False
    dropped = 0
    rate_hz: float | None = None
    length: int | None = None

    def __init__(self, watching: _Watching, *, inspect_existing: bool) -> None:
        self.name = f"watch:{shown(watching.folder)}"
        self._watching = watching
        self._stop = threading.Event()
        self._index = 0
        self._done: dict[str, _Stamp] = {}
        self._growing: dict[str, _Growing] = {}
        self._lost = False  # the folder itself; told once
        if not inspect_existing:
            try:
                self._done = self._listed()
            except OSError as error:
                raise SourceError(
                    f"{self.name}: {error.strerror}; check path and permissions"
                ) from error

    def __iter__(self) -> Iterator[Frame]:
        """Yield pictures as they come, until `close`."""
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                listed = self._listed()
            except OSError as error:
                yield from self._gone(error)
                self._stop.wait(max(self._watching.poll_s, 0.2))
                continue
            took = time.monotonic() - began
            self._lost = False
            for frame in self._fresh(listed):
                yield frame
                if self._stop.is_set():
                    return
            self._stop.wait(max(self._watching.poll_s, _SHARE * took))

    def close(self) -> None:
        """End the iteration; a second call does nothing."""
        self._stop.set()

    def _listed(self) -> dict[str, _Stamp]:
        """Return the images that are there now."""
        found = {}
        with os.scandir(self._watching.folder) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith(".") or Path(name).suffix.lower() not in IMAGE_SUFFIXES:
                    continue
                if not fnmatch.fnmatchcase(name, self._watching.pattern):
                    continue
                try:
                    if entry.is_file():
                        found[name] = _stamp_of(entry.stat())
                except FileNotFoundError:  # removed since it was listed
                    continue
        return found

    def _gone(self, error: OSError) -> Iterator[Frame]:
        """The folder cannot be listed, such as a share whose server is down: tell it once."""
        if not self._lost:
            self._lost = True
            reason = f"{self.name}: {error.strerror}; it is tried again, check path and server"
            yield self._frame(self._watching.folder, None, reason)

    def _fresh(self, listed: dict[str, _Stamp]) -> Iterator[Frame]:
        """Yield what is whole and was not yet delivered."""
        # A file that was inspected and then renamed is no new picture.
        left = {stamp for name, stamp in self._done.items() if name not in listed}
        self._done = {
            name: stamp
            for name, stamp in listed.items()
            if self._done.get(name) == stamp or (name not in self._done and stamp in left)
        }
        inodes = {stamp.inode for stamp in listed.values()}
        for name in [name for name in self._growing if name not in listed]:
            if self._growing.pop(name).stamp.inode not in inodes:  # and not merely renamed
                path = self._watching.folder / name
                reason = f"{shown(path)}: was removed before it could be read; keep it longer"
                yield self._frame(path, None, reason)
        fresh = [name for name in listed if name not in self._done]
        for name in sorted(fresh, key=lambda name: (listed[name].changed_ns, os.fsencode(name))):
            if self._has_settled(name, listed[name]):
                yield from self._read(name, listed[name])

    def _has_settled(self, name: str, stamp: _Stamp) -> bool:
        now = time.monotonic()
        growing = self._growing.get(name)
        if growing is None or growing.stamp != stamp:
            growing = self._growing[name] = _Growing(stamp, now)
        return now - growing.since_s >= self._watching.settle_s

    def _read(self, name: str, stamp: _Stamp) -> Iterator[Frame]:
        """Yield the picture if it is whole, or if it will not become so."""
        path = self._watching.folder / name
        image, reason = None, ""
        try:
            image = image_from_file(path)
        except ImageError as error:
            reason = str(error)
        try:
            if _stamp_of(path.stat()) != stamp:
                return  # it was written meanwhile: the next listing sees it change
        except OSError:
            reason = reason or f"{shown(path)}: was removed while it was read"
        waited = time.monotonic() - self._growing[name].since_s
        if image is None and waited < max(_PATIENCE_S, self._watching.settle_s):
            return
        del self._growing[name]
        self._done[name] = stamp
        yield self._frame(path, image, "" if image is not None else reason)

    def _frame(self, path: Path, image: npt.NDArray[np.uint8] | None, reason: str) -> Frame:
        index, self._index = self._index, self._index + 1
        return frame_now(shown(path), index, image, reason)


def _stamp_of(status: os.stat_result) -> _Stamp:
    return _Stamp(status.st_ino, status.st_size, status.st_mtime_ns)
