"""Images and the masks that belong to them, by their names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from calibrate.dataset.data import DatasetError
from calibrate.dataset.masks import LOSSY
from calibrate.dataset.names import list_names, natural_order
from calibrate.dataset.roles import FolderMeaning, Role
from calibrate.dataset.walk import FolderTree
from cameras.redaction import printable_path

_ENDS = ("_mask", "_label", "_gt")  # of a mask's name, in any case

Folders: TypeAlias = tuple[str, ...]
"""From that of the kind downwards, in lower case."""


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image, what its folders say, and its masks; ``beside`` where they lie in its folder."""

    path: Path
    meaning: FolderMeaning
    masks: tuple[Path, ...] = ()
    beside: bool = False


def images_with_masks(tree: FolderTree, *, top: Path) -> list[FoundImage]:
    """Pair images with masks, in the order of the walk.

    An image ``crack/7.jpg`` has the mask ``7_mask``, ``7_label`` or ``7_GT`` beside it, in a format
    without loss; or, in a folder of masks, ``crack/7_mask.png``, ``crack/7.png``, or all masks of
    the folder ``crack/7/``. Masks outside of a split are of images to measure on, where their
    folder has a role.

    Raises:
        DatasetError: a mask that belongs to no image or to several, or two that might both be an
            image's.
    """
    images, masks = list[FoundImage](), _MaskIndex(top)
    for folder in tree.folders:
        if folder.meaning.masks:
            masks.add(folder.images, folder.meaning)
        else:
            images += _images_and_masks_beside(folder.images, folder.meaning)
    paired = [image if image.masks else masks.pair(image) for image in images]
    masks.refuse_spare()
    return paired


def stem_of_mask(stem: str) -> str:
    """The name of a mask's image, both without suffix; unchanged where it has no end of a mask."""
    end = next((end for end in _ENDS if stem.lower().endswith(end)), "")
    return stem[: len(stem) - len(end)]


def _images_and_masks_beside(paths: Sequence[Path], meaning: FolderMeaning) -> Iterator[FoundImage]:
    stems = {path.stem for path in paths}
    masks: dict[str, Path] = {}
    for path in paths:
        stem = stem_of_mask(path.stem)
        if stem != path.stem and stem in stems and path.suffix.lower() not in LOSSY:
            masks[stem] = path
    marking = set(masks.values())
    for path in paths:
        if path not in marking:
            mask = masks.get(path.stem)
            yield FoundImage(path, meaning, (mask,) if mask else (), beside=mask is not None)


class _MaskIndex:
    """The masks in folders of masks, each given to one image."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._named: dict[tuple[str, Folders, str], list[Path]] = {}
        self._inside: dict[tuple[str, Folders], list[Path]] = {}
        self._owner: dict[Path, FoundImage | None] = {}

    def add(self, masks: Sequence[Path], meaning: FolderMeaning) -> None:
        folders = _folders(meaning)
        for mask in masks:
            named = (meaning.split_name, folders, stem_of_mask(mask.stem))
            self._named.setdefault(named, []).append(mask)
            self._inside.setdefault((meaning.split_name, folders), []).append(mask)
            self._owner[mask] = None

    def pair(self, image: FoundImage) -> FoundImage:
        """The image with its masks.

        Raises:
            DatasetError: they are another image's too, or it has two of them.
        """
        meaning, stem = image.meaning, image.path.stem
        folders = _folders(meaning)
        splits = [meaning.split_name]
        if meaning.split is not Role.LEARN or not meaning.kind:
            splits.append("")
        for split in dict.fromkeys(splits):
            named = self._named.get((split, folders, stem), [])
            if len(named) > 1:
                names = list_names([self._name(mask) for mask in named])
                raise DatasetError(
                    f"{printable_path(image.path)}: {len(named)} masks: {names}; keep one, or put "
                    f"all of them into a folder {stem}"
                )
            found = named or self._inside.get((split, (*folders, stem.casefold())), [])
            if found:
                return self._give(found, image)
        return image

    def refuse_spare(self) -> None:
        """See that each mask has an image.

        Raises:
            DatasetError: one has none.
        """
        spare = [mask for mask, owner in self._owner.items() if owner is None]
        if spare:
            lost = [self._name(mask) for mask in sorted(spare, key=natural_order)]
            raise DatasetError(
                f"{printable_path(self._top)}: {len(lost)} masks without an image: "
                f"{list_names(lost)}; name each after its image in the folder of the same defect, "
                "or remove it"
            )

    def _give(self, masks: Sequence[Path], image: FoundImage) -> FoundImage:
        for mask in masks:
            other = self._owner[mask]
            if other is not None and other.meaning.split_name != image.meaning.split_name:
                raise DatasetError(
                    f"{self._name(mask)}: fits {self._name(other.path)} and "
                    f"{self._name(image.path)}; put masks into a folder ground_truth in "
                    f"{other.meaning.split_name} and in {image.meaning.split_name}"
                )
            self._owner[mask] = image
        return replace(image, masks=tuple(masks))

    def _name(self, path: Path) -> str:
        return printable_path(path.relative_to(self._top))


def _folders(meaning: FolderMeaning) -> Folders:
    kind = (meaning.kind,) if meaning.kind else ()
    return tuple(part.casefold() for part in (*kind, *meaning.rest))
