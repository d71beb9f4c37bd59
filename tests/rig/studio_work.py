"""Jobs that tests of the studio start; they run in processes of their own."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path


def count_up(given, report):
    """A job of the tests: says how far it is, then answers."""
    for step in range(4):
        report.stage("counting", step / 3)
    report.note("counting", "all of it")
    for number in range(given.get("lines", 1)):
        report.say(f"line {number}")
    sys.stdout.write("what a library prints\n")
    return {"sum": sum(given["numbers"])}


def answer(given, report):
    return given


def fail(given, report):
    raise ValueError("the words\nof an error")


def crash(given, report):
    report.stage("crashing", 0.5)
    os.kill(os.getpid(), signal.SIGKILL)


def wait(given, report):
    Path(given["file"]).write_text(str(os.getpid()))
    if given.get("stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        report.say("deaf")
    time.sleep(60)
