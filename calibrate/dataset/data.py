"""The images of one product: what was found in a folder, what is used, what is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from calibrate.dataset.names import list_names

GOOD = "good"

DatasetLayout: TypeAlias = Literal["plain", "labelled", "split", "marked"]
"""How a folder says which images are good: all are, by folders, by folders of a split, by masks."""


class DatasetError(ValueError):
    """A folder that is missing, holds no images, or whose masks do not fit its images."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with its label.

    Attributes:
        path: the image.
        defect: ``good``, or the name of the defect (of its folder).
        masks: images that together mark the defect; none where it is not marked.
    """

    path: Path
    defect: str
    masks: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files that lie in the folder and are not used.

    Attributes:
        what: they are, and with it why, to be read after their number: ``.heic``, or ``images
            without labels in test_private``.
        paths: all of them, in natural order.
    """

    what: str
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Dataset:
    """The images of one product, and an account of every file in their folder.

    Hidden files and folders, and bundles, are not part of it.

    Attributes:
        layout: how the folder says which images are good.
        train: good images to learn from, in natural order; empty only where that was allowed.
        test: labelled images to measure on, good ones first; those of a validation set too.
        left_out: every other file, grouped by the reason.
        empty_folders: folders whose name promises images and that hold none.
        links: linked folders that were not followed, since they lead to what was read already.
    """

    layout: DatasetLayout
    train: tuple[Path, ...]
    test: tuple[Sample, ...]
    left_out: tuple[LeftOut, ...] = ()
    empty_folders: tuple[Path, ...] = ()
    links: tuple[Path, ...] = ()

    @classmethod
    def of_several(cls, parts: Sequence[Dataset]) -> Dataset:
        """The images of several folders of one product; their layout is that of the first.

        Args:
            parts: at least one.
        """
        first, *_ = parts
        return replace(
            first,
            train=tuple(path for part in parts for path in part.train),
            test=tuple(sorted((one for part in parts for one in part.test), key=_is_defective)),
            left_out=tuple(group for part in parts for group in part.left_out),
            empty_folders=tuple(path for part in parts for path in part.empty_folders),
            links=tuple(path for part in parts for path in part.links),
        )

    @property
    def to_judge(self) -> tuple[Sample, ...]:
        """What an inspector is measured on: `test`, and without a good image there, `train` too.

        Those that it learnt from are among them where it was built from this folder.
        """
        if any(sample.defect == GOOD for sample in self.test):
            return self.test
        return (*(Sample(path, GOOD) for path in self.train), *self.test)

    @property
    def account(self) -> str:
        """One line: what was found and used, and how many files were not, of which kinds."""
        kinds = Counter(sample.defect == GOOD for sample in self.test)
        masks = sum(bool(sample.masks) for sample in self.test)
        line = f"{len(self.train)} good images to learn from"
        if self.test:
            line += f", {kinds[True]} good and {kinds[False]} defective ones to measure on"
            line += f", {masks} with masks"
        unused = sum(len(group.paths) for group in self.left_out)
        if unused:
            parts = ", ".join(f"{len(group.paths)} {group.what}" for group in self.left_out)
            line += f"; {unused} {'file' if unused == 1 else 'files'} not used: {parts}"
        return line

    @property
    def notes(self) -> tuple[str, ...]:
        """What else is to be said of the folder, a line each."""
        lines = []
        if self.empty_folders:
            names = list_names([path.name for path in self.empty_folders])
            lines.append(f"folders without images: {names}")
        if self.links:
            names = list_names([path.name for path in self.links])
            lines.append(f"linked folders that lead to what was read already: {names}")
        return tuple(lines)


def _is_defective(sample: Sample) -> bool:
    """Good ones first."""
    return sample.defect != GOOD
