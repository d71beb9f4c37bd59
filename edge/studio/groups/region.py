"""Region: what of the picture is inspected, and what of it is ignored, drawn by hand."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator
from starlette.routing import Route

from cameras.image_files import image_from_file
from edge.inspection.ignore_mask import NOTHING, WHITE, IgnoreMask
from edge.inspection.settings import WantedSettings, settings_from_bundle
from edge.studio.child import JobInput, JobReport
from edge.studio.guard import Asking
from edge.studio.mask_shapes import (
    MAX_PIXELS,
    MAX_SHAPES,
    MAX_SIDE,
    MaskShape,
    Side,
    draw_mask,
    mask_on_frame,
)
from edge.studio.open_bundles import name_of, open_bundle, telling_errors
from edge.studio.places import pick
from edge.studio.proposals import marked_folder, marked_or_none, proposal_json
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
from edge.teaching.replacement import propose_settings
from engines.bundle import Bundle

NAME = "region"
_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
_Quantity = Annotated[int, Field(ge=0, le=2**30)]


class SetRegion(Command):
    """Set a bundle's region of interest and ignore mask, as they are drawn.

    Attributes:
        bundle: its name.
        width, height: of the frame that was drawn on, in px.
        roi: x, y, width, height in px of the frame; None is all of it.
        keeps_mask: whether the mask that the bundle has is what is drawn into.
        shapes: that are drawn, in their order.
        reason: why.
    """

    bundle: str
    width: Side
    height: Side
    roi: tuple[_Quantity, _Quantity, Side, Side] | None
    keeps_mask: bool
    shapes: Annotated[tuple[MaskShape, ...], Field(max_length=MAX_SHAPES)]
    reason: Annotated[str, Field(max_length=300)]

    @model_validator(mode="after")
    def _is_a_frame(self) -> SetRegion:
        if self.width * self.height > MAX_PIXELS:
            raise ValueError("a frame of so many px")
        return self


def routes(studio: Studio) -> list[Route]:
    """The page, and what it asks for."""
    return [
        page_route(studio, NAME, lambda _: _lists(studio)),
        state_route(studio, "/region/pictures", lambda query, _: _pictures(studio, query)),
        picture_route(studio, "/region/picture", lambda query: _picture(studio, query)),
        state_route(studio, "/region/settings", lambda query, _: _settings(studio, query)),
        picture_route(studio, "/region/mask.png", lambda query: _mask(studio, query)),
        command_route(
            studio, "/region/set", SetRegion, lambda given, asking: _set(studio, given, asking)
        ),
        command_route(
            studio,
            "/region/compare",
            SetRegion,
            lambda given, asking: _compare(studio, given, asking),
        ),
        *job_routes(studio, "/region", NAME),
    ]


def compare_region(given: JobInput, report: JobReport) -> JobInput:
    """Find out in a process of its own what a region would change; nothing is written."""
    bundle = Bundle.open(Path(given["bundle"]))
    wanted, _ = _wanted(SetRegion.model_validate_json(given["region"]), bundle)
    report.stage("comparing", 0)
    marked = marked_or_none(given["marked"])
    proposal = propose_settings(bundle, wanted, marked, engine=given["engine"])
    report.stage("comparing", 1)
    return proposal_json(proposal)


def _lists(studio: Studio) -> dict[str, Any]:
    places = studio.places
    return {
        "bundles": [*places.bundles()],
        "sets": [*places.sets()],
        "sources": [*places.sources()],
    }


def _pictures(studio: Studio, query: Query) -> dict[str, Any]:
    folder = pick(query.get("set", ""), studio.places.sets())
    return {"pictures": [*studio.places.pictures(folder)]}


def _picture(studio: Studio, query: Query) -> tuple[bytes, str]:
    """A picture of a set as it is; one that browsers don't know as PNG."""
    folder = pick(query.get("set", ""), studio.places.sets())
    path = pick(query.get("picture", ""), studio.places.pictures(folder))
    with telling_errors():
        if path.suffix.lower() in _TYPES:
            return path.read_bytes(), _TYPES[path.suffix.lower()]
        return _png(image_from_file(path)), "image/png"


def _settings(studio: Studio, query: Query) -> dict[str, Any]:
    manifest = open_bundle(studio.places, query.get("bundle", "")).manifest
    return {
        "roi": manifest.roi.box if manifest.roi else None,
        "has_mask": manifest.ignore is not None,
        "sizes": [(width, height) for height, width in manifest.health.sizes]
        if manifest.health
        else [],
    }


def _mask(studio: Studio, query: Query) -> tuple[bytes, str]:
    """The mask of a bundle on a frame, white where nothing counts."""
    bundle = open_bundle(studio.places, query.get("bundle", ""))
    width, height = (_side(query.get(name, "")) for name in ("width", "height"))
    mask = _kept_mask(bundle, size=(height, width)) if width * height <= MAX_PIXELS else None
    if mask is None:
        raise RefusalError("region.misfit", HTTPStatus.NOT_FOUND)
    return _png(mask), "image/png"


def _side(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= MAX_SIDE):
        raise RefusalError("region.no_size", HTTPStatus.UNPROCESSABLE_ENTITY)
    return int(text)


def _kept_mask(bundle: Bundle, *, size: tuple[int, int]) -> IgnoreMask | None:
    """The mask that a bundle has, on a frame of a size; None without one.

    Raises:
        RefusalError: it does not lie on such a frame.
    """
    with telling_errors():
        settings = settings_from_bundle(bundle)
    if settings.ignore is None:
        return None
    mask = mask_on_frame(settings.ignore, roi=settings.roi, size=size)
    if mask is None:
        raise RefusalError("region.misfit")
    return mask


def _wanted(given: SetRegion, bundle: Bundle) -> tuple[WantedSettings, float]:
    """The settings as they are drawn, and which share of the picture is ignored."""
    size = given.height, given.width
    base = _kept_mask(bundle, size=size) if given.keeps_mask else None
    mask = draw_mask(base, given.shapes, size=size)
    roi = NOTHING if given.roi is None else given.roi
    wanted = WantedSettings(roi=roi, ignore=mask if mask.any() else NOTHING)
    return wanted, float((mask == WHITE).mean())


def _set(studio: Studio, given: SetRegion, asking: Asking) -> dict[str, Any]:
    asking.details |= given.model_dump(include={"bundle", "roi", "keeps_mask", "reason"})
    bundle = open_bundle(studio.places, given.bundle)
    wanted, ignored = _wanted(given, bundle)
    asking.details |= {"shapes": len(given.shapes), "ignored": round(ignored, 4)}
    with telling_errors():
        changes = wanted.put_into(bundle, by=name_of(asking))
    return {"changed": [one.setting for one in changes]}


def _compare(studio: Studio, given: SetRegion, asking: Asking) -> dict[str, Any]:
    asking.details |= given.model_dump(include={"bundle", "roi"})
    bundle = open_bundle(studio.places, given.bundle)
    _wanted(given, bundle)  # what cannot be is refused here
    told = {
        "bundle": str(bundle.path),
        "region": given.model_dump_json(),
        "marked": str(marked_folder(studio.config) or ""),
        "engine": studio.config.stream.engine,
    }
    studio.jobs.start(NAME, compare_region, told, by=asking.who)
    return {}


def _png(picture: npt.NDArray[np.uint8]) -> bytes:
    _, data = cv2.imencode(".png", picture)
    return bytes(data.tobytes())
