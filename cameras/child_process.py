"""A child process that never outlives its parent, and how its end is told."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess

LOG = logging.getLogger("edge.process")
ORPHANED = 3
"""Exit status of a child whose parent was gone before it could be tied to it."""
_PR_SET_PDEATHSIG = 1
_IOLBF = 1


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


def leave_signals_to_parent(*numbers: signal.Signals) -> None:
    """Ignore what is sent to a whole group of processes: the parent ends its children itself."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def write_lines_at_once() -> None:
    """Let what libraries write to C's standard output leave this process line by line.

    Into a pipe it would go by 4 KiB: minutes later, or with the next library's words, or never.
    To be called before any of them writes.
    """
    libc = ctypes.CDLL(None)
    stdout = ctypes.c_void_p.in_dll(libc, "stdout")
    libc.setvbuf(stdout, None, _IOLBF, ctypes.c_size_t(0))


def reap(process: subprocess.Popen[bytes], *, patience_s: float) -> str:
    """Wait for the end of a process, force it if need be; how it ended, in words."""
    try:
        status = process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        try:
            status = process.wait(patience_s)
        except subprocess.TimeoutExpired:  # in a driver that does not return, such as a GPU's
            LOG.error("process %d does not end even when killed", process.pid)
            return "does not end"
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"
