"""Change a bundle's settings without building again, and keep a record of it in its manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engines.atomic_files import locked, replace_file
from engines.bundle import Bundle
from engines.errors import BundleError
from engines.manifest import (
    MAX_CHANGES,
    ChangeRecord,
    FileRecord,
    Manifest,
    RoiRecord,
    SettingValue,
)
from engines.manifest_file import MANIFEST, first_problem, read_manifest, text_from_manifest
from engines.threshold_records import ThresholdRecord


class Keep(Enum):
    """Stands for a setting that is not changed."""

    KEEP = "keep"


KEEP = Keep.KEEP


def edit_manifest(
    bundle: Bundle,
    *,
    threshold: float | ThresholdRecord | Keep = KEEP,
    pixel_threshold: float | Keep | None = KEEP,
    min_area: int | Keep = KEEP,
    ignore: bytes | Keep | None = KEEP,
    roi: RoiRecord | Keep | None = KEEP,
    by: str = "",
    check: Callable[[Bundle], None] | None = None,
) -> Bundle:
    """Change what can be changed without a rebuild; a setting that is so already leaves no record.

    A kill at any moment leaves the old settings or the new ones, all of them.

    Args:
        bundle: to change.
        threshold: set by hand; or what is known of it, where there is more to it.
        pixel_threshold: value of the map from which a region counts; None is the threshold.
        min_area: smallest region that counts, in pixels of the camera's picture.
        ignore: a mask as PNG, white where nothing counts; None removes the one that is there.
        roi: part of the camera's picture that is inspected; None is all of it.
        by: who changes it.
        check: called with the bundle as it is right before the change, while nobody else can
            change it; what it raises leaves all as it is.

    Returns:
        The bundle as it is now.

    Raises:
        BundleError: a value is not allowed, or the disk refuses; the bundle is as before.
    """
    given = {
        "threshold": threshold,
        "pixel_threshold": pixel_threshold,
        "min_area": min_area,
        "ignore": ignore,
        "roi": roi,
    }
    given = {setting: value for setting, value in given.items() if value is not KEEP}
    path = bundle.path / MANIFEST
    try:
        # No build and no other change comes between, whatever path they know the bundle by.
        with locked(bundle.path.resolve().parent):
            before = read_manifest(path)
            if check is not None:
                check(Bundle(bundle.path, before))
            after = _edit(before, given, by=by)
            if after != before:
                _write(path, before, after, mask=ignore if isinstance(ignore, bytes) else b"")
    except ValidationError as error:
        raise BundleError(f"{bundle.path}: {first_problem(error)}") from error
    except OSError as error:
        problem = f"cannot be written: {error.strerror}; it is as before"
        raise BundleError(f"{path}: {problem}") from error
    return Bundle(bundle.path, after)


def built_threshold(manifest: Manifest) -> float:
    """The threshold that the build set."""
    first = _value_before(manifest, "threshold", manifest.threshold.value)
    return float(first) if isinstance(first, int | float) else manifest.threshold.value


def built_pixel_threshold(manifest: Manifest) -> float | None:
    """The value of the map that the build learnt; None where it is the threshold itself."""
    first = _value_before(manifest, "pixel_threshold", manifest.pixel_threshold)
    return float(first) if isinstance(first, int | float) else None


def built_roi(manifest: Manifest) -> RoiRecord | None:
    """The part of the picture that the inspector has learnt from."""
    first = _value_before(manifest, "roi", manifest.roi)
    return first if isinstance(first, RoiRecord) else None


def _value_before(manifest: Manifest, setting: str, now: SettingValue) -> SettingValue:
    """A setting before it was ever changed."""
    return next((one.old for one in manifest.changes if one.setting == setting), now)


def _edit(before: Manifest, given: Mapping[str, Any], *, by: str) -> Manifest:
    """The manifest with other settings.

    Raises:
        ValidationError: a value that is not allowed.
    """
    files, new = dict(before.files), dict(given)
    if "ignore" in new:
        files.pop(before.ignore or "", None)
        if new["ignore"] is not None:
            digest = hashlib.sha256(new["ignore"]).hexdigest()
            file = FileRecord(sha256=digest, size=len(new["ignore"]))
            # Under a name of its own: what is there is read until the manifest names another.
            new["ignore"] = f"ignore-{digest[:12]}.png"
            files[new["ignore"]] = file
    old = {setting: getattr(before, setting) for setting in new}
    record = new.get("threshold")
    if "threshold" in old:
        old["threshold"] = before.threshold.value
        if isinstance(record, ThresholdRecord):
            new["threshold"] = record.value
    new = {setting: value for setting, value in new.items() if value != old[setting]}
    now = datetime.now(timezone.utc)
    changes = [
        {"changed": now, "by": by, "setting": setting, "old": old[setting], "new": value}
        for setting, value in new.items()
    ]
    if "threshold" in new:
        by_hand = {"value": new["threshold"], "method": "manual"}
        new["threshold"] = record if isinstance(record, ThresholdRecord) else by_hand
    after = Manifest.model_validate({**dict(before), **new, "files": files})
    records = [*before.changes, *map(ChangeRecord.model_validate, changes)]
    return after.model_copy(update={"changes": _limit(records)})


def _limit(changes: list[ChangeRecord]) -> tuple[ChangeRecord, ...]:
    """The first change of each setting, which tells what was built, and the last of all."""
    settings = [change.setting for change in changes]
    begin = len(changes) - MAX_CHANGES
    return tuple(
        change
        for index, change in enumerate(changes)
        if index >= begin or change.setting not in settings[:index]
    )


def _write(path: Path, before: Manifest, after: Manifest, *, mask: bytes) -> None:
    """Write the new mask, then the manifest that names it; then remove what nobody reads.

    The mask before stays until the next change: a reader may have the manifest that names it.

    Raises:
        OSError: the disk refuses; all is as before.
    """
    added = after.ignore if after.ignore not in before.files else None
    try:
        if added is not None:
            replace_file(path.parent / added, mask)
        replace_file(path, text_from_manifest(after))
    except OSError:
        if added is not None:
            (path.parent / added).unlink(missing_ok=True)
        raise
    for pattern in ("ignore-*.png", ".ignore-*.png.new-*", f".{MANIFEST}.new-*"):
        for file in path.parent.glob(pattern):  # of changes before, or of a writer that was killed
            if file.name not in (before.ignore, after.ignore):
                with suppress(OSError):
                    file.unlink()
