"""A folder of images becomes a labelled data set.

    FOLDER/*.png                                                     a plain folder: all good
    FOLDER/train/good, test/<defect>, ground_truth/<defect>          the layout of MVTec AD
    FOLDER/good, FOLDER/<defect>, FOLDER/ground_truth/<defect>       good images and, perhaps, bad

A mask is named after its image ``NAME.EXT``: ``NAME_mask.png``, ``NAME.png`` or ``NAME.EXT``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from cameras.image_files import IMAGE_SUFFIXES, MAX_BYTES
from cameras.redaction import printable_path
from process.plain_files import read_plain_file

GOOD = "good"

_MASKS = "ground_truth"
_LOSSY = frozenset({".jpe", ".jpeg", ".jpg", ".webp"})
_SUFFIXES = tuple(sorted(IMAGE_SUFFIXES))
_NAMES_SHOWN = 4


class DatasetError(ValueError):
    """A folder that is missing, holds no images, or whose masks do not fit its images."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with its label.

    Attributes:
        path: the image.
        defect: ``good``, or the name of the defect (of its folder).
        mask: the image that marks the defect, or None.
    """

    path: Path
    defect: str
    mask: Path | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """The images of one product.

    Attributes:
        kind: ``folder`` (all good), ``mvtec`` (train and test) or ``labelled`` (good and defects).
        train: good images to learn from, in natural order.
        test: labelled images to measure on; empty for a plain folder.
        notes: what lies in the folder and was not used, in words.
    """

    kind: Literal["folder", "mvtec", "labelled"]
    train: tuple[Path, ...]
    test: tuple[Sample, ...]
    notes: tuple[str, ...] = ()


def dataset_from_folder(path: Path) -> Dataset:
    """Find the images of a folder, in natural order: ``image2`` before ``image10``.

    Hidden files and folders are passed over. Only folders named ``good`` are searched in depth:
    a plain folder's sub-folders may well hold rejects, and are never taken for good images.

    Raises:
        DatasetError: the folder is missing, is a file, cannot be read, has no images, or has a
            mask that belongs to no image.
    """
    if path.is_file():
        raise DatasetError(
            f"{printable_path(path)}: is a file; give the folder that holds the images"
        )
    if not path.is_dir():
        raise DatasetError(
            f"{printable_path(path)}: no such folder; give the folder that holds the images"
        )
    try:
        if (path / "train").is_dir():
            return _mvtec(path)
        if (path / GOOD).is_dir():
            return _labelled(path)
        return _plain(path)
    except OSError as error:
        where = printable_path(Path(error.filename)) if error.filename else printable_path(path)
        raise DatasetError(f"{where}: {error.strerror}; check its permissions") from error


def read_mask(
    path: Path,
    *,
    image_size: tuple[int, int],
    size: tuple[int, int],
    roi: tuple[int, int, int, int] | None = None,
) -> npt.NDArray[np.bool_]:
    """Read a mask at a model's size, cropped as its image is; the nearest pixel, nothing blended.

    Any non-zero pixel is defective; in a lossy file, whose black is not quite zero, any pixel in
    the upper half of the range.

    Args:
        path: the mask.
        image_size: (height, width) of its image as read.
        size: (height, width) of the model.
        roi: (x, y, width, height) in pixels of the image, inside it; None for all of it.

    Returns:
        (height, width) bool, True where defective.

    Raises:
        DatasetError: the mask cannot be read, or is not as large as its image.
    """
    pixels = _decode(path)
    if pixels.shape[:2] != image_size:
        (height, width), (rows, columns) = pixels.shape[:2], image_size
        raise DatasetError(
            f"{printable_path(path)}: the mask is {width}x{height} and its image {columns}x{rows} "
            "pixels; draw the mask at the image's size"
        )
    colours = pixels.reshape(*image_size, -1)[:, :, :3]  # without alpha: opaque black is sound
    floor = 127 if path.suffix.lower() in _LOSSY else 0  # lossy files have 8 bits
    defective = np.greater(colours, floor).max(axis=2).view(np.uint8)
    if roi is not None:
        x, y, width, height = roi
        defective = defective[y : y + height, x : x + width]
    nearest = cv2.resize(defective, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(nearest, dtype=np.bool_)


def _decode(path: Path) -> npt.NDArray[np.generic]:
    try:
        encoded = np.frombuffer(read_plain_file(path, max_bytes=MAX_BYTES), dtype=np.uint8)
        # imdecode rather than imread: OpenCV cannot open names that are not valid UTF-8.
        pixels = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED) if encoded.size else None
    except OSError as error:
        raise DatasetError(f"{printable_path(path)}: {error.strerror}; check the mask") from error
    except cv2.error as error:
        raise DatasetError(f"{printable_path(path)}: cannot be decoded: {error.err}") from error
    if pixels is None:
        raise DatasetError(f"{printable_path(path)}: cannot be decoded; save the mask again as PNG")
    return pixels


def _plain(folder: Path) -> Dataset:
    train = images_in(folder)
    if not train:
        raise DatasetError(_nothing_in(folder))
    unused = [sub.name for sub in _folders(folder) if images_in(sub)]
    notes = (f"sub-folders not used: {list_names(unused)}",) if unused else ()
    return Dataset("folder", tuple(train), (), notes)


def _mvtec(folder: Path) -> Dataset:
    home = folder / "train" / GOOD
    home = home if home.is_dir() else folder / "train"
    train = images_in(home, deep=home.name == GOOD)
    if not train:
        raise DatasetError(_nothing_in(home))
    test = folder / "test"
    kinds = {sub.name: images_in(sub) for sub in _folders(test)} if test.is_dir() else {}
    return Dataset("mvtec", tuple(train), _samples(kinds, masks=folder / _MASKS), _empty(kinds))


def _labelled(folder: Path) -> Dataset:
    train = images_in(folder / GOOD, deep=True)
    if not train:
        raise DatasetError(_nothing_in(folder / GOOD))
    others = [sub for sub in _folders(folder) if sub.name not in (GOOD, _MASKS)]
    kinds = {sub.name: images_in(sub) for sub in others}
    notes = _empty(kinds)
    loose = len(images_in(folder))
    if loose:
        notes += (f"{loose} images beside the folder {GOOD!r} not used",)
    return Dataset("labelled", tuple(train), _samples(kinds, masks=folder / _MASKS), notes)


def _samples(kinds: dict[str, list[Path]], *, masks: Path) -> tuple[Sample, ...]:
    """Pair images with masks; good images first, then defects by name."""
    homes = _folders(masks) if masks.is_dir() else []
    spare = {mask for home in homes for mask in images_in(home)}
    samples = []
    for name in sorted(kinds, key=lambda kind: (kind != GOOD, _natural(kind))):
        known = {mask.name: mask for mask in spare if mask.parent.name == name}
        for image in kinds[name]:
            mask = _mask_of(image, known)
            if mask is not None:
                spare.discard(mask)
            samples.append(Sample(image, name, mask))
    if spare:
        lost = sorted(spare, key=_order)
        raise DatasetError(
            f"{printable_path(masks)}: {len(lost)} masks without an image: "
            f"{list_names([f'{mask.parent.name}/{mask.name}' for mask in lost])}; "
            "name each after its image in the folder of the same defect, or remove it"
        )
    return tuple(samples)


def _mask_of(image: Path, known: dict[str, Path]) -> Path | None:
    for stem in (f"{image.stem}_mask", image.stem):
        for suffix in (".png", image.suffix, *_SUFFIXES):
            if stem + suffix in known:
                return known[stem + suffix]
    return None


def images_in(folder: Path, *, deep: bool = False) -> list[Path]:
    """The images of a folder in natural order, hidden ones passed over; `deep`: of all below it.

    Raises:
        OSError: it cannot be read.
    """
    found = []
    for home, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if deep and not name.startswith(".")]
        found += [
            Path(home, name)
            for name in names
            if not name.startswith(".") and name.lower().endswith(_SUFFIXES)
        ]
    return sorted(found, key=_order)


def _folders(folder: Path) -> list[Path]:
    subs = [sub for sub in folder.iterdir() if sub.is_dir() and not sub.name.startswith(".")]
    return sorted(subs, key=_order)


def _raise(error: OSError) -> None:
    """`os.walk` passes over what it cannot read unless it is told not to."""
    raise error


def _nothing_in(folder: Path) -> str:
    """One line: what was looked for, what was found instead, what to do."""
    suffixes = sorted({path.suffix or path.name for path in folder.iterdir() if path.is_file()})
    subs = [sub.name for sub in _folders(folder)]
    found = [f"files of type {list_names(suffixes)}"] if suffixes else []
    found += [f"the folders {list_names(subs)}"] if subs else []
    wanted = " ".join(_SUFFIXES)
    advice = (
        "give one of those folders, or put the good images into one named 'good'"
        if subs
        else "give the folder that holds the images"
    )
    there = " and ".join(found) or "nothing"
    return f"{printable_path(folder)}: no images ({wanted}), found {there}; {advice}"


def _empty(kinds: dict[str, list[Path]]) -> tuple[str, ...]:
    names = [name for name, images in kinds.items() if not images]
    return (f"folders without images: {list_names(names)}",) if names else ()


def list_names(names: Sequence[str]) -> str:
    """The first few names, for a message."""
    texts = [printable_path(Path(name)) for name in names[:_NAMES_SHOWN]]
    more = [f"and {len(names) - _NAMES_SHOWN} more"] if len(names) > _NAMES_SHOWN else []
    return ", ".join(texts + more)


def _order(path: Path) -> tuple[tuple[tuple[int, int, str], ...], ...]:
    return tuple(_natural(part) for part in path.parts)


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Digits compare as numbers; the name itself settles what is otherwise equal: 1 and 01."""
    parts: Iterable[str] = re.findall(r"[0-9]+|[^0-9]+", name.casefold())
    key = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts)
    return (*key, (-1, 0, name))
