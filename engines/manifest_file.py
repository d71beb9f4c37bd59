"""`manifest.json` on the disk: read, checked, and sealed against damage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ValidationError

from engines.errors import BundleError
from engines.manifest import SCHEMA_VERSION, Manifest
from process.plain_files import read_plain_file
from process.wrong_values import place_and_reason

MANIFEST = "manifest.json"
SEAL = "seal"
MAX_MANIFEST_BYTES = 4 << 20


def read_manifest(path: Path) -> Manifest:
    """Read and check it.

    Raises:
        BundleError: it is missing, damaged, or from a newer version.
    """
    if path.is_symlink():
        raise BundleError(f"{path}: a bundle holds no symbolic links; copy the file itself")
    try:
        text = read_plain_file(path, max_bytes=MAX_MANIFEST_BYTES, follow_links=False)
        content = json.loads(text)
    except FileNotFoundError as error:
        raise BundleError(
            f"{path.parent}: no {MANIFEST} in it, so it is no bundle; make one with `edge build`"
        ) from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(describe_damage(path, f"it is not JSON ({error})")) from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BundleError(
            f"{path}: made by a newer protoedge (schema {version}, this one reads "
            f"{SCHEMA_VERSION}); upgrade with pip install -U protoedge"
        )
    if not isinstance(content, dict) or content.pop(SEAL, None) != _seal(content):
        raise BundleError(
            describe_damage(path, "its seal does not fit; change it with `edge` only")
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise BundleError(describe_damage(path, first_problem(error))) from error


def text_from_manifest(manifest: Manifest) -> bytes:
    """`manifest.json`: the record and a seal over it, so that a damaged threshold is noticed."""
    content = manifest.model_dump(mode="json")
    return (json.dumps({**content, SEAL: _seal(content)}, indent=2) + "\n").encode()


def describe_damage(path: Path, how: str) -> str:
    """What is wrong with a file of a bundle, and what to do."""
    return f"{path}: the bundle is damaged: {how}; copy it again or build it again"


def first_problem(error: ValidationError, kind: type[BaseModel] = Manifest) -> str:
    """The first problem of a record, in one line of our own words."""
    where, reason = place_and_reason(error, kind)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: {reason}{more}" if where else f"{reason}{more}"


def _seal(content: Mapping[str, object]) -> str:
    """SHA-256 of the record, whatever its layout; finds damage, and hinders no forger."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
