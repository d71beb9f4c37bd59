"""An image file becomes pixels: one function, shared by building, evaluating and streaming."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from cameras.decoding.headers import orientation_from_header, size_from_header, sound_png
from cameras.decoding.jpeg import samples_from_jpeg
from cameras.decoding.limits import DECODING, check_size
from cameras.decoding.opencv import Samples, samples_from_opencv
from cameras.decoding.orientation import turned
from cameras.decoding.pillow import samples_from_webp
from cameras.decoding.tiff import samples_from_tiff
from cameras.errors import ImageError
from cameras.redaction import printable_path
from process.out_of_memory import is_out_of_memory
from process.plain_files import read_plain_file

MAX_BYTES = 1 << 30
MAX_BITS = 16  # of a sample
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".tif", ".tiff", ".gif"}
    | {".pgm", ".ppm"}
)

_KINDS: dict[str, Callable[[bytes], bool]] = {
    "PNG": lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"),
    "JPEG": lambda data: data.startswith(b"\xff\xd8\xff"),
    "BMP": lambda data: data.startswith(b"BM"),
    "GIF": lambda data: data.startswith((b"GIF87a", b"GIF89a")),
    "WebP": lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP",
    "TIFF": lambda data: data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    "PNM": lambda data: data[:2] in (b"P2", b"P3", b"P5", b"P6") and data[2:3].isspace(),
}

DecodedT = TypeVar("DecodedT")

_BIT_DEPTH: ContextVar[int | None] = ContextVar("bit_depth", default=None)


def bits_taken() -> int | None:
    """What `taking_bits` says here, to be handed to a thread."""
    return _BIT_DEPTH.get()


@contextmanager
def taking_bits(bit_depth: int | None) -> Iterator[None]:
    """Read 16-bit files as values of so many bits, inside, where no depth is given.

    It is for commands that read one set of files from end to end. A thread that is started inside
    knows nothing of it, and has to be handed `bits_taken`.
    """
    token = _BIT_DEPTH.set(bit_depth)
    try:
        yield
    finally:
        _BIT_DEPTH.reset(token)


def image_from_file(
    path: str | os.PathLike[str], *, bit_depth: int | None = None
) -> npt.NDArray[np.uint8]:
    """Read one image as (H, W, 3) uint8 BGR.

    Grey becomes three equal channels, alpha is dropped (not blended), the first page or frame of
    several is taken, and the orientation in EXIF is applied. 16 bits are scaled by their full
    range (65 535 = 255, whatever the brightest pixel), unless a lower `bit_depth` says how many of
    them are in use: then the highest 8 of those are kept, as of a camera's Mono12. The size is
    read from the header before anything is decoded, so that a small file cannot ask for all the
    memory. A JPEG carries no checksum: damage inside its data that leaves its end in place cannot
    be told from content.

    Args:
        path: of the file.
        bit_depth: of the values in 16-bit files; None is what `taking_bits` says, or 16.

    Raises:
        ImageError: not a regular file, unreadable, empty, not PNG, JPEG, BMP, WebP, TIFF, GIF,
            PGM or PPM, cut short, damaged, with samples that are not 8 or 16 bits or beyond
            `bit_depth`, or larger than 100 megapixels.
    """
    return decode_file(path, lambda data: image_from_bytes(data, bit_depth=bit_depth))


def decode_file(path: str | os.PathLike[str], decode: Callable[[bytes], DecodedT]) -> DecodedT:
    """Read a file of an image's size and hand its bytes on; what goes wrong begins with its name.

    Raises:
        ImageError: not a regular file, unreadable, empty, or too large; or `decode` raised it.
    """
    with naming(path):
        with _telling_of_memory("too little memory to read it"):
            data = read_plain_file(Path(path), max_bytes=MAX_BYTES)
        if not data:
            raise ImageError("the file is empty; copy it again")
        return decode(data)


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Begin what goes wrong inside with the name of a file.

    Raises:
        ImageError: an `ImageError` or `OSError` inside.
    """
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{printable_path(path)}: {error}") from error
    except OSError as error:
        raise ImageError(
            f"{printable_path(path)}: {error.strerror}; check path and permissions"
        ) from error


def image_from_bytes(data: bytes, *, bit_depth: int | None = None) -> npt.NDArray[np.uint8]:
    """Decode the bytes of one image file; as `image_from_file`, without a path in the message."""
    kind = _kind_of(data)
    with _memory_for(data, kind):
        samples = eight_bits_of(_decode(data, kind), kind, bit_depth or bits_taken())
        if samples.ndim == 2:
            return np.asarray(cv2.cvtColor(samples, cv2.COLOR_GRAY2BGR), np.uint8)
        return samples


def samples_from_bytes(data: bytes) -> Samples:
    """Decode the bytes of one image file, its samples of 16 bits as they are stored.

    Raises:
        ImageError: as `image_from_file`, but for samples beyond a bit depth.
    """
    kind = _kind_of(data)
    with _memory_for(data, kind):
        return _decode(data, kind)


def _kind_of(data: bytes) -> str:
    kind = kind_from_bytes(data)
    if kind is None:
        raise ImageError(
            "not an image that can be read; use PNG, JPEG, BMP, WebP, TIFF, GIF, PGM or PPM"
        )
    return kind


@contextmanager
def _memory_for(data: bytes, kind: str) -> Iterator[None]:
    """Hold what decoding takes, once the header asks for no more than is allowed.

    Raises:
        ImageError: it does, or there is too little memory.
    """
    width, height = size_from_header(data, kind)
    check_size(kind, width, height)
    with (
        DECODING.take(kind, width * height, file_bytes=len(data)) as needed,
        _telling_of_memory(f"too little memory for {width} x {height} pixels", needed),
    ):
        yield


@contextmanager
def _telling_of_memory(what: str, needed: int = 0) -> Iterator[None]:
    """Tell that memory is lacking as an `ImageError`, whichever library found out.

    Some take it for damage: so whether `needed` bytes could be had is asked when one failed.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error) and not (isinstance(error, ImageError) and _lacks(needed)):
            raise
        raise ImageError(f"{what}; free some, or scale it down") from error


def _lacks(needed: int) -> bool:
    try:
        np.empty(needed, np.uint8)
    except MemoryError:
        return True
    return False


def _decode(data: bytes, kind: str) -> Samples:
    """Samples of a file whose size is allowed."""
    if kind == "TIFF":
        samples = samples_from_tiff(data)
    elif kind == "WebP":
        samples = turned(samples_from_webp(data), orientation_from_header(data, kind))
    elif kind == "JPEG":
        samples = turned(samples_from_jpeg(data), orientation_from_header(data, kind))
    else:
        sound = sound_png(data) if kind == "PNG" else data
        samples = samples_from_opencv(sound, kind, is_turned=True)
    if sorted(samples.shape[:2]) != sorted(size_from_header(data, kind)):
        raise ImageError(f"this {kind} is not of the size that its header says; save it again")
    return samples


def eight_bits(samples: npt.NDArray[np.integer], bit_depth: int | None) -> npt.NDArray[np.uint8]:
    """Bring samples of 16 bits, of which `bit_depth` are in use, to 8; None is all 16."""
    if bit_depth is None or bit_depth == MAX_BITS:
        # The nearest of 255 levels to v/257, without a wider copy on the way.
        return np.asarray(cv2.convertScaleAbs(samples, alpha=1 / 257), np.uint8).reshape(
            samples.shape
        )
    return np.asarray(samples >> (bit_depth - 8), np.uint8)


def kind_from_bytes(data: bytes) -> str | None:
    """Return the kind of image that these first bytes begin, such as ``PNG``; None = no image."""
    return next((kind for kind, begins in _KINDS.items() if begins(data)), None)


def eight_bits_of(image: Samples, kind: str, bit_depth: int | None) -> npt.NDArray[np.uint8]:
    """Bring the samples of an image to 8 bits; those that have 8 stay.

    Args:
        image: (H, W) or (H, W, 3) uint8 or uint16.
        kind: such as ``PNG``, for messages.
        bit_depth: of the values in uint16; None is all 16.

    Raises:
        ImageError: values beyond the bit depth, or nobody says which of them is white.
    """
    if image.dtype == np.uint8:
        return image
    # A PGM may declare any brightest value; OpenCV does not scale by it.
    if image.dtype != np.uint16 or kind == "PNM":
        raise ImageError(
            f"this {kind} has {image.dtype} samples, from {image.min():g} to {image.max():g}, of "
            "which nobody says what is white; save it with 8 bits, or as PNG"
        )
    brightest = int(image.max())
    if bit_depth and brightest >> bit_depth:
        raise ImageError(
            f"this {kind} has values up to {brightest}, beyond the {(1 << bit_depth) - 1} of a "
            f"bit depth of {bit_depth}; give the depth that the camera delivers"
        )
    return eight_bits(image, bit_depth)
