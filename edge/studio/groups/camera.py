"""Camera: see what it sees, set light and focus, take pictures of good parts."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from pydantic import Field
from starlette.routing import Route

from edge.studio.guard import Asking
from edge.studio.live_camera import How, LiveCamera
from edge.studio.places import pick
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

NAME = "camera"
MAX_PICTURES = 10_000


class StartCapture(Command):
    """Take pictures from the camera that is looked at.

    Attributes:
        set: its name; a new one makes it.
        how: what chooses frames.
        seconds: between two.
        count: after so many it ends.
    """

    set: str
    how: How
    seconds: Annotated[float, Field(ge=0.1, le=86_400)] = 1.0
    count: Annotated[int, Field(ge=1, le=MAX_PICTURES)] = 60


def routes(studio: Studio) -> list[Route]:
    """The page, and what it asks for."""
    camera = studio.camera
    return [
        page_route(studio, NAME, lambda _: {"sources": [*studio.places.sources()]}),
        state_route(studio, "/camera/state", lambda query, _: _state(studio, query)),
        picture_route(studio, "/camera/live.jpg", lambda _: _picture(camera)),
        command_route(
            studio, "/camera/capture", StartCapture, lambda given, who: _capture(studio, given, who)
        ),
        command_route(studio, "/camera/shoot", Command, lambda _, __: _shoot(camera)),
        command_route(studio, "/camera/end", Command, lambda _, __: _end(camera)),
    ]


def _state(studio: Studio, query: Query) -> dict[str, Any]:
    """What the camera that is named sees; it is opened if it is not."""
    name = query.get("source", "")
    if name:
        studio.look_at(name)
    sets = {name: len(studio.places.pictures(path)) for name, path in studio.places.sets().items()}
    return studio.camera.state() | {"sets": sets}


def _picture(camera: LiveCamera) -> tuple[bytes, str]:
    picture = camera.picture()
    if picture is None:
        raise RefusalError("camera.no_picture", HTTPStatus.NOT_FOUND)
    return picture, "image/jpeg"


def _capture(studio: Studio, given: StartCapture, asking: Asking) -> dict[str, Any]:
    asking.details |= {"set": given.set, "how": given.how, "count": given.count}
    studio.camera.check_ready()
    sets = studio.places.sets()
    folder = pick(given.set, sets) if given.set in sets else studio.places.make_set(given.set)
    studio.camera.capture(given.set, folder, given.how, seconds=given.seconds, count=given.count)
    return studio.camera.state()


def _shoot(camera: LiveCamera) -> dict[str, Any]:
    camera.shoot()
    return camera.state()


def _end(camera: LiveCamera) -> dict[str, Any]:
    camera.end_capture()
    return camera.state()
