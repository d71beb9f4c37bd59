"""What is answered to a path: the page, the report, metrics and pictures; nothing else is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from typing import Any, Protocol
from urllib.parse import unquote

Report = Callable[[], Mapping[str, Any]]
Exposition = Callable[[Mapping[str, Any]], tuple[bytes, str]]

_JSON = "application/json; charset=utf-8"
_TEXT = "text/plain; charset=utf-8"
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets.

    Attributes:
        status: of HTTP.
        content: the body.
        kind: its type.
        headers: further ones.
    """

    status: HTTPStatus
    content: bytes
    kind: str = _TEXT
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def line(cls, status: HTTPStatus, text: str) -> Answer:
        """One line for people."""
        return cls(status, f"{text}\n".encode())


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn result.

    Attributes:
        name: its own among the camera's.
        jpeg: encoded.
        verdict: OK, NG or ERROR.
        monotonic_s: when what it shows was there.
        result: the result line.
    """

    name: str
    jpeg: bytes
    verdict: str
    monotonic_s: float
    result: Mapping[str, Any]


class Pictures(Protocol):
    """Drawn results of cameras; any thread may ask. An unknown camera is a `KeyError`."""

    def live(self, camera: str, *, but: str = "") -> tuple[Picture, float] | None:
        """The newest picture and its age in s; waits a moment for one that is not `but`."""
        ...

    def rejects(self, camera: str) -> Sequence[Picture]:
        """The last NG and ERROR results, newest first."""
        ...


class Pages:
    """What there is to read.

    Args:
        report: what is known, with ``ready``.
        expose: makes the text of ``/metrics`` and its type from a report; None where the library
            is not installed.
        pictures: of the cameras; None where there is no page.
    """

    def __init__(
        self, report: Report, *, expose: Exposition | None, pictures: Pictures | None
    ) -> None:
        self._report = report
        self._expose = expose
        self._pictures = pictures
        self._files: dict[str, Answer] = {}
        if pictures is not None:
            home = files("edge.service") / "page"
            for path, (name, kind) in _FILES.items():
                self._files[path] = Answer(HTTPStatus.OK, (home / name).read_bytes(), kind)

    def answer(self, path: str, *, known: str = "") -> Answer:
        """What a path has.

        Args:
            path: as it was sent, percent signs and all.
            known: the picture that whoever asks has already, as ``ETag`` named it.
        """
        if path in self._files:
            return self._files[path]
        if path == "/healthz":
            report = self._report()
            status = HTTPStatus.OK if report["ready"] else HTTPStatus.SERVICE_UNAVAILABLE
            return Answer(status, (json.dumps(report) + "\n").encode(), _JSON)
        if path == "/metrics":
            return self._metrics()
        if self._pictures is not None and path.startswith("/cameras/"):
            return self._camera(self._pictures, path, known)
        return _missing("nothing here; there is /healthz and /metrics")

    def _metrics(self) -> Answer:
        if self._expose is None:
            line = "no prometheus-client here; pip install 'protoedge[metrics]'"
            return Answer.line(HTTPStatus.NOT_IMPLEMENTED, line)
        return Answer(HTTPStatus.OK, *self._expose(self._report()))

    def _camera(self, pictures: Pictures, path: str, known: str) -> Answer:
        _, _, encoded, *rest = path.split("/")
        camera = unquote(encoded)
        try:
            match rest:
                case ["live.jpg"]:
                    return _live(pictures.live(camera, but=known), known)
                case ["rejects.json"]:
                    return _rejects(pictures.rejects(camera))
                case ["rejects", name]:
                    found = pictures.rejects(camera)
                    named = {f"{picture.name}.jpg": picture for picture in found}
                    return _jpeg(named[name])
        except KeyError:
            return _missing("no such camera or picture")
        return _missing("nothing here; a camera has live.jpg, rejects.json, rejects/ID.jpg")


def _live(found: tuple[Picture, float] | None, known: str) -> Answer:
    """The newest picture, and how old it is: nobody shall take an old one for what is now."""
    if found is None:
        line = b"no picture of now\n"
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE, line, headers=(("Retry-After", "1"),))
    picture, age_s = found
    headers = (
        ("ETag", f'"{picture.name}"'),
        ("Edge-Age-Ms", f"{age_s * 1e3:.0f}"),
        ("Edge-Verdict", picture.verdict),
    )
    if picture.name == known:
        return Answer(HTTPStatus.NOT_MODIFIED, b"", "image/jpeg", headers)
    return Answer(HTTPStatus.OK, picture.jpeg, "image/jpeg", headers)


def _rejects(found: Sequence[Picture]) -> Answer:
    keys = ("captured_at_ns", "verdict", "score", "threshold", "reason", "part", "frame")
    rows = [{"id": one.name, **{key: one.result[key] for key in keys}} for one in found]
    return Answer(HTTPStatus.OK, (json.dumps({"rejects": rows}) + "\n").encode(), _JSON)


def _jpeg(picture: Picture) -> Answer:
    return Answer(HTTPStatus.OK, picture.jpeg, "image/jpeg")


def _missing(line: str) -> Answer:
    return Answer.line(HTTPStatus.NOT_FOUND, line)
