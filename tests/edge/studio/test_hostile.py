"""Requests that nobody who uses the page sends: each is refused, recorded, and changes nothing."""

from __future__ import annotations

import json
import socket
import time

import pytest
from asking import answer_of, connected, talk
from studio_client import client_of, running_studio

from edge.config import Config
from edge.options import CameraSection
from edge.studio import audit, guard, serve

CAMERA = "rtsp://operator:secret-word@127.0.0.1:1/cam0"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder of sets and bundles, some of which lead elsewhere."""
    home = tmp_path_factory.mktemp("hostile")
    (home / "sets" / "good").mkdir(parents=True)
    (home / "elsewhere").mkdir()
    (home / "sets" / "link").symlink_to(home / "elsewhere")
    (home / "build").mkdir()
    (home / "build" / "link.edge").symlink_to(home / "elsewhere")
    (home / "elsewhere" / "manifest.json").write_text("{}")
    (home / "secret").write_text("0123456789")
    return home


@pytest.fixture(scope="module")
def studio(home):
    cameras = {"cam": CameraSection(source=CAMERA)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "BURST", 100_000.0)
        with running_studio(home, Config(cameras=cameras)) as server:
            yield server


@pytest.fixture(scope="module")
def mine(studio):
    """What somebody at the page shows: its headers, by their names."""
    with client_of(studio) as client:
        client.page("camera")
        cookie = "; ".join(f"{name}={value}" for name, value in client.http.cookies.items())
        yield {
            "Host": f"127.0.0.1:{studio.port}",
            "Origin": studio.address,
            "Cookie": cookie,
            "X-CSRF": client.csrf,
            "Content-Type": "application/json",
        }


def send(port: int, method: str, path: str, headers, body: bytes = b"") -> int:
    """Send exactly this; the status."""
    pairs = headers.items() if isinstance(headers, dict) else headers
    lines = "".join(f"{name}: {value}\r\n" for name, value in pairs if value is not None)
    head = f"{method} {path} HTTP/1.1\r\n{lines}Connection: close\r\n"
    if body or method == "POST":
        head += f"Content-Length: {len(body)}\r\n"
    return answer_of(talk(port, head.encode("latin-1") + b"\r\n" + body)).status


@pytest.fixture(autouse=True)
def nothing_changes(studio, home):
    """Whatever is asked for: the folders stay as they are."""
    before = sorted(str(path) for path in home.rglob("*"))
    yield
    assert sorted(str(path) for path in home.rglob("*")) == before
    assert not studio.studio.jobs.is_running("build")


BUILD = {
    "set": "good",
    "bundle": "x",
    "precision": "fp32",
    "model": "protoad",
    "false_rejects": 0.01,
}
CHANGED = {
    "no host": ({"Host": None}, 400),
    "another host": ({"Host": "evil.example"}, 421),
    "another host with our port": ({"Host": "evil.example:{port}"}, 421),
    "our host without its port": ({"Host": "127.0.0.1"}, 421),
    "another port": ({"Host": "127.0.0.1:1"}, 421),
    "our name as a beginning": ({"Host": "127.0.0.1:{port}.evil.example"}, 421),
    "our name as a user": ({"Host": "127.0.0.1:{port}@evil.example"}, 421),
    "any address": ({"Host": "0.0.0.0:{port}"}, 421),
    "no origin": ({"Origin": None}, 403),
    "null as origin": ({"Origin": "null"}, 403),
    "another origin": ({"Origin": "http://evil.example"}, 403),
    "another port as origin": ({"Origin": "http://127.0.0.1:1"}, 403),
    "another name of ours as origin": ({"Origin": "http://localhost:{port}"}, 403),
    "our origin with TLS": ({"Origin": "https://127.0.0.1:{port}"}, 403),
    "our origin as a beginning": ({"Origin": "http://127.0.0.1:{port}.evil.example"}, 403),
    "from another site": ({"Sec-Fetch-Site": "cross-site"}, 403),
    "from another port": ({"Sec-Fetch-Site": "same-site"}, 403),
    "no proof": ({"X-CSRF": None}, 403),
    "an empty proof": ({"X-CSRF": ""}, 403),
    "a wrong proof": ({"X-CSRF": "0" * 64}, 403),
    "no text as proof": ({"X-CSRF": "\xe9\xff"}, 403),
    "a long proof": ({"X-CSRF": "a" * 9000}, 403),
    "no cookie": ({"Cookie": None}, 403),
    "a made-up cookie": ({"Cookie": "edge=abc.def"}, 403),
    "a cookie without a proof": ({"Cookie": "edge=abc"}, 403),
    "an endless cookie": ({"Cookie": "edge=" + "a" * 9000}, 403),
    "a broken cookie": ({"Cookie": 'edge="\\'}, 403),
    "a form": ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    "text": ({"Content-Type": "text/plain"}, 415),
    "a form with files": ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
    "no type": ({"Content-Type": None}, 415),
    "two types in one": ({"Content-Type": "application/json, text/plain"}, 415),
    "another charset": ({"Content-Type": "application/json; charset=utf-16"}, 415),
}


@pytest.mark.parametrize("case", CHANGED)
def test_a_change_that_does_not_come_from_the_page_is_refused(studio, mine, case) -> None:
    changed, status = CHANGED[case]
    headers = mine | {
        name: value and value.replace("{port}", str(studio.port)) for name, value in changed.items()
    }
    body = json.dumps(BUILD).encode()
    assert send(studio.port, "POST", "/build/start", headers, body) == status


@pytest.mark.parametrize("header", ["Host", "Origin", "Cookie", "X-CSRF", "Content-Type"])
def test_what_is_said_twice_is_refused(studio, mine, header) -> None:
    headers = [*mine.items(), (header, mine[header])]
    assert send(studio.port, "POST", "/build/start", headers, b"{}") == 400


def test_the_proof_of_another_session_is_refused(studio, mine) -> None:
    with client_of(studio) as other:
        other.page("camera")
        headers = mine | {"X-CSRF": other.csrf}
        assert send(studio.port, "POST", "/build/start", headers, b"{}") == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "GET"])
def test_another_method_changes_nothing(studio, mine, method) -> None:
    status = send(studio.port, method, "/build/start", mine)
    assert status in (400, 404, 405)


PATHS = [
    "/../secret",
    "/static/../../secret",
    "/static/..%2f..%2fsecret",
    "/static/%2e%2e/%2e%2e/secret",
    "/static/....//secret",
    "//evil.example/camera",
    "/static//etc/passwd",
    "/static/%00",
    "/static/studio.css%00.js",
    "/static\\..\\secret",
    "/camera/",
    "/%63amera",
    "http://evil.example/camera",
    "/static/",
    "/templates/base.html",
    "/words/en/studio.json",
    "/build/report?bundle=" + "a" * 3000,
]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_is_none_of_ours_leads_nowhere(studio, mine, path) -> None:
    assert send(studio.port, "GET", path, mine) in (400, 404, 414)


NAMES = [
    "",
    ".",
    "..",
    "../elsewhere",
    "good/../../elsewhere",
    "/etc",
    "%2e%2e",
    "good\0",
    "good\n",
    "link",
    "~",
    "a" * 65,
    "C:\\x",
    "-rf/x",
    "rtsp://evil.example/x",
    "..\\x",
    "ｇood",
]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_name_that_is_in_no_listing_is_refused_everywhere(studio, mine, name) -> None:
    for path, given in (
        ("/build/start", BUILD | {"set": name}),
        ("/build/start", BUILD | {"bundle": name}),
        ("/camera/capture", {"set": name, "how": "key"}),
        ("/language", {"language": name}),
    ):
        status = send(studio.port, "POST", path, mine, json.dumps(given).encode())
        assert status in (404, 409, 422, 507), path
    with client_of(studio) as client:
        for path, query in (("/camera/state", "source"), ("/build/report", "bundle")):
            answer = client.http.get(path, params={query: name})
            assert answer.status_code == 404 or (name == "" and path == "/camera/state"), path
            assert "secret" not in answer.text


BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"x"',
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"set":' * 20_000,
    json.dumps(BUILD | {"images": "/etc"}).encode(),
    json.dumps(BUILD | {"output": "/tmp/x.edge"}).encode(),
    json.dumps(BUILD | {"backbone": "/etc/passwd"}).encode(),
    json.dumps(BUILD | {"false_rejects": "0.01"}).encode(),
    json.dumps(BUILD | {"false_rejects": 1e400}).encode(),
    json.dumps(BUILD | {"false_rejects": float("nan")}).encode(),
    json.dumps(BUILD | {"precision": "fp8; rm -rf /"}).encode(),
    json.dumps(BUILD | {"set": ["good"]}).encode(),
    json.dumps(BUILD | {"set": {"x": 1}}).encode(),
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:40]))
def test_a_body_that_is_not_what_was_asked_for_is_refused(studio, mine, body) -> None:
    assert send(studio.port, "POST", "/build/start", mine, body) == 422


def test_too_large_a_body_is_refused_before_it_is_read(studio, mine) -> None:
    headers = mine | {"Content-Length": str(guard.MAX_BODY + 1)}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST /build/start HTTP/1.1\r\n{lines}\r\n".encode()
    assert answer_of(talk(studio.port, head)).status == 413


def test_too_large_a_body_in_pieces_is_refused(studio, mine) -> None:
    headers = mine | {"Transfer-Encoding": "chunked"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST /build/start HTTP/1.1\r\n{lines}\r\n".encode()
    piece = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    assert answer_of(talk(studio.port, head + piece * 5)).status == 413


def test_a_length_and_pieces_at_once_are_refused(studio, mine) -> None:
    headers = mine | {"Transfer-Encoding": "chunked"}
    status = send(studio.port, "POST", "/build/start", headers, b"0\r\n\r\nGET /")
    assert status in (400, 422)


def test_a_slow_body_and_a_slow_head_are_ended(studio, mine, monkeypatch) -> None:
    monkeypatch.setattr(guard, "BODY_S", 0.2)
    lines = "".join(f"{name}: {value}\r\n" for name, value in mine.items())
    head = f"POST /build/start HTTP/1.1\r\n{lines}Content-Length: 100\r\n\r\n".encode()
    assert answer_of(talk(studio.port, head)).status == 408
    monkeypatch.setattr(serve, "HEAD_S", 0.2)
    monkeypatch.setattr(serve, "LOOK_S", 0.05)
    assert talk(studio.port, b"GET /camera HTTP/1.1\r\nHost:") == b""


def test_those_who_only_connect_shut_nobody_out(studio, monkeypatch) -> None:
    monkeypatch.setattr(serve, "MAX_CONNECTIONS", 4)
    idle = [connected(studio.port) for _ in range(12)]
    try:
        with client_of(studio) as client:
            assert client.state("/build/job") == {"job": None}
    finally:
        for one in idle:
            one.close()


def test_each_kind_of_refusal_is_recorded_and_no_secret_is(studio, home) -> None:
    text = (home / "audit.jsonl").read_text() + (home / "audit.refused.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    why = {line["why"] for line in lines if line.get("outcome") == "refused"}
    words = ("other_host", "other_site", "no_csrf", "not_json", "bad_path", "no_such_name")
    assert {f"studio.{word}" for word in words} <= why
    assert all({"when", "who", "address", "what", "outcome"} <= line.keys() for line in lines)
    assert "secret-word" not in text


def test_an_address_with_a_password_stays_here(studio) -> None:
    with client_of(studio) as client:
        assert "secret-word" not in client.page("camera")
        state = client.state("/camera/state", source="cam")
        assert "secret-word" not in json.dumps(state)


def test_a_connection_that_says_nothing_holds_no_thread(studio) -> None:
    with socket.create_connection(("127.0.0.1", studio.port)):
        began = time.monotonic()
        with client_of(studio) as client:
            client.state("/build/job")
        assert time.monotonic() - began < 5


def test_a_flood_of_refusals_takes_few_lines_and_is_counted(
    studio, mine, home, monkeypatch
) -> None:
    # The last test of all: it leaves nothing to ask for.
    monkeypatch.setattr(guard, "BURST", 100.0)
    changes, refusals = home / "audit.jsonl", home / "audit.refused.jsonl"
    before = changes.stat().st_size, refusals.stat().st_size
    headers = mine | {"X-CSRF": "flood"}
    statuses = {send(studio.port, "POST", "/build/start", headers, b"{}") for _ in range(300)}
    assert statuses == {403, 429}
    assert changes.stat().st_size == before[0]  # nothing is pushed out of it
    assert refusals.stat().st_size - before[1] < 2000
    monkeypatch.setattr(audit, "REPEATED_S", 0.0)  # the minute is over
    assert send(studio.port, "GET", "/a/../b", mine) in (404, 429)
    told = [one for one in studio.studio.audit.last(50) if one.get("times")]
    assert sum(one["times"] for one in told) >= 290
