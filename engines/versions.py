"""Earlier versions of a bundle, kept beside it, so that a change can be taken back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from engines.atomic_files import remove_folder, staged_folder, write_durably
from engines.bundle import Bundle, write_bundle
from engines.errors import BundleError
from engines.history import events_of, merge_events
from engines.history_record import HistoryRecord
from engines.manifest import Manifest
from engines.manifest_file import MANIFEST, read_manifest, text_from_manifest
from process.wrong_values import shown_value

KEPT = 10
_NUMBER = re.compile(r"\d{4,}")


@dataclass(frozen=True, slots=True)
class Version:
    """A version that is kept.

    Attributes:
        number: from 1; the highest is the latest that was replaced.
        path: its folder, a bundle.
    """

    number: int
    path: Path


def versions_of(bundle: Path) -> list[Version]:
    """The versions that are kept of a bundle, the latest first."""
    folder = _folder_of(bundle)
    found = [path for path in folder.glob("*") if _NUMBER.fullmatch(path.name) and path.is_dir()]
    versions = [Version(int(path.name), path) for path in found]
    return sorted(versions, key=lambda one: -one.number)


def history_of(bundle: Path) -> tuple[HistoryRecord, ...]:
    """What was done with the bundles of a place, the latest last; damaged ones tell nothing.

    A build over a bundle begins anew: what was before is known as long as a version remembers it.
    """
    places = [bundle, *(one.path for one in versions_of(bundle))]
    manifests = [found for found in map(_manifest_of, places) if found is not None]
    return merge_events(event for manifest in manifests for event in events_of(manifest))


def keep_version(bundle: Bundle) -> Version:
    """Keep a bundle as it is, before another takes its place; of many the oldest goes.

    One that is kept already is not kept again, or rollbacks to and fro, and those that a kill has
    ended, would push all others out. The files are copied: what damages the bundle later leaves
    its versions alone.

    Raises:
        BundleError: the disk refuses, or it was changed meanwhile; nothing has changed.
    """
    folder = _folder_of(bundle.path)
    try:
        folder.mkdir(exist_ok=True)
        while True:
            before = versions_of(bundle.path)
            for one in before:
                if _is_same(_manifest_of(one.path), bundle.manifest) and _opens(one.path):
                    return one
            number = before[0].number + 1 if before else 1
            try:
                version = _copy_to(folder / f"{number:04d}", bundle, number)
            except FileExistsError:
                continue  # another process keeps one too, and was quicker
            for old in versions_of(bundle.path)[KEPT:]:
                remove_folder(old.path)
            return version
    except OSError as error:
        raise BundleError(
            f"{folder}: the version before cannot be kept: {error.strerror or error}; free some "
            "space; nothing has changed"
        ) from error


def _copy_to(target: Path, bundle: Bundle, number: int) -> Version:
    """Copy a bundle.

    Raises:
        FileExistsError: another was put there meanwhile.
        BundleError: it is not what it was when it was opened.
        OSError: the disk refuses.
    """

    def check() -> None:
        if target.exists():
            raise FileExistsError

    with staged_folder(target, check=check) as staged:
        for name in bundle.manifest.files:
            place = staged / name
            place.parent.mkdir(parents=True, exist_ok=True)
            write_durably(place, bundle.read(name))  # checked: another may be there by now
        write_durably(staged / MANIFEST, text_from_manifest(bundle.manifest))
    return Version(number, target)


def take_place(
    before: Bundle,
    *,
    manifest: Manifest,
    files: Mapping[str, bytes | Path],
    event: HistoryRecord,
) -> tuple[Bundle, Version]:
    """Let an inspector take the place of the one at work, which is kept as a version.

    Args:
        before: the one at work.
        manifest: as `write_bundle` takes it.
        files: likewise.
        event: what is done, for the history.

    Returns:
        The bundle as it is now, and the version that it was before.

    Raises:
        BundleError: somebody changed it meanwhile, or the disk refuses; it is as before.
    """
    path = before.path
    _check_unchanged(path, before.manifest)
    version = keep_version(before)
    event = event.model_copy(update={"version": version.number})
    return _write(path, before.manifest, manifest=manifest, files=files, event=event), version


def roll_back(path: Path, number: int | None = None, *, by: str = "") -> tuple[Bundle, Version]:
    """Put an earlier version in a bundle's place; the one that is there is kept in turn.

    Args:
        path: the bundle.
        number: of the version; None is the latest that is another than what is there.
        by: who does it.

    Returns:
        The bundle as it is now, and the version that it is.

    Raises:
        BundleError: there is no such version, it is damaged, somebody changed the bundle
            meanwhile, or the disk refuses; the bundle is as before. One that is damaged itself is
            replaced, and not kept.
    """
    version = find_version(path, number)
    earlier = Bundle.open(version.path)
    # Read first: of many versions the oldest goes when another is kept, and it may be this one.
    files: dict[str, bytes | Path] = {name: earlier.read(name) for name in earlier.manifest.files}
    seen = _manifest_of(path)
    _keep_what_is_there(path)
    event = HistoryRecord(when=now(), by=by, what="rolled back", version=version.number)
    return _write(path, seen, manifest=earlier.manifest, files=files, event=event), version


def find_version(path: Path, number: int | None = None) -> Version:
    """A version of a bundle by its number; without one the latest that is another than it.

    Raises:
        BundleError: there is no such version.
    """
    versions = versions_of(path)
    present = _manifest_of(path) if _opens(path) else None
    for one in versions:
        if one.number == number or (
            number is None and not _is_same(_manifest_of(one.path), present)
        ):
            return one
    known = ", ".join(str(one.number) for one in versions) or "none"
    what = "no earlier version" if number is None else f"no version {number}"
    raise BundleError(f"{path}: {what} is kept; there are: {known}")


def promote(candidate: Bundle, path: Path, *, by: str = "") -> tuple[Bundle, Version | None]:
    """Put a candidate in a bundle's place; the one that is there is kept.

    Args:
        candidate: stays where it is.
        path: the bundle that is at work; there may be none yet.
        by: who does it.

    Returns:
        The bundle as it is now, and the version that it was before.

    Raises:
        BundleError: somebody changed the bundle meanwhile, or the disk refuses; it is as before.
    """
    files: dict[str, bytes | Path] = {
        name: candidate.read(name) for name in candidate.manifest.files
    }
    seen = _manifest_of(path)
    version = _keep_what_is_there(path)
    event = HistoryRecord(
        when=now(),
        by=by,
        what="promoted",
        detail=shown_value(candidate.path.name),
        version=None if version is None else version.number,
    )
    return _write(path, seen, manifest=candidate.manifest, files=files, event=event), version


def now() -> datetime:
    """When an event is: this moment, UTC."""
    return datetime.now(timezone.utc)


def _write(
    path: Path,
    seen: Manifest | None,
    *,
    manifest: Manifest,
    files: Mapping[str, bytes | Path],
    event: HistoryRecord,
) -> Bundle:
    """Write a bundle where another is, of which `seen` was read; it remembers both histories.

    Raises:
        BundleError: somebody changed it meanwhile, or the disk refuses.
    """
    history = merge_events([*history_of(path), *events_of(manifest), event])
    return write_bundle(
        path,
        manifest=manifest.model_copy(update={"history": history}),
        files=files,
        check=lambda: _check_unchanged(path, seen),
    )


def _check_unchanged(path: Path, seen: Manifest | None) -> None:
    if _manifest_of(path) != seen:
        raise BundleError(f"{path}: somebody changed it meanwhile; look at it, and try again")


def _is_same(one: Manifest | None, other: Manifest | None) -> bool:
    """Whether two are one inspector, whatever way led there."""
    if one is None or other is None:
        return False
    return one.model_copy(update={"history": other.history}) == other


def _keep_what_is_there(path: Path) -> Version | None:
    """Keep the bundle that is replaced; a damaged one is no version, and there may be none."""
    try:
        present = Bundle.open(path)
    except BundleError:
        return None
    return keep_version(present)


def _manifest_of(bundle: Path) -> Manifest | None:
    """What a bundle says of itself; None where that cannot be read."""
    try:
        return read_manifest(bundle / MANIFEST)
    except BundleError:
        return None


def _opens(bundle: Path) -> bool:
    try:
        Bundle.open(bundle)
    except BundleError:
        return False
    return True


def _folder_of(bundle: Path) -> Path:
    whole = bundle.resolve()
    return whole.with_name(f".{whole.name}.versions")
