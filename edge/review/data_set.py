"""The marked parts as a data set in MVTec AD's layout."""

from __future__ import annotations

import shutil
from pathlib import Path

from edge.options.review import PartsOptions
from edge.review.parts import PartStore
from edge.sinks.sink import SinkError
from engines.atomic_files import staged_folder

_PLACES = {"good": Path("train", "good"), "defective": Path("test", "defective")}
MOST = 1_000_000


def write_data_set(store: PartStore, target: Path, options: PartsOptions) -> dict[str, int]:
    """Copy the pictures of marked parts to ``train/good`` and ``test/defective``.

    Args:
        store: of the parts.
        target: the folder; it must not be there yet.
        options: which parts; those that are not marked good or defective are left out.

    Returns:
        How many were marked good and how many defective.

    Raises:
        SinkError: no part is marked, a picture is gone, or the folder is there.
        OSError: it cannot be written.
    """
    counts = dict.fromkeys(_PLACES, 0)
    if target.exists():
        raise SinkError(f"{target}: is there already; name a new folder")
    wanted = options.model_copy(update={"marked": "any", "limit": MOST, "skip": 0})
    marked = [part for part in store.parts(wanted) if part.mark in _PLACES]
    if not marked:
        raise SinkError("no part is marked good or defective; `edge review mark` does that")
    with staged_folder(target) as staged:
        for part in marked:
            if part.picture is None:
                raise SinkError(f"part {part.id}: its picture is gone; mark it ignored")
            home = staged / _PLACES[part.mark]
            home.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(part.picture, home / f"{part.id}_{part.picture.name}")
            counts[part.mark] += 1
    return counts
