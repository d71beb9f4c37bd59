"""A child that is kept running: killed, stopped, hanging, and nothing left behind."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from child import Order, Said
from processes import gone

from cameras import child_process
from cameras.child_process import ChildOptions, ChildProcess, Ending, python_command

CHILD = (sys.executable, str(Path(__file__).resolve().parents[1] / "rig/child.py"))
PATIENCE_S = 60


class Handler:
    """Keeps what it is told."""

    def __init__(self, **options) -> None:
        options = {"command": CHILD, "silent_after_s": 0.3} | options
        self.first = Order("echo")
        self.said: queue.Queue = queue.Queue()
        self.lost: queue.Queue = queue.Queue()
        self.child = ChildProcess(ChildOptions("the child", kinds=(Said,), **options), self)

    def on_start(self) -> Order:
        return self.first

    def on_message(self, message: object) -> None:
        self.said.put(message.what)

    def on_lost(self, ending: Ending, reason: str) -> None:
        self.lost.put((ending, reason))

    def wait_lost(self) -> tuple[Ending, str]:
        return self.lost.get(timeout=PATIENCE_S)

    def wait_said(self) -> str:
        return self.said.get(timeout=PATIENCE_S)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch) -> None:
    monkeypatch.setattr(child_process, "PAUSES_S", (0.01,))


@pytest.fixture
def run() -> Iterator:
    handlers: list[Handler] = []

    def start(**options) -> Handler:
        handlers.append(Handler(**options))
        handlers[-1].child.start()
        return handlers[-1]

    yield start
    for handler in handlers:
        handler.child.close()


def test_it_is_told_and_heard(run) -> None:
    handler = run()
    assert handler.wait_said() == "echo"
    handler.child.send(Order("again"))
    assert handler.wait_said() == "again"
    assert handler.child.heartbeat.count == 1
    assert handler.lost.empty()


@pytest.mark.parametrize(
    ("number", "ending", "reason"),
    [
        (signal.SIGKILL, Ending.BY_ITSELF, "the child ended: killed by SIGKILL"),
        (signal.SIGSTOP, Ending.KILLED, "the child gave no sign of life for 0."),
    ],
)
def test_one_that_is_killed_or_stopped_is_replaced(run, number, ending, reason) -> None:
    handler = run()
    for restarts in (1, 2):
        assert handler.wait_said() == "echo"
        first = handler.child.process_id
        os.kill(first, number)
        found = handler.wait_lost()
        assert found[0] is ending
        assert found[1].startswith(reason)
        assert gone(first)
        assert handler.wait_said() == "echo"
        assert (handler.child.restarts, handler.child.heartbeat.count) == (restarts, restarts + 1)
        handler.child.send(Order("echo"))


def test_signals_to_the_group_are_the_parents_affair(run) -> None:
    handler = run()
    handler.wait_said()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(handler.child.process_id, number)
    handler.child.send(Order("still here"))
    assert handler.wait_said() == "still here"
    assert handler.child.restarts == 0


@pytest.mark.parametrize(
    ("order", "ending", "reason"),
    [
        ("exit", Ending.BY_ITSELF, "the child ended: exit status 7"),
        ("nonsense", Ending.KILLED, "the child sent an unreadable message: no message"),
        ("overdue", Ending.KILLED, "it hangs"),
        ("hold", Ending.KILLED, "the child gave no sign of life for 0."),
    ],
)
def test_one_that_ends_or_misbehaves_is_replaced(run, order, ending, reason) -> None:
    handler = run()
    handler.wait_said()
    handler.child.send(Order(order))
    found = handler.wait_lost()
    assert found[0] is ending
    assert found[1].startswith(reason)
    until = time.monotonic() + PATIENCE_S
    while handler.wait_said() != "echo":
        assert time.monotonic() < until
    assert handler.lost.empty(), "a loss is told once"


def test_one_that_is_killed_by_order_is_told_by_the_supervisor(run) -> None:
    handler = run()
    handler.wait_said()
    handler.child.kill("it is too old")
    handler.child.kill("another reason")
    assert handler.wait_lost() == (Ending.KILLED, "it is too old")


def test_one_that_takes_no_orders_is_replaced(run) -> None:
    handler = run(silent_after_s=60.0)
    handler.wait_said()
    os.kill(handler.child.process_id, signal.SIGSTOP)
    while handler.lost.empty():
        handler.child.send(Order("x" * 1000))
    assert handler.wait_lost() == (Ending.KILLED, "the child takes no orders")


def test_one_that_loads_may_be_silent_but_not_for_ever(run) -> None:
    handler = run(load_within_s=60.0)
    handler.wait_said()
    handler.child.send(Order("hold"))
    assert handler.wait_said() == "hold"
    handler.child.may_be_silent(while_loading=False)
    handler.child.send(Order("hold"))
    assert handler.wait_lost()[0] is Ending.KILLED
    slow = run(load_within_s=0.2)
    assert slow.wait_lost() == (Ending.KILLED, "the child was not ready within 0.2 s")


def test_one_that_waits_for_its_turn_may_be_silent_for_longer(run, monkeypatch) -> None:
    monkeypatch.setattr(child_process, "STARVED", 10_000)
    handler = run()
    handler.wait_said()
    handler.child.send(Order("spin"))
    time.sleep(0.6)
    assert handler.lost.empty()
    monkeypatch.setattr(child_process, "STARVED", 1)
    assert handler.wait_lost()[0] is Ending.KILLED


def test_one_that_cannot_be_started() -> None:
    handler = Handler(command=("/nowhere/python",))
    handler.child.start()
    for _ in range(2):
        ending, reason = handler.wait_lost()
        assert ending is Ending.NOT_STARTED
        assert "the child cannot be started: " in reason
    assert handler.child.process_id is None
    handler.child.close()


def test_what_it_writes_is_read_line_by_line() -> None:
    lines: list[bytes] = []
    handler = Handler(read_line=lines.append)
    handler.child.start()
    handler.wait_said()
    for _ in range(2):
        handler.child.send(Order("print"))
        assert handler.wait_said() == "print"
    handler.child.close()
    assert lines == [b"a line", b"half a linea line"]


def test_a_module_is_found_wherever_the_child_is_started(tmp_path, monkeypatch) -> None:
    (tmp_path / "answers.py").write_text("def main(arguments): return len(arguments) + 40")
    monkeypatch.syspath_prepend(tmp_path)
    handler = Handler(command=python_command("answers"))
    handler.child.start()
    assert handler.wait_lost() == (Ending.BY_ITSELF, "the child ended: exit status 42")
    handler.child.close()


def test_closing_leaves_no_process_no_thread_and_no_descriptor() -> None:
    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    before = held()
    for order in ("echo", "loop"):
        handler = Handler()
        handler.child.start()
        handler.wait_said()
        handler.child.send(Order(order))
        process_id = handler.child.process_id
        began = time.monotonic()
        handler.child.close()
        handler.child.close()
        assert time.monotonic() - began < 3 * (1 + (order == "loop"))
        assert not Path(f"/proc/{process_id}").exists(), "reaped"
        assert handler.lost.empty()
    Handler().child.close()  # one that never was started
    assert held() == before


PARENT = """
import sys, time
sys.path.insert(0, sys.argv[2])
from child import Order, Said
from cameras import child_process
from cameras.child_process import ChildOptions, ChildProcess
class Handler:
    def on_start(self):
        return Order(sys.argv[3])
    def on_message(self, message):
        pass
    def on_lost(self, ending, reason):
        pass
child = ChildProcess(ChildOptions("it", (sys.executable, sys.argv[1]), (Said,)), Handler())
child.start()
while not child.heartbeat.count:
    time.sleep(0.01)
print(child.process_id, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("order", ["echo", "loop"])
def test_a_killed_parent_leaves_no_orphan(*, stopped: bool, order: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD[1], str(Path(CHILD[1]).parent), order],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        child = int(parent.stdout.readline())
        if stopped:
            os.kill(child, signal.SIGSTOP)
        parent.kill()
        assert gone(child, 10.0)
    finally:
        parent.kill()
        parent.communicate()
