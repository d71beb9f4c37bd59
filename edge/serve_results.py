"""A station's results as JSON lines."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from cameras.closing import Closing
from cameras.names import shown
from edge.losses import Losses
from edge.rotation import RotatedFile
from edge.sinks import SinkError
from edge.station.contract import InspectionResult


class ResultsFile(Closing):
    """One line a part, appended, in the file as soon as it is decided.

    Args:
        path: the file.
        most_bytes: a new file is begun before it grows larger; None = no limit.
        kept: older files beside it, as ``NAME.1`` and so on.

    Raises:
        SinkError: it cannot be written.
    """

    def __init__(self, path: Path, *, most_bytes: int | None = None, kept: int = 9) -> None:
        self._losses = Losses(shown(path), "result lines")
        try:
            self._file = RotatedFile(path, most_bytes=most_bytes, kept=kept)
        except OSError as error:
            raise SinkError(f"{shown(path)}: {error.strerror}; name a file to write") from error

    def write(self, result: InspectionResult) -> None:
        """Append a line; a full disk costs this line, and is reported once."""
        line = json.dumps(asdict(result) | {"decision": result.decision.name}, allow_nan=False)
        try:
            self._file.write(line.encode())
        except OSError as error:
            self._losses.add(error.strerror or str(error))
        else:
            self._losses.recovered()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()
