"""The side of a child that `cameras.child_process` started; nobody else starts it.

It ends with its parent, however that ends: a thread sees the end of the link, and the kernel kills
it when its parent is gone, even if it is stopped or deep in a driver.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

from cameras.child_link import Heartbeat, Link
from process.threads import FAILURES, GuardedThread

BEAT_S = 0.05
LEAVE_WITHIN_S = 1.0  # after the parent has hung up
ORPHANED = 3
"""Exit status of a child whose parent was gone before it could be tied to it."""
_PR_SET_PDEATHSIG = 1
_IOLBF = 1


@dataclass(frozen=True, slots=True)
class ParentLink:
    """What a child has of its parent.

    Attributes:
        link: to the parent.
        heartbeat: a thread beats it until the parent is gone.
        descriptors: that were handed on, in the order of `ChildOptions.descriptors`.
        is_gone: set when the parent has hung up. The process ends by force a second later.
    """

    link: Link
    heartbeat: Heartbeat
    descriptors: tuple[int, ...]
    is_gone: threading.Event


def connect_to_parent(arguments: Sequence[str], kinds: Collection[type]) -> ParentLink:
    """Tie this process to its parent's life, leave signals to it, and begin to beat.

    Args:
        arguments: the numbers that `ChildProcess` appended to its command.
        kinds: the messages that the parent may send.
    """
    parent_id = tie_to_parent()
    FAILURES.watch_foreign_threads()
    # What is sent to a whole group of processes: the parent ends its children itself.
    for group_signal in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(group_signal, signal.SIG_IGN)
    end, heartbeat, *others = map(int, arguments)
    for number in (end, heartbeat, *others):
        os.set_inheritable(number, False)
    parent = ParentLink(
        Link(socket.socket(fileno=end), kinds),
        Heartbeat(heartbeat),
        tuple(others),
        threading.Event(),
    )
    # Without a beat the parent ends this process, and starts another.
    GuardedThread(partial(_beat, parent, parent_id), name="edge-beat", goes_on=False).start()
    return parent


def _beat(parent: ParentLink, parent_id: int) -> None:
    """Give signs of life until the parent hangs up; then end, at once if need be."""
    poll = select.poll()
    poll.register(parent.link, 0)  # its end alone
    while not poll.poll(BEAT_S * 1000) and os.getppid() == parent_id:
        parent.heartbeat.beats += 1
    parent.is_gone.set()
    time.sleep(LEAVE_WITHIN_S)
    os._exit(0)  # a wait in a driver that does not end


def tie_to_parent() -> int:
    """Let the kernel kill this process when its parent ends; the parent's number.

    What counts is the parent's *thread* that started this process: start it from one that lives
    as long as it shall. The kernel kills it even while it is stopped.
    """
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died just before
        os._exit(ORPHANED)
    return parent


def write_lines_at_once() -> None:
    """Let what libraries write to C's standard output leave this process line by line.

    Into a pipe it would go by 4 KiB: minutes later, or with the next library's words, or never.
    To be called before any of them writes.
    """
    libc = ctypes.CDLL(None)
    stdout = ctypes.c_void_p.in_dll(libc, "stdout")
    libc.setvbuf(stdout, None, _IOLBF, ctypes.c_size_t(0))
