"""Who uses the page: cookies that nobody can make up, and what a script of the page has to show."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping

LOCAL = "local"
"""Whoever uses the page without a token: somebody on this machine."""
LOGGED_IN_S = 12 * 3600.0
_MAX_LOGGED_IN = 64
_MAX_ADDRESSES = 1000
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0
_MAX_COOKIE = 200


class Sessions:
    """Makes and checks cookies; all are void when the studio starts again.

    A cookie is a number that nobody can guess, with a proof that it was made here, so that
    strangers who ask for many take no memory. Which of them has logged in is kept.

    Args:
        tokens: by the names of those whom they belong to; without any, everybody is `LOCAL`.
    """

    def __init__(self, tokens: Mapping[str, bytes]) -> None:
        self._tokens = dict(tokens)
        self._secret = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._logged_in: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()

    @property
    def asks_token(self) -> bool:
        """Whether one has to log in."""
        return bool(self._tokens)

    def new_cookie(self) -> str:
        """A cookie of somebody who has shown nothing yet."""
        number = secrets.token_urlsafe(24)
        return f"{number}.{self._proof('cookie', number)}"

    def is_ours(self, cookie: str) -> bool:
        """Whether a cookie was made here since the start."""
        number, _, proof = cookie[:_MAX_COOKIE].partition(".")
        return hmac.compare_digest(proof.encode(), self._proof("cookie", number).encode())

    def csrf(self, cookie: str) -> str:
        """What a request that changes something has to show beside this cookie."""
        return self._proof("csrf", cookie)

    def shows_csrf(self, cookie: str, shown: str) -> bool:
        """Whether it did, in a time that tells nothing about it."""
        return hmac.compare_digest(shown.encode(), self.csrf(cookie).encode())

    def who(self, cookie: str) -> str:
        """Whose cookie it is; empty if nobody has logged in with it."""
        if not self.is_ours(cookie):
            return ""
        if not self._tokens:
            return LOCAL
        with self._lock:
            name, until_s = self._logged_in.get(cookie, ("", 0.0))
        return name if time.monotonic() < until_s else ""

    def wait_s(self, address: str) -> float:
        """Seconds until an address may try a token again."""
        with self._lock:
            _, until_s = self._failed.get(address, (0, 0.0))
        return max(0.0, until_s - time.monotonic())

    def log_in(self, token: str, address: str) -> tuple[str, str]:
        """Take a token.

        Returns:
            Whose it is, and a new cookie; both empty for a wrong one, after which the address has
            to wait, longer each time.
        """
        shown = token.encode()
        # All are compared, so that the time tells nothing about which.
        owners = [name for name, own in self._tokens.items() if hmac.compare_digest(own, shown)]
        with self._lock:
            if not owners:
                self._note_failure(address)
                return "", ""
            self._failed.pop(address, None)
            cookie = self.new_cookie()
            self._logged_in[cookie] = owners[0], time.monotonic() + LOGGED_IN_S
            if len(self._logged_in) > _MAX_LOGGED_IN:
                self._logged_in.popitem(last=False)
        return owners[0], cookie

    def log_out(self, cookie: str) -> None:
        """Forget who has a cookie."""
        with self._lock:
            self._logged_in.pop(cookie, None)

    def _note_failure(self, address: str) -> None:
        count, _ = self._failed.pop(address, (0, 0.0))
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(count, 20))
        self._failed[address] = count + 1, time.monotonic() + pause_s
        if len(self._failed) > _MAX_ADDRESSES:
            self._failed.popitem(last=False)

    def _proof(self, use: str, text: str) -> str:
        return hmac.new(self._secret, f"{use} {text}".encode(), hashlib.sha256).hexdigest()
