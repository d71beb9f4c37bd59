"""A station's results as JSON lines."""

from __future__ import annotations

from dataclasses import asdict

from edge.plc.station.snapshot import InspectionResult
from edge.sinks.json_lines import JsonLinesFile


class ResultsFile(JsonLinesFile):
    """One line a part, in the file as soon as it is decided; see `JsonLinesFile`."""

    def write(self, result: InspectionResult) -> None:
        """Write one line; see `JsonLinesFile.add`."""
        self.add(asdict(result) | {"decision": result.decision.name})
