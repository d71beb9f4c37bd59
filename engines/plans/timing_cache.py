"""How long each tactic took on a GPU, kept between builds: it is what makes a second build quick.

A cache is for one TensorRT version and one GPU. It lies in the user's cache folder, not in a
bundle, which holds nothing that depends on the machine but its plans.
"""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

from engines.atomic_files import replace_file

LARGEST = 256 << 20
_writing = threading.Lock()


def timing_path(*, flavour: str, version: str, gpu: str) -> Path:
    """Where a cache lies, such as ``~/.cache/protoedge/timing/tensorrt-10.3.0-orin.cache``.

    Args:
        flavour: ``tensorrt``.
        version: of the library.
        gpu: the GPU's name; two GPUs of one compute capability differ in what is fast.
    """
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    name = re.sub(r"[^a-z0-9.]+", "-", f"{flavour}-{version}-{gpu}".lower()).strip("-")
    return Path(home) / "protoedge" / "timing" / f"{name}.cache"


def read_timing(path: Path) -> bytes:
    """A cache's content; empty if there is none, or none that can be one.

    Raises:
        OSError: it is there and cannot be read.
    """
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
            return b""
        return path.read_bytes()
    except FileNotFoundError:
        return b""  # gone between the two


def write_timing(path: Path, content: bytes) -> None:
    """Put a cache in the place of the old one; a kill leaves one of the two.

    Raises:
        OSError: the disk is full, read-only or failing; the old one is as before.
    """
    with _writing:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace_file(path, content)
