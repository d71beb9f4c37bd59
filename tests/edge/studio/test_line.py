"""The line from the page: what there is to start, and one that was started elsewhere."""

from __future__ import annotations

import json
import socket
from threading import Thread

import pytest
from studio_client import client_of, running_studio

from edge.config import read_config
from edge.options import LifeOptions
from edge.service.http_server import Monitor
from edge.studio.groups.line import commands_of
from edge.studio.line_monitor import LineMonitor


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
