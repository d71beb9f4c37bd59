"""The real command in a process of its own, as a service runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAIN = "from edge.cli.main import main; main()"
LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_AS, ({0}, {0})); "
PATIENCE_S = 120


class Running:
    """A command as a service runs it: without a terminal."""

    def __init__(self, folder: Path, *words: str, address_space: int = 0) -> None:
        self.log = folder / "log"
        limit = LIMITED.format(address_space) if address_space else ""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", limit + MAIN, *words],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )

    def wait(self, condition) -> object:
        limit = time.monotonic() + PATIENCE_S
        while not (found := condition()):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < limit, self.log.read_text()
            time.sleep(0.05)
        return found

    def health(self) -> dict:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.log.read_text())
        if found is None:
            return {}
        try:
            with urllib.request.urlopen(f"{found[0]}/healthz", timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return json.load(error)

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def peak_bytes(self) -> int:
        """The most memory that it held at once."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) << 10
