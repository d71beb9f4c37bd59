"""`edge stream` in a process of its own, with the page."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from asking import Said, asked

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-c", "from edge.cli.main import main; main()")
PATIENCE_S = 180.0
HEALTHY = """
[stream]
engine = "onnxruntime"
health_off = ["occluded", "blurred", "black", "saturated", "frozen"]
"""


class Streaming:
    """A running `edge stream`; ended with the block.

    Args:
        folder: to run in.
        words: of the command line.
        config: `edge.toml`.
    """

    def __init__(self, folder: Path, *words: object, config: str = HEALTHY) -> None:
        (folder / "edge.toml").write_text(config)
        self._log = folder / "stream.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "stream", *map(str, words), "--no-show", "--monitor", "127.0.0.1:0"],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                text=True,
            )
        self.port = 0

    def __enter__(self) -> Streaming:
        found = self.wait(lambda: re.search(r"http://127\.0\.0\.1:(\d+):", self.said()))
        self.port = int(found[1])
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.communicate(timeout=60)
        finally:
            self.process.kill()
            self.process.communicate()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def said(self) -> str:
        """Its log."""
        return self._log.read_text()

    def ask(self, path: str) -> Said:
        return asked(self.port, path)

    def wait(self, condition):
        """What a condition comes to once it holds."""
        limit = time.monotonic() + PATIENCE_S
        while not (found := condition()):
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < limit, self.said()
            time.sleep(0.05)
        return found

    def picture(self, camera: str = "") -> Said:
        """Its live picture, once there is one."""

        def found() -> Said | None:
            said = self.ask(f"/cameras/{camera}/live.jpg")
            return said if said.status == 200 else None

        return self.wait(found)

    def reject(self, camera: str = "", *, verdict: str = "NG") -> dict:
        """Its newest rejected part of a kind, once there is one."""

        def found() -> dict | None:
            said = self.ask(f"/cameras/{camera}/rejects.json")
            rows = said.json()["rejects"] if said.status == 200 else []
            return next((row for row in rows if row["verdict"] == verdict), None)

        return self.wait(found)
