"""Image files, folders, globs and video files: every frame is delivered, the source waits."""

from __future__ import annotations

import glob
import os
from collections.abc import Generator, Sequence
from pathlib import Path

import cv2
import numpy as np

from cameras.errors import ImageError, SourceError
from cameras.files.read_ahead import Prefetched
from cameras.frame import Frame
from cameras.image_files import IMAGE_SUFFIXES, image_from_file, kind_of
from cameras.redaction import shown, sort_key
from cameras.source import Source, frame_now

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".wmv", ".flv"}
    | {".mjpg", ".mjpeg", ".h264", ".h265"}
)
_KINDS_TEXT = "PNG, JPEG, BMP, WebP, TIFF, GIF, PGM or PPM"


def open_path(path: Path) -> Source:
    """Open an image, a folder of images, a glob or a video file.

    Raises:
        SourceError: nothing there, nothing in it, or neither image nor video.
    """
    try:
        if path.is_dir():
            return _images(shown(path), images_in_folder(path))
        if path.exists():
            return _images(shown(path), [path]) if _is_image(path) else open_video(path)
    except OSError as error:
        raise SourceError(f"{shown(path)}: {error.strerror}; check path and permissions") from error
    if glob.has_magic(str(path)):
        return _images(shown(path), images_of_glob(path))
    raise SourceError(f"{shown(path)}: no such file or folder; {_nearest(path)}")


def images_in_folder(folder: Path) -> list[Path]:
    """Return the images directly in a folder, sorted by name; hidden files are left out.

    Raises:
        SourceError: there are none.
    """
    found = [path for path in folder.iterdir() if _named_as_image(path)]
    if not found:
        deeper = any(_named_as_image(path) for path in folder.glob("*/*"))
        hint = (
            f"its sub-folders have some: use '{shown(folder)}/**/*'"
            if deeper
            else f"looked for {_KINDS_TEXT}"
        )
        raise SourceError(f"{shown(folder)}: no images in this folder; {hint}")
    return sorted(found, key=sort_key)


def images_of_glob(pattern: Path) -> list[Path]:
    """Return the images that a pattern matches, ``**`` included, sorted by path.

    Raises:
        SourceError: there are none.
    """
    matches = [Path(match) for match in glob.iglob(str(pattern), recursive=True)]  # noqa: PTH207
    found = [path for path in matches if _named_as_image(path)]
    if not found:
        videos = any(path.suffix.lower() in VIDEO_SUFFIXES for path in matches)
        hint = "open videos one at a time" if videos else f"looked for {_KINDS_TEXT}"
        raise SourceError(f"{shown(pattern)}: no image matches, of {len(matches)} files; {hint}")
    return sorted(found, key=sort_key)


def open_video(path: Path) -> Source:
    """Open a video file.

    Raises:
        SourceError: unreadable, or not a video that OpenCV's FFmpeg decodes.
    """
    name = shown(path)
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise SourceError(f"{name}: the file is empty; copy it again")
    except OSError as error:
        raise SourceError(f"{name}: {error.strerror}; check path and permissions") from error
    capture = cv2.VideoCapture()
    # As bytes: a name that is not UTF-8 crashes OpenCV when it is passed as text. Absolute: a
    # relative name could be taken for an address.
    opened = capture.open(os.fsencode(path.absolute()), cv2.CAP_FFMPEG)  # type: ignore[call-overload]
    if not opened:
        capture.release()
        raise SourceError(f"{name}: neither an image nor a video that can be decoded; convert it")
    announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    rate_hz = float(capture.get(cv2.CAP_PROP_FPS))
    return Prefetched(
        name,
        _video_frames(name, capture, announced),
        rate_hz=rate_hz if np.isfinite(rate_hz) and rate_hz > 0 else None,
        length=announced if announced > 0 else None,
    )


def _images(name: str, paths: Sequence[Path]) -> Source:
    return Prefetched(name, _image_frames(paths), rate_hz=None, length=len(paths))


def _image_frames(paths: Sequence[Path]) -> Generator[Frame, None, None]:
    for index, path in enumerate(paths):
        try:
            image = image_from_file(path)
        except ImageError as error:
            yield frame_now(shown(path), index, None, str(error))
        else:
            yield frame_now(shown(path), index, image)


def _video_frames(
    name: str, capture: cv2.VideoCapture, announced: int
) -> Generator[Frame, None, None]:
    index = 0
    try:
        while True:
            good, image = capture.read()
            if not good:
                break
            yield frame_now(name, index, np.asarray(image, np.uint8))
            index += 1
    finally:
        capture.release()
    # Containers estimate their length; only a clear lack means that frames are gone.
    if announced > 0 and index < 0.95 * announced - 5:
        reason = f"{name}: ended after {index} of {announced} frames; the file is damaged"
        yield frame_now(name, index, None, reason)


def _named_as_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _is_image(path: Path) -> bool:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    if path.suffix.lower() in VIDEO_SUFFIXES or not path.is_file():
        return False
    with path.open("rb") as file:
        return kind_of(file.read(16)) is not None


def _nearest(path: Path) -> str:
    """Return the part of a path that exists, as a hint."""
    parent = next((folder for folder in path.absolute().parents if folder.is_dir()), Path("/"))
    return f"{shown(parent)} exists, the rest does not"
