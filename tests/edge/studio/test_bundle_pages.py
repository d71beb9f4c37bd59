"""Scores, region, parts: what the pages are told, what they may set, and what is recorded of it."""

from __future__ import annotations

import csv
import dataclasses
import io
import shutil
from datetime import timedelta

import cv2
import numpy as np
import pytest
import studio_work
from driven_browser import DrivenBrowser
from results import result_of
from studio_client import client_of, running_studio

from calibrate.threshold import upper_bound
from edge.config import Config
from edge.options import BuildOptions, StreamOptions
from edge.result import Verdict
from edge.review.scores import ScoresOfBundle
from edge.sinks.database import SqliteSink
from edge.sinks.kept_parts import KeptPartsSink
from engines.bundle import Bundle

MARKUP = "<img src=x onerror=alert(1)>"


def keep_parts(folder, images, *, after) -> None:
    """NG parts a second apart, kept and recorded, with markup wherever a text can stand."""
    with KeptPartsSink(folder) as kept, SqliteSink(folder / "results.db") as database:
        for number, image in enumerate(images):
            at_ns = int((after + timedelta(seconds=1 + number)).timestamp() * 1e9)
            result = dataclasses.replace(
                result_of(number, Verdict.NG),
                captured_at_ns=at_ns,
                image=image,
                score=0.02 + number,
                source=MARKUP,
                reason="",
            )
            kept.write(result)
            database.write(result)


@pytest.fixture(scope="module")
def home(built, drawn, tmp_path_factory):
    """A set with its bundle, and two parts that were kept."""
    home = tmp_path_factory.mktemp("pages")
    shutil.copytree(built, home / "build" / "flange.edge")
    shutil.copytree(drawn / "train" / "good", home / "sets" / "good")
    image = cv2.imread(str(min((home / "sets" / "good").iterdir())))
    keep_parts(home / "kept", [image, 255 - image], after=Bundle.open(built).manifest.created)
    return home


@pytest.fixture(scope="module")
def line(home):
    config = Config(
        stream=StreamOptions(keep=home / "kept", engine="onnxruntime"),
        build=BuildOptions(engine="onnxruntime"),
    )
    with running_studio(home, config) as server:
        yield server


@pytest.fixture
def client(line):
    with client_of(line) as client:
        yield client


@pytest.fixture
def bundle(home, built):
    """The bundle of the page, as it was built; as it is now by its method `now`."""
    path = home / "build" / "flange.edge"
    shutil.rmtree(path)
    shutil.copytree(built, path)
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with DrivenBrowser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser
        assert browser.errors == []


def decoded(content: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)


def test_scores_are_those_of_the_bundle_and_of_the_marked_parts(client, bundle) -> None:
    client.command("/parts/mark", ids=[1], mark="good")
    client.command("/parts/mark", ids=[2], mark="defective")
    found = client.state("/scores/list", bundle="flange")
    record = Bundle.open(bundle).manifest.held_out
    assert found["good"] == list(record.highest)
    assert sorted(found["names"]) == [f"{number:03}.png" for number in range(12)]
    assert found["bounds"] == [upper_bound(count, 12, 0.95) for count in range(13)]
    assert [(one["mark"], one["score"]) for one in found["marked"]] == [
        ("defective", 1.02),
        ("good", 0.02),
    ]
    assert found["outdated"] == 0
    picture = client.http.get("/scores/picture", params={"bundle": "flange", "image": "0"})
    assert decoded(picture.content).shape == (128, 128, 3)
    for query in ({"bundle": "flange", "image": "12"}, {"bundle": "../flange", "image": "0"}):
        assert client.http.get("/scores/picture", params=query).status_code == 404


def test_a_threshold_is_set_with_a_reason_and_by_whom(client, bundle) -> None:
    answer = client.command("/scores/set", bundle="flange", threshold=0.5, reason=MARKUP)
    assert answer == {"threshold": 0.5}
    manifest = Bundle.open(bundle).manifest
    assert (manifest.threshold.value, manifest.changes[-1].by) == (0.5, "local@studio")
    (line, *_) = client.state("/history/lines")["lines"]
    assert (line["what"], line["outcome"], line["reason"]) == ("/scores/set", "done", MARKUP)
    assert line["before"] == pytest.approx(0.0448, abs=0.01)
    for value in ("0.5", None, float("1e400"), True):
        given = {"bundle": "flange", "threshold": value, "reason": ""}
        if value == float("inf"):
            given["threshold"] = 1e39
        assert client.post("/scores/set", given).status_code in (409, 422), value
    assert Bundle.open(bundle).manifest.threshold.value == 0.5


def test_what_is_drawn_is_what_is_ignored(client, bundle) -> None:
    """Polygon, stroke and eraser in px of the frame; the mask before is drawn into, or not."""
    polygon = {"kind": "polygon", "points": [[0, 0], [40, 0], [40, 20], [0, 20]]}
    stroke = {"kind": "brush", "radius": 4, "points": [[64, 64], [80, 64]]}
    hole = {"kind": "brush", "radius": 3, "erases": True, "points": [[10, 10]]}
    given = {"bundle": "flange", "width": 128, "height": 128, "reason": "edge"}
    drawn = client.command(
        "/region/set",
        **given,
        roi=[8, 8, 100, 110],
        keeps_mask=False,
        shapes=[polygon, stroke, hole],
    )
    assert drawn == {"changed": ["ignore", "roi"]}
    mask = decoded(
        client.http.get(
            "/region/mask.png", params={"bundle": "flange", "width": 128, "height": 128}
        ).content
    )
    ignored = mask > 0
    for (x, y), is_ignored in {
        (1, 1): True,
        (40, 20): True,
        (42, 10): False,
        (10, 10): False,
        (72, 67): True,
        (62, 64): True,
        (72, 72): False,
    }.items():
        assert ignored[y, x] == is_ignored, (x, y)
    assert client.state("/region/settings", bundle="flange")["roi"] == [8, 8, 100, 110]
    more = {"kind": "polygon", "points": [[100, 100], [110, 100], [110, 110]]}
    client.command("/region/set", **given, roi=None, keeps_mask=True, shapes=[more])
    manifest = Bundle.open(bundle).manifest
    kept = decoded(Bundle.open(bundle).read(manifest.ignore))
    assert manifest.roi is None
    assert kept[1, 1] == 255 and kept[102, 108] == 255
    client.command("/region/set", **given, roi=None, keeps_mask=False, shapes=[])
    assert Bundle.open(bundle).manifest.ignore is None


SQUARE = [[0, 0], [128, 0], [128, 128], [0, 128]]
WRONG_REGIONS = {
    "beyond the picture": {"roi": [0, 0, 500, 500]},
    "before the picture": {"roi": [-1, 0, 5, 5]},
    "three numbers": {"roi": [0, 0, 5]},
    "another size": {"width": 64, "shapes": [{"kind": "polygon", "points": SQUARE}]},
    "an endless picture": {"width": 16_384, "height": 16_384},
    "endless points": {"shapes": [{"kind": "polygon", "points": [[0, 0]] * 5001}]},
    "nothing left": {"shapes": [{"kind": "polygon", "points": SQUARE}]},
    "an endless brush": {"shapes": [{"kind": "brush", "radius": 10**6, "points": [[0, 0]]}]},
    "another shape": {"shapes": [{"kind": "file", "points": [[0, 0]]}]},
    "another folder": {"bundle": "../flange"},
}


@pytest.mark.parametrize("name", WRONG_REGIONS)
def test_a_region_with_which_nothing_could_be_inspected_is_refused(client, bundle, name) -> None:
    before = Bundle.open(bundle).manifest
    given = {"bundle": "flange", "width": 128, "height": 128, "reason": "", "roi": None}
    answer = client.post(
        "/region/set", given | {"keeps_mask": False, "shapes": []} | WRONG_REGIONS[name]
    )
    assert answer.status_code in (404, 409, 422), answer.text
    assert Bundle.open(bundle).manifest == before


def test_pictures_come_from_the_listings_alone(client) -> None:
    (first, *_) = client.state("/region/pictures", set="good")["pictures"]
    query = {"set": "good", "picture": first}
    assert decoded(client.http.get("/region/picture", params=query).content).shape[:2] == (128, 128)
    for wrong in ({"set": ".."}, {"picture": f"../good/{first}"}, {"picture": "/etc/passwd"}):
        assert client.http.get("/region/picture", params={**query, **wrong}).status_code == 404


def test_parts_are_listed_marked_and_written_for_a_spreadsheet(client) -> None:
    found = client.state("/parts/list", sort="score")
    assert [part["score"] for part in found["parts"]] == [1.02, 0.02]
    assert client.state("/parts/list", verdict="OK")["count"] == 0
    assert client.http.get("/parts/list", params={"since": "yesterday"}).status_code == 409
    assert client.http.get("/parts/list", params={"verdict": "BAD"}).status_code == 422
    (part,) = client.command("/parts/mark", ids=[2], mark="ignored")["parts"]
    assert (part["mark"], part["marked_by"]) == ("ignored", "local@studio")
    assert client.post("/parts/mark", {"ids": [99], "mark": "good"}).status_code == 409
    assert client.post("/parts/mark", {"ids": [], "mark": "good"}).status_code == 422
    for drawn in ({}, {"drawn": "1"}):
        answer = client.http.get("/parts/picture", params={"id": "1", **drawn})
        assert decoded(answer.content).shape == (128, 128, 3)
    assert client.http.get("/parts/picture", params={"id": "../1"}).status_code == 404
    content = client.http.get("/parts/shift.csv").content.decode("utf-8-sig")
    rows = [*csv.DictReader(io.StringIO(content))]
    assert [row["id"] for row in rows] == ["2", "1"]


def test_pages_hold_no_markup_of_others(client) -> None:
    for group in ("scores", "region", "parts", "teach", "versions"):
        page = client.page(group)
        assert MARKUP not in page
        assert "flange" in page or group == "parts"


PROPOSED = {
    "name": "flange",
    "rows": [],
    "changed": [],
    "problems": ["marked defects that pass: 1, before: 0"],
    "learnt": 3,
    "threshold_after": 0.5,
    "version": 1,
    "candidate_name": None,
    "seen": "",
}


def test_what_has_problems_is_forced_by_typing_its_name_alone(client, line, bundle) -> None:
    """And what somebody decides about is what was looked at, once."""
    before = Bundle.open(bundle).manifest
    jobs = line.studio.jobs
    for kind, path in (("teach", "/teach/accept"), ("versions", "/versions/replace")):
        number = jobs.start(kind, studio_work.answer, PROPOSED, by="").number
        assert client.job(f"/{kind}")["state"] == "done"
        for typed, asked in (("", number), ("flang", number), ("flange", number - 1)):
            given = {"number": asked, "typed": typed, "reason": "why"}
            assert client.post(path, given).status_code == 409, (path, typed)
    assert client.state("/teach/state")["proposal"]["problems"] == PROPOSED["problems"]
    number = client.state("/teach/state")["proposal"]["number"]
    assert client.post("/teach/refuse", {"number": number, "reason": ""}).status_code == 422
    client.command("/teach/refuse", number=number, reason=MARKUP)
    assert client.state("/teach/state")["proposal"] is None
    given = {"number": number, "typed": "flange"}
    assert client.post("/teach/accept", given).status_code == 409
    lines = client.state("/history/lines")["lines"]
    told = [one for one in lines if one["what"] == "/teach/refuse" and one["outcome"] == "done"]
    assert [(one["bundle"], one["reason"]) for one in told] == [("flange", MARKUP)]
    assert Bundle.open(bundle).manifest == before


def fill(browser: DrivenBrowser, id_: str, text: str) -> None:
    browser.tab_to(id_)
    browser.evaluate("document.activeElement.select()")
    browser.write(text)


def shown(browser: DrivenBrowser, id_: str) -> str:
    return browser.evaluate(f"document.getElementById('{id_}').textContent")


def counts_on_the_page(browser: DrivenBrowser) -> tuple[str, str, str]:
    return tuple(shown(browser, id_) for id_ in ("good-rejected", "bound", "drawn-passed"))


@pytest.mark.slow
def test_scores_are_counted_live_as_the_inspector_decides(client, line, bundle, browser) -> None:
    """At each score, and a float32 beside it, the page counts what `edge review try` counts."""
    scores = ScoresOfBundle.from_manifest(Bundle.open(bundle).manifest)
    browser.open(f"{line.address}/scores")
    browser.wait("document.querySelectorAll('#above li, #below li').length > 3")
    browser.wait("document.querySelector('#below img').naturalWidth === 128")
    for score in (*scores.good[:3], scores.drawn[7]):
        for value in (
            np.nextafter(score, np.float32(0)),
            score,
            np.nextafter(score, np.float32(9)),
        ):
            fill(browser, "value", str(value))
            expected = scores.at(float(value))
            bound = f"≤ {100 * expected.bound:.2f}".rstrip("0").rstrip(".") + " %"
            assert counts_on_the_page(browser) == (
                f"{expected.good_rejected} of 12",
                bound,
                f"{expected.drawn_passed} of {expected.drawn}",
            )
    browser.tab_to("slider")
    browser.press("ArrowRight")
    assert browser.evaluate("Number(document.getElementById('value').value)") > 0
    fill(browser, "value", "0.25")
    fill(browser, "reason", MARKUP)
    browser.press("Enter")
    browser.wait("document.getElementById('said').textContent.includes('0.25')")
    assert Bundle.open(bundle).manifest.threshold.value == 0.25
    browser.open(f"{line.address}/history")
    browser.wait(f"document.body.innerText.includes({MARKUP!r})")
    assert browser.evaluate("document.querySelector('img[src=x]')") is None


@pytest.mark.slow
def test_region_and_mask_are_drawn_in_px_of_the_frame(client, line, bundle, browser) -> None:
    """By mouse at a larger zoom, with a finger, and by keys: what is saved is what was drawn."""
    browser.open(f"{line.address}/region")
    browser.wait("document.querySelector('#canvas[aria-busy=false]')?.width === 128")
    for _ in range(2):
        browser.evaluate("document.getElementById('larger').click()")
    box = browser.evaluate(
        "(() => { const canvas = document.getElementById('canvas'); canvas.scrollIntoView();"
        "const box = canvas.getBoundingClientRect();"
        "return [box.left, box.top, box.width / 128] })()"
    )
    left, top, zoom = box
    assert zoom == pytest.approx(2.25)

    def at(x: float, y: float) -> tuple[float, float]:
        return left + x * zoom, top + y * zoom

    browser.drag(at(10, 20), at(50, 50), at(110, 90))
    assert browser.evaluate(
        "['x', 'y', 'width', 'height'].map((id) => document.getElementById(id).value)"
    ) == ["10", "20", "100", "70"]
    browser.evaluate("document.querySelector('[data-tool=brush]').click()")
    browser.drag(at(90, 70), at(95, 75))
    browser.evaluate("document.getElementById('undo').click()")
    browser.touch(at(30, 30), at(60, 30))
    browser.evaluate("document.querySelector('[data-tool=polygon]').click()")
    browser.evaluate("document.getElementById('canvas').focus()")
    browser.press(" ")  # the cross is where the finger was
    for key in ("ArrowRight", "ArrowDown"):
        browser.press(key, shift=True)
        browser.press(key)
        browser.press(" ")
    browser.press("Enter")
    fill(browser, "reason", "the rim")
    browser.press("Enter")
    browser.wait("document.getElementById('said').textContent.startsWith('Saved')")
    manifest = Bundle.open(bundle).manifest
    mask = decoded(Bundle.open(bundle).read(manifest.ignore))
    assert manifest.roi.box == (10, 20, 100, 70)
    for (x, y), is_ignored in {
        (30, 30): True,
        (45, 41): True,
        (45, 45): False,
        (71, 30): True,
        (70, 38): True,
        (80, 30): False,
        (92, 72): False,
    }.items():
        assert (mask[y, x] > 0) == is_ignored, (x, y)


@pytest.mark.slow
def test_parts_are_marked_by_keys(client, line, bundle, browser) -> None:
    browser.open(f"{line.address}/parts")
    browser.wait("document.querySelectorAll('#parts tr').length === 2")
    browser.evaluate("document.querySelector('#parts tr').focus()")
    browser.wait("document.getElementById('picture').naturalWidth === 128")
    browser.press("d")
    browser.wait("document.getElementById('said').textContent.includes('Part 2 is marked')")
    browser.press("g")
    browser.wait("document.getElementById('said').textContent.includes('Part 1 is marked')")
    marks = [part["mark"] for part in client.state("/parts/list")["parts"]]
    assert marks == ["defective", "good"]
