"""Which images are good: their folders say so, or their masks, or the folder as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from calibrate.dataset.data import GOOD, DatasetLayout
from calibrate.dataset.masks import decode_mask
from calibrate.dataset.pairs import FoundImage
from calibrate.dataset.roles import Role

MARKED = "defect"
"""The kind of a defect that only its mask tells from a good image."""

_AT_ONCE = 4  # masks: decoding releases the GIL


class ImageLabels:
    """The labels of a folder's images, or why one has none.

    Args:
        images: all that were found, with their masks.
        top: the folder that was asked for.

    Attributes:
        layout: how the folder says which images are good.

    Raises:
        DatasetError: a mask that decides cannot be read.
    """

    def __init__(self, images: Sequence[FoundImage], *, top: Path) -> None:
        self._top = top
        self._splits = {image.meaning.split for image in images}
        self._good_named_in = {
            image.meaning.split for image in images if image.meaning.kind == GOOD
        }
        self._unmasked_folders = {image.path.parent for image in images if not image.masks}
        self._defective = _read_marks([one for one in images if self._is_decided_by_masks(one)])
        self.layout: DatasetLayout = "plain"
        if self._defective:
            self.layout = "marked"
        elif self._splits != {None}:
            self.layout = "split"
        elif self._good_named_in:
            self.layout = "labelled"

    def label(self, image: FoundImage) -> tuple[str, str]:
        """``good`` or a defect, and why the image is not used; empty where it is.

        The reason reads on behind a number of files.
        """
        label = self._own_label(image)
        return label, self._reason(image, label)

    def _reason(self, image: FoundImage, label: str) -> str:
        meaning = image.meaning
        folder = image.path.relative_to(self._top).parts[0]
        if meaning.split is Role.UNLABELLED or (meaning.split is Role.MEASURE and not label):
            return f"without labels in {folder}"
        if meaning.split is None and Role.LEARN in self._splits:
            return "beside the folder train"
        if meaning.split is Role.MEASURE:
            return ""
        if not meaning.kind and meaning.split in self._good_named_in:
            return f"beside the folder {GOOD}"
        if meaning.split is Role.LEARN and label != GOOD:
            return f"of defects in {folder}"
        return "" if label else f"in {folder}"

    def _own_label(self, image: FoundImage) -> str:
        """What folders and masks say of it; empty where they say nothing."""
        if image.path in self._defective:
            return MARKED if self._defective[image.path] else GOOD
        if self._is_named(image):
            return image.meaning.kind
        return "" if self._needs_a_label(image) else GOOD

    def _is_named(self, image: FoundImage) -> bool:
        """Whether its folder says what it is; a folder without good ones beside it says nothing."""
        kind, split = image.meaning.kind, image.meaning.split
        return bool(kind) and (split is not None or None in self._good_named_in)

    def _needs_a_label(self, image: FoundImage) -> bool:
        """Whether it is good only if something says so."""
        meaning = image.meaning
        if meaning.split is None:
            return bool(meaning.kind) or meaning.around
        return bool(meaning.kind) or meaning.split is not Role.LEARN

    def _is_decided_by_masks(self, image: FoundImage) -> bool:
        """Whether its mask says what it is: one without a defective pixel is of a good image.

        Where an image without a mask would not be good, all of the folder need one.
        """
        if not image.masks or self._is_named(image):
            return False
        return not self._needs_a_label(image) or image.path.parent not in self._unmasked_folders


def _read_marks(images: Sequence[FoundImage]) -> dict[Path, bool]:
    """Whether the masks of each image mark anything."""

    def is_marked(image: FoundImage) -> bool:
        return any(bool(decode_mask(mask).any()) for mask in image.masks)

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="masks") as pool:
        found = pool.map(is_marked, images)
        return {image.path: marks for image, marks in zip(images, found, strict=True)}
