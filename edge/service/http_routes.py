"""Routes of the monitor: the page, the report, metrics and pictures; nothing else is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from typing import Any, Protocol
from urllib.parse import unquote

GetReport = Callable[[], Mapping[str, Any]]

_JSON = "application/json; charset=utf-8"
_TEXT = "text/plain; charset=utf-8"
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
REJECT_KEYS = ("captured_at_ns", "verdict", "score", "threshold", "reason", "part", "frame")


@dataclass(frozen=True, slots=True)
class Response:
    """What a request gets.

    Attributes:
        status: of HTTP.
        content: the body.
        content_type: of the body.
        headers: further ones.
    """

    status: HTTPStatus
    content: bytes
    content_type: str = _TEXT
    headers: tuple[tuple[str, str], ...] = ()


def text_response(status: HTTPStatus, line: str, *headers: tuple[str, str]) -> Response:
    """One line for people."""
    return Response(status, f"{line}\n".encode(), headers=headers)


@dataclass(frozen=True, slots=True)
class DrawnResult:
    """A result as the page shows it.

    Attributes:
        id: its own among the camera's.
        jpeg: the drawn picture, encoded.
        verdict: OK, NG or ERROR.
        monotonic_s: when what it shows was there.
        result: the result line.
    """

    id: str
    jpeg: bytes
    verdict: str
    monotonic_s: float
    result: Mapping[str, Any]


class Pictures(Protocol):
    """Drawn results of cameras; any thread may ask. An unknown camera is a `KeyError`."""

    def live(self, camera: str, *, unless_id: str = "") -> tuple[DrawnResult, float] | None:
        """The newest result and its age in s; waits a moment for another than `unless_id`."""
        ...

    def rejects(self, camera: str) -> Sequence[DrawnResult]:
        """The last NG and ERROR results, newest first."""
        ...

    def kept(self, camera: str, name: str) -> bytes | None:
        """The drawn picture of an earlier result by its id, where it is kept; else None."""
        ...


class Routes:
    """What there is to read.

    Args:
        report: what is known, with ``ready``.
        pictures: of the cameras; None where there is no page.
    """

    def __init__(self, report: GetReport, *, pictures: Pictures | None) -> None:
        self._report = report
        self._pictures = pictures
        self._files: dict[str, Response] = {}
        if pictures is not None:
            folder = files("edge.service") / "page"
            for path, (name, content_type) in _FILES.items():
                content = (folder / name).read_bytes()
                self._files[path] = Response(HTTPStatus.OK, content, content_type)

    def respond(self, path: str, *, known_id: str = "") -> Response:
        """Answer a request.

        Args:
            path: as it was sent, percent signs and all.
            known_id: of the picture that the client has already, as ``ETag`` named it.
        """
        if path in self._files:
            return self._files[path]
        if path == "/healthz":
            report = self._report()
            status = HTTPStatus.OK if report["ready"] else HTTPStatus.SERVICE_UNAVAILABLE
            return _json_response(report, status)
        if path == "/metrics":
            from edge.service.metrics import metrics_from_report  # nobody else needs the library

            return Response(HTTPStatus.OK, *metrics_from_report(self._report()))
        if self._pictures is not None and path.startswith("/cameras/"):
            return _respond_for_camera(self._pictures, path, known_id)
        return text_response(HTTPStatus.NOT_FOUND, "nothing here; there is /healthz and /metrics")


def _respond_for_camera(pictures: Pictures, path: str, known_id: str) -> Response:
    _, _, encoded, *rest = path.split("/")
    camera = unquote(encoded)
    try:
        match rest:
            case ["live.jpg"]:
                return _live_response(pictures.live(camera, unless_id=known_id), known_id)
            case ["rejects.json"]:
                rejects = [
                    {"id": one.id, **{key: one.result[key] for key in REJECT_KEYS}}
                    for one in pictures.rejects(camera)
                ]
                return _json_response({"rejects": rejects})
            case ["rejects", name] if name.endswith(".jpg"):
                return _reject_response(pictures, camera, name.removesuffix(".jpg"))
    except KeyError:
        return text_response(HTTPStatus.NOT_FOUND, "no such camera or picture")
    line = "nothing here; a camera has live.jpg, rejects.json, rejects/ID.jpg"
    return text_response(HTTPStatus.NOT_FOUND, line)


def _reject_response(pictures: Pictures, camera: str, name: str) -> Response:
    """The picture of a result: one of the last, or one that is kept."""
    shown = next((one.jpeg for one in pictures.rejects(camera) if one.id == name), None)
    jpeg = shown or pictures.kept(camera, name)
    if jpeg is None:
        line = "the picture of this part is not kept, or not any more"
        return text_response(HTTPStatus.NOT_FOUND, line)
    return Response(HTTPStatus.OK, jpeg, "image/jpeg")


def _live_response(found: tuple[DrawnResult, float] | None, known_id: str) -> Response:
    """The newest picture, and how old it is: nobody must take an old one for what is now."""
    if found is None:
        status = HTTPStatus.SERVICE_UNAVAILABLE
        return text_response(status, "no picture of now", ("Retry-After", "1"))
    drawn, age_s = found
    headers = (
        ("ETag", f'"{drawn.id}"'),
        ("Edge-Age-Ms", f"{age_s * 1e3:.0f}"),
        ("Edge-Verdict", drawn.verdict),
    )
    if drawn.id == known_id:
        return Response(HTTPStatus.NOT_MODIFIED, b"", "image/jpeg", headers)
    return Response(HTTPStatus.OK, drawn.jpeg, "image/jpeg", headers)


def _json_response(values: Mapping[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(status, (json.dumps(values) + "\n").encode(), _JSON)
