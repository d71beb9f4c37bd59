"""Native code that this machine compiled and keeps, and what proves that it did.

Loading a compiled plan or graph runs what is in it, and a bundle may come from anywhere. So each
has a sidecar with the seal of the machine that made it: an HMAC whose key never leaves the machine.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from engines.atomic_files import replace_file
from process.plain_files import read_plain_file

KEY_BYTES = 32
MAX_SIDECAR_BYTES = 16 << 20
_HOMES = {"cache": ".cache", "config": ".config", "state": ".local/state"}


class SealedRecord(BaseModel):
    """A sidecar: what the file beside it is, and the seal of the machine that made it.

    Attributes:
        seal: over all the rest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: ClassVar[bytes] = b""
    """Part of what is sealed, so that no record passes for one of another kind."""

    seal: str = ""

    @property
    def mark(self) -> str:
        """SHA-256 of everything but the seal."""
        return hashlib.sha256(self._content()).hexdigest()

    @property
    def is_ours(self) -> bool:
        """Whether this machine sealed it.

        Raises:
            OSError: the key cannot be read or made.
        """
        return hmac.compare_digest(self.seal.encode(), seal(self.kind + self._content()).encode())

    def sealed(self) -> dict[str, Any]:
        """The record with this machine's seal, for JSON.

        Raises:
            OSError: the key cannot be read or made.
        """
        return {**self.model_dump(mode="json"), "seal": seal(self.kind + self._content())}

    def _content(self) -> bytes:
        # Without None, so that a field which is new takes no seal or mark from an older sidecar.
        content = self.model_dump(mode="json", exclude={"seal"}, exclude_none=True)
        return json.dumps(content, sort_keys=True).encode()


SealedType = TypeVar("SealedType", bound=SealedRecord)


def store_sealed(path: Path, content: bytes, record: SealedRecord) -> None:
    """Write a file and its sidecar; a kill leaves the old pair, or one that does not fit together.

    Raises:
        OSError: the folder is a link or cannot be written, or the key cannot be made.
    """
    sidecar = (json.dumps(record.sealed(), indent=1) + "\n").encode()
    if path.parent.is_symlink():
        raise OSError(0, "it is a symbolic link", str(path.parent))
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content)
    replace_file(path.with_suffix(".json"), sidecar)


def read_record(path: Path, kind: type[SealedType]) -> SealedType:
    """The sidecar beside a file, whether it is ours or not.

    Raises:
        OSError: it is missing, no plain file, or cannot be read.
        ValidationError: it is damaged.
    """
    sidecar = path.with_suffix(".json")
    content = read_plain_file(sidecar, max_bytes=MAX_SIDECAR_BYTES, follow_links=False)
    return kind.model_validate_json(content)


def seal(content: bytes) -> str:
    """This machine's seal of some content, 64 hex digits.

    Raises:
        OSError: the key cannot be read or made.
    """
    return hmac.new(machine_key(), content, hashlib.sha256).hexdigest()


def user_folder(kind: Literal["cache", "config", "state"]) -> Path:
    """Where protoedge keeps what is this user's own, such as ``~/.cache/protoedge``.

    Raises:
        OSError: this user has no home.
    """
    try:
        home = os.environ.get(f"XDG_{kind.upper()}_HOME") or Path.home() / _HOMES[kind]
    except RuntimeError as error:
        raise OSError(0, "this user has no home folder", "~") from error
    return Path(home) / "protoedge"


def machine_key() -> bytes:
    """The key, made at first use; readable by its user alone.

    A key that is cut short, or that others could read, proves nothing: a new one takes its place,
    and what the old one sealed is made again.

    Raises:
        OSError: the state folder cannot be read or written.
    """
    path = user_folder("state") / "plan.key"
    key = _read_key(path)
    if key is None:
        _make_key(path)
        key = _read_key(path)
    if key is None:
        raise OSError(0, "the key that was just made is not usable", str(path))
    return key


def _read_key(path: Path) -> bytes | None:
    """The key; None after removing one that is no good."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    private = stat.S_ISREG(found.st_mode) and not found.st_mode & 0o077
    if private and found.st_uid == os.geteuid() and found.st_size == KEY_BYTES:
        return read_plain_file(path, max_bytes=KEY_BYTES, follow_links=False)
    path.unlink(missing_ok=True)
    return None


def _make_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"plan.key.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was quicker: its key counts
    finally:
        draft.unlink()
