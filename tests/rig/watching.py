"""One who watches the page, and fifty who take places for nothing: `python watching.py PORT`.

In a process of its own, as they are in earnest. Ends with its standard input.
"""

from __future__ import annotations

import sys
import threading
import time

from asking import asked
from slow_clients import SlowClients

SLOW = 50
PICTURE_S = 0.125
REPORT_S = 1.0


def watch(port: int, ended: threading.Event) -> int:
    """Ask for what the page asks for, as often; how many pictures came."""
    known, pictures, reported = "", 0, 0.0
    while not ended.is_set():
        began = time.monotonic()
        if began - reported >= REPORT_S:
            reported = began
            asked(port, "/healthz")
            asked(port, "/cameras//rejects.json")
        headers = (f"If-None-Match: {known}",) if known else ()
        said = asked(port, "/cameras//live.jpg", *headers)
        if said.status == 200:
            known, pictures = said.head["etag"], pictures + 1
        ended.wait(max(0.025, PICTURE_S - (time.monotonic() - began)))
    return pictures


if __name__ == "__main__":
    ended = threading.Event()
    with SlowClients(int(sys.argv[1]), SLOW) as slow:
        threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
        print(watch(int(sys.argv[1]), ended), slow.opened)
