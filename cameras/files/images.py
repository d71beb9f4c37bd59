"""Image files: one, those of a folder, or those that a pattern matches; each is delivered."""

from __future__ import annotations

import glob
from collections.abc import Generator, Sequence
from pathlib import Path

from cameras.errors import ImageError, SourceError
from cameras.files.read_ahead import ReadAhead
from cameras.frame import Frame
from cameras.image_files import IMAGE_SUFFIXES, image_from_file
from cameras.redaction import printable_path, sort_key
from cameras.source import Source, frame_now

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".wmv", ".flv"}
    | {".mjpg", ".mjpeg", ".h264", ".h265"}
)
_KINDS = "PNG, JPEG, BMP, WebP, TIFF, GIF, PGM or PPM"


def open_images(name: Path, paths: Sequence[Path], *, bit_depth: int | None = None) -> Source:
    """Open image files, in this order.

    Args:
        name: what the user named.
        paths: the files; one that cannot be read becomes a frame without image.
        bit_depth: of the values in 16-bit files; None is all 16.
    """
    return ReadAhead(printable_path(name), _read_images(paths, bit_depth), rate_hz=None)


def list_folder(folder: Path) -> list[Path]:
    """Return the images directly in a folder, sorted by name; hidden files are left out.

    Raises:
        SourceError: there are none.
    """
    found = [path for path in folder.iterdir() if _is_named_as_image(path)]
    if not found:
        deeper = any(_is_named_as_image(path) for path in folder.glob("*/*"))
        hint = (
            f"its sub-folders have some: use '{printable_path(folder)}/**/*'"
            if deeper
            else f"looked for {_KINDS}"
        )
        raise SourceError(f"{printable_path(folder)}: no images in this folder; {hint}")
    return sorted(found, key=sort_key)


def list_matches(pattern: Path) -> list[Path]:
    """Return the images that a pattern matches, ``**`` included, sorted by path.

    Raises:
        SourceError: there are none.
    """
    searched = _escape_folders(pattern)
    matches = [Path(match) for match in glob.iglob(searched, recursive=True)]  # noqa: PTH207
    found = [path for path in matches if _is_named_as_image(path)]
    if not found:
        videos = any(path.suffix.lower() in VIDEO_SUFFIXES for path in matches)
        hint = "open videos one at a time" if videos else f"looked for {_KINDS}"
        raise SourceError(
            f"{printable_path(pattern)}: no image matches, of {len(matches)} files; {hint}"
        )
    return sorted(found, key=sort_key)


def _escape_folders(pattern: Path) -> str:
    """Return a pattern in which folders that exist stand for themselves, such as ``[line 3]``."""
    parent = next((folder for folder in pattern.parents if folder.is_dir()), Path())
    return str(Path(glob.escape(str(parent))) / pattern.relative_to(parent))


def _read_images(paths: Sequence[Path], bit_depth: int | None) -> Generator[Frame, None, None]:
    for index, path in enumerate(paths):
        try:
            image = image_from_file(path, bit_depth=bit_depth)
        except ImageError as error:
            yield frame_now(printable_path(path), index, None, str(error))
        else:
            yield frame_now(printable_path(path), index, image)


def _is_named_as_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
