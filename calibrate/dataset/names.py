"""File names: which are images, their natural order, how they are listed in a message."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from cameras.image_files import IMAGE_SUFFIXES
from cameras.redaction import printable_path

SUFFIXES = tuple(sorted(IMAGE_SUFFIXES))
_NAMES_SHOWN = 4


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return name.lower().endswith(SUFFIXES)


def images_in(folder: Path, *, deep: bool = False) -> list[Path]:
    """The images of a folder in natural order, hidden ones passed over; `deep`: of all below it.

    Raises:
        OSError: it cannot be read.
    """
    found = []
    for home, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if deep and not name.startswith(".")]
        found += [
            Path(home, name) for name in names if not name.startswith(".") and is_image_name(name)
        ]
    return sorted(found, key=natural_order)


def list_names(names: Sequence[str]) -> str:
    """The first few names, for a message."""
    texts = [printable_path(Path(name)) for name in names[:_NAMES_SHOWN]]
    more = [f"and {len(names) - _NAMES_SHOWN} more"] if len(names) > _NAMES_SHOWN else []
    return ", ".join(texts + more)


def natural_order(path: Path) -> tuple[tuple[tuple[int, int, str], ...], ...]:
    """A key by which ``image2`` comes before ``image10``, folder by folder."""
    return tuple(natural_key(part) for part in path.parts)


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Digits compare as numbers; the name itself settles what is otherwise equal: 1 and 01."""
    parts: Iterable[str] = re.findall(r"[0-9]+|[^0-9]+", name.casefold())
    key = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts)
    return (*key, (-1, 0, name))


def _raise(error: OSError) -> None:
    """`os.walk` passes over what it cannot read unless it is told not to."""
    raise error
