"""Where the pictures of kept parts lie, and those of marked ones, which nothing removes."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from edge.options.review import Mark
from edge.sinks.kept_parts import MARKED
from edge.sinks.sink import SinkError, begin_of_name, open_folder

_FOLDERS: dict[Mark, str] = {"good": "good", "defective": "defective"}


class KeptPictures:
    """Finds the pictures that `edge.sinks.kept_parts` keeps; each day's folder is read once.

    Args:
        folder: of kept parts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[Path, dict[str, str]] = {}

    def find(self, camera: str, captured_at_ns: int, frame: int, verdict: str) -> Path | None:
        """The picture of a part as it came; None where it is not kept, or not any more."""
        begin = begin_of_name(captured_at_ns, frame, verdict)
        day = self._folder / camera / begin[:8]
        if day not in self._names:
            self._names[day] = dict(_pictures_in(day))
        name = self._names[day].get(begin)
        return day / name if name is not None else None


class MarkedPictures:
    """The pictures of parts that were marked good or defective: ``FOLDER/marked/good/…``.

    They are the same files as the kept ones, by another name, so that they take no room twice and
    stay when those are removed to make room. The folder is a data set that a build accepts.

    Args:
        folder: of kept parts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / MARKED

    def put(self, picture: Path, camera: str, mark: Mark) -> None:
        """Give a picture its place, and take it away from any other.

        Args:
            picture: a kept one, or a marked one.
            camera: whose.
            mark: what it is; an ignored one has no place.

        Raises:
            SinkError: it cannot be put there.
        """
        name = self._name_of(picture, camera)
        try:
            if mark in _FOLDERS:
                home = open_folder(self._folder / _FOLDERS[mark])
                _link(picture, home / name)
            for other in set(_FOLDERS) - {mark}:
                (self._folder / _FOLDERS[other] / name).unlink(missing_ok=True)
        except OSError as error:
            raise SinkError(f"{self._folder}: {error.strerror}; check that folder") from error

    def find(self, name: str, camera: str) -> Path | None:
        """The marked picture of this name; None where there is none."""
        for folder in _FOLDERS.values():
            place = self._folder / folder / self._name_of(Path(name), camera)
            if place.exists():
                return place
        return None

    def _name_of(self, picture: Path, camera: str) -> str:
        begin = re.sub(r"[^A-Za-z0-9_.-]", "-", camera) + "_" * bool(camera)
        return picture.name if picture.name.startswith(begin) else begin + picture.name


def _pictures_in(day: Path) -> Iterator[tuple[str, str]]:
    """The begin of each picture's name and the name, of those that came."""
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(day):
            if entry.name.endswith((".png", ".jpg")) and not entry.name.endswith("_drawn.jpg"):
                yield "_".join(entry.name.rsplit(".", 1)[0].split("_")[:3]), entry.name


def _link(picture: Path, place: Path) -> None:
    """A second name for a file; a copy where the disk knows none."""
    if place.exists():
        return
    try:
        os.link(picture, place)
    except OSError:
        part = place.with_name(f"{place.name}.part")
        part.write_bytes(picture.read_bytes())
        part.replace(place)
