"""Scores: good images, marked parts and drawn defects, and what any threshold makes of them."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from starlette.routing import Route

from calibrate.threshold import CONFIDENCE, upper_bound
from cameras.image_files import image_from_file
from edge.drawing.overlay import draw
from edge.inspection.settings import WantedSettings
from edge.review.parts import PartStore
from edge.review.scores import (
    ScoresOfBundle,
    marked_parts_of,
    score_anew,
    scores_hold_since,
)
from edge.sinks.database import DATABASE
from edge.studio.child import JobInput, JobReport
from edge.studio.guard import Asking
from edge.studio.open_bundles import (
    GoodPictures,
    OpenInspector,
    name_of,
    open_bundle,
    shown_picture,
    telling_errors,
)
from edge.studio.places import pick
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
from engines.bundle import Bundle
from engines.threshold_records import MAX_KEPT

NAME = "scores"
ANEW = "scores-anew"


class SetThreshold(Command):
    """Set a bundle's threshold.

    Attributes:
        bundle: its name.
        threshold: a score that reaches it is NG.
        reason: why.
    """

    bundle: str
    threshold: Annotated[float, Field(allow_inf_nan=False)]
    reason: Annotated[str, Field(max_length=300)]


class ScoreAnew(Command):
    """Score marked parts anew that another version has scored."""

    bundle: str


def routes(studio: Studio) -> list[Route]:
    """The page, and what it asks for."""
    inspector = OpenInspector(studio.config.stream.engine)
    studio.when_closed(inspector.close)
    good = GoodPictures(studio.config, studio.places)
    return [
        page_route(studio, NAME, lambda _: {"bundles": [*studio.places.bundles()]}),
        state_route(studio, "/scores/list", lambda query, _: _scores(studio, query)),
        picture_route(
            studio, "/scores/picture", lambda query: _picture(studio, query, good, inspector)
        ),
        command_route(
            studio, "/scores/set", SetThreshold, lambda given, asking: _set(studio, given, asking)
        ),
        command_route(
            studio, "/scores/anew", ScoreAnew, lambda given, asking: _anew(studio, given, asking)
        ),
        *job_routes(studio, "/scores", ANEW),
    ]


def score_marked_parts(given: JobInput, _report: JobReport) -> JobInput:
    """Score outdated parts in a process of its own."""
    bundle = Bundle.open(Path(given["bundle"]))
    scores = _kept_scores(bundle, Path(given["keep"]), given["others"])
    outdated = {one.id for one in scores.outdated}
    anew = score_anew(scores, bundle, engine=given["engine"])
    found = {str(one.id): one.score for one in anew.marked if one.id in outdated}
    return {**_of_what(bundle), "scores": found}


def _of_what(bundle: Bundle) -> dict[str, str]:
    """What tells an inspector from those that score otherwise."""
    since = scores_hold_since(bundle.manifest).isoformat()
    return {"bundle": str(bundle.path), "since": since}


def _kept_scores(bundle: Bundle, keep: Path | None, others: Collection[str]) -> ScoresOfBundle:
    """What a bundle keeps and people have marked; `others` are cameras with another bundle."""
    scores = ScoresOfBundle.from_manifest(bundle.manifest)
    if keep is None or not (keep / DATABASE).is_file():
        return scores
    with PartStore(keep) as store:
        parts = [one for one in marked_parts_of(store) if one.camera not in others]
    return scores.with_parts(parts, bundle.manifest)


def _other_cameras(studio: Studio, bundle: Bundle) -> list[str]:
    """Cameras that are inspected by another bundle."""
    return [
        name
        for name, section in studio.places.sources().items()
        if section.bundle is not None and section.bundle.resolve() != bundle.path.resolve()
    ]


def _scores(studio: Studio, query: Query) -> dict[str, Any]:
    bundle = open_bundle(studio.places, query.get("bundle", ""))
    keep, others = studio.config.stream.keep, _other_cameras(studio, bundle)
    with telling_errors():
        scores = _kept_scores(bundle, keep, others)
    job = studio.jobs.latest(ANEW)
    done = job["result"] if job else None
    if done and {name: done[name] for name in ("bundle", "since")} == _of_what(bundle):
        anew = done["scores"]
        scores = scores.rescored(lambda part: anew.get(str(part.id)))
    manifest = bundle.manifest
    return {
        **_scores_json(scores),
        "threshold": manifest.threshold.value,
        "method": manifest.threshold.method,
        "min_area": manifest.min_area,
    }


def _scores_json(scores: ScoresOfBundle) -> dict[str, Any]:
    """In JSON types, for a script that counts by itself.

    Floats are as short as they can be and still the same float32. `bounds` is that of the rate of
    false rejects for each count of them.
    """
    images = len(scores.good)
    kept = min(images, MAX_KEPT)  # further ones are as low as the last of them, or lower
    return {
        "good": [float(str(one)) for one in scores.good[:kept]],
        "good_images": images,
        "names": list(scores.names),
        "bounds": _bounds(images, kept),
        "drawn": [float(str(one)) for one in scores.drawn],
        "drawn_count": scores.drawn_count,
        "drawn_passed_at": scores.drawn_passed_at,
        "marked": [{"id": one.id, "mark": one.mark, "score": one.score} for one in scores.marked],
        "outdated": len(scores.outdated),
    }


@lru_cache(maxsize=16)
def _bounds(images: int, kept: int) -> list[float]:
    return [upper_bound(count, images, CONFIDENCE) for count in range(kept + 1)]


def _picture(
    studio: Studio, query: Query, good: GoodPictures, inspector: OpenInspector
) -> tuple[bytes, str]:
    """A good picture with its map, as the inspector sees it now."""
    bundle = open_bundle(studio.places, query.get("bundle", ""))
    held_out = bundle.manifest.held_out
    names = {str(index): name for index, name in enumerate(held_out.files if held_out else ())}
    path = good.find(pick(query.get("image", ""), names), bundle.manifest)
    if path is None:
        raise RefusalError("scores.no_picture", HTTPStatus.NOT_FOUND)
    with telling_errors():
        return shown_picture(draw(inspector.inspect(bundle, image_from_file(path))))


def _set(studio: Studio, given: SetThreshold, asking: Asking) -> dict[str, Any]:
    asking.details |= given.model_dump()
    bundle = open_bundle(studio.places, given.bundle)
    asking.details["before"] = bundle.manifest.threshold.value
    with telling_errors():
        WantedSettings(threshold=given.threshold).put_into(bundle, by=name_of(asking))
    return {"threshold": Bundle.open(bundle.path).manifest.threshold.value}


def _anew(studio: Studio, given: ScoreAnew, asking: Asking) -> dict[str, Any]:
    asking.details |= given.model_dump()
    bundle = open_bundle(studio.places, given.bundle)
    keep = studio.config.stream.keep
    told = {
        "bundle": str(bundle.path),
        "keep": str(keep),
        "others": _other_cameras(studio, bundle),
        "engine": studio.config.stream.engine,
    }
    studio.jobs.start(ANEW, score_marked_parts, told, by=asking.who)
    return {}
