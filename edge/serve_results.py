"""A station's results as JSON lines."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from cameras.names import shown
from edge.losses import Losses
from edge.sinks import SinkError
from edge.station.contract import InspectionResult


class ResultsFile:
    """One line a part, appended, in the file as soon as it is decided.

    Args:
        path: the file.

    Raises:
        SinkError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._losses = Losses(shown(path), "result lines")
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_APPEND
        try:
            self._file = os.open(path, flags, 0o644)
        except OSError as error:
            raise SinkError(f"{shown(path)}: {error.strerror}; name a file to write") from error

    def write(self, result: InspectionResult) -> None:
        """Append a line; a full disk costs this line, and is reported once."""
        line = json.dumps(asdict(result) | {"decision": result.decision.name}, allow_nan=False)
        try:
            os.write(self._file, line.encode() + b"\n")
        except OSError as error:
            self._losses.add(error.strerror or str(error))
        else:
            self._losses.recovered()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> ResultsFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
