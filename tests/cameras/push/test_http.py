"""Hosts that bring their pictures over HTTP, well-behaved and hostile."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waiting import wait_until

import cameras.push.http
import cameras.push.queue
from cameras.connect import open_source
from cameras.errors import CameraError, SourceError
from process.threads import FAILURES

TOKEN = "0123456789abcdef-Zq9"
WAIT_S = 20


def jpeg(value: int = 100) -> bytes:
    return cv2.imencode(".jpg", np.full((48, 64, 3), value, np.uint8))[1].tobytes()


def port_of(source) -> int:
    return int(source.name.rpartition(":")[2])


def taken(source, count: int) -> list:
    """So many frames, or what came before the patience ended and the source was closed."""
    timer = threading.Timer(WAIT_S, source.close)
    timer.start()
    frames = []
    for frame in source:
        frames.append(frame)
        if len(frames) == count:
            break
    timer.cancel()
    timer.join()
    return frames


def values(frames) -> list[int | None]:
    return [None if f.image is None else round(float(f.image.mean())) for f in frames]


class Posting:
    """An HTTP client that keeps its connection."""

    def __init__(self, source) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port_of(source), timeout=WAIT_S)

    def post(self, data: bytes, authorization: str | None = None) -> tuple[int, dict]:
        fields = {"Content-Type": "image/jpeg"}
        if authorization is not None:
            fields["Authorization"] = authorization
        self.connection.request("POST", "/", data, fields)
        with self.connection.getresponse() as answer:
            return answer.status, json.loads(answer.read() or b"{}")

    def __enter__(self) -> Posting:
        return self

    def __exit__(self, *_) -> None:
        self.connection.close()


def posted(source, data: bytes, authorization: str | None = None) -> tuple[int, dict]:
    with Posting(source) as host:
        return host.post(data, authorization)


def connected(source) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port_of(source)), timeout=WAIT_S)


def ended(connection: socket.socket) -> bool:
    """Whether the other side closes the connection, whatever it says before."""
    try:
        while connection.recv(1000):
            pass
    except ConnectionResetError:
        return True
    return True


def begin(source, length: int) -> bytes:
    """The head of a request, and the first bytes of its picture."""
    head = f"POST / HTTP/1.1\r\nHost: localhost:{port_of(source)}\r\n"
    return f"{head}Content-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\nabc".encode()


@pytest.mark.parametrize(
    ("error", "status", "is_foreseen"), [(MemoryError(), 503, True), (KeyError("x"), 500, False)]
)
def test_a_picture_that_nobody_could_take_in_is_an_error_and_the_next_is_not(
    error, status, is_foreseen, monkeypatch
) -> None:
    decode, answers = cameras.push.queue.image_from_bytes, [error]

    def fail_once(data, **words):
        if answers:
            raise answers.pop()
        return decode(data, **words)

    monkeypatch.setattr(cameras.push.queue, "image_from_bytes", fail_once)
    noted = FAILURES.count
    with open_source("post://:0") as source:
        assert posted(source, jpeg())[0] == status
        assert posted(source, jpeg()) == (202, {"frame": 1})
        lost, delivered = taken(source, 2)
    assert lost.image is None and lost.reason
    assert delivered.image is not None
    assert FAILURES.count == noted + (not is_foreseen)


def test_every_picture_that_is_posted_is_delivered_and_answered() -> None:
    with open_source("post://:0?queue=20") as source:
        assert source.live is False
        with Posting(source) as host:
            answers = [host.post(jpeg(10 * n)) for n in range(12)]
        assert answers == [(202, {"frame": n}) for n in range(12)]
        frames = taken(source, 12)
    assert values(frames) == pytest.approx([10 * n for n in range(12)], abs=1)
    assert [frame.index for frame in frames] == list(range(12))
    assert {frame.source for frame in frames} == {source.name}


def test_a_full_queue_is_told_to_the_host_and_is_an_error_for_the_part() -> None:
    with open_source("post://:0?queue=2") as source:
        answers = [posted(source, jpeg(50))[0] for _ in range(4)]
        assert answers == [202, 202, 503, 503]
        frames = taken(source, 4)
        assert values(frames) == [50, 50, None, None]
        assert "2 pictures are waiting already" in frames[3].reason
        assert posted(source, jpeg(60))[0] == 202
        assert values(taken(source, 1)) == [60]


def test_a_picture_that_cannot_be_decoded_is_an_error_for_its_part() -> None:
    with open_source("post://:0") as source:
        status, answer = posted(source, jpeg()[:-300])
        assert status == 422
        assert "cut short" in answer["error"]
        (frame,) = taken(source, 1)
    assert frame.image is None
    assert "cut short" in frame.reason


def test_newest_keeps_the_latest_and_tells_silence() -> None:
    with open_source("post://:0?newest=on", stall_after=0.3) as source:
        assert source.live
        frames = iter(source)
        missing = next(frames)
        assert missing.image is None
        assert "no picture for 0.3 s" in missing.reason
        for value in (10, 20, 30):
            posted(source, jpeg(value))
        got = [next(frames)]
        while got[-1].image is None:  # this machine may have been held up
            posted(source, jpeg(30))
            got.append(next(frames))
        assert values(got)[-1] == 30
        assert source.dropped >= 2
        assert next(frames).image is None


def test_an_old_picture_is_not_the_newest() -> None:
    with open_source("post://:0?newest=1", stall_after=0.4) as source:
        posted(source, jpeg())
        time.sleep(0.3)
        (frame,) = taken(source, 1)
        assert frame.image is None
        assert source.dropped == 1


HOSTILE = [
    ("Host of another site", 421, {"Host": "attacker.example"}),
    ("Host of another port", 421, {"Host": "127.0.0.1:1"}),
    ("Host without a port", 421, {"Host": "127.0.0.1"}),
    ("empty Host", 421, {"Host": ""}),
    ("a page's Origin", 403, {"Origin": "http://attacker.example"}),
    ("a page's null Origin", 403, {"Origin": "null"}),
    ("our own Origin", 403, {"Origin": "http://127.0.0.1"}),
    ("a form", 415, {"Content-Type": "multipart/form-data; boundary=x"}),
    ("plain text", 415, {"Content-Type": "text/plain"}),
    ("no type", 415, {"Content-Type": ""}),
    ("chunks", 411, {"Transfer-Encoding": "chunked"}),
    ("negative length", 400, {"Content-Length": "-1"}),
    ("length with a sign", 400, {"Content-Length": "+5"}),
    ("no number", 400, {"Content-Length": "five"}),
    ("other digits", 400, {"Content-Length": "\u00b2"}),
    ("empty body", 400, {"Content-Length": "0"}),
    ("too much", 413, {"Content-Length": "99999999999"}),
    ("far too much", 400, {"Content-Length": "9" * 30}),
]


@pytest.mark.parametrize(("name", "status", "headers"), HOSTILE, ids=[case[0] for case in HOSTILE])
def test_hostile_requests_are_refused_before_their_body_and_are_no_picture(
    name, status, headers
) -> None:
    with open_source("post://:0?newest=1", stall_after=0.2) as source:
        fields = {"Host": f"127.0.0.1:{port_of(source)}", "Content-Type": "image/jpeg"}
        fields |= {"Content-Length": "5"} if "Transfer-Encoding" not in headers else {}
        head = "".join(f"{key}: {value}\r\n" for key, value in (fields | headers).items())
        with connected(source) as host:
            host.sendall(b"POST / HTTP/1.1\r\n" + head.encode("latin-1") + b"\r\n")
            answer = host.makefile("rb").read()
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
        assert taken(source, 1)[0].reason.partition(": ")[2].startswith("no picture for")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1", 501),
        (b"OPTIONS / HTTP/1.1", 501),
        (b"POST /../etc/passwd HTTP/1.1", 404),
        (b"POST http://attacker.example/ HTTP/1.1", 404),
        (b"POST / HTTP/9.9", 400),
        (b"nonsense", 400),
        (b"POST / HTTP/1.1\r\n" + b"".join(b"A%d: b\r\n" % n for n in range(200)) + b"A: b", 431),
        (b"POST /" + b"x" * 70_000 + b" HTTP/1.1", 414),
    ],
)
def test_what_is_no_post_is_refused(head, status) -> None:
    with open_source("post://:0") as source:
        rest = f"\r\nHost: localhost:{port_of(source)}\r\nContent-Type: image/png\r\n\r\n"
        with connected(source) as host:
            with contextlib.suppress(OSError):  # it may be closed before all is sent
                host.sendall(head + rest.encode())
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                answer = host.recv(1000)
        assert not answer or f" {status} ".encode() in answer[:600], answer


def test_a_token_is_asked_for_and_never_shown(tmp_path, caplog) -> None:
    caplog.set_level("DEBUG")
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    with open_source(f"post://0.0.0.0:0?token_file={file}") as source:
        assert TOKEN not in source.name
        assert posted(source, jpeg())[0] == 401
        assert posted(source, jpeg(), f"Bearer {TOKEN[:-1]}")[0] == 401
        assert posted(source, jpeg(), "Bearer \u00e9")[0] == 401
        assert posted(source, jpeg(), f"Bearer {TOKEN}") == (202, {"frame": 0})
        assert values(taken(source, 1)) == [100]
    assert TOKEN not in caplog.text


def test_a_picture_that_stops_coming_is_an_error_for_its_part(monkeypatch) -> None:
    monkeypatch.setattr(cameras.push.http, "PATIENCE_S", 0.3)
    with open_source("post://:0") as source, connected(source) as host:
        host.sendall(begin(source, 900))
        assert b" 408 " in host.recv(1000)
        (frame,) = taken(source, 1)
        assert ended(host)
    assert "only part of a picture" in frame.reason


def test_a_picture_that_breaks_off_is_an_error_for_its_part() -> None:
    with open_source("post://:0") as source:
        with connected(source) as host:
            host.sendall(begin(source, 900))
        (frame,) = taken(source, 1)
    assert frame.image is None
    assert "only part of a picture" in frame.reason


def test_fifty_slow_hosts_leave_the_pictures_of_a_good_one() -> None:
    before = threading.active_count()
    with open_source("post://:0") as source, contextlib.ExitStack() as stack:
        good = stack.enter_context(Posting(source))
        assert good.post(jpeg(10))[0] == 202
        for _ in range(50):
            connection = stack.enter_context(connected(source))
            with contextlib.suppress(OSError):
                connection.sendall(b"P")
        wait_until(lambda: threading.active_count() - before <= 16 + 1)  # those put out end
        assert good.post(jpeg(20))[0] == 202
        assert values(taken(source, 2)) == [10, 20]


def test_silent_strangers_keep_no_host_out(tmp_path) -> None:
    """Sixteen that say nothing, and sixteen that ask without the token, make room at once."""
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    with (
        open_source(f"post://0.0.0.0:0?token_file={file}&queue=100") as source,
        contextlib.ExitStack() as stack,
    ):
        strangers = [stack.enter_context(connected(source)) for _ in range(20)]
        for stranger in strangers[10:]:
            with contextlib.suppress(OSError):
                stranger.sendall(begin(source, 900))
        good = stack.enter_context(Posting(source))
        began = time.monotonic()
        assert good.post(jpeg(), f"Bearer {TOKEN}")[0] == 202
        assert time.monotonic() - began < 5
        for _ in range(40):
            stack.enter_context(connected(source))
        assert good.post(jpeg(), f"Bearer {TOKEN}")[0] == 202  # on the connection that it has
        assert "connections were closed" in source.trouble


@pytest.mark.parametrize(
    "line",
    [
        b"Transfer-Encoding : chunked",
        b" folded: chunked",
        b"junk\r\nTransfer-Encoding: chunked",
        b"X: a\nTransfer-Encoding: chunked",
        b"X: a\0b",
        b": nothing",
        b"Transfer-Encoding\t: chunked",
    ],
)
def test_what_another_program_could_read_otherwise_is_no_request(listening, line) -> None:
    head = begin(listening, 900)
    with connected(listening) as host:
        host.sendall(head[: head.index(b"\r\n\r\n") + 2] + line + b"\r\n\r\n" + b"x" * 900)
        with contextlib.suppress(ConnectionResetError):
            assert b" 400 " in host.recv(1000)


def test_hosts_whose_requests_trickle_in_make_room(monkeypatch) -> None:
    monkeypatch.setattr(cameras.push.http, "_IDLE_S", 0.5)
    with open_source("post://:0") as source, contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connected(source)) for _ in range(50)]
        left = list(slow)
        began = time.monotonic()
        status = 0
        while status != 202 and time.monotonic() - began < WAIT_S:
            for connection in list(left):
                try:
                    connection.sendall(b"X")
                except OSError:
                    left.remove(connection)
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, _ = posted(source, jpeg(20))
        assert status == 202
        assert values(taken(source, 1)) == [20]


def test_closing_is_quick_and_leaves_nothing_behind() -> None:
    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    before = held()
    for _ in range(3):
        source = open_source("post://:0")
        idle = [connected(source) for _ in range(3)]
        idle[0].sendall(b"PO")
        began = time.monotonic()
        source.close()
        source.close()
        assert time.monotonic() - began < 3
        assert list(source) == []
        for connection in idle:
            connection.close()
    assert held() == before


def test_close_from_another_thread_ends_a_wait() -> None:
    with open_source("post://127.0.0.1:0") as source:
        threading.Timer(0.2, source.close).start()
        assert list(source) == []


def test_a_port_that_is_taken_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(CameraError, match="cannot listen: Address already in use") as caught:
            open_source(f"post://127.0.0.1:{port}")
    assert not isinstance(caught.value, SourceError)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.booleans(), st.lists(st.binary(max_size=200), max_size=4))
def test_any_bytes_close_the_connection_or_are_an_error(listening, as_body, pieces) -> None:
    with connected(listening) as host, contextlib.suppress(OSError):
        if as_body:
            host.sendall(begin(listening, sum(map(len, pieces)) + 3))
        for piece in pieces:
            host.sendall(piece)
        host.shutdown(socket.SHUT_WR)
        assert ended(host)


@pytest.fixture
def listening():
    """A source that bytes are thrown at; afterwards it must still take a picture."""
    with open_source("post://:0?newest=1&max_mib=1", stall_after=WAIT_S) as source:
        yield source
        assert posted(source, jpeg(33))[0] == 202
        assert 33 in values(frame for frame in taken(source, 1) if frame.image is not None)
