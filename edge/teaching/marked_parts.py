"""The parts that people have marked: good ones, and defective ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from calibrate.dataset import images_in
from cameras.redaction import printable_path

GOOD, DEFECTIVE = "good", "defective"


class TeachError(ValueError):
    """Nothing can be taught, or not to this inspector."""


@dataclass(frozen=True, slots=True)
class MarkedParts:
    """Pictures of marked parts.

    Attributes:
        good: of good ones.
        defective: of defective ones.
    """

    good: Sequence[Path]
    defective: Sequence[Path]


def marked_parts(folder: Path) -> MarkedParts:
    """The pictures in ``good`` and ``defective`` of a folder; without those, all are good.

    Raises:
        TeachError: there are none.
    """
    if not folder.is_dir():
        raise TeachError(f"{printable_path(folder)}: no such folder; name one with pictures")
    good, defective = folder / GOOD, folder / DEFECTIVE
    if good.is_dir() or defective.is_dir():
        found = MarkedParts(
            images_in(good, deep=True) if good.is_dir() else [],
            images_in(defective, deep=True) if defective.is_dir() else [],
        )
    else:
        found = MarkedParts(images_in(folder), [])
    if not found.good and not found.defective:
        raise TeachError(
            f"{printable_path(folder)}: no pictures in it, nor in its folders {GOOD} and "
            f"{DEFECTIVE}; `edge review mark` puts them there, under marked"
        )
    return found
