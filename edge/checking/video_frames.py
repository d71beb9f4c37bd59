"""A video becomes good images: those of its frames that differ, in a folder beside it."""

from __future__ import annotations

from pathlib import Path

from calibrate.images import fit_image
from calibrate.likeness.same import is_same
from calibrate.likeness.sketches import Sketch, sketch_of
from cameras.connect import open_source
from cameras.files.images import VIDEO_SUFFIXES
from cameras.redaction import printable_path
from edge.result import Image, Say
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
            sketch = _sketch(frame.image)
            if any(is_same(sketch, other) for other in taken[-COMPARED:]):
                continue
            taken.append(sketch)
            write_durably(staged / f"{frame.index:06d}.png", png_from_image(frame.image))
    say(f"{printable_path(folder)}: {len(taken)} of {count} frames, those that differ")
    return folder


def _sketch(image: Image) -> Sketch:
    height, width = image.shape[:2]
    scale = min(1.0, LONG_SIDE / max(height, width))
    size = max(32, round(height * scale)), max(32, round(width * scale))
    return sketch_of(fit_image(image, size))
