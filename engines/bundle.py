"""A bundle: the folder that holds an inspector, checked byte by byte before anything runs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from engines.atomic_files import recover, staged_folder, write_durably
from engines.bundle_paths import path_problem
from engines.errors import BundleError
from engines.graph_rules import graph_problem
from engines.manifest import FileRecord, Manifest
from engines.manifest_file import MANIFEST, describe_damage, read_manifest, text_from_manifest
from process.plain_files import MAX_FILE_BYTES, check_plain, read_plain_file, sha256_of
from process.signals import holding_signals, note_change

MODEL = "model.onnx"
PLANS = "engines"
MAX_TRIES = 10  # to read a bundle that is being replaced
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
        for _ in range(MAX_TRIES):
            before = _stamp(folder)
            try:
                return _open_folder(folder)
            except BundleError:
                # A build or a change of settings came between: then read what is there now.
                if before == _stamp(folder):
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
            content = read_plain_file(
                self.path / name, max_bytes=MAX_FILE_BYTES, follow_links=False
            )
        except OSError as error:
            raise BundleError(f"{self.path / name}: cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != record.sha256:
            raise BundleError(describe_damage(self.path / name, "its SHA-256 differs"))
        return content


def write_bundle(
    target: Path,
    *,
    manifest: Manifest,
    files: Mapping[str, bytes | Path],
    check: Callable[[], None] | None = None,
) -> Bundle:
    """Write a bundle so that a kill or a full disk at any moment leaves the old one or the new.

    Args:
        target: the folder, ``NAME.edge``; replaced if it is a bundle already.
        manifest: its `files` are filled in here.
        files: content, or a file to copy, by path inside the bundle; ``model.onnx`` is a must.
        check: called right before `target` is replaced, while nobody else can change it; what it
            raises leaves all as it is.

    Raises:
        BundleError: a path is not allowed, `target` is something else, or the disk refuses.
    """
    _check_names(target, manifest, files)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with holding_signals():
            with staged_folder(target, check=check) as folder:
                records = {name: _store_file(folder / name, what) for name, what in files.items()}
                complete = Manifest.model_validate({**dict(manifest), "files": records})
                write_durably(folder / MANIFEST, text_from_manifest(complete))
            note_change(f"{target} is written, and complete")
    except OSError as error:
        state = "the bundle that was there is untouched" if target.exists() else "nothing is left"
        raise BundleError(
            f"{target}: cannot be written: {error.strerror or error}; {state}; free some space, or "
            "write it elsewhere"
        ) from error
    return Bundle(target, complete)


def _open_folder(folder: Path) -> Bundle:
    if not folder.exists():
        raise BundleError(f"{folder}: no such bundle; make one with `edge build`")
    if not folder.is_dir():
        raise BundleError(f"{folder}: a bundle is a folder, NAME.edge, and this is a file")
    manifest = read_manifest(folder / MANIFEST)
    if MODEL not in manifest.files:
        raise BundleError(f"{folder}: the manifest lists no {MODEL}; build it again")
    for found in _entries(folder):
        if found.is_symlink():
            raise BundleError(f"{found}: a bundle holds no symbolic links; copy the file itself")
        name = found.relative_to(folder).as_posix()
        if name not in manifest.files and found.suffix.lower() in MODEL_SUFFIXES:
            raise BundleError(f"{found}: the manifest does not list this file; remove it")
    for name, record in manifest.files.items():
        # The graph's digest is looked at when it is read, once.
        _check_file(folder / name, record, digest=name != MODEL)
    opened = Bundle(folder, manifest)
    _check_graph(folder / MODEL, opened.model(), manifest)
    return opened


def _check_file(path: Path, record: FileRecord, *, digest: bool) -> None:
    try:
        found = path.lstat()
        check_plain(found, path, max_bytes=MAX_FILE_BYTES)
        if found.st_size != record.size:
            raise BundleError(
                describe_damage(path, f"it has {found.st_size} bytes instead of {record.size}")
            )
        if digest and sha256_of(path) != record.sha256:
            raise BundleError(describe_damage(path, "its SHA-256 differs from the manifest's"))
    except FileNotFoundError as error:
        raise BundleError(describe_damage(path, "it is missing")) from error
    except PermissionError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    except OSError as error:
        raise BundleError(describe_damage(path, str(error.strerror))) from error


def _check_graph(path: Path, content: bytes, manifest: Manifest) -> None:
    """The graph is self-contained, takes images of the manifest's size, and agrees about itself."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError) as error:
        raise BundleError(describe_damage(path, "it is not an ONNX graph")) from error
    problem = graph_problem(model)
    if problem:
        raise BundleError(f"{path}: {problem}; build it again")
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
    if isinstance(content, bytes):
        data = content
    else:
        data = read_plain_file(content, max_bytes=MAX_FILE_BYTES)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, data)
    return FileRecord(sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def _stamp(folder: Path) -> tuple[int, int, int] | None:
    """What changes when another folder, or another manifest, takes the place of this one."""
    try:
        manifest = (folder / MANIFEST).stat()
        return folder.stat().st_ino, manifest.st_ino, manifest.st_mtime_ns
    except OSError:
        return None
