"""Pixel formats of industrial cameras become BGR."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class _Pixels:
    """How a format lies in memory.

    Attributes:
        channels: samples per pixel.
        bits: per sample; more than 8 come as uint16.
        code: ``cv2.COLOR_...`` to BGR; None if it is BGR.
    """

    channels: int
    bits: int
    code: int | None


_GREY = cv2.COLOR_GRAY2BGR
_BAYER = {
    "BayerRG": cv2.COLOR_BayerRGGB2BGR,
    "BayerGR": cv2.COLOR_BayerGRBG2BGR,
    "BayerGB": cv2.COLOR_BayerGBRG2BGR,
    "BayerBG": cv2.COLOR_BayerBGGR2BGR,
}
_DEPTHS = {"8": 8, "10": 10, "12": 12, "14": 14, "16": 16}
_PACKED = {"10p": 10, "12p": 12, "10Packed": 10, "12Packed": 12}

NAMES: Mapping[str, _Pixels] = MappingProxyType(
    {
        **{
            f"{begin}{end}": _Pixels(1, bits, code)
            for begin, code in {"Mono": _GREY, **_BAYER}.items()
            for end, bits in {**_DEPTHS, **_PACKED}.items()
        },
        "RGB8": _Pixels(3, 8, cv2.COLOR_RGB2BGR),
        "BGR8": _Pixels(3, 8, None),
        "RGBa8": _Pixels(4, 8, cv2.COLOR_RGBA2BGR),
        "BGRa8": _Pixels(4, 8, cv2.COLOR_BGRA2BGR),
        "YUV422_8": _Pixels(2, 8, cv2.COLOR_YUV2BGR_YUY2),
        "YCbCr422_8": _Pixels(2, 8, cv2.COLOR_YUV2BGR_YUY2),
        "YUV422_8_UYVY": _Pixels(2, 8, cv2.COLOR_YUV2BGR_UYVY),
        "YCbCr422_8_CbYCrY": _Pixels(2, 8, cv2.COLOR_YUV2BGR_UYVY),
    }
)
"""The formats that are read, by their names in GenICam's Pixel Format Naming Convention."""


def bgr_from_pixels(
    samples: npt.NDArray[Any],
    *,
    format: str,  # noqa: A002 - GenICam's word
    size: tuple[int, int],
    into: npt.NDArray[np.uint8] | None = None,
) -> npt.NDArray[np.uint8]:
    """Convert a camera's samples into (H, W, 3) uint8 BGR; the result shares no memory with them.

    Args:
        samples: flat; uint8, or uint16 for more than 8 bits. Lines may end in padding.
        format: a key of `NAMES`.
        size: (width, height) in px.
        into: written to, if its shape fits.

    Raises:
        KeyError: another format.
        ValueError: fewer samples than pixels.
    """
    pixels = NAMES[format]
    width, height = size
    line = samples.size // height if height else 0
    if not width or line < width * pixels.channels:
        raise ValueError(f"{samples.size} samples for {width} x {height} {format}")
    flat = samples[: line * height].reshape(height, line)[:, : width * pixels.channels]
    if pixels.bits > 8:
        flat = (flat >> (pixels.bits - 8)).astype(np.uint8)
    image = np.ascontiguousarray(flat).reshape(height, width, pixels.channels)
    if into is not None and into.shape != (height, width, 3):
        into = None
    if pixels.code is None:
        target = np.empty((height, width, 3), np.uint8) if into is None else into
        np.copyto(target, image)
        return target
    return np.asarray(cv2.cvtColor(image, pixels.code, dst=into), np.uint8)
