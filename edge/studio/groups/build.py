"""build."""

from __future__ import annotations

from starlette.routing import Route

from edge.studio.studio import Studio, page_route

NAME = "build"


def routes(studio: Studio) -> list[Route]:
    """The page, and what it asks for."""
    return [page_route(studio, NAME)]
