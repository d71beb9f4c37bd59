"""History: who changed what, and how the bundles came to be as they are."""

from __future__ import annotations

from typing import Any

from starlette.routing import Route

from edge.studio.guard import Asking
from edge.studio.studio import Query, Studio, page_route, state_route
from engines.versions import history_of

NAME = "history"
_LINES = 200


def routes(studio: Studio) -> list[Route]:
    """The page, and what it asks for."""

    def lines(_query: Query, _asking: Asking) -> dict[str, Any]:
        return {"lines": studio.audit.last(_LINES), "changes": _changes(studio)}

    return [page_route(studio, NAME), state_route(studio, "/history/lines", lines)]


def _changes(studio: Studio) -> list[dict[str, Any]]:
    """What was done with the bundles, the newest first."""
    found: list[dict[str, Any]] = []
    for name, path in studio.places.bundles().items():
        found += [{"bundle": name, **one.model_dump(mode="json")} for one in history_of(path)]
    return sorted(found, key=lambda one: str(one["when"]), reverse=True)[:_LINES]
