"""Compiled OpenVINO graphs on disk, so that the second start compiles nothing.

A blob is imported only if this machine made it, for this graph, version, processor and
configuration: its sidecar carries a SHA-256 of the blob and a seal made with the machine's key
(`engines.plans.machine_key`). What is imported is the bytes that were checked. Everything else is
compiled again and replaced.

Blobs lie in the bundle's ``engines`` folder or, where that cannot be written, in the user's cache.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from engines.atomic_files import replace_file
from engines.plans.machine_key import machine_key

KEPT_FOR_USER = 32
"""Blobs in the user's cache; the ones that were used longest ago go first."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a blob must have been compiled for, word by word.

    Attributes:
        openvino: its version and build.
        cpu: the processor's name and a digest of its instructions.
        onnx_sha256: of the graph.
        precision: of the graph.
        config: of the plugin.
        recipe: of `engines.cpu.openvino_compile`: what it does to a graph before compiling it.
    """

    openvino: str
    cpu: str
    onnx_sha256: str
    precision: str
    config: dict[str, str]
    recipe: int


class BlobRecord(BaseModel):
    """The sidecar of a blob.

    Attributes:
        openvino, cpu, onnx_sha256, precision, config, recipe: as in `Mark`.
        hint: the plugin's precision hint that the graph was compiled with in the end.
        executes: arithmetic of its convolutions, which an import must show again.
        kept: nodes that must not compute in bf16.
        blob_sha256, size: of the blob.
        seal: HMAC of all this with the machine's key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    openvino: str
    cpu: str
    onnx_sha256: str
    precision: str
    config: dict[str, str]
    recipe: int
    hint: str
    executes: str
    kept: tuple[str, ...]
    blob_sha256: str
    size: int
    seal: str = ""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A blob and what its import must show.

    Attributes:
        blob: exported by the plugin.
        hint, executes, kept: see `BlobRecord`.
    """

    blob: bytes
    hint: str
    executes: str
    kept: tuple[str, ...]


def load_blob(folder: Path, mark: Mark, *, mode: str) -> Compiled | None:
    """The blob for `mark`, from the bundle's folder or from the user's cache; None without one."""
    try:
        key = machine_key()
    except (OSError, RuntimeError):
        return None  # without a key nothing can be trusted; `store_blob` says so
    for path in _paths(folder, mark, mode):
        found = _checked(path, mark, key)
        if found is not None:
            return found
    return None


def store_blob(folder: Path, mark: Mark, compiled: Compiled, *, mode: str) -> str:
    """Keep a blob in the first folder that takes it; a kill leaves a pair that `load_blob` refuses.

    Returns:
        Why it could not be kept; empty if it was.
    """
    record = BlobRecord(
        **asdict(mark),
        hint=compiled.hint,
        executes=compiled.executes,
        kept=compiled.kept,
        blob_sha256=hashlib.sha256(compiled.blob).hexdigest(),
        size=len(compiled.blob),
    )
    problem = ""
    try:
        sealed = record.model_copy(update={"seal": _seal(record, machine_key())})
        text = (sealed.model_dump_json(indent=2) + "\n").encode()
        for path in _paths(folder, mark, mode):
            problem = _stored(path, compiled.blob, text)
            if not problem:
                _prune_user_folder()
                return ""
    except (OSError, RuntimeError) as error:
        return str(error)
    return problem


def user_folder() -> Path:
    """``$XDG_CACHE_HOME/protoedge/openvino``.

    Raises:
        RuntimeError: this user has no home.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "protoedge" / "openvino"


def _paths(folder: Path, mark: Mark, mode: str) -> Iterator[Path]:
    yield folder / f"openvino-{mode}.blob"
    try:
        yield user_folder() / f"{mark.onnx_sha256[:24]}-{mode}.blob"
    except RuntimeError:
        return


def _stored(path: Path, blob: bytes, record: bytes) -> str:
    """Why the pair could not be written; empty if it was."""
    try:
        if path.parent.is_symlink():
            return f"{path.parent} is a symbolic link"
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, blob)
        replace_file(path.with_suffix(".json"), record)
    except OSError as error:
        return f"{path.parent}: {error.strerror or error}"
    return ""


def _checked(path: Path, mark: Mark, key: bytes) -> Compiled | None:
    sidecar = path.with_suffix(".json")
    if any(part.is_symlink() for part in (path, sidecar, path.parent)):
        return None
    try:
        record = BlobRecord.model_validate_json(sidecar.read_bytes())
        ours = hmac.compare_digest(record.seal.encode(), _seal(record, key).encode())
        fits = record.model_dump(include=set(asdict(mark))) == asdict(mark)
        if not ours or not fits or path.stat().st_size != record.size:
            return None
        blob = path.read_bytes()
    except (OSError, ValidationError):
        return None  # none there, or damaged: compiled again
    if hashlib.sha256(blob).hexdigest() != record.blob_sha256:
        return None
    return Compiled(blob=blob, hint=record.hint, executes=record.executes, kept=record.kept)


def _seal(record: BlobRecord, key: bytes) -> str:
    content = json.dumps(record.model_dump(mode="json", exclude={"seal"}), sort_keys=True)
    return hmac.new(key, b"openvino" + content.encode(), hashlib.sha256).hexdigest()


def _prune_user_folder() -> None:
    """Remove the oldest blobs beyond `KEPT_FOR_USER`; bundles come and go, their blobs don't."""
    folder = user_folder()
    if not folder.is_dir():
        return
    blobs = sorted(folder.glob("*.blob"), key=lambda path: path.stat().st_mtime, reverse=True)
    for blob in blobs[KEPT_FOR_USER:]:
        blob.unlink(missing_ok=True)
        blob.with_suffix(".json").unlink(missing_ok=True)
