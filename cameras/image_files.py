"""An image file becomes pixels: one function, shared by building, evaluating and streaming."""

from __future__ import annotations

import io
import os
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cameras.errors import ImageError
from cameras.redaction import printable_path

MAX_PIXELS = 100_000_000
MAX_BYTES = 1 << 30
MAX_BITS = 16  # of a sample
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".pgm", ".ppm"}
)

_KINDS: dict[str, Callable[[bytes], bool]] = {
    "PNG": lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"),
    "JPEG": lambda data: data.startswith(b"\xff\xd8\xff"),
    "BMP": lambda data: data.startswith(b"BM"),
    "GIF": lambda data: data.startswith((b"GIF87a", b"GIF89a")),
    "WebP": lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP",
    "TIFF": lambda data: data.startswith((b"II*\0", b"MM\0*")),
    "PNM": lambda data: data[:2] in (b"P2", b"P3", b"P5", b"P6") and data[2:3].isspace(),
}


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
    data = bytes_from_file(path)
    try:
        return image_from_bytes(data, bit_depth=bit_depth)
    except ImageError as error:
        raise ImageError(f"{printable_path(path)}: {error}") from error


def image_from_bytes(data: bytes, *, bit_depth: int | None = None) -> npt.NDArray[np.uint8]:
    """Decode the bytes of one image file; as `image_from_file`, without a path in the message."""
    samples = samples_from_bytes(data, flags=cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    return _to_eight_bits(samples, kind_from_bytes(data) or "", bit_depth or bits_taken())


def samples_from_bytes(data: bytes, *, flags: int) -> npt.NDArray[Any]:
    """Decode the bytes of one image file, its samples as they are stored.

    Args:
        data: of the file.
        flags: ``cv2.IMREAD_...``

    Raises:
        ImageError: as `image_from_file`, but for the kind of samples.
    """
    kind = kind_from_bytes(data)
    if kind is None:
        raise ImageError(
            "not an image that can be read; use PNG, JPEG, BMP, WebP, TIFF, GIF, PGM or PPM"
        )
    _refuse_bomb(data, kind)
    if kind == "JPEG":
        _refuse_cut_jpeg(data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"this {kind} cannot be decoded: {_reason_from_error(error)}") from error
    if image is None:
        raise ImageError(f"this {kind} is damaged or cut short; copy it again")
    return np.asarray(image)


def eight_bits(samples: npt.NDArray[np.integer], bit_depth: int | None) -> npt.NDArray[np.uint8]:
    """Bring samples of 16 bits, of which `bit_depth` are in use, to 8; None is all 16."""
    if bit_depth is None or bit_depth == MAX_BITS:
        return np.asarray((samples.astype(np.uint32) + 128) // 257, np.uint8)
    return np.asarray(samples >> (bit_depth - 8), np.uint8)


def kind_from_bytes(data: bytes) -> str | None:
    """Return the kind of image that these first bytes begin, such as ``PNG``; None = no image."""
    return next((kind for kind, begins in _KINDS.items() if begins(data)), None)


def bytes_from_file(path: str | os.PathLike[str]) -> bytes:
    """Read a file of an image's size.

    Raises:
        ImageError: not a regular file, unreadable, empty, or too large.
    """
    try:
        # A pipe or device named .png would block for ever: it is asked before it is opened.
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{printable_path(path)}: not a regular file; name an image file")
        if status.st_size == 0:
            raise ImageError(f"{printable_path(path)}: the file is empty; copy it again")
        if status.st_size > MAX_BYTES:
            raise ImageError(
                f"{printable_path(path)}: {status.st_size >> 20} MiB is too large for an image"
            )
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(
            f"{printable_path(path)}: {error.strerror}; check path and permissions"
        ) from error


def _refuse_bomb(data: bytes, kind: str) -> None:
    """Refuse a header that asks for more than `MAX_PIXELS`, before decoding.

    Raises:
        ImageError: too large, or a header without a size.
    """
    import imagesize  # type: ignore[import-untyped]

    try:
        width, height = imagesize.get(io.BytesIO(data))
    # The parser meets hostile bytes: whatever it stumbles over, the header has no size.
    except (ValueError, TypeError, LookupError, ArithmeticError, struct.error) as error:
        raise ImageError(f"this {kind} is cut short or damaged in its header") from error
    # -1 stands for "not found"; a BMP stored from the top has a negative height.
    if width < 1 or height in (-1, 0):
        raise ImageError(f"this {kind} has no size in its header; it is damaged")
    if width * abs(height) > MAX_PIXELS:
        raise ImageError(
            f"{width} x {height} pixels; more than {MAX_PIXELS // 1_000_000} megapixels are "
            "not read, scale it down"
        )


def _refuse_cut_jpeg(data: bytes) -> None:
    """Refuse a JPEG without its end marker, of which some decoders fill the rest with grey.

    Inside compressed data every 0xFF is followed by 0, so that after the last start of a scan the
    marker stands for the end alone; cameras may append bytes after it.

    Raises:
        ImageError: the end marker is missing.
    """
    scan = data.rfind(b"\xff\xda")
    if scan < 0 or data.find(b"\xff\xd9", scan) < 0:
        raise ImageError("this JPEG is cut short; copy it again")


def _to_eight_bits(
    image: npt.NDArray[Any], kind: str, bit_depth: int | None
) -> npt.NDArray[np.uint8]:
    if image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(f"this {kind} decodes to shape {image.shape}; save it as grey or RGB")
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


def _reason_from_error(error: cv2.error) -> str:
    """Return OpenCV's reason without its source file, on one line."""
    return " ".join(str(error.err or error).split())
