"""What the groups of pages share: listings, jobs, records, words, and how a page is answered."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from anyio import to_thread
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from edge.config import Config
from edge.studio.audit import Audit
from edge.studio.guard import Asking
from edge.studio.jobs import Jobs, StudioJob
from edge.studio.listening import Door
from edge.studio.live_camera import LiveCamera
from edge.studio.places import Places, pick
from edge.studio.refusals import RefusalError
from edge.studio.sessions import Sessions
from edge.studio.words import Words

_TOLD = (RefusalError, OSError, ValueError, RuntimeError)
LINE = "line"
"""The kind of job that runs what `edge.toml` says of the line; it has the cameras."""
HERE = Path(__file__).parent


class Command(BaseModel):
    """What a request that changes something gives: exactly these fields, of exactly these kinds."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


CommandType = TypeVar("CommandType", bound=Command)
Query: TypeAlias = dict[str, str]


class Studio(AbstractContextManager["Studio"]):
    """All that there is while the studio runs.

    Args:
        config: `edge.toml`.
        door: where it listens; see `edge.studio.listening.door_from`.

    Attributes:
        config: `edge.toml`.
        places: what the page may name.
        audit: who changed what.
        jobs: long work.
        words: what the page says.
        sessions: who is known.
        camera: that is looked at.
        menu: names of the groups of pages, in their order.

    Raises:
        StudioError: the record of changes cannot be written.
    """

    def __init__(self, config: Config, door: Door) -> None:
        self.config = config
        self.door = door
        self.places = Places(config)
        self.words = Words()
        self.sessions = Sessions(door.tokens)
        self.audit = Audit(config.studio.audit)
        self.jobs = Jobs(self._record_end)
        self.camera = LiveCamera()
        self.menu: tuple[str, ...] = ()
        self._closers: list[Callable[[], None]] = []
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def look_at(self, name: str) -> None:
        """Say that somebody looks at a source, which is opened if it is not.

        Raises:
            RefusalError: there is none of this name, pictures are taken from another one, or the
                line has the cameras.
        """
        section = pick(name, self.places.sources())
        if self.jobs.is_running(LINE):
            raise RefusalError("studio.line_runs")
        self.camera.look(name, section)

    def when_closed(self, call: Callable[[], None]) -> None:
        """Call this when the studio ends; for what a group of pages has opened."""
        self._closers.append(call)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End jobs and whatever is open; a second call does nothing."""
        self.jobs.close()
        self.camera.close()
        while self._closers:
            self._closers.pop()()
        self.audit.close()

    def page(self, group: str, asking: Asking, **values: Any) -> Response:
        """A group's page.

        Args:
            group: name of its template, its script and its words.
            asking: who asks.
            values: for the template.
        """
        say = partial(self.words.text, asking.language)
        html = self._templates.get_template(f"{group}.html").render(
            group=group,
            w=say,
            menu=self.menu,
            asking=asking,
            languages=self.words.languages,
            page_words=self.words.for_page(asking.language, group),
            csrf=self.sessions.csrf(asking.cookie),
            asks_token=self.sessions.asks_token,
            **values,
        )
        return HTMLResponse(html)

    def _record_end(self, job: StudioJob) -> None:
        told = {"who": job.by, "address": "", "what": f"job {job.kind}", "outcome": job.state}
        with suppress(OSError):  # the next change is refused then
            self.audit.write(**told, number=job.number, error=job.error)


def page_route(
    studio: Studio, group: str, values: Callable[[Asking], dict[str, Any]] | None = None
) -> Route:
    """The page of a group, at ``/GROUP``.

    Args:
        studio: that answers.
        group: its name.
        values: makes what the template needs, in a thread.
    """

    def answer(request: Request) -> Response:
        asking = asking_of(request)
        if not asking.cookie:
            asking.cookie = asking.new_cookie = studio.sessions.new_cookie()
            asking.who = studio.sessions.who(asking.cookie)
        return studio.page(group, asking, **(values(asking) if values else {}))

    return Route(f"/{group}", answer, methods=["GET"])


def state_route(
    studio: Studio, path: str, find: Callable[[Query, Asking], dict[str, Any]]
) -> Route:
    """A GET that answers with JSON and changes nothing; `find` runs in a thread."""

    def answer(request: Request) -> Response:
        asking = asking_of(request)
        try:
            return JSONResponse(find(dict(request.query_params), asking))
        except _TOLD as error:
            return error_response(studio, asking, error)

    return Route(path, answer, methods=["GET"])


def picture_route(studio: Studio, path: str, find: Callable[[Query], tuple[bytes, str]]) -> Route:
    """A GET that answers with bytes and their media type; `find` runs in a thread."""

    def answer(request: Request) -> Response:
        try:
            content, kind = find(dict(request.query_params))
        except _TOLD as error:
            return error_response(studio, asking_of(request), error)
        return Response(content, media_type=kind)

    return Route(path, answer, methods=["GET"])


def command_route(
    studio: Studio,
    path: str,
    kind: type[CommandType],
    act: Callable[[CommandType, Asking], dict[str, Any]],
) -> Route:
    """A POST that changes something; it is recorded, and what `asking.details` holds with it.

    Args:
        studio: that answers.
        path: of the request.
        kind: what it has to give.
        act: runs in a thread; its answer becomes JSON.
    """

    async def answer(request: Request) -> Response:
        asking = asking_of(request)
        try:
            given = kind.model_validate_json(asking.body)
            return JSONResponse(await to_thread.run_sync(lambda: act(given, asking)))
        except ValidationError as error:
            place = ".".join(str(part) for part in error.errors()[0]["loc"])
            refusal = RefusalError(
                "studio.bad_value", HTTPStatus.UNPROCESSABLE_ENTITY, place=place or "-"
            )
            return error_response(studio, asking, refusal)
        except _TOLD as error:
            return error_response(studio, asking, error)

    return Route(path, answer, methods=["POST"])


def job_routes(studio: Studio, path: str, kind: str) -> list[Route]:
    """``PATH/job`` tells of the latest job of a kind, ``PATH/cancel`` ends it."""

    def state(_query: Query, _asking: Asking) -> dict[str, Any]:
        return {"job": studio.jobs.latest(kind)}

    def cancel(_given: Command, _asking: Asking) -> dict[str, Any]:
        studio.jobs.cancel(kind)
        return {}

    return [
        state_route(studio, f"{path}/job", state),
        command_route(studio, f"{path}/cancel", Command, cancel),
    ]


def asking_of(request: Request) -> Asking:
    """Who sent a request."""
    asking = request.state.asking
    assert isinstance(asking, Asking)
    return asking


def error_response(studio: Studio, asking: Asking, error: Exception) -> Response:
    """A refusal in the words of whoever asked; any other error in its own, on one line."""
    if isinstance(error, RefusalError):
        asking.details.setdefault("why", error.word)
        text = studio.words.text(asking.language, error.word, **error.values)
        return JSONResponse({"error": text}, error.status)
    asking.outcome = "failed"
    text = " ".join(str(error).split())
    asking.details.setdefault("why", text)
    return JSONResponse({"error": text}, HTTPStatus.CONFLICT)
