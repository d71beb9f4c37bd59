"""The studio in this process, and somebody who uses it as its page does."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from edge.config import Config
from edge.options import StudioOptions
from edge.studio.serve import StudioServer

PATIENCE_S = 60.0


class StudioClient:
    """Somebody at the page: keeps its cookie and shows what its script would.

    Args:
        address: of the studio.
        verify: the certificate that is trusted.
    """

    def __init__(self, address: str, *, verify: ssl.SSLContext | bool = True) -> None:
        self.address = address
        self.http = httpx.Client(base_url=address, timeout=PATIENCE_S, verify=verify)
        self.csrf = ""

    def page(self, group: str) -> str:
        """A group's page; its proof is shown from now on."""
        answer = self.http.get(f"/{group}")
        if found := re.search(r'name="csrf" content="([^"]*)"', answer.text):
            self.csrf = found[1]
        return answer.text

    def state(self, path: str, **query: str) -> dict:
        answer = self.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, given: object = None) -> httpx.Response:
        """Ask for a change."""
        if not self.csrf:
            self.page("login")
        headers = {"X-CSRF": self.csrf, "Origin": self.address}
        return self.http.post(path, json=given or {}, headers=headers)

    def command(self, path: str, **given: object) -> dict:
        """Ask for a change that is done."""
        answer = self.post(path, given)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def job(self, path: str) -> dict:
        """The job there, once it has ended."""
        return wait_for(
            lambda: (job := self.state(f"{path}/job")["job"])["state"] != "running" and job
        )


def wait_for(condition: Callable[[], object]) -> object:
    """What the condition gives, once it gives something."""
    limit = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < limit
        time.sleep(0.02)
    return found


@contextmanager
def running_studio(folder: Path, config: Config | None = None, **options) -> Iterator[StudioServer]:
    """A studio whose sets, bundles and record lie in a folder."""
    places = {"sets": folder / "sets", "bundles": folder / "build", "audit": folder / "audit.jsonl"}
    section = StudioOptions(**{"listen": "127.0.0.1:0", **places, **options})
    with StudioServer((config or Config()).model_copy(update={"studio": section})) as server:
        yield server


@contextmanager
def client_of(server: StudioServer) -> Iterator[StudioClient]:
    """Somebody at its page."""
    client = StudioClient(server.address)
    with client.http:
        yield client
