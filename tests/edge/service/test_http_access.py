"""Who may read the monitor: other sites' pages, other names and wrong tokens get nothing."""

from __future__ import annotations

import base64
import logging

import pytest
from asking import asked

from edge.service import metrics
from edge.service.gallery import Galleries
from edge.service.http_access import Access, MonitorError
from edge.service.http_server import Monitor

SECRET = "what-nobody-else-reads"
TOKEN = "0123456789abcdef-Zq9"
REPORT = {"ready": True, "reasons": {}, "cameras": {SECRET: {}}}
PATHS = ("/healthz", "/metrics", "/", "/page.js", "/cameras//live.jpg", "/cameras//rejects.json")


def basic(pair: str) -> str:
    return f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}"


def expose(_report) -> tuple[bytes, str]:
    return SECRET.encode(), "text/plain"


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """One for this machine alone, and one that others reach, which asks for a token."""
    file = tmp_path_factory.mktemp("token") / "monitor.token"
    file.write_text(f"{TOKEN}\n")
    galleries = Galleries(cpus=1)
    galleries.gallery("")
    access = Access(file, ("Line3.plant.example", "proxy.example:8443"))
    with (
        pytest.MonkeyPatch.context() as patched,
        Monitor("127.0.0.1:0", lambda: REPORT, pictures=galleries) as own,
        Monitor("0.0.0.0:0", lambda: REPORT, access=access, pictures=galleries) as shared,
    ):
        patched.setattr(metrics, "metrics_from_report", expose)
        yield {"own": own.port, "shared": shared.port}


HOSTILE = [  # server, Host, further headers, status
    # Other names: what a page would call us whose name was made to lead here.
    ("own", "evil.example", (), 421),
    ("own", "evil.example:{port}", (), 421),
    ("own", "127.0.0.1.evil.example:{port}", (), 421),
    ("own", "127.0.0.1:1", (), 421),
    ("own", "127.0.0.1", (), 421),
    ("own", "localhost", (), 421),
    ("own", "localhost:1", (), 421),
    ("own", "localhost.:{port}", (), 421),
    ("own", "0.0.0.0:{port}", (), 421),
    ("own", "127.1:{port}", (), 421),
    ("own", "2130706433:{port}", (), 421),
    ("own", "[::1]:{port}", (), 421),
    ("own", "[::ffff:127.0.0.1]:{port}", (), 421),
    ("own", "user@127.0.0.1:{port}", (), 421),
    ("own", "127.0.0.1:{port}/x", (), 421),
    ("own", "127.0.0.1:{port}, evil.example", (), 421),
    ("own", " ", (), 421),
    ("own", "", (), 421),
    ("own", "", ("X-Forwarded-Host: 127.0.0.1:{port}",), 421),
    ("own", None, ("Host: evil.example",), 421),
    ("own", None, ("Host: 127.0.0.1:{port}",), 421),
    ("own", "line3.plant.example", (), 421),
    # Pages of other sites, open in a browser here.
    ("own", None, ("Origin: http://evil.example",), 403),
    ("own", None, ("Origin: null",), 403),
    ("own", None, ("Origin: ",), 403),
    ("own", None, ("Origin: http://127.0.0.1",), 403),
    ("own", None, ("Origin: http://127.0.0.1:1",), 403),
    ("own", None, ("Origin: http://localhost:{port}",), 403),
    ("own", None, ("Origin: ftp://127.0.0.1:{port}",), 403),
    ("own", None, ("Origin: http://127.0.0.1:{port}.evil.example",), 403),
    ("own", None, ("Origin: http://127.0.0.1:{port}", "Origin: http://evil.example"), 403),
    ("own", None, ("Sec-Fetch-Site: cross-site",), 403),
    ("own", None, ("Sec-Fetch-Site: same-site",), 403),
    ("own", None, ("Sec-Fetch-Site: ",), 403),
    ("own", None, ("Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"), 403),
    ("own", None, ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"), 403),
    ("own", None, ("Sec-Fetch-Site: none", "Origin: http://evil.example"), 403),
    # Without the token, or with another; whoever names us wrongly is not even asked.
    ("shared", None, (), 401),
    ("shared", "line3.plant.example", (), 401),
    ("shared", None, ("Authorization: ",), 401),
    ("shared", None, (f"Authorization: {TOKEN}",), 401),
    ("shared", None, ("Authorization: Bearer",), 401),
    ("shared", None, (f"Authorization: Bearer {TOKEN[:-1]}",), 401),
    ("shared", None, (f"Authorization: Bearer {TOKEN}x",), 401),
    ("shared", None, (f"Authorization: Bearer {TOKEN.lower()}",), 401),
    ("shared", None, (f"Authorization: Bearer {TOKEN} {TOKEN}",), 401),
    ("shared", None, ("Authorization: Bearer \u00e9\u00ff",), 401),
    ("shared", None, (f"Authorization: Digest {TOKEN}",), 401),
    ("shared", None, ("Authorization: Basic %%%",), 401),
    ("shared", None, (f"Authorization: Basic {TOKEN}",), 401),
    ("shared", None, (basic(TOKEN),), 401),
    ("shared", None, (basic(f"{TOKEN}:"),), 401),
    ("shared", None, (basic(f"edge:{TOKEN}x"),), 401),
    ("shared", None, (basic("edge:"),), 401),
    ("shared", None, (f"Authorization: Bearer {TOKEN}", "Authorization: Bearer x"), 401),
    ("shared", None, (f"Cookie: token={TOKEN}",), 401),
    ("shared", None, (f"X-Token: {TOKEN}", f"Proxy-Authorization: Bearer {TOKEN}"), 401),
    ("shared", "evil.example:{port}", (f"Authorization: Bearer {TOKEN}",), 421),
    ("shared", "0.0.0.0:{port}", (f"Authorization: Bearer {TOKEN}",), 421),
    ("shared", "proxy.example", (f"Authorization: Bearer {TOKEN}",), 421),
    ("shared", "proxy.example:{port}", (f"Authorization: Bearer {TOKEN}",), 421),
    ("shared", None, (f"Authorization: Bearer {TOKEN}", "Origin: https://evil.example"), 403),
    ("shared", None, (f"Authorization: Bearer {TOKEN}", "Sec-Fetch-Site: cross-site"), 403),
]


@pytest.mark.parametrize(("server", "host", "headers", "status"), HOSTILE)
def test_hostile_requests_are_refused_and_get_nothing(
    opened, server, host, headers, status
) -> None:
    for path in PATHS[:1] if status == 421 else PATHS:
        said = asked(opened[server], path, *headers, host=host)
        assert said.status == status, path
        assert SECRET.encode() not in said.body
        assert len(said.body.splitlines()) == 1
        assert ("www-authenticate" in said.head) == (status == 401)


def test_there_are_many_hostile_requests() -> None:
    assert len(HOSTILE) == len({(server, host, headers) for server, host, headers, _ in HOSTILE})
    assert len(HOSTILE) >= 60


@pytest.mark.parametrize(
    ("server", "host", "headers"),
    [
        ("own", "127.0.0.1:{port}", ()),
        ("own", "LocalHost:{port}", ()),
        ("own", None, ("Origin: http://127.0.0.1:{port}", "Sec-Fetch-Site: same-origin")),
        ("own", None, ("Sec-Fetch-Site: none",)),
        ("shared", None, (f"Authorization: Bearer {TOKEN}",)),
        ("shared", None, (f"authorization: bearer  {TOKEN} ",)),
        ("shared", "localhost:{port}", (basic(f"anybody:{TOKEN}"),)),
        ("shared", None, (basic(f":{TOKEN}"),)),
        ("shared", "line3.PLANT.example:{port}", (f"Authorization: Bearer {TOKEN}",)),
        ("shared", "proxy.example:8443", (f"Authorization: Bearer {TOKEN}",)),
        (
            "shared",
            "proxy.example:8443",
            (f"Authorization: Bearer {TOKEN}", "Origin: https://proxy.example:8443"),
        ),
    ],
)
def test_who_may_read_reads(opened, server, host, headers) -> None:
    said = asked(opened[server], "/healthz", *headers, host=host)
    assert (said.status, said.json()) == (200, REPORT)
    assert asked(opened[server], "/", *headers, host=host).body.startswith(b"<!doctype html>")


def test_a_token_is_asked_for_on_loopback_too_and_never_logged(tmp_path, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "token"
    file.write_text(TOKEN)
    with Monitor("127.0.0.1:0", lambda: REPORT, access=Access(file)) as monitor:
        assert asked(monitor.port, "/healthz").status == 401
        assert asked(monitor.port, "/healthz", f"Authorization: Bearer {TOKEN}").status == 200
        assert TOKEN not in repr(vars(monitor))
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("address", ["0.0.0.0:0", "192.168.0.1:9464", "[::]:0", "8.8.8.8:9464"])
def test_others_reach_it_with_a_token_alone(address) -> None:
    with pytest.raises(MonitorError, match=r"others can reach .* life\.monitor_token"):
        Monitor(address, lambda: REPORT)


@pytest.mark.parametrize("content", ["", "short", "x" * 1025, "\u00e9" * 20, None])
def test_a_file_without_a_token_is_told_and_not_what_it_holds(tmp_path, content) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    with pytest.raises(MonitorError, match=r"life\.monitor_token: ") as caught:
        Monitor("127.0.0.1:0", lambda: REPORT, access=Access(file))
    assert not content or content not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["", "*", "http://line3", "a b", "line3/", "*.plant.example", "x:"]
)
def test_what_is_no_name_is_told(name) -> None:
    with pytest.raises(MonitorError, match=r"life\.monitor_hosts"):
        Monitor("127.0.0.1:0", lambda: REPORT, access=Access(None, (name,)))
