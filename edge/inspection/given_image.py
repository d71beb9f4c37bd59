"""What a program gives as an image becomes a frame, with the pixels that the same file would have.

What could mean two things is refused, with what to do about it: nothing is guessed. An image that
cannot be read, such as a damaged file, is no mistake of the program: its frame says why.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageFile
import PIL.ImageOps

from calibrate.images import in_batches
from cameras.decoding.limits import check_size
from cameras.errors import ImageError
from cameras.files.path import expand_home
from cameras.frame import Frame
from cameras.image_files import eight_bits_of, image_from_bytes, image_from_file
from cameras.redaction import printable_path, redact_address
from cameras.source import frame_now
from edge.result import Image

_NAME = "image"  # of what has no path
_ORIENTATION = 0x0112  # EXIF
_UPRIGHT = 1
_NO_IMAGE = "no image was given; cv2.imread returns None for what it cannot read: check the path"
_TAKEN = (
    "give an array as cv2.imread returns it, (height, width, 3) uint8 BGR, a PIL image, the path "
    "of an image file, or its bytes"
)
_ONE_IMAGE = (str, os.PathLike, bytes, bytearray, Frame, PIL.Image.Image)
_GREY_MODES = frozenset({"1", "L", "LA"})
_COLOUR_MODES = frozenset({"RGB", "RGBA", "P"})
_MEANINGS = {
    "b": "give (image * 255).astype(np.uint8), if True is white",
    "f": "nobody says whether white is 1 or 255; give (image * 255).round().astype(np.uint8) if "
    "it is 1, image.round().astype(np.uint8) if it is 255",
    "i": "give image.astype(np.uint8) if all values are 0 to 255, image.astype(np.uint16) if they "
    "are 16 bits of a camera",
}
_MEANINGS["u"] = _MEANINGS["i"]


class SupportsArray(Protocol):
    """What numpy makes an array of, such as a tensor of torch in the host's memory."""

    def __array__(self) -> npt.NDArray[Any]: ...


ImageLike: TypeAlias = (
    npt.NDArray[Any] | SupportsArray | PIL.Image.Image | str | os.PathLike[str] | bytes | Frame
)
"""What an inspector takes; see `frame_from_image`."""


def frame_from_image(
    image: ImageLike | None, *, index: int = 0, bit_depth: int | None = None
) -> Frame:
    """The frame of what a program gives as an image.

    Args:
        image: an array, (H, W) or (H, W, 1) grey, (H, W, 3) BGR or (H, W, 4) BGRA, whose alpha is
            dropped, uint8 or uint16 in any memory layout; what numpy makes such an array of; a
            PIL image; the path of an image file, or the bytes of one; or a frame, which is taken as
            it is. None is a picture that could not be read.
        index: of the frame, where it has none of its own.
        bit_depth: of the values in uint16; None is all 16.

    Returns:
        The frame; without an image, and with the reason, where a file cannot be read or values
        lie beyond the bit depth. An array of (H, W, 3) uint8 is the frame's image itself.

    Raises:
        TypeError: it is no image, or of a type whose values may mean several things.
        ValueError: an array of another shape, or an address, which is a source.
    """
    if isinstance(image, Frame):
        return image
    if isinstance(image, str | os.PathLike):
        path = _path_of(image)
        name = printable_path(path)
        return _read(name, index, lambda: image_from_file(path, bit_depth=bit_depth))
    if image is None:
        return frame_now(_NAME, index, None, _NO_IMAGE)
    if isinstance(image, bytes):
        return _read(_NAME, index, lambda: image_from_bytes(image, bit_depth=bit_depth))
    if isinstance(image, PIL.Image.Image):
        return _read(_NAME, index, lambda: _bgr_from_pil(image, bit_depth))
    samples = _array_of(image)
    return _read(_NAME, index, lambda: bgr_from_samples(samples, bit_depth))


def frame_from_batch(image: ImageLike | None, *, index: int, bit_depth: int | None) -> Frame:
    """As `frame_from_image`, of one among many: what is no image is a frame that says so."""
    try:
        return frame_from_image(image, index=index, bit_depth=bit_depth)
    except (TypeError, ValueError) as error:
        return frame_now(_NAME, index, None, str(error))


def frames_in_batches(
    images: Iterable[ImageLike | None], *, bit_depth: int | None
) -> Iterator[list[Frame]]:
    """The frames of several images, some at a time, numbered from 0; see `frame_from_batch`.

    Raises:
        TypeError: one image was given, not several.
    """
    refuse_one_image(images, instead="use inspect for it")
    for part in in_batches(enumerate(images)):
        yield [frame_from_batch(image, index=index, bit_depth=bit_depth) for index, image in part]


def bgr_from_samples(samples: npt.NDArray[Any], bit_depth: int | None) -> Image:
    """An array as the loader would have it: (H, W, 3) uint8 BGR.

    Args:
        samples: (H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA, uint8 or uint16.
        bit_depth: of the values in uint16; None is all 16.

    Raises:
        TypeError: of another type.
        ValueError: of another shape.
        ImageError: values beyond the bit depth, or more pixels than are read of a file.
    """
    _check_type(samples)
    _check_shape(samples)
    height, width = samples.shape[:2]
    check_size("array", width, height)
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    if samples.dtype == np.uint8 and channels == 3:
        return np.asarray(samples)
    if samples.dtype != np.uint8:
        samples = eight_bits_of(samples.astype(np.uint16), "array", bit_depth)
    samples = np.ascontiguousarray(samples)
    if channels == 3:
        return samples
    code = cv2.COLOR_GRAY2BGR if channels == 1 else cv2.COLOR_BGRA2BGR
    return np.asarray(cv2.cvtColor(samples, code), np.uint8)


def refuse_one_image(images: object, *, instead: str) -> None:
    """Refuse one image where several are expected: its rows, or the letters of a path, are none.

    Args:
        images: that were given.
        instead: what to call for one image.

    Raises:
        TypeError: it is one.
    """
    is_one = images is None or isinstance(images, _ONE_IMAGE)
    if is_one or (hasattr(images, "ndim") and images.ndim < 4):
        raise TypeError(
            f"{_kind_of(images)} is one image, not several; {instead}, or give a list of images"
        )


def _read(name: str, index: int, read: Callable[[], Image]) -> Frame:
    try:
        return frame_now(name, index, read())
    except ImageError as error:
        return frame_now(name, index, None, str(error))


def _path_of(image: str | os.PathLike[str]) -> Path:
    name = os.fspath(image)
    if "://" in name:
        raise ValueError(
            f"{redact_address(name)}: an address is a source, not an image; use "
            "inspector.stream(...)"
        )
    return expand_home(name) if isinstance(image, str) else Path(name)


def _array_of(image: object) -> npt.NDArray[Any]:
    if isinstance(image, np.ma.MaskedArray):
        raise TypeError("a masked array: nobody says what is masked; give image.filled(0)")
    if isinstance(image, np.ndarray):
        return np.asarray(image)
    if not hasattr(image, "__array__") or isinstance(image, np.generic):
        raise TypeError(f"{_kind_of(image)} is no image; {_way_out(image)}{_TAKEN}")
    try:
        return np.asarray(image)
    except (TypeError, ValueError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise TypeError(f"{_kind_of(image)} is no array in the host's memory: {why}") from error


def _kind_of(image: object) -> str:
    kind = type(image)
    home = "" if kind.__module__ == "builtins" else f"{kind.__module__.partition('.')[0]}."
    shape = getattr(image, "shape", None)
    return f"{home}{kind.__name__}" + (f" of shape {tuple(shape)}" if shape else "")


def _way_out(image: object) -> str:
    """What makes an image of this, where it is known."""
    if isinstance(image, int):
        return "a camera's number is a source: inspector.stream(...); "
    ways = {"list": "np.asarray(image, np.uint8); ", "bytearray": "bytes(image); "}
    ways |= {
        "memoryview": "bytes(image); ",
        "UMat": "image.get(); ",
        "GpuMat": "image.download(); ",
    }
    way = ways.get(type(image).__name__, "")
    return f"give {way}" if way else ""


def _check_type(samples: npt.NDArray[Any]) -> None:
    kind = samples.dtype
    if kind.kind == "u" and kind.itemsize <= 2:
        return
    meaning = _MEANINGS.get(kind.kind, _TAKEN)
    raise TypeError(f"an image of {kind.name} values: {meaning}")


def _check_shape(samples: npt.NDArray[Any]) -> None:
    shape = samples.shape
    if 0 not in shape and (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))):
        return
    way = "give (height, width, 3) BGR, (height, width, 4) BGRA or (height, width) grey"
    if len(shape) == 3 and shape[0] in (1, 3, 4):
        way = "channels come last here: give image.transpose(1, 2, 0)"
        way += ", as BGR and not RGB" if shape[0] > 1 else ""
    elif len(shape) == 4:
        way = "several images are given to inspect_batch"
    raise ValueError(f"an image of shape {shape}: {way}")


def _bgr_from_pil(image: PIL.Image.Image, bit_depth: int | None) -> Image:
    try:
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"the PIL image cannot be read: {error}") from error
    upright = _upright(image)
    if upright.mode.startswith("I;16"):
        return bgr_from_samples(np.asarray(upright), bit_depth)
    if upright.mode in _GREY_MODES:
        return bgr_from_samples(np.asarray(upright.convert("L")), bit_depth)
    if upright.mode not in _COLOUR_MODES:
        raise TypeError(
            f"a PIL image of mode {upright.mode}: nobody says what its values mean; give "
            "image.convert('RGB'), or image.convert('L') if it is grey"
        )
    # By way of RGBA: PIL warns of a palette with alpha, which is dropped as in a file.
    colours = np.asarray(upright if upright.mode == "RGB" else upright.convert("RGBA"))
    code = cv2.COLOR_RGB2BGR if colours.shape[2] == 3 else cv2.COLOR_RGBA2BGR
    return np.asarray(cv2.cvtColor(colours, code), np.uint8)


def _upright(image: PIL.Image.Image) -> PIL.Image.Image:
    """The image as its EXIF says it is held, as in a file; one made from it may be turned already.

    Raises:
        ValueError: nobody knows whether it is.
    """
    if image.getexif().get(_ORIENTATION, _UPRIGHT) == _UPRIGHT:
        return image
    if not isinstance(image, PIL.ImageFile.ImageFile):
        raise ValueError(
            "the PIL image says in its EXIF that it lies on its side, and nobody knows whether it "
            "was turned since; call PIL.ImageOps.exif_transpose right after PIL.Image.open"
        )
    return PIL.ImageOps.exif_transpose(image)
