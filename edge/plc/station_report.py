"""What is told of a station, by the names that `edge stream` has."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol

from edge.plc.station.decided_part import US_PER_MS, verdict_of
from edge.plc.station.messages import RecordState
from edge.plc.station.port import Bridge, Port
from edge.plc.station.snapshot import InspectionResult, Phase, Snapshot
from edge.service.camera_status import count_lost, troubles_from_sinks
from edge.service.result_counts import ResultCounts
from edge.sinks.sink import Sink
from process.threads import FAILURES


class WorkerTroubles(Protocol):
    """What a worker tells of its own troubles: `ProcessWorker`."""

    @property
    def source_trouble(self) -> str:
        """What is wrong with the source although it works; empty if nothing."""
        ...

    @property
    def records(self) -> RecordState:
        """What it cannot write."""
        ...


class StationReport:
    """What is known of a station; any thread may ask.

    Args:
        station: whose.
        worker: inspects for it.
        counts: of its results.
        sinks: where they go.
    """

    def __init__(
        self,
        station: Port,
        worker: WorkerTroubles,
        *,
        counts: ResultCounts,
        sinks: Sequence[Sink] = (),
    ) -> None:
        self._station, self._worker = station, worker
        self._counts, self._sinks = counts, sinks
        self._bridges: list[Bridge] = []
        self._latest: InspectionResult | None = None
        self._born_s = time.monotonic()

    def add_bridge(self, bridge: Bridge) -> None:
        """Tell of its troubles, too."""
        self._bridges.append(bridge)

    def count(self, result: InspectionResult) -> None:
        """Count a result; to be called with each."""
        self._latest = result
        stages = {"acquire": result.acquire_us, "process": result.process_us}
        self._counts.count(
            verdict_of(result),
            latency_ms=result.latency_us / US_PER_MS,
            stages_ms={stage: us / US_PER_MS for stage, us in stages.items()},
        )

    def to_json(self) -> dict[str, Any]:
        """Everything that is known, in JSON types."""
        shown, records = self._station.snapshot(), self._worker.records
        reason = "" if shown.online else why_not_online(shown) or str(shown.phase)
        troubles = [bridge.trouble for bridge in self._bridges]
        troubles += [*troubles_from_sinks(self._sinks), records.trouble]
        of_sinks = len([trouble for trouble in troubles if trouble])
        troubles += [self._worker.source_trouble]
        troubles += [self._latest.trouble] if self._latest else []
        troubles = [trouble for trouble in troubles if trouble]
        reasons = {shown.station: reason} if reason else {}
        reasons |= FAILURES.reasons(since_s=self._born_s)
        return {
            "ready": not reasons,
            "reasons": reasons,
            "troubles": troubles,
            "sinks_in_trouble": of_sinks,
            "not_written": count_lost(self._sinks) + records.not_written,
            "thread_failures": FAILURES.count,
            "station": self._station_json(shown, reason),
            "cameras": {shown.station: self._camera_json(reason)},
        }

    def _station_json(self, shown: Snapshot, reason: str) -> dict[str, Any]:
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
            "drift": self._latest.drift if self._latest else "",
            **self._counts.to_json(),
            "today": self._counts.today(),
            "counters": asdict(shown.counters),
        }

    def _camera_json(self, reason: str) -> dict[str, Any]:
        """What the page shows of a camera."""
        counted = self._counts.to_json()
        return {
            "ready": not reason,
            "reason": reason,
            "live": False,  # there is a picture when there was a part
            "frames": counted["ok"] + counted["ng"] + counted["error"],
            **counted,
            "today": self._counts.today(),
            "dropped": 0,
            "drift": {"state": self._latest.drift if self._latest else "unknown"},
            "troubles": [],  # they are those of the program
        }


def why_not_online(shown: Snapshot) -> str:
    """Why a station accepts no triggers; empty when it does, or is at work."""
    if shown.phase is Phase.FAULT:
        return f"fault {shown.error.value}: {shown.reason}"
    if shown.phase is Phase.OFFLINE:
        return f"offline, {shown.offline_reason.name.lower()}"
    return ""
