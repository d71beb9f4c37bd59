"""The page's addresses: each group of pages is a module with `NAME` and `routes`."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from edge.studio.groups import (
    build,
    camera,
    history,
    line,
    parts,
    region,
    scores,
    teach,
    versions,
)
from edge.studio.guard import App, Asking, Guard
from edge.studio.places import pick
from edge.studio.refusals import RefusalError
from edge.studio.studio import (
    HERE,
    Command,
    Studio,
    asking_of,
    command_route,
    error_response,
    page_route,
)

GROUPS = (camera, build, scores, region, teach, versions, line, parts, history)
"""In the order of the menu, which is that of the work."""


class LogIn(Command):
    """What the login page sends."""

    token: str


class ChooseLanguage(Command):
    """What the switch of languages sends."""

    language: str


def make_app(studio: Studio) -> App:
    """The whole page, guarded.

    Args:
        studio: what its groups share.
    """
    studio.menu = tuple(group.NAME for group in GROUPS)
    routes = [route for group in GROUPS for route in group.routes(studio)]
    app = Starlette(
        routes=[
            Route("/", lambda _: RedirectResponse(f"/{studio.menu[0]}", HTTPStatus.SEE_OTHER)),
            Mount("/static", StaticFiles(directory=HERE / "static"), name="static"),
            page_route(studio, "login"),
            *_session_routes(studio),
            *routes,
        ],
        exception_handlers={404: _not_found(studio), 405: _not_found(studio)},
    )
    return Guard(
        app, door=studio.door, sessions=studio.sessions, audit=studio.audit, words=studio.words
    )


def _session_routes(studio: Studio) -> list[Route]:
    def log_in(given: LogIn, asking: Asking) -> dict[str, str]:
        wait_s = studio.sessions.wait_s(asking.address)
        if wait_s > 0:
            raise RefusalError("studio.wait", HTTPStatus.TOO_MANY_REQUESTS, count=int(wait_s) + 1)
        name, cookie = studio.sessions.log_in(given.token, asking.address)
        if not name:
            raise RefusalError("studio.wrong_token", HTTPStatus.FORBIDDEN)
        asking.who, asking.new_cookie = name, cookie
        return {}

    def log_out(_given: Command, asking: Asking) -> dict[str, str]:
        studio.sessions.log_out(asking.cookie)
        return {}

    def choose_language(given: ChooseLanguage, asking: Asking) -> dict[str, str]:
        pick(given.language, dict.fromkeys(studio.words.languages))
        asking.new_language = given.language
        return {}

    return [
        command_route(studio, "/login", LogIn, log_in),
        command_route(studio, "/logout", Command, log_out),
        command_route(studio, "/language", ChooseLanguage, choose_language),
    ]


def _not_found(studio: Studio) -> Callable[[Request, Exception], Response]:
    def answer(request: Request, _error: Exception) -> Response:
        refusal = RefusalError("studio.bad_path", HTTPStatus.NOT_FOUND)
        return error_response(studio, asking_of(request), refusal)

    return answer
