"""Kernels that TensorRT-RTX compiled for this GPU, kept so that the next start need not.

They are native code: kept in the user's cache folder under the machine's seal, and read only if the
seal fits. TensorRT-RTX checks besides that they are of its version, this GPU and this driver.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

from engines.atomic_files import replace_file
from engines.plans.machine_key import machine_key

LARGEST = 256 << 20
SEAL_BYTES = hashlib.sha256().digest_size


def kernels_path(plan: bytes, *, flavour: str, version: str) -> Path:
    """Where they lie, such as ``~/.cache/protoedge/kernels/tensorrt-rtx-1.7-0f.bin``."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    digest = hashlib.sha256(plan).hexdigest()[:16]
    return Path(home) / "protoedge" / "kernels" / f"{flavour}-{version}-{digest}.bin"


def read_kernels(path: Path) -> bytes:
    """The kernels; empty if there are none, or none that this machine sealed.

    Raises:
        OSError: they are there and cannot be read.
    """
    if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
        return b""
    content = path.read_bytes()
    seal, kernels = content[:SEAL_BYTES], content[SEAL_BYTES:]
    return kernels if hmac.compare_digest(seal, _seal(kernels, path)) else b""


def write_kernels(path: Path, kernels: bytes) -> None:
    """Seal kernels and put them in the place of the old ones; a kill leaves one of the two.

    Raises:
        OSError: the disk is full, read-only or failing; the old ones are as before.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    replace_file(path, _seal(kernels, path) + kernels)


def _seal(kernels: bytes, path: Path) -> bytes:
    """Of the content and the name: kernels of another plan must not take its place."""
    return hmac.new(machine_key(), path.name.encode() + b"\0" + kernels, hashlib.sha256).digest()
