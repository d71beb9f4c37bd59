"""A worker's process with a judge that needs no camera, for tests of what is around it.

    python station_worker.py LINK HEARTBEAT

A part's id says what happens to it: its last three digits are the score in thousandths; 1_000_000
and more stalls for as many milliseconds as the millions say; 4_000_000_000 ends the process.
RIG_LOADS_S in the environment is how many seconds a recipe takes to load, RIG_COMPILES_S how many
seconds its plan is compiled, which is told as it moves on.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from cameras.parent_link import connect_to_parent
from edge.plc.station.messages import TO_WORKER, Answer, Job, Recipe, WorkerSetup
from edge.plc.station.snapshot import DefectBox, ErrorCode, ResultEvaluation
from edge.plc.station.worker import RecipeError
from edge.plc.station.worker_process import serve

CRASH = 4_000_000_000
MILLION = 1_000_000


class DrawnJudge:
    """Scores by the part's id."""

    def load(self, recipe_id: int, progress: Callable[[float], None]) -> Recipe:
        time.sleep(float(os.environ.get("RIG_LOADS_S", "0")))
        until_s = time.monotonic() + float(os.environ.get("RIG_COMPILES_S", "0"))
        while time.monotonic() < until_s:
            progress(0.5)
            time.sleep(0.01)
        if recipe_id == 9:
            raise RecipeError("recipe 9: its golden image scores 0.9 instead of 0.1")
        if recipe_id == 8:
            raise RecipeError("recipe 8: too slow", code=ErrorCode.TOO_SLOW)
        return Recipe(recipe_id, model_hash=f"{recipe_id:02x}" * 32, threshold=0.5, simulated=True)

    def inspect(self, job: Job) -> Answer:
        if job.part_id == CRASH:
            os.abort()
        time.sleep(job.part_id // MILLION / 1e3)
        score = job.part_id % 1000 / 1000
        bad = score >= 0.5
        return Answer(
            job.seq,
            ResultEvaluation.NOT_OK if bad else ResultEvaluation.OK,
            score=score,
            defects=int(bad),
            worst=DefectBox(1, 2, 3, 4),
            acquired_at_ns=time.time_ns(),
        )

    def close(self) -> None:
        """Nothing is held."""


if __name__ == "__main__":
    link = connect_to_parent(sys.argv[1:], TO_WORKER).link
    setup = link.receive()
    sys.exit(serve(link, DrawnJudge(), setup.recipe_id) if isinstance(setup, WorkerSetup) else 3)
