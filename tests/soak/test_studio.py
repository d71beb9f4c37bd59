"""The studio whole: a newcomer's way in a real browser by keys alone, a line, accessibility.

For the last, `pip install --no-deps axe-playwright-python` brings axe-core.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest
from driven_browser import DrivenBrowser
from running import Running
from studio_client import StudioClient, client_of, running_studio, wait_for

from edge.config import read_config
from edge.demo import draw_dataset
from edge.studio.app import GROUPS

pytestmark = pytest.mark.soak

AXE = "axe_playwright_python"
TOML = """
[cameras.left]
source = "replay:{home}/parts?fps=20"
bundle = "build/flange.edge"

[build]
precision = "fp32"
"""


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


def choose(browser: DrivenBrowser, id_: str, value: str) -> None:
    """Choose in a list by keys."""
    browser.tab_to(id_)
    for _ in range(20):
        if browser.evaluate(f"document.getElementById('{id_}').value") == value:
            return
        browser.press("ArrowDown")
    raise AssertionError(f"{id_} has no {value}")


def fill(browser: DrivenBrowser, id_: str, text: str) -> None:
    browser.tab_to(id_)
    browser.evaluate("document.activeElement.select()")
    browser.write(text)


def test_a_newcomer_comes_from_the_camera_to_a_running_line(studio, tmp_path) -> None:
    began = time.monotonic()
    took = {}
    with DrivenBrowser(tmp_path) as browser:
        browser.open(f"{studio.address}/camera")
        browser.wait("!document.getElementById('begin').disabled")
        fill(browser, "set", "flange")
        choose(browser, "how", "seconds")
        fill(browser, "seconds", "0.1")
        fill(browser, "count", "60")
        browser.press("Enter")
        browser.wait("document.getElementById('said').innerText.startsWith('60 pictures')")
        took["60 pictures"] = time.monotonic() - began
        browser.open(f"{studio.address}/build")
        browser.wait("document.getElementById('bundle').value === 'flange'")
        browser.tab_to("begin")
        browser.press("Enter")
        for _ in range(3):  # its patience, three times
            if browser.evaluate("!document.getElementById('result').hidden"):
                break
            time.sleep(30)
        browser.wait("!document.getElementById('result').hidden")
        took["built"] = time.monotonic() - began
        browser.open(f"{studio.address}/line")
        browser.wait("!document.getElementById('begin').disabled")
        browser.tab_to("begin")
        browser.press("Enter")
        browser.wait("document.querySelector('#cameras tr td:nth-child(3)')?.textContent > 0")
        browser.wait("document.querySelector('#live img[src]') !== null")
        took["line runs"] = time.monotonic() - began
        browser.tab_to("stop")
        browser.press("Enter")
        browser.wait("document.getElementById('state').innerText.includes('does not run')")
        assert browser.errors == []
        own = (f"{studio.address}/", f"blob:{studio.address}/")
        assert [one for one in browser.requests if not one.startswith(own)] == []
    print({name: round(seconds, 1) for name, seconds in took.items()})
    assert took["line runs"] < 240


def axe_script() -> str:
    """The text of axe-core; skips the test where it is not installed."""
    found = importlib.util.find_spec(AXE)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"{AXE} is not installed")
    return (Path(found.submodule_search_locations[0]) / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("size", [(1280, 800), (1024, 768)])
def test_a_checker_of_accessibility_finds_nothing_serious(studio, tmp_path, size) -> None:
    script = axe_script()
    found = {}
    with DrivenBrowser(tmp_path, size=size) as browser:
        for group in (*(group.NAME for group in GROUPS), "login"):
            browser.open(f"{studio.address}/{group}")
            time.sleep(1.5)
            assert browser.evaluate("document.documentElement.scrollWidth") <= size[0], group
            browser.evaluate(f"{script}; 1")
            for one in browser.evaluate("axe.run().then((told) => told.violations)"):
                where = [node["html"] for node in one["nodes"]]
                found[f"{group}: {one['impact']}: {one['id']}"] = where
    assert not found


@pytest.fixture
def line(drawn, bundle, tmp_path, monkeypatch):
    """A studio of a replayed line whose parts are good and bad ones."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(drawn / "train" / "good", "parts")
    bad = next(path for path in sorted((drawn / "test").iterdir()) if path.name != "good")
    shutil.copy(sorted(bad.iterdir())[0], "parts/zz.png")
    shutil.copytree(bundle, "build/flange.edge")
    text = f'[cameras.left]\nsource = "replay:{tmp_path}/parts?fps=20"\n[stream]\nkeep = "kept"\n'
    (tmp_path / "edge.toml").write_text(text)
    with running_studio(tmp_path, read_config()) as server:
        yield server


def test_a_line_is_started_watched_and_stopped(line, tmp_path) -> None:
    with client_of(line) as client:
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


def test_a_line_that_cannot_run_tells_why(line, tmp_path) -> None:
    with client_of(line) as client:
        assert client.post("/line/start", {"command": "serve"}).status_code == 409
        assert client.post("/line/start", {"command": "rm"}).status_code == 422
        shutil.rmtree(tmp_path / "parts")
        client.command("/line/start", command="stream")
        job = client.job("/line")
        assert job["state"] == "failed"
        assert "parts" in job["error"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_the_command(line, tmp_path, number) -> None:
    line.close()
    command = Running(tmp_path, "studio", "--listen", "127.0.0.1:0")
    try:
        said = command.wait(lambda: re.search(r"http://[0-9.]+:[0-9]+", command.log.read_text()))
        client = StudioClient(said[0])
        with client.http:
            client.command("/line/start", command="stream", bundle="flange")
            wait_for(lambda: client.state("/line/state")["report"])
            monitor = client.state("/line/state")["job"]["given"]["monitor"]
        code = command.end(number)
        assert code == (-number if number == signal.SIGKILL else 0)
        wait_for(lambda: not is_heard(monitor))
        assert "Traceback" not in command.log.read_text()
    finally:
        command.process.kill()
        command.process.wait()


def is_heard(address: str) -> bool:
    host, _, port = address.partition(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0
