"""A real browser that opens a page, lets its time pass, and tells what it came to."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_S = 200


def found_browser() -> str:
    """The browser's path; skips the test where there is none."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    pytest.skip("no chromium here")


class Browser:
    """Chromium without a window, in a profile of its own.

    Args:
        folder: for its profile.
        rules: names that lead elsewhere, as `--host-resolver-rules` has them.
    """

    def __init__(self, folder: Path, *, rules: str = "") -> None:
        self._folder = folder
        self._words = [
            *(found_browser(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            *("--window-size=1280,800", f"--user-data-dir={folder / 'profile'}"),
        ]
        if rules:
            self._words.append(f"--host-resolver-rules={rules}")

    def dom(self, address: str, *, seconds: float = 5) -> str:
        """The document after so many seconds of its own time, which waits for the network."""
        return self._run(f"--virtual-time-budget={seconds * 1000:.0f}", "--dump-dom", address)

    def screenshot(self, address: str, *, seconds: float = 5) -> bytes:
        """What is on the screen after so many seconds, PNG."""
        path = self._folder / "screen.png"
        self._run(f"--virtual-time-budget={seconds * 1000:.0f}", f"--screenshot={path}", address)
        return path.read_bytes()

    def _run(self, *words: str) -> str:
        process = subprocess.Popen(
            [*self._words, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # it has children
        )
        try:
            out, _ = process.communicate(timeout=PATIENCE_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        assert process.returncode == 0
        return out.decode()
