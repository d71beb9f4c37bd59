"""A folder becomes a data set: each image is learnt from, measured on, or left out and counted."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from calibrate.dataset.data import GOOD, Dataset, DatasetError, LeftOut, Sample
from calibrate.dataset.labels import ImageLabels
from calibrate.dataset.names import SUFFIXES, list_names, natural_key, natural_order
from calibrate.dataset.pairs import images_with_masks
from calibrate.dataset.roles import Role
from calibrate.dataset.walk import FolderTree, walk_folder
from cameras.redaction import printable_path


def dataset_from_folder(path: Path, *, to_learn: bool = True) -> Dataset:
    """Find the images of a folder, in natural order: ``image2`` before ``image10``.

    The layouts are those of `calibrate.dataset.roles`; docs/layouts.md shows them. A folder of
    good images or of a defect is searched in depth. A plain folder's sub-folders may well hold
    rejects, and are never taken for good images.

    Args:
        path: the folder.
        to_learn: whether there must be good images to learn from.

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
        tree = walk_folder(path)
    except OSError as error:
        where = printable_path(Path(error.filename)) if error.filename else printable_path(path)
        raise DatasetError(f"{where}: {error.strerror}; check its permissions") from error
    dataset = _account_for(tree, top=path)
    if not dataset.train and (to_learn or not dataset.test):
        raise DatasetError(_nothing_in(path, tree, dataset))
    return dataset


def _account_for(tree: FolderTree, *, top: Path) -> Dataset:
    images = images_with_masks(tree, top=top)
    labels = ImageLabels(images, top=top)
    train, test, left_out = list[Path](), list[Sample](), defaultdict[str, list[Path]](list)
    for image in images:
        label, reason = labels.label(image)
        if reason:
            left_out[reason].append(image.path)
        elif image.meaning.split is Role.MEASURE or label != GOOD:
            test.append(Sample(image.path, label, image.masks))
        else:
            train.append(image.path)
    for folder in tree.folders:
        for path in folder.others:
            left_out[path.suffix.lower() or "without a suffix"].append(path)
    by_count = sorted(left_out.items(), key=lambda group: (-len(group[1]), group[0]))
    return Dataset(
        layout=labels.layout,
        train=tuple(sorted(train, key=natural_order)),
        test=tuple(sorted(test, key=_good_first)),
        left_out=tuple(
            LeftOut(what, tuple(sorted(paths, key=natural_order))) for what, paths in by_count
        ),
        empty_folders=() if labels.layout == "plain" else _empty_folders(tree),
        links=tuple(tree.links),
    )


def _good_first(sample: Sample) -> tuple[object, ...]:
    return sample.defect != GOOD, natural_key(sample.defect), natural_order(sample.path)


def _empty_folders(tree: FolderTree) -> tuple[Path, ...]:
    """Those named as good, or as a defect, without an image in them or below."""
    full = set[Path]()
    for folder in tree.folders:
        if folder.images:
            full |= {folder.path, *folder.path.parents}
    return tuple(
        folder.path
        for folder in tree.folders
        if folder.meaning.kind
        and not folder.meaning.rest
        and not folder.meaning.masks
        and folder.path not in full
    )


def _nothing_in(folder: Path, tree: FolderTree, dataset: Dataset) -> str:
    """One line: what was looked for, what was found instead, what to do."""
    subs = [one.path.name for one in tree.folders if one.path.parent == folder]
    found = [f"{len(group.paths)} files {group.what}" for group in dataset.left_out]
    found += [f"{len(dataset.test)} labelled images to measure on"] if dataset.test else []
    found += [f"the folders {list_names(subs)}"] if subs else []
    advice = (
        "give one of those folders, or put the good images into one named 'good'"
        if subs
        else "give the folder that holds the images"
    )
    return (
        f"{printable_path(folder)}: no good images ({' '.join(SUFFIXES)}), found "
        f"{' and '.join(found) or 'nothing'}; {advice}"
    )
