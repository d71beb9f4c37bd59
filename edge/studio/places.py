"""What the page may name: sources and folders that `edge.toml` has, and what lies in them.

A name from the page is looked up in a listing that was made here; it never becomes a path before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

from cameras.image_files import IMAGE_SUFFIXES
from edge.config import Config
from edge.fields import overlay
from edge.options import CameraSection
from edge.studio.refusals import RefusalError

PickedT = TypeVar("PickedT")
_NEW = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")
BUNDLE = ".edge"


def pick(name: str, listing: Mapping[str, PickedT]) -> PickedT:
    """What a name from the page stands for.

    Raises:
        RefusalError: it is not in the listing.
    """
    if name not in listing:
        raise RefusalError("studio.no_such_name", HTTPStatus.NOT_FOUND)
    return listing[name]


def new_name(text: str) -> str:
    """A name for something new, as the page gives it.

    Raises:
        RefusalError: it could mean another folder, or is too long.
    """
    if not _NEW.fullmatch(text):
        raise RefusalError("studio.bad_name", HTTPStatus.UNPROCESSABLE_ENTITY)
    return text


class Places:
    """Listings, made anew each time.

    Args:
        config: `edge.toml`.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self.sets_folder = config.studio.sets
        self.bundles_folder = config.studio.bundles

    def sources(self) -> dict[str, CameraSection]:
        """Cameras of `edge.toml` by name, as `edge stream` would open them."""
        found = {
            name: overlay(CameraSection, self._config.stream, section)
            for name, section in self._config.cameras.items()
        }
        plain = [one for one in self._config.stream.source if one not in found]
        if self._config.station.source is not None and self._config.station.source not in found:
            plain.append(self._config.station.source)
        for number, source in enumerate(dict.fromkeys(plain), 1):
            name = "stream" if number == 1 else f"stream-{number}"
            own = CameraSection(source=source)
            found[name] = overlay(CameraSection, self._config.stream, own)
        return found

    def sets(self) -> dict[str, Path]:
        """Folders of pictures by name; a link leads elsewhere and is none."""
        return _folders(self.sets_folder)

    def make_set(self, name: str) -> Path:
        """Make a new set.

        Raises:
            RefusalError: its name could mean another folder, or the disk refuses.
        """
        folder = self.sets_folder / new_name(name)
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise RefusalError(
                "studio.disk", HTTPStatus.INSUFFICIENT_STORAGE, reason=error.strerror or ""
            ) from error
        return folder

    def bundles(self) -> dict[str, Path]:
        """Bundles by name, without their ending."""
        return {
            name.removesuffix(BUNDLE): path
            for name, path in _folders(self.bundles_folder).items()
            if name.endswith(BUNDLE) and (path / "manifest.json").is_file()
        }

    def new_bundle(self, name: str) -> Path:
        """Where a bundle of this name is, or would be.

        Raises:
            RefusalError: its name could mean another folder, or something else is there.
        """
        if name in (bundles := self.bundles()):
            return bundles[name]
        path = self.bundles_folder / f"{new_name(name)}{BUNDLE}"
        if path.is_symlink() or path.exists():
            raise RefusalError("studio.name_taken")
        return path

    def pictures(self, folder: Path) -> dict[str, Path]:
        """Pictures that lie in a set, by name; in the order of their names."""
        return {
            path.name: path
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not path.is_symlink()
        }


def _folders(home: Path) -> dict[str, Path]:
    if not home.is_dir():
        return {}
    return {
        path.name: path
        for path in sorted(home.iterdir())
        if not path.name.startswith(".") and path.is_dir() and not path.is_symlink()
    }
