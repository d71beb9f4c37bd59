"""The whole way on the studio's pages, in a real browser: from the camera to a taught line.

60 pictures, build, threshold, mask, marked parts, teach, and the line again; by its keys where
there are any. The time is that of the machine: nobody thinks in between.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from driven_browser import DrivenBrowser
from studio_client import client_of, running_studio

from edge.config import read_config
from edge.demo import draw_dataset
from engines.bundle import Bundle
from engines.versions import history_of

pytestmark = pytest.mark.soak

WITHIN_S = 240
TOML = """
[cameras.left]
source = "replay:{home}/parts?fps=20"
bundle = "build/flange.edge"

[stream]
keep = "kept"

[build]
precision = "fp32"
"""
DONE = "document.getElementById('said').textContent.includes({text!r})"


class Newcomer:
    """Somebody who goes from page to page; knows how long it took."""

    def __init__(self, browser: DrivenBrowser, address: str) -> None:
        self.browser = browser
        self.address = address
        self.took: dict[str, float] = {}
        self._began = time.monotonic()

    def page(self, group: str) -> None:
        self.browser.open(f"{self.address}/{group}")

    def note(self, what: str) -> None:
        self.took[what] = round(time.monotonic() - self._began, 1)
        print(what, self.took[what])

    def fill(self, id_: str, text: str) -> None:
        self.browser.tab_to(id_)
        self.browser.evaluate("document.activeElement.select()")
        self.browser.write(text)

    def press(self, id_: str) -> None:
        self.browser.tab_to(id_)
        self.browser.press("Enter")

    def wait(self, script: str, *, times: int = 3) -> None:
        """Wait longer than the browser's own patience."""
        for _ in range(times - 1):
            try:
                self.browser.wait(script)
            except AssertionError:
                continue
            return
        self.browser.wait(script)

    def run_line(self, frames: int) -> None:
        self.page("line")
        self.browser.wait("!document.getElementById('begin').disabled")
        self.press("begin")
        count = "document.querySelector('#cameras tr td:nth-child(3)')?.textContent"
        self.wait(f"parseInt({count}?.replace(/[^0-9]/g, '')) > {frames}")
        self.press("stop")
        self.browser.wait("document.getElementById('state').innerText.includes('does not run')")


@pytest.fixture
def studio(tmp_path, monkeypatch):
    """A studio of a replayed line: 60 good parts and three bad ones."""
    monkeypatch.chdir(tmp_path)
    draw_dataset(tmp_path / "data", good=60, test_good=2, defects_each=1, size=256)
    shutil.copytree(tmp_path / "data" / "train" / "good", tmp_path / "parts")
    bad = [path for path in sorted((tmp_path / "data" / "test").iterdir()) if path.name != "good"]
    for kind in bad[:3]:
        shutil.copy(sorted(kind.iterdir())[0], tmp_path / "parts" / f"zz-{kind.name}.png")
    (tmp_path / "edge.toml").write_text(TOML.format(home=tmp_path))
    with running_studio(tmp_path, read_config()) as server:
        yield server


def test_a_newcomer_teaches_a_line(studio, tmp_path: Path) -> None:
    path = tmp_path / "build" / "flange.edge"
    with DrivenBrowser(tmp_path) as browser:
        newcomer = Newcomer(browser, studio.address)
        newcomer.page("camera")
        browser.wait("!document.getElementById('begin').disabled")
        newcomer.fill("set", "flange")
        browser.tab_to("how")
        browser.press("ArrowDown")
        newcomer.fill("seconds", "0.1")
        newcomer.fill("count", "60")
        browser.press("Enter")
        browser.wait(DONE.format(text="60 pictures"))
        newcomer.note("60 pictures")
        newcomer.page("build")
        browser.wait("document.getElementById('bundle').value === 'flange'")
        newcomer.press("begin")
        newcomer.wait("!document.getElementById('result').hidden")
        newcomer.note("built")
        set_a_threshold(newcomer, path)
        newcomer.note("threshold")
        draw_a_mask(newcomer, path)
        newcomer.note("mask")
        newcomer.run_line(100)
        newcomer.note("line ran")
        mark_parts(newcomer)
        newcomer.note("marked")
        teach(newcomer)
        newcomer.note("taught")
        newcomer.run_line(1)
        newcomer.note("line runs again")
        assert [one for one in browser.errors if "/line/picture" not in one] == []
        assert [one for one in browser.requests if not one.startswith(own(studio.address))] == []
    assert newcomer.took["line runs again"] < WITHIN_S
    assert [one.what for one in history_of(path)] == ["built", "set", "set", "taught"]
    with client_of(studio) as client:
        lines = client.state("/history/lines")["lines"]
    done = {line["what"] for line in lines if line["outcome"] == "done"}
    assert {"/scores/set", "/region/set", "/parts/mark", "/teach/propose", "/teach/accept"} <= done


def own(address: str) -> tuple[str, str]:
    return f"{address}/", f"blob:{address}/"


def set_a_threshold(newcomer: Newcomer, path: Path) -> None:
    """So low that some good parts are rejected: they are what is taught."""
    browser = newcomer.browser
    scores = Bundle.open(path).manifest.held_out.highest
    newcomer.page("scores")
    browser.wait("document.querySelectorAll('#below img').length === 4")
    newcomer.fill("value", str(scores[5]))
    newcomer.fill("reason", "to have something to teach")
    browser.press("Enter")
    browser.wait(DONE.format(text="The threshold is"))


def draw_a_mask(newcomer: Newcomer, path: Path) -> None:
    browser = newcomer.browser
    newcomer.page("region")
    browser.wait("document.querySelector('#canvas[aria-busy=false]')?.width === 256")
    browser.evaluate("document.querySelector('[data-tool=brush]').click()")
    browser.evaluate("document.getElementById('canvas').focus()")
    browser.press(" ")
    for _ in range(3):
        browser.press("ArrowRight", shift=True)
    browser.press(" ")
    newcomer.press("compare")
    newcomer.wait("!document.getElementById('proposal').hidden")
    assert browser.evaluate("document.querySelectorAll('#effect tr').length") == 3
    newcomer.fill("reason", "a bolt that nobody minds")
    browser.press("Enter")
    browser.wait(DONE.format(text="Saved"))
    assert Bundle.open(path).manifest.ignore


def mark_parts(newcomer: Newcomer) -> None:
    """The three highest scores are the defects, the lowest rejects are good."""
    browser = newcomer.browser
    newcomer.page("parts")
    browser.wait("document.querySelectorAll('#parts tr').length > 10")
    browser.tab_to("verdict")
    browser.press("ArrowDown")
    browser.tab_to("sort")
    browser.press("ArrowDown")
    all_of_them = browser.evaluate("document.getElementById('found').textContent")
    browser.evaluate("document.querySelector('#choice button.main').focus()")
    browser.press("Enter")
    browser.wait(f"document.getElementById('found').textContent !== {all_of_them!r}")
    browser.evaluate("document.querySelector('#parts tr').focus()")
    for _ in range(3):
        mark(browser, "d", "defective")
    last = browser.evaluate("document.querySelectorAll('#parts tr').length") - 3
    browser.evaluate(f"document.querySelectorAll('#parts tr')[{last}].focus()")
    for _ in range(3):
        mark(browser, "g", "good")


def mark(browser: DrivenBrowser, key: str, kind: str) -> None:
    browser.evaluate("document.getElementById('said').textContent = ''")
    browser.press(key)
    browser.wait(DONE.format(text=kind))


def teach(newcomer: Newcomer) -> None:
    browser = newcomer.browser
    newcomer.page("teach")
    browser.wait("document.getElementById('marked').textContent !== ''")
    browser.evaluate("document.querySelector('#propose button.main').focus()")
    browser.press("Enter")
    newcomer.wait("!document.getElementById('proposal').hidden")
    assert browser.evaluate("document.querySelectorAll('#effect tr').length") == 3
    newcomer.note("proposed")
    if browser.evaluate("!document.getElementById('has-problems').hidden"):
        newcomer.fill("typed", "flange")
    browser.tab_to("consent")
    browser.press(" ")
    newcomer.fill("reason", "these were good")
    browser.press("Enter")
    newcomer.wait(DONE.format(text="In service"))
