"""Teach: what marked parts would change, seen before it is accepted or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from starlette.routing import Route

from cameras.image_files import image_from_file
from edge.studio.child import JobInput, JobReport
from edge.studio.guard import Asking
from edge.studio.open_bundles import name_of, open_bundle, shown_picture, telling_errors
from edge.studio.places import pick
from edge.studio.proposals import LatestProposal, check_force, marked_folder, proposal_json
from edge.studio.refusals import RefusalError
from edge.studio.studio import (
    Command,
    Query,
    Studio,
    command_route,
    job_routes,
    page_route,
    picture_route,
    state_route,
)
from edge.teaching.correction import Correction
from edge.teaching.marked_parts import TeachError, marked_parts
from edge.teaching.proposal import accept
from edge.teaching.teach import correct
from engines.bundle import Bundle

NAME = "teach"
ACCEPT = "teach-accept"


class Propose(Command):
    """Find out what the marked parts would change."""

    bundle: str


class AcceptTaught(Command):
    """Put a correction in service.

    Attributes:
        number: of the proposal that was looked at.
        typed: the inspector's name, where it has problems.
        reason: why.
    """

    number: int
    typed: Annotated[str, Field(max_length=100)] = ""
    reason: Annotated[str, Field(max_length=300)] = ""


class RefuseTaught(Command):
    """Leave everything as it is."""

    number: int
    reason: Annotated[str, Field(min_length=1, max_length=300)]


def routes(studio: Studio) -> list[Route]:
    """The page, and what it asks for."""
    latest = LatestProposal(studio, NAME)
    return [
        page_route(studio, NAME, lambda _: {"bundles": [*studio.places.bundles()]}),
        state_route(studio, "/teach/state", lambda _query, _: _state(studio, latest)),
        picture_route(studio, "/teach/picture", lambda query: _picture(studio, query)),
        command_route(
            studio, "/teach/propose", Propose, lambda given, asking: _propose(studio, given, asking)
        ),
        command_route(
            studio,
            "/teach/accept",
            AcceptTaught,
            lambda given, asking: _accept(studio, latest, given, asking),
        ),
        command_route(
            studio,
            "/teach/refuse",
            RefuseTaught,
            lambda given, asking: _refuse(latest, given, asking),
        ),
        *job_routes(studio, "/teach", NAME),
        *job_routes(studio, "/teach/accepting", ACCEPT),
    ]


def propose_taught(given: JobInput, report: JobReport) -> JobInput:
    """Teach in a process of its own; nothing is written."""
    report.stage("teaching", 0)
    correction = _correction_of(given)
    report.stage("teaching", 1)
    return _json_of(correction, given)


def accept_taught(given: JobInput, report: JobReport) -> JobInput:
    """Teach again, which comes to the same, and put it in service.

    Raises:
        TeachError: it comes to something else, for a bundle or a mark has changed since.
    """
    report.stage("teaching", 0)
    correction = _correction_of(given)
    report.stage("teaching", 1)
    if _seen(_json_of(correction, given)) != given["seen"]:
        raise TeachError("the marks or the inspector have changed meanwhile: look at it again")
    accepted = accept(correction, by=given["by"], force=given["force"])
    return {"version": accepted.version.number if accepted.version else None}


def _correction_of(given: JobInput) -> Correction:
    marked = marked_parts(Path(given["marked"]))
    return correct(Bundle.open(Path(given["bundle"])), marked, engine=given["engine"])


def _json_of(correction: Correction, given: JobInput) -> JobInput:
    before, after = correction.bundle.manifest.threshold, correction.manifest.threshold
    return proposal_json(
        correction,
        name=given["name"],
        learnt=len(correction.learnt),
        known=len(correction.known),
        skipped=[one.reason for one in correction.skipped],
        prototypes=correction.prototypes,
        threshold_before=before.value,
        threshold_after=after.value,
        by_hand=correction.threshold is None,
    )


def _seen(proposal: JobInput) -> list[Any]:
    """What somebody saw of a proposal, to the digits that a page shows."""
    changed = [[one[name] for name in ("name", "before", "after")] for one in proposal["changed"]]
    rows = [
        [row[name] for name in ("kind", "parts", "before", "after")] for row in proposal["rows"]
    ]
    threshold = round(proposal["threshold_after"], 4)
    return [changed, rows, proposal["learnt"], len(proposal["problems"]), threshold]


def _pictures(studio: Studio) -> dict[str, Path]:
    """The marked pictures, by what a proposal calls them."""
    folder = marked_folder(studio.config)
    if folder is None or not folder.is_dir():
        return {}
    with telling_errors():
        try:
            marked = marked_parts(folder)
        except TeachError:
            return {}
    kinds = (("good", marked.good), ("defective", marked.defective))
    return {f"{kind}/{path.name}": path for kind, paths in kinds for path in paths}


def _state(studio: Studio, latest: LatestProposal) -> dict[str, Any]:
    names = [*_pictures(studio)]
    counts = {kind: sum(one.startswith(kind) for one in names) for kind in ("good", "defective")}
    return {"marked": counts, "proposal": latest.find()}


def _picture(studio: Studio, query: Query) -> tuple[bytes, str]:
    path = pick(f"{query.get('kind', '')}/{query.get('name', '')}", _pictures(studio))
    with telling_errors():
        return shown_picture(image_from_file(path))


def _given(studio: Studio, name: str) -> JobInput:
    folder = marked_folder(studio.config)
    if folder is None:
        raise RefusalError("teach.no_folder")
    bundle = open_bundle(studio.places, name)
    told = {"bundle": str(bundle.path), "name": name, "marked": str(folder)}
    return {**told, "engine": studio.config.stream.engine}


def _propose(studio: Studio, given: Propose, asking: Asking) -> dict[str, Any]:
    asking.details |= given.model_dump()
    studio.jobs.start(NAME, propose_taught, _given(studio, given.bundle), by=asking.who)
    return {}


def _accept(
    studio: Studio, latest: LatestProposal, given: AcceptTaught, asking: Asking
) -> dict[str, Any]:
    asking.details |= given.model_dump()
    proposal = latest.take(given.number)
    asking.details["bundle"] = proposal["name"]
    force = check_force(proposal, given.typed)
    told = {**_given(studio, proposal["name"]), "seen": _seen(proposal), "force": force}
    studio.jobs.start(ACCEPT, accept_taught, {**told, "by": name_of(asking)}, by=asking.who)
    latest.decide(given.number)
    return {}


def _refuse(latest: LatestProposal, given: RefuseTaught, asking: Asking) -> dict[str, Any]:
    asking.details |= given.model_dump()
    asking.details["bundle"] = latest.take(given.number)["name"]
    latest.decide(given.number)
    return {}
