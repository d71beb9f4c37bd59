"""Earlier versions of a bundle, kept beside it, so that a change can be taken back."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from engines.atomic_files import staged_folder, write_durably
from engines.bundle import Bundle, write_bundle
from engines.errors import BundleError
from engines.manifest import Manifest
from engines.manifest_file import MANIFEST, read_manifest

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


def keep_version(bundle: Bundle) -> Version:
    """Keep a bundle as it is, before another takes its place; of many the oldest goes.

    One that is kept already is not kept again, or rollbacks to and fro, and those that a kill has
    ended, would push all others out. The files are copied: what damages the bundle later leaves
    its versions alone.

    Raises:
        BundleError: the disk refuses; nothing has changed.
    """
    folder = _folder_of(bundle.path)
    before = versions_of(bundle.path)
    for one in before:
        if _manifest_of(one.path) == bundle.manifest and _opens(one.path):
            return one
    number = before[0].number + 1 if before else 1
    target = folder / f"{number:04d}"
    try:
        folder.mkdir(exist_ok=True)
        with staged_folder(target) as staged:
            for name in (MANIFEST, *bundle.manifest.files):
                place = staged / name
                place.parent.mkdir(parents=True, exist_ok=True)
                write_durably(place, (bundle.path / name).read_bytes())
        for old in before[KEPT - 1 :]:
            shutil.rmtree(old.path, ignore_errors=True)
    except OSError as error:
        raise BundleError(
            f"{folder}: the version before cannot be kept: {error.strerror or error}; free some "
            "space; nothing has changed"
        ) from error
    return Version(number, target)


def roll_back(path: Path, number: int | None = None) -> tuple[Bundle, Version]:
    """Put an earlier version in a bundle's place; the one that is there is kept in turn.

    Args:
        path: the bundle.
        number: of the version; None is the latest that is another than what is there.

    Returns:
        The bundle as it is now, and the version that it is.

    Raises:
        BundleError: there is no such version, it is damaged, or the disk refuses; the bundle is
            as before. One that is damaged itself is replaced, and not kept.
    """
    versions = versions_of(path)
    present = _manifest_of(path) if _opens(path) else None
    wanted = [
        one
        for one in versions
        if one.number == number or (number is None and _manifest_of(one.path) != present)
    ]
    if not wanted:
        known = ", ".join(str(one.number) for one in versions) or "none"
        what = "no earlier version" if number is None else f"no version {number}"
        raise BundleError(f"{path}: {what} is kept; there are: {known}")
    earlier = Bundle.open(wanted[0].path)
    # Read first: of many versions the oldest goes when another is kept, and it may be this one.
    files: dict[str, bytes | Path] = {name: earlier.read(name) for name in earlier.manifest.files}
    _keep_what_is_there(path)
    return write_bundle(path, manifest=earlier.manifest, files=files), wanted[0]


def promote(candidate: Bundle, path: Path) -> tuple[Bundle, Version | None]:
    """Put a candidate in a bundle's place; the one that is there is kept.

    Args:
        candidate: stays where it is.
        path: the bundle that is at work; there may be none yet.

    Returns:
        The bundle as it is now, and the version that it was before.

    Raises:
        BundleError: the disk refuses; it is as before.
    """
    files: dict[str, bytes | Path] = {
        name: candidate.read(name) for name in candidate.manifest.files
    }
    version = _keep_what_is_there(path)
    return write_bundle(path, manifest=candidate.manifest, files=files), version


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
