"""What a station counts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from edge.plc.station.snapshot import Counters, Decision, Evaluation, InspectionResult

DECIDED = (Evaluation.OK, Evaluation.NOT_OK)


@dataclass(slots=True)
class Tally:
    """Counters that grow."""

    counters: Counters = field(default_factory=Counters)
    _timed: int = 0
    _sum_us: int = 0

    def add(
        self,
        *,
        triggers: int = 0,
        missed: int = 0,
        timeouts: int = 0,
        late: int = 0,
        faults: int = 0,
    ) -> None:
        """Count what happened."""
        now = self.counters
        self.counters = replace(
            now,
            triggers=now.triggers + triggers,
            missed=now.missed + missed,
            timeouts=now.timeouts + timeouts,
            late=now.late + late,
            faults=now.faults + faults,
        )

    def restarted(self) -> None:
        """Count a worker that was started again."""
        self.counters = replace(self.counters, restarts=self.counters.restarts + 1)

    def decided(self, result: InspectionResult) -> None:
        """Count a result."""
        now = self.counters
        passed = result.decision is Decision.PASS
        self.counters = replace(
            now,
            passed=now.passed + passed,
            rejected=now.rejected + (not passed),
            undecided=now.undecided + (result.evaluation not in DECIDED),
        )

    def took(self, process_us: int) -> None:
        """Count the time of an inspection, in time or late."""
        now = self.counters
        self._sum_us += process_us
        self._timed += 1
        shortest = process_us if self._timed == 1 else min(now.process_us_min, process_us)
        self.counters = replace(
            now,
            process_us_min=shortest,
            process_us_mean=self._sum_us // self._timed,
            process_us_max=max(now.process_us_max, process_us),
        )

    def zero(self) -> None:
        """Begin anew."""
        self.counters = Counters()
        self._timed = self._sum_us = 0
