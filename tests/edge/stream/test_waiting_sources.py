"""`edge stream` of hosts that bring pictures: real processes, real requests, SIGTERM at the end."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

WAIT_S = 60
EDGE = "import sys; from edge.cli.main import main; sys.argv[0] = 'edge'; main()"


@contextlib.contextmanager
def streaming(built: Path, source: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """`edge stream` in an empty folder; killed at the end if it still runs."""
    words = [source, "--bundle", str(built), "--engine", "onnxruntime", "--no-show", "--json"]
    program = subprocess.Popen(
        [sys.executable, "-c", EDGE, "stream", *words, "--results", "out.jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    )
    with program:
        try:
            yield program
        finally:
            program.kill()


def results(folder: Path, count: int) -> list[dict]:
    """The results as soon as there are so many."""
    path = folder / "out.jsonl"
    began = time.monotonic()
    lines: list[str] = []
    while len(lines) < count and time.monotonic() - began < WAIT_S:
        time.sleep(0.02)
        lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def ended(program: subprocess.Popen[str]) -> dict:
    """Ask it to end, while it waits for a picture; what it sums up."""
    program.send_signal(signal.SIGTERM)
    out, err = program.communicate(timeout=WAIT_S)
    assert program.returncode == 0, err
    return json.loads(out)


def posted(port: int, data: bytes) -> tuple[int, dict]:
    began = time.monotonic()
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
        try:
            connection.request("POST", "/", data, {"Content-Type": "image/png"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except ConnectionRefusedError:  # it is still loading
            if time.monotonic() - began > WAIT_S:
                raise
            time.sleep(0.1)
        finally:
            connection.close()


@pytest.fixture
def pictures(drawn) -> dict[str, bytes]:
    good = sorted((drawn / "test/good").iterdir())[0]
    bad = sorted(path for path in drawn.glob("test/*/*.png") if path.parent.name != "good")[0]
    return {"OK": good.read_bytes(), "NG": bad.read_bytes(), "ERROR": good.read_bytes()[:300]}


def test_each_posted_picture_gets_its_verdict(built, pictures, tmp_path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with streaming(built, f"post://127.0.0.1:{port}", tmp_path) as program:
        order = ["OK", "NG", "ERROR", "OK"]
        answers = [posted(port, pictures[kind]) for kind in order]
        assert [status for status, _ in answers] == [202, 202, 422, 202]
        found = results(tmp_path, 4)
        assert [line["verdict"] for line in found] == order
        assert [line["frame"] for line in found] == [0, 1, 2, 3]
        assert answers[3][1] == {"frame": 3}
        summary = ended(program)
    assert (summary["frames"], summary["error"], summary["dropped"]) == (4, 1, 0)


def test_each_picture_in_a_watched_folder_gets_its_verdict(built, pictures, tmp_path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    with streaming(built, f"watch:{inbox}?existing=all", tmp_path) as program:
        for number, kind in enumerate(["NG", "OK"]):
            (inbox / ".part").write_bytes(pictures[kind])
            (inbox / ".part").rename(inbox / f"{number}.png")
            found = results(tmp_path, number + 1)
            assert found[-1]["verdict"] == kind
            assert found[-1]["source"] == str(inbox / f"{number}.png")
        assert ended(program)["frames"] == 2
