"""The page's pictures of a real `edge stream`: one camera, several, triggered; no password."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from streaming import HEALTHY, Streaming

from engines.bundle import Bundle
from engines.changes import edit_manifest


@pytest.fixture
def line(good, drawn, bundle, tmp_path) -> tuple[Path, Path]:
    """A folder of good parts and a bad one, and a bundle that tells them apart."""
    bad = next(path for path in sorted((drawn / "test").iterdir()) if path.name != "good")
    shutil.copy(next(iter(sorted(bad.iterdir()))), good / "zz.png")
    return good, bundle


def image_of(jpeg: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


def test_a_camera_is_seen_with_its_rejected_parts(line, tmp_path) -> None:
    images, bundle = line
    with Streaming(tmp_path, f"replay:{images}?fps=10", "--bundle", bundle) as streaming:
        said = streaming.picture()
        assert image_of(said.body).shape == (128, 128, 3)
        assert said.head["edge-verdict"] in ("OK", "NG")
        reject = streaming.reject()
        assert reject["score"] >= reject["threshold"]
        drawn = streaming.ask(f"/cameras//rejects/{reject['id']}.jpg")
        assert image_of(drawn.body).shape == (128, 128, 3)
        report = streaming.ask("/healthz").json()
        assert report["cameras"][""]["live"] is True
        assert report["cameras"][""]["not_written"] == 0


def test_parts_that_are_triggered_are_seen_and_not_for_longer_than_they_are_new(
    line, tmp_path
) -> None:
    images, bundle = line
    edit_manifest(Bundle.open(bundle), threshold=1e-6)  # every part is NG
    words = (images, "--bundle", bundle, "--triggered")
    with Streaming(tmp_path, *words) as streaming:
        streaming.wait(lambda: streaming.ask("/healthz").status == 200)
        assert streaming.ask("/cameras//live.jpg").status == 503
        streaming.process.stdin.write("4711\n")
        streaming.process.stdin.flush()
        assert streaming.reject()["part"] == 4711
        streaming.wait(lambda: streaming.ask("/cameras//live.jpg").status == 503)
        assert streaming.ask("/healthz").json()["cameras"][""]["live"] is False


def test_a_password_of_an_address_is_nowhere_to_be_read(line, tmp_path) -> None:
    images, bundle = line
    config = f"""{HEALTHY}bundle = "{bundle}"
[cameras]
left = {{ source = "replay:{images}?fps=10" }}
right = {{ source = "rtsp://operator:geheim@127.0.0.1:9/x?token=geheim" }}
"""
    with Streaming(tmp_path, config=config) as streaming:
        streaming.picture("left")
        streaming.wait(lambda: "***@" in streaming.ask("/healthz").json()["reasons"]["right"])
        error = streaming.reject("right", verdict="ERROR")
        assert "rtsp://***@127.0.0.1:9/x" in error["reason"]
        paths = [
            *("/", "/page.js", "/page.css", "/healthz", "/metrics", "/x"),
            *(f"/cameras/right/{name}" for name in ("live.jpg", "rejects.json")),
            f"/cameras/right/rejects/{error['id']}.jpg",
        ]
        for path in paths:
            said = streaming.ask(path)
            told = f"{said.head}{said.body.decode('latin-1')}"
            assert "geheim" not in told and "operator" not in told, path
        assert "geheim" not in streaming.said()


@pytest.mark.parametrize(
    ("command", "section", "words"),
    [
        ("stream", 'monitor = "0.0.0.0:0"', "others can reach this address; give life.monitor_t"),
        ("serve", 'monitor = "0.0.0.0:0"', "others can reach this address; give life.monitor_t"),
        ("stream", 'monitor = "line3:80"', "the host is no IP address"),
        ("stream", 'monitor = "[::1]:0"\nmonitor_token = "away"', "token: away: cannot be read"),
        ("stream", 'monitor = "[::1]:0"\nmonitor_hosts = ["a b"]', "'a b' is not a host name"),
        ("stream", 'monitor_token = "short"\nmonitor_tokens = 1', "life.monitor_tokens"),
    ],
)
def test_what_is_wrong_in_the_configuration_is_one_line(
    run, drawn, built, tmp_path, command, section, words
) -> None:
    (tmp_path / "edge.toml").write_text(f"[life]\n{section}\n[station]\nmode = 'free'\n")
    done = run(command, drawn / "test" / "good", "--bundle", built, "--engine", "onnxruntime")
    assert done.code == 2
    assert words in done.line()


def test_a_camera_may_not_be_called_as_no_place_can_be(run, tmp_path) -> None:
    (tmp_path / "edge.toml").write_text('[cameras]\n"..".source = "0"\n')
    done = run("stream")
    assert (done.code, "cameras...: '..'" in done.line()) == (2, True)
