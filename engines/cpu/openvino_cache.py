"""Compiled OpenVINO graphs on disk, so that the second start compiles nothing.

A blob is imported only if this machine made it, for this graph, version, processor and
configuration: its sidecar carries a SHA-256 of the blob and this machine's seal. What is imported
is the bytes that were checked. Everything else is compiled again and replaced.

Blobs lie in the bundle's ``engines`` folder or, where that cannot be written, in the user's cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from engines.sealed_files import SealedRecord, read_record, store_sealed, user_folder
from process.plain_files import read_plain_file

MAX_USER_BLOBS = 32
"""In the user's cache; the ones that were used longest ago go first."""


class BlobKey(BaseModel):
    """What a blob must have been compiled for, word by word.

    Attributes:
        openvino: its version and build.
        cpu: the processor's name and a digest of its instructions.
        onnx_sha256: of the graph.
        precision: of the graph.
        config: of the plugin.
        recipe: of `engines.cpu.openvino_compile`: what it does to a graph before compiling it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    openvino: str
    cpu: str
    onnx_sha256: str
    precision: str
    config: dict[str, str]
    recipe: int


@dataclass(frozen=True, slots=True)
class Blob:
    """A compiled graph and what its import must show.

    Attributes:
        blob: exported by the plugin.
        hint: the plugin's precision hint that the graph was compiled with in the end.
        executes: arithmetic of its convolutions.
        kept: nodes that must not compute in bf16.
    """

    blob: bytes
    hint: str
    executes: str
    kept: tuple[str, ...]


class BlobRecord(BlobKey, SealedRecord):
    """The sidecar of a blob: its key, what its import must show, and the blob's SHA-256."""

    kind: ClassVar[bytes] = b"openvino"

    hint: str
    executes: str
    kept: tuple[str, ...]
    blob_sha256: str
    size: int


def load_blob(folder: Path, key: BlobKey, *, mode: str) -> Blob | None:
    """The blob for `key`, from the bundle's folder or from the user's cache; None without one."""
    for path in _paths(folder, key, mode):
        with suppress(OSError, ValidationError):  # none there, or damaged: compiled again
            found = _read_blob(path, key)
            if found is not None:
                return found
    return None


def store_blob(folder: Path, key: BlobKey, compiled: Blob, *, mode: str) -> str:
    """Keep a blob in the first folder that takes it; a kill leaves a pair that `load_blob` refuses.

    Returns:
        Why it could not be kept; empty if it was.
    """
    record = BlobRecord(
        **dict(key),
        hint=compiled.hint,
        executes=compiled.executes,
        kept=compiled.kept,
        blob_sha256=hashlib.sha256(compiled.blob).hexdigest(),
        size=len(compiled.blob),
    )
    problem = ""
    for path in _paths(folder, key, mode):
        try:
            store_sealed(path, compiled.blob, record)
        except OSError as error:
            problem = f"{error.filename or path.parent}: {error.strerror or error}"
            continue
        with suppress(OSError):
            _prune_user_folder()
        return ""
    return problem


def user_blobs() -> Path:
    """``$XDG_CACHE_HOME/protoedge/openvino``.

    Raises:
        OSError: this user has no home.
    """
    return user_folder("cache") / "openvino"


def _paths(folder: Path, key: BlobKey, mode: str) -> Iterator[Path]:
    yield folder / f"openvino-{mode}.blob"
    with suppress(OSError):
        yield user_blobs() / f"{key.onnx_sha256[:24]}-{mode}.blob"


def _read_blob(path: Path, key: BlobKey) -> Blob | None:
    """What lies there; None if it is not for `key`, not ours, or not what its sidecar says."""
    record = read_record(path, BlobRecord)
    if not record.is_ours or record.model_dump(include=set(BlobKey.model_fields)) != dict(key):
        return None
    if path.parent.is_symlink():
        return None
    blob = read_plain_file(path, max_bytes=record.size, follow_links=False)
    if len(blob) != record.size or hashlib.sha256(blob).hexdigest() != record.blob_sha256:
        return None
    return Blob(blob=blob, hint=record.hint, executes=record.executes, kept=record.kept)


def _prune_user_folder() -> None:
    """Remove the oldest blobs beyond `MAX_USER_BLOBS`; bundles come and go, their blobs don't."""
    blobs = sorted(user_blobs().glob("*.blob"), key=lambda path: path.stat().st_mtime, reverse=True)
    for blob in blobs[MAX_USER_BLOBS:]:
        blob.unlink(missing_ok=True)
        blob.with_suffix(".json").unlink(missing_ok=True)
