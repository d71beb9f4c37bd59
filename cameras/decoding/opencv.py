"""Pixels through OpenCV."""

from __future__ import annotations

from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from cameras.errors import ImageError

Samples: TypeAlias = npt.NDArray[Any]  # (H, W, 3) BGR or (H, W) grey, uint8 or uint16
_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH


def samples_from_opencv(data: bytes, kind: str, *, is_turned: bool) -> Samples:
    """Return (H, W, 3) BGR, of 16 bits where the file has so many.

    Args:
        data: of the file.
        kind: such as ``PNG``, for messages.
        is_turned: whether the orientation in EXIF is applied.

    Raises:
        ImageError: it cannot be decoded, or nobody says which of its values is white.
    """
    flags = _AS_STORED if is_turned else _AS_STORED | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"this {kind} cannot be decoded: {_reason_from_error(error)}") from error
    if image is None:
        raise ImageError(f"this {kind} is damaged or cut short; copy it again")
    if image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(f"this {kind} decodes to shape {image.shape}; save it as grey or RGB")
    if image.dtype == np.uint8:
        return np.asarray(image, np.uint8)
    # A PGM may declare any brightest value; OpenCV does not scale by it.
    if image.dtype != np.uint16 or kind == "PNM":
        raise ImageError(
            f"this {kind} has {image.dtype} samples, from {image.min():g} to {image.max():g}, of "
            "which nobody says what is white; save it with 8 bits, or as PNG"
        )
    return np.asarray(image, np.uint16)


def _reason_from_error(error: cv2.error) -> str:
    """Return OpenCV's reason without its source file, on one line."""
    return " ".join(str(error.err or error).split())
