"""History: who changed what, and how the bundles came to be as they are."""

from __future__ import annotations

from typing import Any

from starlette.routing import Route

from edge.studio.guard import Asking
from edge.studio.studio import Query, Studio, page_route, state_route
from engines.bundle import Bundle
from engines.errors import BundleError

NAME = "history"
_LINES = 200


def routes(studio: Studio) -> list[Route]:
    """The page, and what it asks for."""

    def lines(_query: Query, _asking: Asking) -> dict[str, Any]:
        return {"lines": studio.audit.last(_LINES), "changes": _changes(studio)}

    return [page_route(studio, NAME), state_route(studio, "/history/lines", lines)]


def _changes(studio: Studio) -> list[dict[str, Any]]:
    """What was changed in the bundles without a rebuild, the newest first."""
    found: list[dict[str, Any]] = []
    for name, path in studio.places.bundles().items():
        try:
            manifest = Bundle.open(path).manifest
        except BundleError:
            continue  # the page of bundles tells of it
        found += [{"bundle": name, **one.model_dump(mode="json")} for one in manifest.changes]
    return sorted(found, key=lambda one: str(one["changed"]), reverse=True)[:_LINES]
