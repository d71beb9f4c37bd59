"""Versions: what a bundle was before, who changed it and when; another one in its place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from starlette.routing import Route

from edge.studio.child import JobInput, JobReport
from edge.studio.guard import Asking
from edge.studio.open_bundles import name_of, telling_errors
from edge.studio.places import pick
from edge.studio.proposals import (
    LatestProposal,
    check_force,
    marked_folder,
    marked_or_none,
    proposal_json,
)
from edge.studio.refusals import RefusalError
from edge.studio.studio import (
    Command,
    Query,
    Studio,
    command_route,
    job_routes,
    page_route,
    state_route,
)
from edge.teaching.replacement import propose_promotion, propose_rollback
from engines.bundle import Bundle
from engines.errors import BundleError
from engines.manifest import Manifest
from engines.versions import history_of, promote, roll_back, versions_of

NAME = "versions"


class CompareBundle(Command):
    """Find out what another bundle would change in a bundle's place.

    Attributes:
        bundle: name of the one that is at work.
        version: number of an earlier version of it; or
        candidate: name of another bundle.
    """

    bundle: str
    version: int | None = None
    candidate: str | None = None


class ReplaceBundle(Command):
    """Put what was compared in the bundle's place.

    Attributes:
        number: of the proposal that was looked at.
        typed: the bundle's name, where it has problems.
        reason: why.
    """

    number: int
    typed: Annotated[str, Field(max_length=100)] = ""
    reason: Annotated[str, Field(min_length=1, max_length=300)]


def routes(studio: Studio) -> list[Route]:
    """The page, and what it asks for."""
    latest = LatestProposal(studio, NAME)
    return [
        page_route(studio, NAME, lambda _: {"bundles": [*studio.places.bundles()]}),
        state_route(studio, "/versions/list", lambda query, _: _list(studio, latest, query)),
        command_route(
            studio,
            "/versions/compare",
            CompareBundle,
            lambda given, asking: _compare(studio, given, asking),
        ),
        command_route(
            studio,
            "/versions/replace",
            ReplaceBundle,
            lambda given, asking: _replace(studio, latest, given, asking),
        ),
        *job_routes(studio, "/versions", NAME),
    ]


def compare_versions(given: JobInput, report: JobReport) -> JobInput:
    """Test and compare in a process of its own; nothing is written."""
    path, marked, engine = Path(given["bundle"]), marked_or_none(given["marked"]), given["engine"]
    report.stage("comparing", 0)
    if given["version"] is None:
        candidate = Bundle.open(Path(given["candidate"]))
        proposal = propose_promotion(candidate, path, marked, engine=engine)
    else:
        proposal = propose_rollback(path, given["version"], marked, engine=engine)
    report.stage("comparing", 1)
    facts = {name: given[name] for name in ("name", "version", "candidate_name")}
    seen = _stamp(proposal.bundle.manifest if proposal.bundle else None)
    return proposal_json(proposal, **facts, engine=proposal.engine_reason, seen=seen)


def _list(studio: Studio, latest: LatestProposal, query: Query) -> dict[str, Any]:
    name = query.get("bundle", "")
    path = pick(name, studio.places.bundles())
    with telling_errors():
        history = [one.model_dump(mode="json") for one in history_of(path)]
        versions = [{"number": one.number, **_facts(one.path)} for one in versions_of(path)]
    proposal = latest.find()
    return {
        "now": _facts(path),
        "versions": versions,
        "history": history[::-1],
        "proposal": proposal if proposal and proposal["name"] == name else None,
    }


def _facts(path: Path) -> dict[str, Any]:
    """What tells a version from others; a damaged one has none."""
    manifest = _manifest_of(path)
    if manifest is None:
        return {"is_damaged": True}
    return {
        "is_damaged": False,
        "made": manifest.created.isoformat(),
        "images": manifest.images.used,
        "threshold": manifest.threshold.value,
        "precision": manifest.precision,
    }


def _manifest_of(path: Path) -> Manifest | None:
    try:
        return Bundle.open(path).manifest
    except BundleError:
        return None


def _stamp(manifest: Manifest | None) -> str:
    """What another build, another correction or another setting makes otherwise."""
    return f"{manifest.created.isoformat()} {len(manifest.changes)}" if manifest else ""


def _compare(studio: Studio, given: CompareBundle, asking: Asking) -> dict[str, Any]:
    asking.details |= given.model_dump()
    bundles = studio.places.bundles()
    path = pick(given.bundle, bundles)
    if (given.version is None) == (given.candidate is None):
        raise RefusalError("versions.one_of_two")
    candidate = "" if given.candidate is None else str(pick(given.candidate, bundles))
    told = {
        "bundle": str(path),
        "name": given.bundle,
        "version": given.version,
        "candidate": candidate,
        "candidate_name": given.candidate,
        "marked": str(marked_folder(studio.config) or ""),
        "engine": studio.config.stream.engine,
    }
    studio.jobs.start(NAME, compare_versions, told, by=asking.who)
    return {}


def _replace(
    studio: Studio, latest: LatestProposal, given: ReplaceBundle, asking: Asking
) -> dict[str, Any]:
    proposal = latest.take(given.number)
    names = {name: proposal[name] for name in ("name", "version", "candidate_name")}
    asking.details |= {**given.model_dump(), **names}
    asking.details["forced"] = check_force(proposal, given.typed)
    bundles = studio.places.bundles()
    path = pick(proposal["name"], bundles)
    if _stamp(_manifest_of(path)) != proposal["seen"]:
        raise RefusalError("versions.changed")
    latest.decide(given.number)
    with telling_errors():
        if proposal["version"] is None:
            candidate = Bundle.open(pick(proposal["candidate_name"], bundles))
            _, kept = promote(candidate, path, by=name_of(asking))
        else:
            _, kept = roll_back(path, proposal["version"], by=name_of(asking))
    return {"version": kept.number if kept else None}
