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

    def lines(_query: Query, asking: Asking) -> dict[str, Any]:
        told = [_in_words(one, studio, asking) for one in studio.audit.last(_LINES)]
        return {"lines": told, "changes": _changes(studio)}

    return [page_route(studio, NAME), state_route(studio, "/history/lines", lines)]


def _in_words(line: dict[str, Any], studio: Studio, asking: Asking) -> dict[str, Any]:
    """A line whose reason is a sentence, where the catalogue has one that stands alone."""
    text = studio.words.catalogue(asking.language).get(str(line.get("why")))
    return line | {"why": text} if isinstance(text, str) and "{" not in text else line


def _changes(studio: Studio) -> list[dict[str, Any]]:
    """What was done with the bundles, the newest first."""
    found: list[dict[str, Any]] = []
    for name, path in studio.places.bundles().items():
        found += [{"bundle": name, **one.model_dump(mode="json")} for one in history_of(path)]
    return sorted(found, key=lambda one: str(one["when"]), reverse=True)[:_LINES]
