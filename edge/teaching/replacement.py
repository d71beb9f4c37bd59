"""Settings, a candidate or an earlier version, proposed for the place of what is at work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.inspection.inspector import Inspector
from edge.inspection.settings import WantedSettings, settings_from_bundle
from edge.teaching.effect import CorrectionEffect, compare_inspectors
from edge.teaching.marked_parts import MarkedParts
from edge.teaching.proposal import Accepted
from engines.bundle import Bundle
from engines.errors import BundleError
from engines.versions import Version, find_version, promote, roll_back

NOTHING_MARKED = MarkedParts((), ())


@dataclass(frozen=True, slots=True, eq=False)
class SettingsProposal:
    """Other settings for a bundle.

    Attributes:
        bundle: as it was when they were compared.
        wanted: the settings.
        effect: what they change.
    """

    bundle: Bundle
    wanted: WantedSettings
    effect: CorrectionEffect

    def problems(self) -> list[str]:
        """As `Proposal` says."""
        return self.effect.problems()

    def put_in_service(self, *, by: str) -> Accepted:
        """As `Proposal` says; settings are taken back by setting them again, not as a version."""
        self.wanted.put_into(self.bundle, by=by, only_as_seen=True)
        return Accepted(Bundle.open(self.bundle.path), None)

    def to_json(self) -> dict[str, Any]:
        """In JSON types."""
        return {
            "bundle": str(self.bundle.path),
            "problems": self.problems(),
            "parts": self.effect.to_json(),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Replacement:
    """Another bundle for a bundle's place, which has passed its self-test here.

    Attributes:
        path: of the place.
        bundle: that is there; None where there is none, or a damaged one.
        candidate: that would be there.
        version: of which the candidate is kept; None where it is none.
        engine_reason: by which engine both were judged, and why.
        effect: what it changes; nothing is compared where there is no bundle yet.
    """

    path: Path
    bundle: Bundle | None
    candidate: Bundle
    version: Version | None
    engine_reason: str
    effect: CorrectionEffect

    def problems(self) -> list[str]:
        """As `Proposal` says."""
        return self.effect.problems()

    def put_in_service(self, *, by: str) -> Accepted:
        """As `Proposal` says."""
        now = _bundle_at(self.path)
        seen = self.bundle and self.bundle.manifest
        if (now and now.manifest) != seen:
            raise BundleError(f"{self.path}: somebody changed it meanwhile; look at it again")
        if self.version is None:
            return Accepted(*promote(self.candidate, self.path, by=by))
        return Accepted(*roll_back(self.path, self.version.number, by=by))

    def to_json(self) -> dict[str, Any]:
        """In JSON types."""
        return {
            "bundle": str(self.path),
            "candidate": str(self.candidate.path),
            "version": None if self.version is None else self.version.number,
            "engine": self.engine_reason,
            "problems": self.problems(),
            "parts": self.effect.to_json(),
        }


def propose_settings(
    bundle: Bundle,
    wanted: WantedSettings,
    marked: MarkedParts = NOTHING_MARKED,
    *,
    engine: str = "auto",
) -> SettingsProposal:
    """See what other settings would change, before they are set.

    Args:
        bundle: at work.
        wanted: the settings.
        marked: parts that both judge, beside the golden images and drawn defects.
        engine: that judges.

    Raises:
        SettingsError: with them no verdict would mean anything.
        ImageError, EngineError, BundleError: as their modules say.
    """
    wanted.check(bundle)
    with (
        Inspector(bundle, settings=settings_from_bundle(bundle), engine=engine) as before,
        Inspector(bundle, settings=wanted.settings(bundle), engine=engine) as after,
    ):
        return SettingsProposal(bundle, wanted, compare_inspectors(before, after, marked))


def propose_promotion(
    candidate: Bundle, path: Path, marked: MarkedParts = NOTHING_MARKED, *, engine: str = "auto"
) -> Replacement:
    """Test a candidate, and see what it would change in a bundle's place.

    Args:
        candidate: of any method, size and precision.
        path: of the bundle that is at work; there may be none yet.
        marked: parts that both judge, beside the golden images and drawn defects.
        engine: that judges.

    Raises:
        ImageError, EngineError, BundleError: as their modules say.
    """
    return _propose(candidate, path, marked, engine=engine, version=None)


def propose_rollback(
    path: Path,
    number: int | None = None,
    marked: MarkedParts = NOTHING_MARKED,
    *,
    engine: str = "auto",
) -> Replacement:
    """Test an earlier version, and see what it would change in a bundle's place.

    Args:
        path: of the bundle, which may be damaged.
        number: of the version; None is the latest that is another than what is there.
        marked: parts that both judge, beside the golden images and drawn defects.
        engine: that judges.

    Raises:
        ImageError, EngineError, BundleError: as their modules say.
    """
    version = find_version(path, number)
    return _propose(Bundle.open(version.path), path, marked, engine=engine, version=version)


def _propose(
    candidate: Bundle, path: Path, marked: MarkedParts, *, engine: str, version: Version | None
) -> Replacement:
    present = _bundle_at(path)
    settings = settings_from_bundle(candidate)
    with Inspector(candidate, settings=settings, engine=engine) as after:
        effect = CorrectionEffect(())
        if present is not None:
            settings = settings_from_bundle(present)
            with Inspector(present, settings=settings, engine=engine) as before:
                effect = compare_inspectors(before, after, marked)
        return Replacement(path, present, candidate, version, after.engine_reason, effect)


def _bundle_at(path: Path) -> Bundle | None:
    try:
        return Bundle.open(path)
    except BundleError:
        return None
