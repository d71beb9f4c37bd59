"""A bundle: the folder that holds an inspector, checked byte by byte before anything runs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from engines.atomic_files import recover, replace_file, staged_folder, write_durably
from engines.errors import BundleError
from engines.manifest import (
    SCHEMA_VERSION,
    FileRecord,
    Manifest,
    ThresholdRecord,
    path_problem,
)

MANIFEST = "manifest.json"
MODEL = "model.onnx"
PLANS = "engines"
SEAL = "seal"
MAX_MANIFEST_BYTES = 4 << 20
MAX_FILE_BYTES = 2 << 30
CHUNK = 1 << 20
MODEL_SUFFIXES = frozenset(
    {".onnx", ".data", ".pb", ".plan", ".engine", ".trt", ".bin", ".xml", ".pt", ".pth", ".pkl"}
)
"""What nobody may lay beside the listed files; a note or a picture is nobody's danger."""

ONNX_METADATA: dict[str, Callable[[Manifest], str]] = {
    "protoedge.model": lambda manifest: manifest.model,
    "protoedge.precision": lambda manifest: manifest.precision,
    "protoedge.prototypes": lambda manifest: str(manifest.prototypes),
}
"""Entries of the graph's ``metadata_props`` that must agree with the manifest where present."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose every file was checked when it was opened.

    Attributes:
        path: its folder.
        manifest: what it says about itself.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path | str) -> Bundle:
        """Open a bundle and check all of it: manifest, sizes, hashes, paths, the graph's metadata.

        Raises:
            BundleError: it is missing, incomplete, damaged, or from a newer version.
        """
        folder = Path(path)
        try:
            recover(folder)
        except OSError as error:
            raise BundleError(f"{folder}: cannot be brought back: {error.strerror}") from error
        before = _inode(folder)
        try:
            return _open_folder(folder)
        except BundleError:
            # A build may have swapped the folder while it was being read: then read the new one.
            if before == _inode(folder):
                raise
            return _open_folder(folder)

    @property
    def plans(self) -> Path:
        """Folder of the compiled plans: a cache, neither listed nor trusted."""
        return self.path / PLANS

    def model(self) -> bytes:
        """The serialised ONNX graph."""
        return self.read(MODEL)

    def read(self, name: str) -> bytes:
        """A listed file's content, checked again: what is returned is what the manifest covers.

        Raises:
            BundleError: not listed, or changed since the bundle was opened.
        """
        record = self.manifest.files.get(name)
        if record is None:
            raise BundleError(f"{self.path}: {name} is not part of this bundle")
        try:
            content = (self.path / name).read_bytes()
        except OSError as error:
            raise BundleError(f"{self.path / name}: cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != record.sha256:
            raise BundleError(_damage(self.path / name, "its SHA-256 differs"))
        return content


def write_bundle(target: Path, *, manifest: Manifest, files: Mapping[str, bytes | Path]) -> Bundle:
    """Write a bundle so that a kill or a full disk at any moment leaves the old one or the new.

    Args:
        target: the folder, ``NAME.edge``; replaced if it is a bundle already.
        manifest: its `files` are filled in here.
        files: content, or a file to copy, by path inside the bundle; ``model.onnx`` is a must.

    Raises:
        BundleError: a path is not allowed, `target` is something else, or the disk refuses.
    """
    _check_names(target, manifest, files)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with staged_folder(target) as folder:
            records = {name: _store_file(folder / name, content) for name, content in files.items()}
            complete = Manifest.model_validate({**dict(manifest), "files": records})
            write_durably(folder / MANIFEST, _text(complete))
    except OSError as error:
        state = "the bundle that was there is untouched" if target.exists() else "nothing is left"
        raise BundleError(
            f"{target}: cannot be written: {error.strerror or error}; {state}; free some space or "
            "choose another --output"
        ) from error
    return Bundle(target, complete)


def edit_manifest(
    bundle: Bundle, *, threshold: float | ThresholdRecord | None = None, min_area: int | None = None
) -> Bundle:
    """Change what can be changed without a rebuild; only ``manifest.json`` is written anew.

    Args:
        bundle: to change.
        threshold: a number set by hand, or a record with its reasons; None leaves it.
        min_area: smallest region that counts, in pixels; None leaves it.

    Raises:
        BundleError: a value is not allowed, or the disk refuses; the bundle is as before.
    """
    changes: dict[str, object] = {}
    if threshold is not None:
        by_hand = isinstance(threshold, int | float)
        changes["threshold"] = {"value": threshold, "method": "manual"} if by_hand else threshold
    if min_area is not None:
        changes["min_area"] = min_area
    try:
        manifest = Manifest.model_validate({**dict(bundle.manifest), **changes})
    except ValidationError as error:
        raise BundleError(f"{bundle.path}: {_first(error)}") from error
    try:
        replace_file(bundle.path / MANIFEST, _text(manifest))
    except OSError as error:
        raise BundleError(
            f"{bundle.path / MANIFEST}: cannot be written: {error.strerror}; it is as before"
        ) from error
    return Bundle(bundle.path, manifest)


def _open_folder(folder: Path) -> Bundle:
    if not folder.exists():
        raise BundleError(f"{folder}: no such bundle; make one with `edge build`")
    if not folder.is_dir():
        raise BundleError(f"{folder}: a bundle is a folder, NAME.edge, and this is a file")
    manifest = _manifest(folder / MANIFEST)
    if MODEL not in manifest.files:
        raise BundleError(f"{folder}: the manifest lists no {MODEL}; build it again")
    for found in _entries(folder):
        if found.is_symlink():
            raise BundleError(f"{found}: a bundle holds no symbolic links; copy the file itself")
        name = found.relative_to(folder).as_posix()
        if name not in manifest.files and found.suffix.lower() in MODEL_SUFFIXES:
            raise BundleError(f"{found}: the manifest does not list this file; remove it")
    for name, record in manifest.files.items():
        _check_file(folder / name, record)
    _check_graph(folder / MODEL, manifest)
    return Bundle(folder, manifest)


def _manifest(path: Path) -> Manifest:
    try:
        if path.is_symlink():
            raise BundleError(f"{path}: a bundle holds no symbolic links; copy the file itself")
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise BundleError(_damage(path, "it is larger than any manifest"))
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise BundleError(
            f"{path.parent}: no {MANIFEST} in it, so it is no bundle; make one with `edge build`"
        ) from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(_damage(path, f"it is not JSON ({error})")) from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BundleError(
            f"{path}: made by a newer protoedge (schema {version}, this one reads "
            f"{SCHEMA_VERSION}); upgrade with pip install -U protoedge"
        )
    if not isinstance(content, dict) or content.pop(SEAL, None) != _seal(content):
        raise BundleError(_damage(path, "its seal does not fit; change it with `edge` only"))
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise BundleError(_damage(path, _first(error))) from error


def _check_file(path: Path, record: FileRecord) -> None:
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise BundleError(_damage(path, "it is not a file"))
        if size != record.size or size > MAX_FILE_BYTES:
            raise BundleError(_damage(path, f"it has {size} bytes instead of {record.size}"))
        if sha256_of(path) != record.sha256:
            raise BundleError(_damage(path, "its SHA-256 differs from the manifest's"))
    except FileNotFoundError as error:
        raise BundleError(_damage(path, "it is missing")) from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error


def _check_graph(path: Path, manifest: Manifest) -> None:
    """The graph is self-contained, takes images of the manifest's size, and agrees about itself."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except (DecodeError, ValueError) as error:
        raise BundleError(_damage(path, "it is not an ONNX graph")) from error
    external = onnx.TensorProto.EXTERNAL
    if any(tensor.data_location == external for tensor in model.graph.initializer):
        raise BundleError(f"{path}: its weights lie outside the file; build it again")
    shapes = [
        tuple(size.dim_value for size in given.type.tensor_type.shape.dim)
        for given in model.graph.input
    ]
    if len(shapes) != 1 or shapes[0][1:] != (*manifest.size, 3):
        raise BundleError(
            f"{path}: it takes {shapes}, the manifest says {(*manifest.size, 3)}; build it again"
        )
    said = {entry.key: entry.value for entry in model.metadata_props}
    for key, expected in ONNX_METADATA.items():
        if key in said and said[key] != expected(manifest):
            raise BundleError(
                f"{path}: its metadata says {key} {said[key]}, the manifest {expected(manifest)}; "
                "the two are from different builds, build it again"
            )


def _entries(folder: Path) -> Iterator[Path]:
    """Everything in the bundle except what lies inside its plan cache."""
    for root, folders, names in os.walk(folder):
        here = Path(root)
        yield from (here / name for name in (*folders, *names))
        if here == folder and PLANS in folders:
            folders.remove(PLANS)


def _check_names(target: Path, manifest: Manifest, files: Mapping[str, bytes | Path]) -> None:
    for name in files:
        problem = path_problem(name)
        if problem:
            raise BundleError(f"{target}: {name!r} {problem}")
    for name in (MODEL, *(image.file for image in manifest.golden)):
        if name not in files:
            raise BundleError(f"{target}: {name} was not given")
    is_bundle = (target / MANIFEST).exists()
    if target.exists() and not is_bundle and not (target.is_dir() and not any(target.iterdir())):
        raise BundleError(f"{target}: exists and is no bundle; choose another --output")


def _store_file(path: Path, content: bytes | Path) -> FileRecord:
    data = content if isinstance(content, bytes) else content.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, data)
    return FileRecord(sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in pieces, as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _text(manifest: Manifest) -> bytes:
    """`manifest.json`: the record and a seal over it, so that a damaged threshold is noticed."""
    content = manifest.model_dump(mode="json")
    return (json.dumps({**content, SEAL: _seal(content)}, indent=2) + "\n").encode()


def _seal(content: Mapping[str, object]) -> str:
    """SHA-256 of the record, whatever its layout; finds damage, and hinders no forger."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _inode(folder: Path) -> int | None:
    try:
        return folder.stat().st_ino
    except OSError:
        return None


def _damage(path: Path, how: str) -> str:
    return f"{path}: the bundle is damaged: {how}; copy it again or build it again"


def _first(error: ValidationError) -> str:
    """The first problem that pydantic found, in one line."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in found["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: {found['msg']}{more}" if where else f"{found['msg']}{more}"
