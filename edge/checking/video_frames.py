"""A video becomes good images: those of its frames that differ, in a folder beside it."""

from __future__ import annotations

from pathlib import Path

from calibrate.images import Size, fit_image
from calibrate.likeness.same import is_same
from calibrate.likeness.sketches import MIN_SIDE, Sketch, sketch_of
from cameras.connect import open_source
from cameras.files.images import VIDEO_SUFFIXES
from cameras.redaction import printable_path
from edge.result import Say
from edge.sinks.pictures import png_from_image
from engines.atomic_files import staged_folder, write_durably

FRAMES = ".frames"
COMPARED = 8  # of the last frames that were taken
LONG_SIDE = 512  # px at which frames are compared


def is_video(path: Path) -> bool:
    """Whether a path names a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()


def frames_of_video(video: Path, *, say: Say) -> Path:
    """Write those frames of a video that show something else than the ones before.

    A frame is left out when one of the last eight that were taken shows the same: for a build the
    two would count once. What an earlier call wrote is replaced.

    Args:
        video: the file.
        say: told how many frames were taken.

    Returns:
        The folder, ``VIDEO.frames`` beside the video.

    Raises:
        SourceError: the video cannot be read.
        OSError: its folder cannot be written.
    """
    folder = video.with_name(f"{video.name}{FRAMES}")
    taken: list[Sketch] = []
    count = 0
    with open_source(video) as source, staged_folder(folder) as staged:
        for frame in source:
            if frame.image is None:
                say(frame.reason)
                continue
            count += 1
            sketch = sketch_of(fit_image(frame.image, size_to_compare(*frame.image.shape[:2])))
            if any(is_same(sketch, other) for other in taken[-COMPARED:]):
                continue
            taken.append(sketch)
            write_durably(staged / f"{frame.index:06d}.png", png_from_image(frame.image))
    say(f"{printable_path(folder)}: {len(taken)} of {count} frames, those that differ")
    return folder


def size_to_compare(height: int, width: int) -> Size:
    """(height, width) in px at which pictures of this size are looked at."""
    scale = min(1.0, LONG_SIDE / max(height, width))
    return max(MIN_SIDE, round(height * scale)), max(MIN_SIDE, round(width * scale))
