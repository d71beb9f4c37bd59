"""The page's files and pictures, as they are answered."""

from __future__ import annotations

import json
import re
import threading
from importlib.resources import files

import cv2
import numpy as np
import pytest
from asking import asked

from edge.result import Result, Verdict
from edge.service.gallery import Galleries
from edge.service.http_server import Monitor

NAMES = ("", "left", "a&b=c?d#e/f", "<img src=x onerror=alert(1)>", "Käfer 7")
ENCODED = ("", "left", "a%26b%3Dc%3Fd%23e%2Ff", "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E",
           "K%C3%A4fer%207")  # fmt: skip


def result_of(number: int, verdict: Verdict) -> Result:
    return Result(
        source="replay:part",
        frame=number,
        captured_at_ns=1_769_853_300_123_000_000 + number,
        verdict=verdict,
        score=float("nan"),
        threshold=0.5,
        reason="</script><script>alert(1)</script>" if verdict is Verdict.ERROR else "",
        image=np.full((48, 64, 3), 90, np.uint8),
        part=4711,
    )


@pytest.fixture
def galleries() -> Galleries:
    return Galleries(cpus=1000)


@pytest.fixture
def port(galleries):
    for name in NAMES:
        galleries.gallery(name)
    report = {"ready": True, "reasons": {}, "cameras": {}}
    with Monitor("127.0.0.1:0", lambda: report, pictures=galleries) as monitor:
        yield monitor.port


def test_the_page_is_three_files_of_ours(port) -> None:
    kinds = {"/": "text/html", "/page.js": "text/javascript", "/page.css": "text/css"}
    for path, kind in kinds.items():
        said = asked(port, path)
        assert said.status == 200
        assert said.head["content-type"] == f"{kind}; charset=utf-8"
        assert (
            said.body == (files("edge.service") / "page" / (path[1:] or "index.html")).read_bytes()
        )


def test_the_page_needs_nothing_from_elsewhere_and_makes_no_markup() -> None:
    for file in (files("edge.service") / "page").iterdir():
        text = file.read_text("utf-8")
        assert "://" not in text, file.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", text)
        assert not re.search(r"<style|<script>| on\w+=| style=", text), file.name


@pytest.mark.parametrize(("name", "encoded"), [*zip(NAMES, ENCODED, strict=True)])
def test_a_camera_is_found_by_its_encoded_name(port, galleries, name, encoded) -> None:
    galleries._of[name].write(result_of(1, Verdict.NG))
    said = asked(port, f"/cameras/{encoded}/live.jpg")
    assert (said.status, said.head["content-type"]) == (200, "image/jpeg")
    assert said.head["edge-verdict"] == "NG"
    assert 0 <= int(said.head["edge-age-ms"]) < 2000
    image = cv2.imdecode(np.frombuffer(said.body, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (48, 64, 3)
    (row,) = asked(port, f"/cameras/{encoded}/rejects.json").json()["rejects"]
    again = asked(port, f"/cameras/{encoded}/rejects/{row['id']}.jpg")
    assert (again.status, again.body) == (200, said.body)


def test_a_picture_that_is_known_is_not_sent_again(port, galleries) -> None:
    galleries._of[""].write(result_of(1, Verdict.NG))
    name = asked(port, "/cameras//live.jpg").head["etag"]
    said = asked(port, "/cameras//live.jpg", f"If-None-Match: {name}")
    assert (said.status, said.body, said.head["etag"]) == (304, b"", name)
    assert int(said.head["edge-age-ms"]) >= 100  # it was waited for another


def test_without_a_picture_of_now_one_is_told_to_ask_again(port) -> None:
    said = asked(port, "/cameras//live.jpg")
    assert (said.status, said.head["retry-after"]) == (503, "1")
    assert b"\xff\xd8" not in said.body


def test_rejects_are_told_newest_first_in_json(port, galleries, monkeypatch) -> None:
    monkeypatch.setattr("edge.service.gallery.REJECT_EVERY_S", 0.0)
    galleries._of[""].write(result_of(1, Verdict.NG))
    galleries._of[""].write(result_of(2, Verdict.ERROR))
    said = asked(port, "/cameras//rejects.json")
    assert said.head["content-type"] == "application/json; charset=utf-8"
    error, reject = json.loads(said.body, parse_constant=pytest.fail)["rejects"]
    assert (error["verdict"], reject["verdict"], reject["reason"]) == ("ERROR", "NG", "")
    assert reject == {
        "id": "20260131T095500.123Z_000001_NG_replay-part",
        "captured_at_ns": 1_769_853_300_123_000_001,
        "verdict": "NG",
        "score": None,
        "threshold": 0.5,
        "reason": "",
        "part": 4711,
        "frame": 1,
    }


@pytest.mark.parametrize(
    "path",
    [
        "/cameras/right/live.jpg",
        "/cameras/live.jpg",
        "/cameras/",
        "/cameras",
        "/cameras/left",
        "/cameras/left/",
        "/cameras/left/live.png",
        "/cameras/left/live.jpg/",
        "/cameras/left/live.jpg?x",
        "/cameras/a&b=c?d#e/f/live.jpg",
        "/cameras/left/rejects/1.jpg",
        "/cameras/left/rejects/../live.jpg",
        "/cameras/left/rejects/%2e%2e/live.jpg",
        "/cameras/%FF/live.jpg",
        "/cameras/../page.js",
        "/page/index.html",
        "/index.html",
        "/favicon.ico",
    ],
)
def test_nothing_else_is_there(port, path) -> None:
    assert asked(port, path).status == 404


def test_many_ask_at_a_time(port, galleries) -> None:
    galleries._of["left"].write(result_of(1, Verdict.NG))
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(asked(port, "/cameras/left/live.jpg").status))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) <= {200, 503}  # a machine that was held up has none of now
    assert len(found) == 20
