"""Build: an inspector from a set of pictures, with its progress and what came of it."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from calibrate.progress import Stages
from edge.building.build import build
from edge.config import check_output
from edge.fields import overlay
from edge.options import BuildOptions
from edge.studio.child import JobInput, JobReport
from edge.studio.guard import Asking
from edge.studio.places import pick
from edge.studio.refusals import RefusalError
from edge.studio.studio import (
    Command,
    Query,
    Studio,
    asking_of,
    command_route,
    error_response,
    job_routes,
    page_route,
    state_route,
)
from engines.bundle import Bundle
from engines.errors import BundleError
from engines.versions import keep_version

NAME = "build"
_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
"""The report has its style and its pictures within itself, and no script."""


class StartBuild(Command):
    """What to build.

    Attributes:
        set: of pictures of good parts.
        bundle: its name; one that is there is kept as a version, and replaced.
        precision, model, false_rejects: as `edge.options.BuildOptions` has them.
    """

    set: str
    bundle: str
    precision: Literal["fp32", "fp16", "int8"]
    model: Literal["protoad", "prn"]
    false_rejects: Annotated[float, Field(gt=0, lt=1)]


def routes(studio: Studio) -> list[Route]:
    """The page, and what it asks for."""
    options = studio.config.build

    def values(_asking: Asking) -> dict[str, Any]:
        return {"options": options, "percent": f"{100 * options.false_rejects:g}"}

    return [
        page_route(studio, NAME, values),
        state_route(studio, "/build/places", lambda _query, _asking: _places(studio)),
        command_route(
            studio, "/build/start", StartBuild, lambda given, asking: _start(studio, given, asking)
        ),
        *job_routes(studio, "/build", NAME),
        Route("/build/report", lambda request: _report(studio, request), methods=["GET"]),
    ]


def build_set(given: JobInput, report: JobReport) -> JobInput:
    """Build in a process of its own; a bundle that is replaced is kept first.

    Args:
        given: ``options`` that are set, and ``output``.
        report: is told of stages and lines.
    """
    options = options_from_json(given["options"])
    output = Path(given["output"])
    check_output(output)
    try:
        keep_version(Bundle.open(output))
    except BundleError as error:
        if output.exists():
            report.say(str(error))
    stages = Stages(report.stage, report.note)
    return build(options.images, output, options=options, stages=stages, say=report.say).to_json()


def options_from_json(content: dict[str, Any]) -> BuildOptions:
    """Options that JSON has made lists of."""
    plain = {name: tuple(one) if isinstance(one, list) else one for name, one in content.items()}
    return BuildOptions.model_validate(plain)


def _places(studio: Studio) -> dict[str, Any]:
    sets = {name: len(studio.places.pictures(path)) for name, path in studio.places.sets().items()}
    return {"sets": sets, "bundles": [*studio.places.bundles()]}


def _start(studio: Studio, given: StartBuild, asking: Asking) -> dict[str, Any]:
    asking.details |= given.model_dump()
    folder = pick(given.set, studio.places.sets())
    output = studio.places.new_bundle(given.bundle)
    check_output(output)
    own = BuildOptions(
        images=(folder,),
        output=output,
        precision=given.precision,
        model=given.model,
        false_rejects=given.false_rejects,
    )
    options = overlay(BuildOptions, studio.config.build, own)
    told = {"options": options.model_dump(mode="json", exclude_unset=True), "output": str(output)}
    studio.jobs.start(NAME, build_set, told, by=asking.who)
    return {}


def _report(studio: Studio, request: Request) -> Response:
    """A bundle's own report."""
    query: Query = dict(request.query_params)
    try:
        path = pick(query.get("bundle", ""), studio.places.bundles())
        content = Bundle.open(path).read("report.html")
    except (BundleError, KeyError):
        refusal = RefusalError("build.no_report", HTTPStatus.NOT_FOUND)
        return error_response(studio, asking_of(request), refusal)
    except RefusalError as error:
        return error_response(studio, asking_of(request), error)
    headers = {"Content-Security-Policy": _REPORT_POLICY}
    return Response(content, media_type="text/html", headers=headers)
