"""What would be at work from now on, seen before it is: proposed, compared, and accepted or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from edge.teaching.effect import CorrectionEffect
from edge.teaching.marked_parts import TeachError
from engines.bundle import Bundle
from engines.versions import Version
from process.user import shown_name, user_at_host


class ProposalRefusedError(TeachError):
    """More defects would pass than before, and nobody has said that it shall be so.

    Attributes:
        problems: each in a line.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Accepted:
    """What is in service now.

    Attributes:
        bundle: as it is.
        version: that was kept of the one before, or that was put back; None where there is none.
    """

    bundle: Bundle
    version: Version | None


class Proposal(Protocol):
    """Settings, a correction, a candidate or an earlier version, of which nothing is written yet.

    Attributes:
        effect: what it changes.
    """

    @property
    def effect(self) -> CorrectionEffect:
        """All parts that were compared."""
        ...

    def problems(self) -> list[str]:
        """Why nobody should put it in service without looking; empty if nothing speaks against."""
        ...

    def put_in_service(self, *, by: str) -> Accepted:
        """Let it be at work; a stream that runs takes it between two parts.

        Raises:
            BundleError, SettingsError: somebody changed the bundle meanwhile, or the disk refuses;
                it is as before.
        """
        ...

    def to_json(self) -> dict[str, Any]:
        """In JSON types."""
        ...


def accept(proposal: Proposal, *, by: str | None = None, force: bool = False) -> Accepted:
    """Put a proposal in service.

    Args:
        proposal: that somebody has looked at.
        by: who does it, for the history; None is the user of this machine.
        force: although it has problems.

    Raises:
        ProposalRefusedError: it has problems; nothing has changed.
        BundleError, SettingsError: somebody changed the bundle meanwhile, or the disk refuses; it
            is as before.
    """
    problems = proposal.problems()
    if problems and not force:
        raise ProposalRefusedError(problems)
    return proposal.put_in_service(by=user_at_host() if by is None else shown_name(by))
