"""What makes the next build or start quick, in the user's cache folder; losing it costs time alone.

TensorRT's timing cache: how long each tactic took on a GPU. It is for one version and one GPU, and
TensorRT refuses any other. TensorRT-RTX's kernels: compiled at the first run, for its version, this
GPU and this driver, which it checks. They are native code, and read only under this machine's seal.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import re
from pathlib import Path

from engines.atomic_files import replace_file
from engines.sealed_files import seal, user_folder
from process.plain_files import read_plain_file

MAX_BYTES = 256 << 20
SEAL_BYTES = hashlib.sha256().digest_size
_NOT_OURS = frozenset({errno.ENOENT, errno.ELOOP, errno.EINVAL, errno.EISDIR, errno.EFBIG})
"""There is none, or a link or something else lies there; it is made anew."""


def timing_path(*, flavour: str, version: str, gpu: str) -> Path:
    """Where timings lie, such as ``~/.cache/protoedge/timing/tensorrt-10.3.0-orin.cache``.

    Args:
        flavour: ``tensorrt``.
        version: of the library.
        gpu: the GPU's name; two GPUs of one compute capability differ in what is fast.
    """
    name = re.sub(r"[^a-z0-9.]+", "-", f"{flavour}-{version}-{gpu}".lower()).strip("-")
    return user_folder("cache") / "timing" / f"{name}.cache"


def kernels_path(plan: bytes, *, flavour: str, version: str) -> Path:
    """Where kernels lie, such as ``~/.cache/protoedge/kernels/tensorrt-rtx-1.7-0f.bin``."""
    digest = hashlib.sha256(plan).hexdigest()[:16]
    return user_folder("cache") / "kernels" / f"{flavour}-{version}-{digest}.bin"


def read_cache(path: Path) -> bytes:
    """A file's content; empty if there is none that can be one.

    Raises:
        OSError: it is there and cannot be read.
    """
    try:
        return read_plain_file(path, max_bytes=MAX_BYTES, follow_links=False)
    except OSError as error:
        if error.errno in _NOT_OURS:
            return b""
        raise


def write_cache(path: Path, content: bytes) -> None:
    """Put a file in the place of the old one; a kill leaves one of the two.

    Raises:
        OSError: the disk is full, read-only or failing; the old one is as before.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    replace_file(path, content)


def read_kernels(path: Path) -> bytes:
    """Kernels; empty if there are none, or none that this machine sealed.

    Raises:
        OSError: they are there and cannot be read, or the key cannot.
    """
    content = read_cache(path)
    found, kernels = content[:SEAL_BYTES], content[SEAL_BYTES:]
    return kernels if hmac.compare_digest(found, _seal(kernels, path)) else b""


def write_kernels(path: Path, kernels: bytes) -> None:
    """Seal kernels and keep them; see `write_cache`."""
    write_cache(path, _seal(kernels, path) + kernels)


def _seal(kernels: bytes, path: Path) -> bytes:
    """Of the content and the name: kernels of another plan must not take its place."""
    return bytes.fromhex(seal(path.name.encode() + b"\0" + kernels))
