"""What a path names: an image, a folder of images, a pattern, or a video."""

from __future__ import annotations

import glob
from pathlib import Path

from cameras.errors import SourceError
from cameras.files.images import VIDEO_SUFFIXES, list_folder, list_matches, open_images
from cameras.files.video import open_video
from cameras.image_files import IMAGE_SUFFIXES, kind_from_bytes
from cameras.redaction import printable_path
from cameras.source import Source


def open_path(path: Path, *, bit_depth: int | None = None) -> Source:
    """Open an image, a folder of images, a pattern or a video file; every frame is delivered.

    Args:
        path: what the user named.
        bit_depth: of the values in 16-bit files; None is all 16.

    Raises:
        SourceError: nothing there, nothing in it, or neither image nor video.
    """
    name = printable_path(path)
    try:
        if path.is_dir():
            return open_images(path, list_folder(path), bit_depth=bit_depth)
        if path.exists():
            if not _is_image(path):
                return open_video(path)
            return open_images(path, [path], bit_depth=bit_depth)
    except OSError as error:
        raise SourceError(f"{name}: {error.strerror}; check path and permissions") from error
    if glob.has_magic(str(path)):
        return open_images(path, list_matches(path), bit_depth=bit_depth)
    raise SourceError(f"{name}: no such file or folder; {_describe_nearest(path)}")


def expand_home(name: str) -> Path:
    """Return a path whose ``~`` is the home folder."""
    path = Path(name)
    try:
        return path.expanduser()
    except RuntimeError:  # nobody of this name has a home: then it is a file of this name
        return path


def _is_image(path: Path) -> bool:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    if path.suffix.lower() in VIDEO_SUFFIXES or not path.is_file():
        return False
    with path.open("rb") as file:
        return kind_from_bytes(file.read(16)) is not None


def _describe_nearest(path: Path) -> str:
    """Return the part of a path that exists, as a hint."""
    parent = next((folder for folder in path.absolute().parents if folder.is_dir()), Path("/"))
    return f"{printable_path(parent)} exists, the rest does not"
