"""A station's results as JSON lines."""

from __future__ import annotations

import json
from dataclasses import asdict

from edge.plc.station.snapshot import InspectionResult
from edge.sinks.files import LinesFile


class ResultsFile(LinesFile):
    """One line a part, in the file as soon as it is decided; see `LinesFile`."""

    def write(self, result: InspectionResult) -> None:
        """Write one line; see `LinesFile.add`."""
        values = asdict(result) | {"decision": result.decision.name}
        self.add(json.dumps(values, allow_nan=False))
