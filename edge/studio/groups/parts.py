"""Parts: what the station has inspected and kept, looked through and marked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from starlette.routing import Route

from cameras.image_files import image_from_file
from edge.options import PartsOptions
from edge.review.parts import PartStore, ReviewedPart
from edge.review.pictures import KeptPictures
from edge.review.tables import csv_from_rows
from edge.sinks.database import DATABASE
from edge.studio.guard import Asking
from edge.studio.open_bundles import name_of, shown_picture, telling_errors
from edge.studio.refusals import RefusalError
from edge.studio.studio import (
    Command,
    Query,
    Studio,
    command_route,
    page_route,
    picture_route,
    state_route,
)

NAME = "parts"
PAGE = 50
MAX_IN_CSV = 200_000
_CHOICES = ("camera", "since", "until", "marked", "sort")


class MarkParts(Command):
    """Say of parts what they are."""

    ids: Annotated[tuple[int, ...], Field(min_length=1, max_length=PAGE)]
    mark: Literal["good", "defective", "ignored"]


def routes(studio: Studio) -> list[Route]:
    """The page, and what it asks for."""
    return [
        page_route(studio, NAME, lambda _: {"cameras": [*studio.config.cameras]}),
        state_route(studio, "/parts/list", lambda query, _: _parts(studio, query)),
        picture_route(studio, "/parts/picture", lambda query: _picture(studio, query)),
        picture_route(studio, "/parts/shift.csv", lambda query: _csv(studio, query)),
        command_route(
            studio, "/parts/mark", MarkParts, lambda given, asking: _mark(studio, given, asking)
        ),
    ]


@contextmanager
def _store(studio: Studio) -> Iterator[PartStore]:
    """The parts of the folder that `edge.toml` names.

    Raises:
        RefusalError: there is none yet, or it cannot be read.
    """
    keep = studio.config.stream.keep
    if keep is None:
        raise RefusalError("parts.no_folder")
    if not (keep / DATABASE).is_file():
        raise RefusalError("parts.none_yet")
    with telling_errors(), PartStore(keep) as store:
        yield store


def _options(query: Query, *, limit: int) -> PartsOptions:
    """Which parts are asked for.

    Raises:
        RefusalError: a choice that there is not.
    """
    given: dict[str, Any] = {name: query[name] for name in _CHOICES if query.get(name)}
    if query.get("verdict"):
        given["verdict"] = (query["verdict"],)
    skip = query.get("skip", "0")
    if not (skip.isascii() and skip.isdigit() and len(skip) < 10):
        raise RefusalError("studio.bad_value", HTTPStatus.UNPROCESSABLE_ENTITY, place="skip")
    try:
        return PartsOptions(**given, limit=limit, skip=int(skip))
    except ValidationError as error:
        place = str(error.errors()[0]["loc"][0])
        refusal = RefusalError("studio.bad_value", HTTPStatus.UNPROCESSABLE_ENTITY, place=place)
        raise refusal from None


def _parts(studio: Studio, query: Query) -> dict[str, Any]:
    options = _options(query, limit=PAGE)
    with _store(studio) as store:
        parts = [_row(part) for part in store.parts(options)]
        return {"parts": parts, "count": store.count(options), "page": PAGE}


def _row(part: ReviewedPart) -> dict[str, Any]:
    row = part.to_json()
    row["picture"] = part.picture is not None
    return row


def _picture(studio: Studio, query: Query) -> tuple[bytes, str]:
    """A part's picture as it came, or drawn over with its map where that is kept."""
    number = query.get("id", "")
    if not (number.isascii() and number.isdigit() and len(number) < 19):
        raise RefusalError("studio.no_such_name", HTTPStatus.NOT_FOUND)
    keep = studio.config.stream.keep
    with _store(studio) as store:
        part = store.part(int(number))
        drawn = _drawn_picture(part, KeptPictures(keep)) if keep and query.get("drawn") else None
        path = drawn or part.picture
        if path is None:
            raise RefusalError("parts.no_picture", HTTPStatus.NOT_FOUND)
        return shown_picture(image_from_file(path))


def _drawn_picture(part: ReviewedPart, kept: KeptPictures) -> Path | None:
    found = kept.find(part.camera, part.captured_at_ns, part.frame, part.verdict)
    drawn = found.with_name(f"{found.stem}_drawn.jpg") if found else None
    return drawn if drawn and drawn.is_file() else None


def _csv(studio: Studio, query: Query) -> tuple[bytes, str]:
    options = _options(query, limit=MAX_IN_CSV)
    with _store(studio) as store:
        rows = [part.to_json() for part in store.parts(options)]
    head = rows[0] if rows else ()
    content, _ = csv_from_rows(rows, head=head, decimal_comma=bool(query.get("comma")))
    return content, "text/csv"


def _mark(studio: Studio, given: MarkParts, asking: Asking) -> dict[str, Any]:
    asking.details |= {"mark": given.mark, "ids": " ".join(map(str, given.ids))}
    with _store(studio) as store:
        parts = store.mark(given.ids, given.mark, by=name_of(asking))
    return {"parts": [_row(one) for one in parts]}
