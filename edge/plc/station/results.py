"""What is decided about a part becomes a result."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge.plc.station.messages import Answer, Job, Recipe
from edge.plc.station.snapshot import Box, ErrorCode, Evaluation, InspectionResult, State


@dataclass(frozen=True, slots=True)
class Draft:
    """What is known of a result before its answer."""

    station: str
    boot_id: int
    job: Job
    recipe: Recipe
    triggered_at_ns: int
    decided_at_ns: int
    latency_us: int


def result_from_answer(draft: Draft, answer: Answer) -> InspectionResult:
    """The result of a part that the worker looked at.

    OK and NOT_OK need a finite score and no error; whatever else comes is NOT_DECIDABLE.
    """
    error, reason = answer.error, answer.reason
    finite = answer.score is not None and math.isfinite(answer.score)
    decided = answer.evaluation in (Evaluation.OK, Evaluation.NOT_OK)
    if not error and not (finite and decided):
        error, reason = ErrorCode.ENGINE, reason or "an answer without a finite score"
    return _result(
        draft,
        answer,
        evaluation=Evaluation.NOT_DECIDABLE if error else answer.evaluation,
        state=State.FAILED if error else State.COMPLETED,
        error=error,
        reason=reason,
    )


def result_without_answer(
    draft: Draft, state: State, error: ErrorCode, *, reason: str
) -> InspectionResult:
    """The result of a part about which nothing is known: UNDEFINED, so REJECT."""
    nothing = Answer(draft.job.seq, Evaluation.UNDEFINED)
    return _result(
        draft,
        nothing,
        evaluation=Evaluation.UNDEFINED,
        state=state,
        error=error,
        reason=reason,
    )


def _result(
    draft: Draft,
    answer: Answer,
    *,
    evaluation: Evaluation,
    state: State,
    error: ErrorCode,
    reason: str,
) -> InspectionResult:
    finite = answer.score is not None and math.isfinite(answer.score)
    return InspectionResult(
        station=draft.station,
        boot_id=draft.boot_id,
        seq=draft.job.seq,
        trigger_id=draft.job.trigger_id,
        part_id=draft.job.part_id,
        recipe_id=draft.recipe.recipe_id,
        model_hash=draft.recipe.model_hash,
        evaluation=evaluation,
        state=state,
        error=error,
        reason=reason,
        score=answer.score if finite else None,
        threshold=draft.recipe.threshold,
        defects=answer.defects,
        worst=answer.worst if answer.defects else Box(),
        triggered_at_ns=draft.triggered_at_ns,
        acquired_at_ns=answer.acquired_at_ns,
        decided_at_ns=draft.decided_at_ns,
        acquire_us=answer.acquire_us,
        process_us=answer.process_us,
        latency_us=draft.latency_us,
        simulated=draft.recipe.simulated,
    )
