"""A judge whose verdicts are known beforehand, so that another part's result is found out."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from edge.plc.station.messages import Answer, Job, Recipe
from edge.plc.station.snapshot import DefectBox, ResultEvaluation


@dataclass
class Scoring:
    """Judges a part by its id: modulo 1000, in thousandths; 500 and above is not OK.

    Attributes:
        inspects_s: what an inspection takes, to a few microseconds.
        stalls_s: what it takes for the parts in `stalled`.
        stalled: their ids.
        seen: ids of all parts, in order.
    """

    inspects_s: float = 0.0
    stalls_s: float = 1.0
    stalled: list[int] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)

    def load(self, recipe_id: int, progress: object) -> Recipe:
        return Recipe(recipe_id, model_hash="ab" * 32, threshold=0.5, simulated=True)

    def inspect(self, job: Job) -> Answer:
        begun = time.perf_counter_ns()
        self.seen.append(job.part_id)
        if job.part_id in self.stalled:
            time.sleep(self.stalls_s)
        else:
            self._work(begun)
        permille = job.part_id % 1000
        bad = permille >= 500
        return Answer(
            job.seq,
            ResultEvaluation.NOT_OK if bad else ResultEvaluation.OK,
            score=permille / 1000,
            defects=int(bad),
            worst=DefectBox(1, 2, 3, 4) if bad else DefectBox(),
            acquired_at_ns=time.time_ns(),
            process_us=(time.perf_counter_ns() - begun) // 1000,
        )

    def close(self) -> None:
        """Nothing is held."""

    def _work(self, begun: int) -> None:
        end = begun + int(self.inspects_s * 1e9)
        time.sleep(max(0.0, self.inspects_s - 0.0002))
        while time.perf_counter_ns() < end:
            pass
