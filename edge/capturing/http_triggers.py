"""A trigger as an HTTP request: ``POST /``, which is answered once its picture is on the disk."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError as NotYetError
from functools import partial
from http import HTTPStatus
from typing import Any

from cameras.errors import CameraError
from cameras.push.http_head import RequestHead
from edge.capturing.triggers import Trigger
from edge.options import LifeOptions
from edge.result import Say
from edge.service.http_access import Access
from edge.service.http_routes import Response, text_response
from edge.service.http_server import TIMEOUT_S, RequestServer

_WAIT_S = 0.8 * TIMEOUT_S


@contextlib.contextmanager
def listen_for_triggers(
    address: str, trigger: Callable[[], Trigger], *, life: LifeOptions, say: Say
) -> Iterator[None]:
    """Take ``POST /`` as a trigger while the block runs.

    Args:
        address: ``127.0.0.1:9465``; port 0 takes a free one.
        trigger: takes note of one.
        life: the token and the names of the monitor are those of this, too.
        say: is told where it listens.

    Raises:
        MonitorError: no such address, others reach it and there is no token, or it is taken.
    """
    access = Access(life.monitor_token, life.monitor_hosts)
    respond = partial(_respond, trigger)
    server = RequestServer(address, respond, access=access, name="edge-listen")
    server.start()
    try:
        say(f"POST http://{server.host}:{server.port}/ takes a picture")
        yield
    finally:
        server.end()


def _respond(trigger: Callable[[], Trigger], head: RequestHead) -> Response:
    if head.path != "/":
        return text_response(HTTPStatus.NOT_FOUND, "triggers are posted to /")
    if head.method != "POST":
        line = "a trigger is a POST"
        return text_response(HTTPStatus.METHOD_NOT_ALLOWED, line, ("Allow", "POST"))
    taken = trigger()
    facts: dict[str, Any] = {"trigger": taken.number}
    try:
        facts["picture"] = taken.picture.result(_WAIT_S)
        status = HTTPStatus.OK
    except NotYetError:
        status = HTTPStatus.ACCEPTED
    except CameraError as error:
        facts["error"] = str(error)
        status = HTTPStatus.SERVICE_UNAVAILABLE
    return Response(status, json.dumps(facts).encode(), "application/json; charset=utf-8")
