"""The page where others reach it: nothing without a token, TLS cookies, who did what."""

from __future__ import annotations

import ssl

import httpx
import pytest
from asking import connected
from authority import authority
from studio_client import StudioClient, client_of, running_studio

from edge.studio import serve

TOKEN = "0123456789abcdef-Zq9"


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    home = tmp_path_factory.mktemp("guarded")
    (home / "tokens").write_text(f"anna {TOKEN}\n")
    with running_studio(home, token_file=home / "tokens") as server:
        yield server


@pytest.mark.parametrize(
    "path", ["/", "/camera", "/build/job", "/history/lines", "/camera/live.jpg"]
)
def test_without_a_token_there_is_the_log_in_alone(studio, path) -> None:
    with client_of(studio) as client:
        answer = client.http.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"] == "/login"
        assert client.http.get("/static/studio.css").status_code == 200
        page = client.page("login")
        assert 'type="password"' in page
        assert "/history" not in page
        assert client.post("/build/cancel").status_code == 401


def test_whoever_logs_in_is_recorded_and_can_leave(studio) -> None:
    with client_of(studio) as client:
        client.page("login")
        before = dict(client.http.cookies)
        assert client.post("/login", {"token": "x" * 20}).status_code == 403
        answer = client.post("/login", {"token": TOKEN})
        assert answer.status_code == 429  # too soon after a wrong one
        studio.studio.sessions._failed.clear()
        assert client.post("/login", {"token": TOKEN}).status_code == 200
        assert dict(client.http.cookies) != before
        assert "anna" in client.page("history")
        client.command("/language", language="de")
        lines = client.state("/history/lines")["lines"]
        assert [(one["who"], one["what"], one["outcome"]) for one in lines[:4]] == [
            ("anna", "/language", "done"),
            ("anna", "/login", "done"),
            ("", "/login", "refused"),
            ("", "/login", "refused"),
        ]
        assert TOKEN not in str(lines) and "x" * 20 not in str(lines)
        client.page("history")
        client.command("/logout")
        assert client.http.get("/history").status_code == 303


def test_with_tls_the_cookie_is_for_tls_alone(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(serve, "HEAD_S", 0.5)
    own = authority(tmp_path, name="studio")
    with running_studio(tmp_path, tls_cert=own.certificate, tls_key=own.key) as server:
        trusted = ssl.create_default_context(cafile=own.ca)
        client = StudioClient(server.address, verify=trusted)
        with client.http:
            answer = client.http.get("/history")
            cookie = answer.headers["set-cookie"]
            assert cookie.startswith("__Host-edge=")
            assert "; Secure" in cookie and "SameSite=Strict" in cookie and "HttpOnly" in cookie
            client.page("history")
            client.command("/language", language="de")
        with httpx.Client() as plain, pytest.raises(httpx.HTTPError):
            plain.get(f"http://127.0.0.1:{server.port}/history")
        with connected(server.port) as silent:  # one that never says hello
            assert silent.recv(1) == b""


def test_behind_a_proxy_its_names_and_https_hold(tmp_path) -> None:
    with running_studio(tmp_path, hosts=("line3.example",), behind_tls=True) as server:
        client = StudioClient(server.address)
        with client.http:
            client.http.headers["Host"] = "line3.example"
            page = client.http.get("/history")
            assert page.headers["set-cookie"].startswith("__Host-edge=")
            cookie = page.headers["set-cookie"].partition(";")[0]
            client.csrf = page.text.partition('name="csrf" content="')[2].partition('"')[0]
            client.http.headers["Cookie"] = cookie
            statuses = []
            for origin in ("https://line3.example", "http://line3.example", "https://evil.example"):
                client.address = origin
                statuses.append(client.post("/language", {"language": "de"}).status_code)
            assert statuses == [200, 403, 403]
