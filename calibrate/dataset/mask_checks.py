"""Whether masks can be right, found out before anything is learnt."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from calibrate.dataset.data import GOOD, DatasetError, Sample
from calibrate.dataset.masks import decode_mask, wrong_size
from cameras.errors import ImageError
from cameras.image_facts import header_from_file
from cameras.image_files import image_from_file
from cameras.redaction import printable_path

LARGE = 0.5  # share of a picture; more is hardly a defect
_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class _MarkedSample:
    sample: Sample
    share: float  # of the pixels; with several masks, of the one that marks most


def check_masks(samples: Sequence[Sample]) -> tuple[str, ...]:
    """Read every mask, and see that it can be one.

    Args:
        samples: labelled images; one that cannot be read itself is passed over.

    Returns:
        A line for each thing that is odd: masks that mark more than half of their picture, masks
        of defects that mark nothing, and masks of good images that mark something.

    Raises:
        DatasetError: a mask that cannot be read, or is not as large as its image.
    """
    masked = [sample for sample in samples if sample.masks]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="masks") as pool:
        shares = list(pool.map(_read_share, masked))
    found = [_MarkedSample(*pair) for pair in zip(masked, shares, strict=True)]
    defects = [one for one in found if one.sample.defect != GOOD]
    groups = (
        (
            [one for one in defects if one.share > LARGE],
            f"of {len(defects)} masks mark more than half of their picture",
            "white is the defect, so invert them unless they are right",
        ),
        (
            [one for one in defects if not one.share],
            f"of {len(defects)} masks mark nothing",
            "paint the defect white, or remove the mask",
        ),
        (
            [one for one in found if one.sample.defect == GOOD and one.share],
            "good images have a mask that marks something",
            "sort them again, or remove the mask",
        ),
    )
    return tuple(
        f"{len(group)} {what}, such as {printable_path(group[0].sample.masks[0])}: {advice}"
        for group, what, advice in groups
        if group
    )


def _read_share(sample: Sample) -> float:
    shares = []
    for mask in sample.masks:
        marked = decode_mask(mask)
        _refuse_wrong_size(mask, (marked.shape[0], marked.shape[1]), sample.path)
        shares.append(float(marked.mean()))
    return max(shares)


def _refuse_wrong_size(mask: Path, shape: tuple[int, int], image: Path) -> None:
    """Compare with the image's header; only where they differ is the image decoded.

    Raises:
        DatasetError: they differ, and not because a tag in the image turns it.
    """
    with contextlib.suppress(ImageError):
        if header_from_file(image).size == shape:
            return
        height, width = image_from_file(image).shape[:2]
        if (height, width) != shape:
            raise DatasetError(wrong_size(mask, shape, (height, width)))
