"""What systemd hears of a studio."""

from __future__ import annotations

import threading

from edge.config import Config
from edge.options import StudioOptions
from edge.studio.serve import StudioServer


def test_it_is_alive_while_pages_are_answered(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    heard = threading.Event()
    config = Config().model_copy(update={"studio": StudioOptions(listen="127.0.0.1:0")})
    with StudioServer(config, on_alive=heard.set):
        assert heard.wait(10)
