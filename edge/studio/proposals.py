"""Proposals on a page: made in a process of their own, looked at, accepted or refused."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any

from edge.config import Config
from edge.sinks.kept_parts import MARKED
from edge.studio.refusals import RefusalError
from edge.studio.studio import Studio
from edge.teaching.marked_parts import MarkedParts, TeachError, marked_parts
from edge.teaching.proposal import Proposal
from edge.teaching.replacement import NOTHING_MARKED


def proposal_json(proposal: Proposal, **facts: Any) -> dict[str, Any]:
    """A proposal as a page shows it: what each kind comes to, which verdicts change, problems.

    Args:
        proposal: that was made.
        facts: what else tells it from others.
    """
    changed = [one for one in proposal.effect.to_json() if one["before"] != one["after"]]
    rows = [row._asdict() for row in proposal.effect.rows()]
    return {**facts, "rows": rows, "changed": changed, "problems": proposal.problems()}


def marked_folder(config: Config) -> Path | None:
    """Where the marked parts lie; None where no parts are kept."""
    return config.stream.keep and config.stream.keep / MARKED


def marked_or_none(folder: str) -> MarkedParts:
    """The marked parts of a folder, by which two inspectors are compared; there may be none."""
    try:
        return marked_parts(Path(folder)) if folder else NOTHING_MARKED
    except TeachError:
        return NOTHING_MARKED


class LatestProposal:
    """The proposal that a kind of job came to last, until somebody has decided about it.

    Args:
        studio: with the jobs.
        kind: of job.
    """

    def __init__(self, studio: Studio, kind: str) -> None:
        self._studio = studio
        self._kind = kind
        self._decided = 0

    def find(self) -> dict[str, Any] | None:
        """What was proposed, with the job's `number`; None where nothing waits."""
        job = self._studio.jobs.latest(self._kind)
        if job is None or job["state"] != "done" or job["number"] <= self._decided:
            return None
        return {**job["result"], "number": job["number"]}

    def take(self, number: int) -> dict[str, Any]:
        """The proposal of a number, that somebody has seen.

        Raises:
            RefusalError: it is another one by now, or was decided about.
        """
        found = self.find()
        if found is None or found["number"] != number:
            raise RefusalError("studio.no_proposal")
        return found

    def decide(self, number: int) -> None:
        """Say that it was accepted or refused."""
        self._decided = max(self._decided, number)


def check_force(proposal: dict[str, Any], typed: str) -> bool:
    """Whether it is accepted although it has problems.

    Args:
        proposal: with its problems and the bundle's name.
        typed: by somebody; the bundle's name forces it.

    Raises:
        RefusalError: it has problems, and the name was not typed.
    """
    if not proposal["problems"]:
        return False
    if typed != proposal["name"]:
        raise RefusalError("studio.has_problems", HTTPStatus.CONFLICT)
    return True
