"""The line from the page: started, watched, stopped; its rejects are seen."""

from __future__ import annotations

import json
import shutil
import socket

import pytest
from studio_client import client_of, running_studio, wait_for

from edge.config import read_config
from edge.studio.groups.line import commands_of


@pytest.fixture
def studio(drawn, bundle, tmp_path, monkeypatch):
    """A studio of a replayed line whose parts are good and bad ones."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(drawn / "train" / "good", "parts")
    bad = next(path for path in sorted((drawn / "test").iterdir()) if path.name != "good")
    shutil.copy(sorted(bad.iterdir())[0], "parts/zz.png")
    shutil.copytree(bundle, "build/flange.edge")
    text = f'[cameras.left]\nsource = "replay:{tmp_path}/parts?fps=20"\n'
    (tmp_path / "edge.toml").write_text(text)
    with running_studio(tmp_path, read_config()) as server:
        yield server


def test_a_line_is_started_watched_and_stopped(studio, tmp_path) -> None:
    with client_of(studio) as client:
        client.state("/camera/state", source="left")
        client.command("/line/start", command="stream", bundle="flange", shadow="flange")
        assert client.post("/line/start", {"command": "stream"}).status_code == 409
        looked = client.http.get("/camera/state", params={"source": "left"})
        assert looked.status_code == 409  # the line has it

        def rejected() -> dict:
            state = client.state("/line/state")
            assert state["job"]["state"] == "running", state["job"]
            return state["rejects"].get("left") and state

        state = wait_for(rejected)
        assert state["report"]["cameras"]["left"]["ng"] >= 1
        reject = state["rejects"]["left"][0]["id"]
        for query in ({"camera": "left"}, {"camera": "left", "reject": reject}):
            picture = client.http.get("/line/picture", params=query)
            assert picture.content.startswith(b"\xff\xd8")
        for query in ({"camera": "right"}, {"camera": "left", "reject": "../.."}):
            assert client.http.get("/line/picture", params=query).status_code == 404
        client.command("/line/cancel")
        job = client.job("/line")
        assert (job["state"], job["error"]) == ("done", "")
        assert job["result"]["ng"] >= 1
        assert client.state("/line/state")["report"] is None
        lines = client.state("/history/lines")["lines"]
        assert [one["what"] for one in lines[:3]] == ["job line", "/line/cancel", "/line/start"]


def test_a_line_that_cannot_run_tells_why(studio, tmp_path) -> None:
    with client_of(studio) as client:
        assert client.post("/line/start", {"command": "serve"}).status_code == 409
        assert client.post("/line/start", {"command": "rm"}).status_code == 422
        shutil.rmtree(tmp_path / "parts")
        client.command("/line/start", command="stream")
        job = client.job("/line")
        assert job["state"] == "failed"
        assert "parts" in job["error"]


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("", []),
        ('stream.source = "0"', ["stream"]),
        ('station.bridges = ["modbus"]', ["serve"]),
        ('station.bridges = ["modbus"]\n[cameras.a]\nsource = "0"', ["stream", "serve"]),
    ],
)
def test_what_there_is_to_run(tmp_path, text, commands) -> None:
    (tmp_path / "edge.toml").write_text(text)
    assert commands_of(read_config(tmp_path / "edge.toml")) == commands


def test_a_line_that_was_started_elsewhere_is_shown_and_left_alone(tmp_path) -> None:
    from edge.service.http_server import Monitor

    report = {"ready": True, "reasons": {}, "cameras": {}, "troubles": []}
    with Monitor("127.0.0.1:0", lambda: report) as monitor:
        text = f'stream.source = "0"\nlife.monitor = "127.0.0.1:{monitor.port}"'
        (tmp_path / "edge.toml").write_text(text)
        config = read_config(tmp_path / "edge.toml")
        with running_studio(tmp_path, config) as server, client_of(server) as client:
            state = client.state("/line/state")
            assert (state["report"], state["job"]) == (report, None)
            assert client.post("/line/start", {"command": "stream"}).status_code == 409


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.0 200 OK\r\n\r\n{", b"HTTP/1.0 200 OK\r\n\r\n[]", b"nonsense\r\n\r\n"]
)
def test_a_monitor_that_answers_nonsense_is_none(tmp_path, answer) -> None:
    from threading import Thread

    from edge.options import LifeOptions
    from edge.studio.line_monitor import LineMonitor

    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = Thread(target=serve)
        thread.start()
        where = f"127.0.0.1:{server.getsockname()[1]}"
        assert LineMonitor(LifeOptions(monitor=where)).report() is None
        thread.join()
    assert json.dumps(LineMonitor(LifeOptions()).rejects("x")) == "[]"
