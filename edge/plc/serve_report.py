"""What `edge serve` tells of its station; what `edge stream` tells too has the same name."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edge.plc.serve_results import ResultsFile
from edge.plc.station.port import Port
from edge.plc.station.snapshot import Decision, InspectionResult, Phase, ResultEvaluation, Snapshot
from edge.result import Verdict
from edge.service.result_counts import ResultCounts

_US_PER_MS = 1e3


class StationReport:
    """Counts a station's results; any thread may ask for the report.

    Args:
        station: whose.
        lines: where its results go; None where they go nowhere.
    """

    def __init__(self, station: Port, *, lines: ResultsFile | None) -> None:
        self._station = station
        self._lines = lines
        self._counts = ResultCounts()

    def count(self, result: InspectionResult) -> None:
        """Count a result; to be called with each."""
        stages = {"acquire": result.acquire_us, "process": result.process_us}
        self._counts.count(
            _verdict(result),
            latency_ms=result.latency_us / _US_PER_MS,
            stages_ms={stage: us / _US_PER_MS for stage, us in stages.items()},
        )

    def to_json(self) -> dict[str, Any]:
        """Everything that is known, in JSON types."""
        shown = self._station.snapshot()
        reason = "" if shown.online else why_not_online(shown) or str(shown.phase)
        trouble = "" if self._lines is None else self._lines.losses.trouble
        return {
            "ready": not reason,
            "reasons": {shown.station: reason} if reason else {},
            "troubles": [trouble] if trouble else [],
            "not_written": 0 if self._lines is None else self._lines.losses.total,
            "station": self._own(shown, reason),
        }

    def _own(self, shown: Snapshot, reason: str) -> dict[str, Any]:
        return {
            "name": shown.station,
            "ready": not reason,
            "reason": reason,
            "phase": str(shown.phase),
            "recipe_id": shown.recipe_id,
            "model_hash": shown.model_hash,
            "threshold": shown.threshold,
            "boot_id": shown.boot_id,
            "seq": shown.seq,
            **self._counts.to_json(),
            "counters": asdict(shown.counters),
        }


def why_not_online(shown: Snapshot) -> str:
    """Why a station accepts no triggers; empty when it does, or is at work."""
    if shown.phase is Phase.FAULT:
        return f"fault {shown.error.value}: {shown.reason}"
    if shown.phase is Phase.OFFLINE:
        return f"offline, {shown.offline_reason.name.lower()}"
    return ""


def _verdict(result: InspectionResult) -> Verdict:
    if result.decision is Decision.PASS:
        return Verdict.OK
    return Verdict.NG if result.evaluation is ResultEvaluation.NOT_OK else Verdict.ERROR
