"""Results as lines of JSON."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cameras.redaction import printable_path
from edge.result import Result
from edge.sinks.losses import LossCounter
from edge.sinks.rotated_file import RotatedFile
from edge.sinks.sink import SinkError

if TYPE_CHECKING:
    from typing_extensions import Self

_BEGIN = b'{"'  # of each line


class JsonLinesFile:
    """Lines of JSON, each in the file as soon as it is added.

    Args:
        path: the file.
        append: keep what is in it; otherwise it is replaced.
        max_bytes: a new file is begun before it grows larger, and each day; None = no limit.
        backups: older files beside it, as ``NAME.1`` and so on.

    Attributes:
        losses: lines that could not be written.

    Raises:
        SinkError: the file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        append: bool = True,
        max_bytes: int | None = None,
        backups: int = 9,
    ) -> None:
        self.losses = LossCounter(printable_path(path), "result lines")
        try:
            _refuse_others(Path(path))
            self._file = RotatedFile(path, append=append, max_bytes=max_bytes, backups=backups)
        except OSError as error:
            raise SinkError(
                f"{printable_path(path)}: {error.strerror}; name a file to write"
            ) from error

    def add(self, values: Mapping[str, Any]) -> None:
        """Write one line; a full disk costs this line, and is logged once."""
        line = json.dumps(values, ensure_ascii=False, allow_nan=False)
        try:
            self._file.write(line.encode("utf-8", "backslashreplace"))
        except OSError as error:
            self.losses.add(error)
        else:
            self.losses.end_outage()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _refuse_others(path: Path) -> None:
    """See that a file that is there holds lines of JSON: lines would spoil any other.

    Raises:
        OSError: it does not, or cannot be read.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        begin = file.read(len(_BEGIN))
    if not _BEGIN.startswith(begin):
        raise OSError(errno.EEXIST, "it holds something else than lines of JSON", str(path))


class JsonLinesSink(JsonLinesFile):
    """One line per result, `Result.to_json`; see `JsonLinesFile`."""

    lossless = True

    def write(self, result: Result) -> None:
        """Write one line; see `JsonLinesFile.add`."""
        self.add(result.to_json())
