"""A real browser that is used: keys are pressed, fields are filled, what is shown is waited for."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

from browser import found_browser

PATIENCE_S = 60.0
KEYS = {
    "Enter": {"code": "Enter", "text": "\r", "windowsVirtualKeyCode": 13},
    "Tab": {"code": "Tab", "windowsVirtualKeyCode": 9},
    "ArrowDown": {"code": "ArrowDown", "windowsVirtualKeyCode": 40},
    "ArrowRight": {"code": "ArrowRight", "windowsVirtualKeyCode": 39},
    "Escape": {"code": "Escape", "windowsVirtualKeyCode": 27},
    "d": {"code": "KeyD", "text": "d", "windowsVirtualKeyCode": 68},
    "g": {"code": "KeyG", "text": "g", "windowsVirtualKeyCode": 71},
    " ": {"code": "Space", "text": " ", "windowsVirtualKeyCode": 32},
}
SHIFT = 8


class DrivenBrowser:
    """Chromium without a window, told over a pipe what to do (its DevTools protocol).

    Args:
        folder: for its profile.
        size: of the window, px.
        language: that it asks for.

    Attributes:
        requests: addresses that pages have asked for.
        errors: that pages' scripts have raised, and what the browser refused.
    """

    def __init__(self, folder: Path, *, size: tuple[int, int] = (1280, 800), language="en") -> None:
        here, there = os.pipe(), os.pipe()  # to it, and from it
        words = [
            *(found_browser(), "--headless=new", "--no-sandbox", "--disable-gpu"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            *("--hide-scrollbars", f"--user-data-dir={folder / 'profile'}", f"--lang={language}"),
            *(f"--accept-lang={language}", f"--window-size={size[0]},{size[1]}"),
            *("--remote-debugging-pipe", "about:blank"),
        ]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{here[0]} 4>&{there[1]}', "bash", *words],
            pass_fds=(here[0], there[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(here[0])
        os.close(there[1])
        self._to = os.fdopen(here[1], "wb", buffering=0)
        self._from = os.fdopen(there[0], "rb")
        self._number = 0
        self.requests: list[str] = []
        self.errors: list[str] = []
        targets = self._call("Target.getTargets")["targetInfos"]
        page = next(one for one in targets if one["type"] == "page")
        attach = {"targetId": page["targetId"], "flatten": True}
        self._session = self._call("Target.attachToTarget", **attach)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **metrics)
        self._call("Emulation.setFocusEmulationEnabled", enabled=True)  # as of a window in front

    def open(self, address: str) -> None:
        """Load a page, until its document is complete."""
        self._call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, script: str) -> object:
        """What an expression is; a promise is waited for."""
        asked = {"expression": script, "returnByValue": True, "awaitPromise": True}
        answer = self._call("Runtime.evaluate", **asked)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, script: str) -> object:
        """Wait until an expression is true; it."""
        limit = time.monotonic() + PATIENCE_S
        found = None
        while time.monotonic() < limit:
            with contextlib.suppress(AssertionError):  # such as while the page is changing
                if found := self.evaluate(script):
                    return found
            time.sleep(0.05)
        raise AssertionError(f"never true: {script}; {self.text()}; {self.errors}")

    def text(self) -> str:
        """What is written on the page."""
        return str(self.evaluate("document.body.innerText"))

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key, as a hand does."""
        how = {"key": key, "modifiers": SHIFT if shift else 0, **KEYS[key]}
        self._call("Input.dispatchKeyEvent", type="keyDown", **how)
        self._call("Input.dispatchKeyEvent", type="keyUp", **how)

    def drag(self, *places: tuple[float, float]) -> None:
        """Press the mouse at a place of the window, in px, move it on, and let it go."""
        kinds = ["mousePressed", *["mouseMoved"] * (len(places) - 1)]
        for kind, (x, y) in [*zip(kinds, places, strict=True), ("mouseReleased", places[-1])]:
            how = {"x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1}
            self._call("Input.dispatchMouseEvent", type=kind, **how)

    def touch(self, *places: tuple[float, float]) -> None:
        """Draw with a finger from place to place."""
        kinds = ["touchStart", *["touchMove"] * (len(places) - 1)]
        for kind, (x, y) in zip(kinds, places, strict=True):
            self._call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y}])
        self._call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def write(self, text: str) -> None:
        """Write into what has the focus."""
        self._call("Input.insertText", text=text)

    def tab_to(self, id_: str) -> int:
        """Press Tab until an element has the focus; how often that took."""
        for count in range(60):
            if self.evaluate("document.activeElement.id") == id_:
                return count
            self.press("Tab")
        raise AssertionError(f"#{id_} cannot be reached by the Tab key")

    def screenshot(self) -> bytes:
        """What is on the screen, PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot")["data"])

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._to.close()
        self._from.close()

    def __enter__(self) -> DrivenBrowser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, method: str, **parameters: object) -> dict:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if hasattr(self, "_session"):
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._read())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _read(self) -> bytes:
        data = bytearray()
        while (byte := self._from.read(1)) != b"\0":
            assert byte, "the browser is gone"
            data += byte
        return bytes(data)

    def _note(self, event: dict) -> None:
        """Keep what happened beside."""
        given = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
        elif event.get("method") == "Runtime.exceptionThrown":
            details = given["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif event.get("method") == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.errors.append(f"{given['entry']['text']} {given['entry'].get('url', '')}")
