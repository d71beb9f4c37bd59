"""Every file below a folder, and what the folders above it say."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from calibrate.dataset.names import is_image_name, natural_key
from calibrate.dataset.roles import FolderMeaning, role_of

_BUNDLES = (".edge", ".training")  # folders that a build writes, perhaps beside the images


@dataclass(frozen=True, slots=True)
class FoundFolder:
    """A folder and the files directly in it, in natural order.

    Attributes:
        path: the folder.
        meaning: of the folders down to this one.
        images: by their names; masks may be among them.
        others: that are no images by their names.
    """

    path: Path
    meaning: FolderMeaning
    images: list[Path]
    others: list[Path]


@dataclass(frozen=True, slots=True)
class FolderTree:
    """All folders that were read.

    Attributes:
        folders: in the order of a walk from the top; linked ones come last.
        links: linked folders that lead to what was read already, or round in a circle.
    """

    folders: list[FoundFolder] = field(default_factory=list)
    links: list[Path] = field(default_factory=list)


def walk_folder(top: Path) -> FolderTree:
    """Read a folder and those below it.

    Hidden files and folders, and bundles, are passed over. Links are followed, after all that is
    no link, and each folder is read once. Where no folder at the top has a role, as in a plain
    folder, those there are read without what is below them: it may be anything.

    Raises:
        OSError: one of them cannot be read.
    """
    tree, seen = FolderTree(), set[tuple[int, int]]()
    waiting, links = [(top, FolderMeaning(), 0)], list[tuple[Path, FolderMeaning, int]]()
    plain = not any(role_of(sub.name) for sub in _list_folder(top)[0])
    while waiting or links:
        path, meaning, depth = waiting.pop() if waiting else links.pop(0)
        status = path.stat()
        if (status.st_dev, status.st_ino) in seen:
            tree.links.append(path)
            continue
        seen.add((status.st_dev, status.st_ino))
        folders, files = _list_folder(path)
        images = [path / name for name in files if is_image_name(name)]
        others = [path / name for name in files if not is_image_name(name)]
        tree.folders.append(FoundFolder(path, meaning, images, others))
        if plain and depth:
            continue
        below = [(sub, (path / sub.name, meaning.enter(sub.name), depth + 1)) for sub in folders]
        links += [place for sub, place in below if sub.is_symlink()]
        waiting += [place for sub, place in reversed(below) if not sub.is_symlink()]
    return tree


def _list_folder(path: Path) -> tuple[list[os.DirEntry[str]], list[str]]:
    """Sub-folders, and names of files, in natural order; neither hidden ones nor bundles."""
    with os.scandir(path) as entries:
        shown = [one for one in entries if not one.name.startswith(".")]
    folders = [one for one in shown if _is_folder(one)]
    files = [one.name for one in shown if not _is_folder(one)]
    kept = [one for one in folders if not one.name.lower().endswith(_BUNDLES)]
    return sorted(kept, key=lambda one: natural_key(one.name)), sorted(files, key=natural_key)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one; a link to itself is none."""
    return Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir()
