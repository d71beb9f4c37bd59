"""Real defects with their masks, which a user may have: found in a folder, read at model's size.

    FOLDER/NAME.EXT, FOLDER/NAME_mask.png                    a flat folder
    FOLDER/<defect>/NAME.EXT, FOLDER/<defect>/NAME_mask.png  the same, one folder a kind
    FOLDER/<defect>, FOLDER/ground_truth/<defect>            masks in a folder of their own
    FOLDER/test/<defect>, FOLDER/ground_truth/<defect>       the layout of MVTec AD

Folders named ``good`` and ``train`` are passed over. In ``ground_truth`` a mask may also have
its image's own name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from calibrate.dataset import (
    GOOD,
    DatasetError,
    Sample,
    images_in,
    list_names,
    read_masks,
)
from calibrate.defects.foreground import Mask
from calibrate.images import Image, Roi, Size, evenly, fit_image
from cameras.errors import ImageError
from cameras.image_files import MAX_BYTES, image_from_bytes
from cameras.redaction import printable_path, sort_key
from process.plain_files import read_plain_file

_MASKS = "ground_truth"
_SUFFIX = "_mask"
_NOT_DEFECTS = frozenset({GOOD, "train", _MASKS})
_COVERED = 0.5  # share of a model's pixel that must be defective, unless that leaves nothing


@dataclass(frozen=True, slots=True, eq=False)
class RealDefect:
    """A defect that was seen, at the model's size.

    Attributes:
        path: the image it was read from.
        kind: the name of the defect: of its folder.
        sha256: of the image file, so that a copy under another name is recognised.
        image: (H, W, 3) uint8 BGR.
        mask: (H, W) bool, True where defective; somewhere it is.
    """

    path: Path
    kind: str
    sha256: str
    image: Image
    mask: Mask


def defects_from_folder(
    folder: Path, *, size: Size, roi: Roi | None = None, most: int | None = None
) -> tuple[RealDefect, ...]:
    """Find and read real defects.

    Args:
        folder: in one of the layouts above.
        size: (height, width) that the model takes.
        roi: the part of the image that is inspected.
        most: how many to take, evenly spread over the kinds' images; None = all.

    Raises:
        DatasetError: as `defect_samples`, or a mask that cannot be read, is of another size than
            its image, or marks nothing that is inspected.
        ImageError: an image that cannot be read, or does not hold the region of interest.
        ValueError: `most` is not positive.
    """
    if most is not None and most < 1:
        raise ValueError(f"most is {most}; take at least 1 defect, or none of the folder")
    samples = defect_samples(folder)
    chosen = samples if most is None else evenly(samples, most)
    return defects_from_samples(chosen, size=size, roi=roi)


def defect_samples(folder: Path) -> tuple[Sample, ...]:
    """Pair each image of a defect with its mask; nothing is decoded.

    Raises:
        DatasetError: the folder is missing, is a file, cannot be read or holds no defects; an
            image has no mask, or a mask no image. The first few are named.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        raise DatasetError(f"{printable_path(folder)}: {what}; give a folder of defects with masks")
    try:
        return _pair_with_masks(folder)
    except OSError as error:
        where = printable_path(error.filename) if error.filename else printable_path(folder)
        raise DatasetError(f"{where}: {error.strerror}; check its permissions") from error


def defects_from_samples(
    samples: Sequence[Sample], *, size: Size, roi: Roi | None = None
) -> tuple[RealDefect, ...]:
    """Read labelled images as real defects; for those that were chosen elsewhere.

    Raises:
        DatasetError: a sample without a mask, or as `defects_from_folder`.
        ImageError: as `defects_from_folder`.
    """
    return tuple(_read(sample, size=size, roi=roi) for sample in samples)


def _read(sample: Sample, *, size: Size, roi: Roi | None) -> RealDefect:
    where = printable_path(sample.path)
    if not sample.masks:
        raise DatasetError(f"{where}: no mask; draw {sample.path.stem}{_SUFFIX}.png beside it")
    try:
        content = read_plain_file(sample.path, max_bytes=MAX_BYTES)
        image = image_from_bytes(content)
        fitted = fit_image(image, size, roi)
    except OSError as error:
        raise ImageError(f"{where}: {error.strerror}; check path and permissions") from error
    except ImageError as error:
        raise ImageError(f"{where}: {error}") from error
    whole = image.shape[:2]
    part = whole if roi is None else (roi[3], roi[2])
    marked = read_masks(sample.masks, image_size=(whole[0], whole[1]), size=part, roi=roi)
    if not marked.any():
        inside = "" if roi is None else " inside the region of interest"
        raise DatasetError(
            f"{printable_path(sample.masks[0])}: marks nothing{inside}; paint the defect white, or "
            f"leave {sample.path.name} out"
        )
    digest = hashlib.sha256(content).hexdigest()
    return RealDefect(sample.path, sample.defect, digest, fitted, _shrink(marked, size))


def _shrink(mask: Mask, size: Size) -> Mask:
    """At the model's size; what is thinner than a pixel there is kept rather than lost."""
    share = cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    covered = np.asarray(share >= _COVERED)
    return covered if covered.any() else np.asarray(share >= min(_COVERED, float(share.max())))


def _pair_with_masks(folder: Path) -> tuple[Sample, ...]:
    root = folder / "test" if (folder / "test").is_dir() else folder
    apart = _kinds(folder / _MASKS) if (folder / _MASKS).is_dir() else {}
    homes = {folder.resolve().name: folder} | _kinds(root)
    samples: list[Sample] = []
    spare = {path for kind in apart.keys() - homes.keys() for path in _images(apart[kind])}
    for kind, home in homes.items():
        images, known = _separate_masks(_images(home))
        if kind in apart:
            known |= {_stem(path): path for path in _images(apart[kind])}
        samples += [
            Sample(image, kind, (known[image.stem],) if image.stem in known else ())
            for image in images
        ]
        spare |= set(known.values()) - {mask for sample in samples for mask in sample.masks}
    _refuse_unpaired(
        folder,
        lonely=[sample.path for sample in samples if not sample.masks],
        spare=sorted(spare, key=sort_key),
    )
    if not samples:
        raise DatasetError(_nothing_in(folder))
    return tuple(samples)


def _kinds(folder: Path) -> dict[str, Path]:
    """The folders of defects in a folder by name, hidden ones and those of good images left out."""
    found = [
        home
        for home in folder.iterdir()
        if home.is_dir() and home.name not in _NOT_DEFECTS and not home.name.startswith(".")
    ]
    return {home.name: home for home in sorted(found, key=sort_key)}


def _separate_masks(paths: Sequence[Path]) -> tuple[list[Path], dict[str, Path]]:
    """Images, and masks by the name of their image, where both lie in one folder."""
    masks = {_stem(path): path for path in paths if path.stem.endswith(_SUFFIX)}
    return [path for path in paths if not path.stem.endswith(_SUFFIX)], masks


def _stem(mask: Path) -> str:
    """The name of a mask's image, without what follows its last dot."""
    return mask.stem.removesuffix(_SUFFIX)


def _images(folder: Path) -> list[Path]:
    return sorted(images_in(folder), key=sort_key)


def _refuse_unpaired(folder: Path, *, lonely: Sequence[Path], spare: Sequence[Path]) -> None:
    if lonely:
        raise DatasetError(
            f"{printable_path(folder)}: {len(lonely)} images without a mask: "
            f"{_relative(folder, lonely)}; "
            f"draw each NAME{_SUFFIX}.png, white where defective, or move the image away"
        )
    if spare:
        raise DatasetError(
            f"{printable_path(folder)}: {len(spare)} masks without an image: "
            f"{_relative(folder, spare)}; "
            "name each after its image, or move it away"
        )


def _relative(folder: Path, paths: Sequence[Path]) -> str:
    return list_names([str(path.relative_to(folder)) for path in paths])


def _nothing_in(folder: Path) -> str:
    return (
        f"{printable_path(folder)}: no defects; put NAME.png and NAME{_SUFFIX}.png into it, or "
        f"give a folder with test/<defect> and {_MASKS}/<defect>"
    )
