"""The page in a real browser: what is seen, and what another site's page gets of it."""

from __future__ import annotations

import html
import http.server
import json
import re
import shutil
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import Browser
from streaming import Streaming

from edge.service.http_access import Access
from edge.service.http_routes import DrawnResult
from edge.service.http_server import Monitor

pytestmark = pytest.mark.slow

MANY = 10**9
TOKEN = "0123456789abcdef-Zq9"
MARKUP = "<img src=x onerror=\"document.title='owned'\">"
CAMERA = {
    "ready": True,
    "reason": "",
    "live": True,
    "frames": 6,
    "ok": 12345,
    "ng": 2,
    "error": 0,
    "dropped": 0,
    "today": {"ok": 40, "ng": 2, "error": 1},
    "drift": None,
    "latency_ms": {"buckets": {"5": 6}, "sum": 12.0},
    "troubles": [],
}


@pytest.fixture
def browser(tmp_path) -> Browser:
    return Browser(tmp_path)


def jpeg() -> bytes:
    return cv2.imencode(".jpg", np.full((48, 64, 3), (0, 200, 0), np.uint8))[1].tobytes()


class Shown:
    """What the monitor shows, as a test has it; counts who asks.

    Attributes:
        pictures: live ones that there still are; every one is new.
    """

    def __init__(
        self, camera: dict | None = None, *, name: str = "", pictures: int = 10**9
    ) -> None:
        self.camera = CAMERA | (camera or {})
        self.name = name
        self.pictures = pictures
        self.asked = 0

    def report(self) -> dict:
        self.asked += 1
        ready, reason = self.camera["ready"], self.camera["reason"]
        reasons = {} if ready else {self.name: reason}
        shared = {"troubles": [], "cameras": {self.name: self.camera}}
        return {"ready": ready, "reasons": reasons, **shared}

    def live(self, camera: str, *, unless_id: str = "") -> tuple[DrawnResult, float] | None:
        self.asked += 1
        if camera != self.name or self.pictures == 0:
            return None
        self.pictures -= 1
        return self._picture(f"7-{self.pictures}", "OK"), 0.1

    def rejects(self, camera: str) -> list[DrawnResult]:
        self.asked += 1
        return [self._picture("7-1", "NG")]

    def _picture(self, name: str, verdict: str) -> DrawnResult:
        line = {"captured_at_ns": 7, "verdict": verdict, "score": 0.75, "threshold": 0.5}
        line |= {"reason": MARKUP, "part": None, "frame": 1}
        return DrawnResult(name, jpeg(), verdict, 0.0, line)


class Several(Shown):
    """Cameras beside each other, by name."""

    def __init__(self, cameras: dict[str, Shown]) -> None:
        super().__init__()
        self.cameras = cameras

    def report(self) -> dict:
        reports = [one.report() for one in self.cameras.values()]
        reasons = {name: why for one in reports for name, why in one["reasons"].items()}
        cameras = {name: one.camera for name, one in self.cameras.items()}
        return {"ready": not reasons, "reasons": reasons, "troubles": [], "cameras": cameras}

    def live(self, camera: str, *, unless_id: str = "") -> tuple[DrawnResult, float] | None:
        return self.cameras[camera].live(camera)

    def rejects(self, camera: str) -> list[DrawnResult]:
        return self.cameras[camera].rejects(camera)


class Leaving(Shown):
    """One whose monitor goes away while it is watched."""

    monitor: Monitor

    def report(self) -> dict:
        if self.asked > 20:
            threading.Thread(target=self.monitor.close).start()
        return super().report()


def monitor_of(shown: Shown, **more) -> Monitor:
    return Monitor("127.0.0.1:0", shown.report, pictures=shown, **more)


def address_of(monitor: Monitor, host: str = "127.0.0.1") -> str:
    return f"http://{host}:{monitor.port}/"


def without_templates(dom: str) -> str:
    return re.sub("<template.*?</template>", "", dom, flags=re.DOTALL)


def captions(dom: str) -> list[str]:
    """What is written into the live pictures, in the order of the cameras."""
    found = re.findall(r"<figcaption>(.*?)</figcaption>", without_templates(dom))
    return [html.unescape(one) for one in found]


def lives(dom: str) -> list[str]:
    """The tags of the live pictures."""
    return re.findall(
        r'<figure class="(live[^>]*>.*?)<figcaption', without_templates(dom), re.DOTALL
    )


def caption(dom: str) -> str:
    return captions(dom)[0]


def live(dom: str) -> str:
    return lives(dom)[0]


def test_a_stream_is_seen_with_picture_counts_and_a_reject(
    browser, good, drawn, bundle, tmp_path
) -> None:
    bad = next(path for path in sorted((drawn / "test").iterdir()) if path.name != "good")
    shutil.copy(next(iter(sorted(bad.iterdir()))), good / "zz.png")
    with Streaming(tmp_path, f"replay:{good}?fps=10", "--bundle", bundle) as streaming:
        streaming.reject()
        # Few seconds of its own: each of them waits for eight pictures of a busy machine.
        dom = browser.dom(streaming.address, seconds=2)
        screen = browser.screenshot(streaming.address, seconds=2)
    assert 'data-state="ready"' in dom
    assert 'src="blob:' in live(dom)
    assert re.search(r'<div class="ok"><dt>OK</dt><dd>[1-9]', dom)
    assert re.search(r'<div class="ng"><dt>NG</dt><dd>[1-9]', dom)
    reject = r'class="reject" data-verdict="NG"[^>]*>\s*<img [^>]*rejects/[^"/]+NG[^"/]*\.jpg"'
    assert re.search(reject, dom)
    image = cv2.imdecode(np.frombuffer(screen, np.uint8), cv2.IMREAD_COLOR)
    picture = image[150:650, 150:650]  # metal on a cloth, not the ground of the page
    assert picture.std() > 15
    assert picture.mean() > 40


def test_names_and_reasons_are_text_whatever_they_hold(browser) -> None:
    shown = Shown({"ready": False, "reason": MARKUP, "troubles": [MARKUP]}, name=MARKUP)
    with monitor_of(shown) as monitor:
        dom = browser.dom(address_of(monitor))
    assert html.escape(MARKUP, quote=False) in dom.replace("&quot;", '"')
    assert caption(dom) == MARKUP
    assert "<title>owned" not in dom
    assert "<img src=x" not in dom and '<img src="x"' not in dom
    assert 'src="blob:' in live(dom)  # its name finds it nevertheless


def test_a_picture_that_is_not_of_now_is_dimmed_and_why_is_said(browser) -> None:
    kinds = {
        r"no picture for \d+ s": ({}, 1),
        "no picture yet": ({}, 0),
        r"last part \d+ s ago": ({"live": False}, 1),
        "waiting for a part": ({"live": False}, 0),
        r"no frame for 3\.0 s": ({"ready": False, "reason": "no frame for 3.0 s"}, MANY),
    }
    cameras = {
        f"c{number}": Shown(camera, name=f"c{number}", pictures=pictures)
        for number, (camera, pictures) in enumerate(kinds.values())
    }
    with monitor_of(Several(cameras)) as monitor:
        dom = browser.dom(address_of(monitor), seconds=9)
    assert 'data-state="lost"' not in dom
    assert all(one.startswith("live old") for one in lives(dom))
    for words, said in zip(kinds, captions(dom), strict=True):
        assert re.fullmatch(words, said)


def test_an_answer_that_does_not_come_is_said(browser) -> None:
    with monitor_of(Leaving()) as monitor:
        Leaving.monitor = monitor
        dom = browser.dom(address_of(monitor), seconds=25)
    assert 'data-state="lost"' in dom
    assert re.search(r"no answer for \d+ s", dom)
    assert live(dom).startswith("live old")


def test_with_a_token_it_is_seen_and_without_it_is_not(browser, tmp_path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    shown = Shown()
    with monitor_of(shown, access=Access(tmp_path / "token")) as monitor:
        dom = browser.dom(address_of(monitor))
        assert "12,345" not in dom
        assert shown.asked == 0
        dom = browser.dom(address_of(monitor).replace("http://", f"http://edge:{TOKEN}@"))
    assert "12,345" in dom
    assert 'src="blob:' in live(dom)


HOSTILE = """<!doctype html><title>hostile</title><pre id=told></pre>
<script>
const own = %(own)s, told = {};
const seen = (name) => (value) => { told[name] = value; show(); };
const show = () => { document.getElementById("told").textContent = JSON.stringify(told); };
const text = (name, path, options) =>
  fetch(path, options).then((answer) => answer.text()).then(seen(name), () => seen(name)("none"));
const element = (name, kind, key, path) => {
  const made = document.createElement(kind);
  made.onload = () => seen(name)("loaded");
  made.onerror = () => seen(name)("none");
  made[key] = path;
  if (kind === "link") made.rel = "stylesheet";
  document.body.append(made);
};
text("control", "/open");
for (const path of ["", "healthz", "metrics", "cameras//live.jpg", "cameras//rejects.json"]) {
  text(`fetch ${path}`, own + path);
  text(`with credentials ${path}`, own + path, { credentials: "include" });
  text(`opaque ${path}`, own + path, { mode: "no-cors" });
  text(`posted ${path}`, own + path, { method: "POST", mode: "no-cors", body: "x=1" });
}
element("picture", "img", "src", own + "cameras//live.jpg");
element("script", "script", "src", own + "page.js");
element("style", "link", "href", own + "page.css");
const frame = document.createElement("iframe");
frame.onload = () => {
  let inside = "none";
  try { inside = frame.contentDocument.body.innerText; } catch { /* not ours to see */ }
  seen("frame")(inside);
};
frame.src = own;
document.body.append(frame);
</script>"""


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """Another site: its page, and what everybody may read."""

    page = b""

    def do_GET(self) -> None:
        open_to_all = self.path == "/open"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain" if open_to_all else "text/html")
        self.end_headers()
        self.wfile.write(b"everybody reads this" if open_to_all else self.page)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def elsewhere():
    """Serves a hostile page; returns its port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", pytest.param("localhost", marks=pytest.mark.soak), "evil.example"]
)
def test_another_sites_page_gets_nothing(tmp_path, elsewhere, monkeypatch, host) -> None:
    browser = Browser(tmp_path, rules="MAP evil.example 127.0.0.1")
    shown = Shown()
    with monitor_of(shown) as monitor:
        page = HOSTILE % {"own": json.dumps(address_of(monitor))}
        monkeypatch.setattr(Elsewhere, "page", page.encode())
        dom = browser.dom(f"http://{host}:{elsewhere}/")
    told = json.loads(html.unescape(re.search(r'<pre id="told">(.*?)</pre>', dom)[1]))
    assert told.pop("control") == "everybody reads this"
    assert len(told) == 4 * 5 + 4
    assert set(told.values()) <= {"none", ""}, told
    assert shown.asked == 0  # nothing was even looked up


def test_a_name_that_was_made_to_lead_here_gets_nothing(tmp_path) -> None:
    browser = Browser(tmp_path, rules="MAP evil.example 127.0.0.1")
    shown = Shown()
    with monitor_of(shown) as monitor:
        assert "another host" in browser.dom(address_of(monitor, "evil.example"))
        assert shown.asked == 0
        dom = browser.dom(address_of(monitor, "localhost"))
        assert "12,345" in dom


def test_the_browser_may_be_absent(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(pytest.skip.Exception, match="no chromium"):
        Browser(Path(tmp_path))
