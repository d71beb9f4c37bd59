"""The page in a real browser, by the keyboard alone; the whole way is in tests/soak."""

from __future__ import annotations

import shutil

import pytest
from driven_browser import DrivenBrowser
from studio_client import running_studio

from edge.config import Config
from edge.options import CameraSection

pytestmark = pytest.mark.slow


@pytest.fixture
def studio(drawn, tmp_path):
    shutil.copytree(drawn / "train" / "good", tmp_path / "parts")
    cameras = {"left": CameraSection(source=f"replay:{tmp_path / 'parts'}?fps=20")}
    with running_studio(tmp_path, Config(cameras=cameras)) as server:
        yield server


def test_keys_alone_take_pictures(studio, tmp_path) -> None:
    with DrivenBrowser(tmp_path, size=(1024, 768)) as browser:
        browser.open(f"{studio.address}/camera")
        browser.wait("!document.getElementById('begin').disabled")
        browser.wait("document.getElementById('live').naturalWidth === 128")
        browser.tab_to("set")
        browser.write("flange")
        browser.tab_to("how")
        browser.press("ArrowDown")
        browser.wait("document.getElementById('how').value === 'seconds'")
        browser.tab_to("seconds")
        browser.evaluate("document.activeElement.select()")
        browser.write("0.1")
        browser.tab_to("count")
        browser.evaluate("document.activeElement.select()")
        browser.write("3")
        browser.press("Enter")
        browser.wait("document.getElementById('said').innerText.startsWith('3 pictures')")
        assert browser.evaluate("document.documentElement.scrollWidth") <= 1024
        assert browser.errors == []
        own = (f"{studio.address}/", f"blob:{studio.address}/")
        assert [one for one in browser.requests if not one.startswith(own)] == []
    assert len([*(tmp_path / "sets" / "flange").glob("*.png")]) == 3
