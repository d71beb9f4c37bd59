"""The folder that pictures are captured into, and what is in it already."""

from __future__ import annotations

import os
import re
from collections.abc import Container
from contextlib import AbstractContextManager
from pathlib import Path

from calibrate.dataset.names import is_image_name
from calibrate.dataset.roles import Role, role_of
from cameras.image_facts import header_from_file
from cameras.redaction import printable_path
from edge.sinks.database import DATABASE
from edge.sinks.locks import PlaceLock
from edge.sinks.sink import SinkError, open_folder

_OURS = re.compile(r"\d{8}T\d{6}\.\d{3}Z_\d{6}(_\d+)?\.png(\.part)?")
_PART = ".part"
_GOOD = "train/good"
_OTHERS = {
    DATABASE: "what a station has kept",
    "manifest.json": "a bundle",
    "edge.toml": "a project's folder",
}


class PictureFolder(AbstractContextManager["PictureFolder"]):
    """A folder of captured pictures, this program's alone until it is closed.

    Args:
        folder: made if it is not there.

    Attributes:
        path: as it was given.
        pictures: in it already.
        foreign: of these, those that were not captured.
        size: (height, width) in px of the newest of them; None where there is none.

    Raises:
        SinkError: it cannot be made or written, another program writes there, or it is something
            else than pictures.
    """

    def __init__(self, folder: Path) -> None:
        self.path = open_folder(folder)
        try:
            self._lock = PlaceLock(folder)
            self._look()
        except OSError as error:
            where = printable_path(folder)
            raise SinkError(f"{where}: {error.strerror}; name another folder") from error

    def what_is_there(self) -> str:
        """What is in it already, for people."""
        where = printable_path(self.path)
        if self.path.is_symlink():
            where += f" (a link to {printable_path(self.path.resolve())})"
        count = f"{self.pictures} pictures are" if self.pictures > 1 else "1 picture is"
        others = f", {self.foreign} of them from elsewhere" if self.foreign else ""
        return f"{where}: {count} there already{others}; new ones join them"

    def check_size(self, size: tuple[int, int]) -> None:
        """Refuse pictures of another size than those that are there.

        Args:
            size: (height, width) in px.

        Raises:
            SinkError: they are another camera's, or were taken at another resolution.
        """
        if self.size is not None and self.size != size:
            (height, width), (new_height, new_width) = self.size, size
            raise SinkError(
                f"{printable_path(self.path)}: the pictures there have {width}x{height} px, this "
                f"camera's {new_width}x{new_height}; an inspector learns from one camera at one "
                "resolution: name another folder"
            )

    def free_place(self, name: str, taken: Container[Path]) -> Path:
        """Where a picture of this name goes: what is there already stays, or is on its way."""
        place, count = self.path / f"{name}.png", 1
        while place in taken or os.path.lexists(place):
            count += 1
            place = self.path / f"{name}_{count}.png"
        return place

    def close(self) -> None:
        """Let others in; a second call does nothing."""
        self._lock.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _look(self) -> None:
        """See what is there, refuse what is no folder of pictures, remove what is half-written."""
        images, ours = [], []
        for entry in sorted(os.scandir(self.path), key=lambda one: one.name):
            what = _OTHERS.get(entry.name)
            if entry.is_dir() and role_of(entry.name) not in (None, Role.AROUND):
                what = f"a data set; such pictures belong into its {_GOOD}"
            if what is not None:
                self.close()
                where = printable_path(self.path)
                raise SinkError(f"{where}: is {what} ({entry.name} is in it); name another folder")
            if _OURS.fullmatch(entry.name):
                if entry.name.endswith(_PART):  # of a capture that was killed
                    Path(entry.path).unlink(missing_ok=True)
                else:
                    ours.append(entry.name)
            elif is_image_name(entry.name):
                images.append(entry.name)
        self.pictures, self.foreign = len(images) + len(ours), len(images)
        self.size = self._size_of((images + ours)[-1:])

    def _size_of(self, names: list[str]) -> tuple[int, int] | None:
        try:
            return header_from_file(self.path / names[0]).size if names else None
        except (OSError, ValueError, RuntimeError):
            return None  # whoever learns from it says what is wrong with it
