"""Who may ask for what, judged before any path is looked at; and what each answer carries."""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Any

from anyio import to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response

from edge.studio.audit import Audit
from edge.studio.listening import Door
from edge.studio.refusals import RefusalError
from edge.studio.sessions import Sessions
from edge.studio.words import Words

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY = 4 * 2**20
"""Bytes of a request's body: a mask as PNG is the largest."""
BODY_S = 10.0
"""Within which a body has to be here."""
MAX_QUERY = 2000  # bytes
LANGUAGE_COOKIE = "edge_language"
_LANGUAGE_S = 365 * 24 * 3600
_PLAIN_PATH = re.compile(rb"/[A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]+)*")
_OPEN_PATHS = ("/login", "/static/")
_PROBES = ("studio.no_such_name", "studio.bad_path")
"""Refusals of a request that changes nothing which are recorded: somebody tries names."""
_OWN_SITES = frozenset({"same-origin", "none"})
_JSON = re.compile(r"application/json(\s*;\s*charset=utf-8)?", re.IGNORECASE)
_ONCE = ("host", "origin", "content-type", "content-length", "cookie", "x-csrf", "sec-fetch-site")
BURST, RATE_HZ = 200.0, 50.0
"""Requests of an address, or of whoever has logged in: so many at once, and each second."""
_MAX_SENDERS = 1000
_ALWAYS = {
    "Server": "edge",
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(slots=True)
class Asking:
    """A request that was let in: who asks, and what is recorded of it.

    Attributes:
        who: a name of the token file, or ``local``; empty before somebody has logged in.
        address: where it comes from.
        language: that the page speaks.
        cookie: of the session.
        body: JSON of a request that changes something.
        details: for the audit, added by whoever handles it.
        outcome: for the audit.
        new_cookie: of the session from now on; empty leaves it.
        new_language: from now on; empty leaves it.
    """

    who: str
    address: str
    language: str
    cookie: str
    body: bytes = b""
    details: dict[str, Any] = field(default_factory=dict)
    outcome: str = "done"
    new_cookie: str = ""
    new_language: str = ""


class Guard:
    """Stands before the app.

    Args:
        app: gets what is let in, with `Asking` as ``state["asking"]``.
        door: where it is listened, and for whom.
        sessions: who is known.
        audit: is told of each change and each refusal.
        words: in which refusals are told.
    """

    def __init__(
        self, app: App, *, door: Door, sessions: Sessions, audit: Audit, words: Words
    ) -> None:
        self._app = app
        self._door = door
        self._sessions = sessions
        self._audit = audit
        self._words = words
        self._paces = _Paces()
        self._cookie_name = "__Host-edge" if door.is_secure else "edge"
        secure = "; Secure" if door.is_secure else ""
        self._cookie_options = f"; Path=/; HttpOnly; SameSite=Strict{secure}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        asking = self._asking_from(scope)
        scope["state"]["asking"] = asking
        reply = self._reply_with(asking, send)
        try:
            self._check_way(scope, asking)
            if scope["method"] == "POST":
                await self._check_change(scope, asking, receive)
        except RefusalError as refusal:
            response = await self._refuse(scope, asking, refusal)
            await response(scope, receive, reply)
            return
        if self._has_to_log_in(scope, asking):
            await RedirectResponse("/login", HTTPStatus.SEE_OTHER)(scope, receive, reply)
            return
        if scope["method"] != "POST":
            await self._app(scope, receive, reply)
            if asking.details.get("why") in _PROBES:
                await self._record_refusal(scope, asking, asking.details["why"])
            return
        await self._change(scope, asking, receive, reply)

    async def _change(self, scope: Scope, asking: Asking, receive: Receive, reply: Send) -> None:
        """Let a change happen, and record what came of it before it is answered."""
        sent: list[MutableMapping[str, Any]] = []

        async def keep(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        try:
            await self._app(scope, receive, keep)
        except Exception:
            asking.outcome = "failed"
            await self._record(scope, asking)
            raise
        status = next((one["status"] for one in sent if "status" in one), 500)
        if status >= 400 and asking.outcome == "done":
            asking.outcome = "refused" if status < 500 else "failed"
        if not await self._record(scope, asking):
            text = self._words.text(asking.language, "studio.no_audit")
            failed = JSONResponse({"error": text}, HTTPStatus.INSUFFICIENT_STORAGE)
            await failed(scope, receive, reply)
            return
        for message in sent:
            await reply(message)

    async def _record(self, scope: Scope, asking: Asking) -> bool:
        try:
            await to_thread.run_sync(
                lambda: self._audit.write(
                    who=asking.who,
                    address=asking.address,
                    what=scope["path"],
                    outcome=asking.outcome,
                    **asking.details,
                )
            )
        except OSError:
            return False
        return True

    async def _refuse(self, scope: Scope, asking: Asking, refusal: RefusalError) -> Response:
        await self._record_refusal(scope, asking, refusal.word)
        text = self._words.text(asking.language, refusal.word, **refusal.values)
        # Its body may not have been read: nothing more is taken of this connection.
        return JSONResponse({"error": text}, refusal.status, {"Connection": "close"})

    async def _record_refusal(self, scope: Scope, asking: Asking, why: str) -> None:
        told = {"who": asking.who, "address": asking.address, "what": scope["path"]}
        await to_thread.run_sync(lambda: self._audit.refuse(**told, why=why))

    def _asking_from(self, scope: Scope) -> Asking:
        headers = Headers(scope=scope)
        cookies = _cookies_from(headers.get("cookie", ""))
        cookie = cookies.get(self._cookie_name, "")
        if not self._sessions.is_ours(cookie):
            cookie = ""
        wanted, accepted = cookies.get(LANGUAGE_COOKIE, ""), headers.get("accept-language", "")
        return Asking(
            who=self._sessions.who(cookie) if cookie else "",
            address=str((scope.get("client") or ("", 0))[0]),
            language=self._words.choose(wanted, accepted),
            cookie=cookie,
        )

    def _check_way(self, scope: Scope, asking: Asking) -> None:
        """Check what holds for every request.

        Another site's page that is open in a browser here is recognised by the name it calls us
        by, by its Origin, and by what the browser says of where the request comes from.
        """
        # Behind a proxy all come from one address: whoever has logged in is known by the session.
        known = self._sessions.asks_token and asking.who
        if not self._paces.allows(asking.cookie if known else asking.address):
            raise RefusalError("studio.too_many", HTTPStatus.TOO_MANY_REQUESTS)
        headers = Headers(scope=scope)
        if any(len(headers.getlist(name)) > 1 for name in _ONCE):
            raise RefusalError("studio.bad_request", HTTPStatus.BAD_REQUEST)
        host = headers.get("host", "").strip().lower()
        own_ip = str((scope.get("server") or ("127.0.0.1", 0))[0])
        if host not in self._door.names(own_ip):
            raise RefusalError("studio.other_host", HTTPStatus.MISDIRECTED_REQUEST)
        own = f"{'https' if self._door.is_secure else 'http'}://{host}"
        if headers.get("origin", own).strip().lower() != own:
            raise RefusalError("studio.other_site", HTTPStatus.FORBIDDEN)
        if headers.get("sec-fetch-site", "none").strip().lower() not in _OWN_SITES:
            raise RefusalError("studio.other_site", HTTPStatus.FORBIDDEN)
        if scope["method"] not in ("GET", "HEAD", "POST"):
            raise RefusalError("studio.bad_method", HTTPStatus.METHOD_NOT_ALLOWED)
        dots = any(part in (b".", b"..") for part in scope["raw_path"].split(b"/"))
        if dots or not _PLAIN_PATH.fullmatch(scope["raw_path"]):
            raise RefusalError("studio.bad_path", HTTPStatus.NOT_FOUND)
        if len(scope["query_string"]) > MAX_QUERY:
            raise RefusalError("studio.too_large", HTTPStatus.REQUEST_URI_TOO_LONG)

    async def _check_change(self, scope: Scope, asking: Asking, receive: Receive) -> None:
        """Check what a request that changes something has to show beside."""
        headers = Headers(scope=scope)
        if "origin" not in headers:
            raise RefusalError("studio.other_site", HTTPStatus.FORBIDDEN)
        if not asking.cookie or not self._sessions.shows_csrf(
            asking.cookie, headers.get("x-csrf", "")
        ):
            raise RefusalError("studio.no_csrf", HTTPStatus.FORBIDDEN)
        if not asking.who and scope["path"] != "/login":
            raise RefusalError("studio.log_in", HTTPStatus.UNAUTHORIZED)
        if not _JSON.fullmatch(headers.get("content-type", "").strip()):
            raise RefusalError("studio.not_json", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        if not self._audit.is_writable():
            raise RefusalError("studio.no_audit", HTTPStatus.INSUFFICIENT_STORAGE)
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > MAX_BODY:
            raise RefusalError("studio.too_large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        try:
            asking.body = await asyncio.wait_for(_read_body(receive), BODY_S)
        except asyncio.TimeoutError:
            raise RefusalError("studio.too_slow", HTTPStatus.REQUEST_TIMEOUT) from None

    def _has_to_log_in(self, scope: Scope, asking: Asking) -> bool:
        open_to_all = scope["path"].startswith(_OPEN_PATHS)
        return self._sessions.asks_token and not asking.who and not open_to_all

    def _reply_with(self, asking: Asking, send: Send) -> Send:
        """What adds to each answer what all carry."""

        async def reply(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _ALWAYS.items():
                    headers.setdefault(name, value)
                if asking.new_cookie:
                    own = f"{self._cookie_name}={asking.new_cookie}"
                    headers.append("Set-Cookie", own + self._cookie_options)
                if asking.new_language:
                    own = f"{LANGUAGE_COOKIE}={asking.new_language}; Max-Age={_LANGUAGE_S}"
                    headers.append("Set-Cookie", own + self._cookie_options)
            await send(message)

        return reply


class _Paces:
    """How many requests an address, or a session, may still send: a bucket for each."""

    def __init__(self) -> None:
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, sender: str) -> bool:
        """Take one out of a sender's bucket; False if it is empty."""
        now = time.monotonic()
        left, at_s = self._left.pop(sender, (BURST, now))
        left = min(BURST, left + (now - at_s) * RATE_HZ)
        self._left[sender] = max(0.0, left - 1), now
        if len(self._left) > _MAX_SENDERS:
            self._left.popitem(last=False)
        return left >= 1


async def _read_body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RefusalError("studio.bad_request", HTTPStatus.BAD_REQUEST)
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise RefusalError("studio.too_large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if not message.get("more_body"):
            return bytes(body)


def _cookies_from(text: str) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(text).items()}
    except CookieError:
        return {}
