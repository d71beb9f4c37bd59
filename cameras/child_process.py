"""A child process that is kept running, and that never outlives its parent.

`ChildProcess` starts it, hears it, kills it when it hangs, reaps it, and starts it again with
growing pauses. The child's side is `cameras.parent_link`.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import math
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import IO, Protocol

from cameras.child_link import Heartbeat, Link, LinkError
from process.threads import GuardedThread

LOG = logging.getLogger("edge.process")
PAUSES_S = (0.1, 0.5, 1.0, 2.0, 5.0)  # before it is started again; the last one for ever
HEALTHY_S = 10.0  # after which the pauses begin anew
START_WITHIN_S = 20.0  # until its first sign of life
STARVED = 5
OVERDUE_AFTER_S = 0.3
CLOSE_WITHIN_S = 1.5  # before it is killed, and from then on
_TICK_S = 0.1
_LINE_BYTES = 4096
_STANDARD_ERROR = 2


@dataclass(frozen=True, slots=True)
class ChildOptions:
    """How a child is started and watched.

    Attributes:
        name: what it is called in reasons, such as ``the worker``.
        command: what is started; the numbers of its link, its heartbeat and `descriptors` are
            appended. See `python_command`.
        kinds: the messages that it may send.
        descriptors: that it inherits.
        environment: variables beside this process's own.
        silent_after_s: without a beat for so long, it is killed; five times as long while it waits
            for nothing but its turn.
        load_within_s: until it is through with what it loads first, during which it may be silent;
            None = it loads nothing.
        overdue: why it is killed when it does not do in time what it was busy with.
        read_line: takes each line that it writes, without its end. Without it, the child writes
            to the standard error of this process.
    """

    name: str
    command: Sequence[str]
    kinds: Collection[type]
    descriptors: tuple[int, ...] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    silent_after_s: float = 2.0
    load_within_s: float | None = None
    overdue: str = "it hangs"
    read_line: Callable[[bytes], None] | None = None


class Ending(enum.Enum):
    """How a child was lost."""

    NOT_STARTED = enum.auto()
    KILLED = enum.auto()  # by this process, for a reason
    BY_ITSELF = enum.auto()


class ChildHandler(Protocol):
    """What uses a child; every call comes from the thread that supervises it."""

    def on_start(self) -> object:
        """Return the message that the child, which is about to be started, is told first."""
        ...

    def on_message(self, message: object) -> None:
        """The child sent a message."""
        ...

    def on_lost(self, ending: Ending, reason: str) -> None:
        """The child is gone, or about to be since it was killed; it is started again."""
        ...


def python_command(module: str) -> tuple[str, ...]:
    """Return the command that runs `main(arguments)` of a module, whatever is started where.

    The child finds its modules where this process finds them.
    """
    code = f"import sys; sys.path[:] = {sys.path!r}; from {module} import main"
    return (sys.executable, "-c", f"{code}; sys.exit(main(sys.argv[1:]))")


@dataclass(slots=True)
class _Life:
    """One running child."""

    process: subprocess.Popen[bytes]
    link: Link
    beats: int  # when they were looked at last
    load_due_s: float
    is_loading: bool
    is_alive: bool = False  # it has given a sign of life
    silent_s: float = 0.0  # that this process was awake for
    overdue_s: float = 0.0
    kill_reason: str = ""
    rest: bytes = b""  # of an unfinished line

    def kill(self, reason: str) -> None:
        """SIGKILL ends a stopped process too."""
        self.kill_reason = self.kill_reason or reason
        self.process.kill()


class ChildProcess:
    """Keeps a child running, from `start` until `close`.

    One thread does it all: the kernel ties the child to the thread that started it.

    Args:
        options: how it is started and watched.
        handler: what uses it.

    Attributes:
        heartbeat: what the child tells of itself; it outlives the child.
        restarts: how often it had to be started again.
    """

    def __init__(self, options: ChildOptions, handler: ChildHandler) -> None:
        self.heartbeat = Heartbeat()
        self.restarts = 0
        self._options = options
        self._handler = handler
        self._tick_s = min(_TICK_S, options.silent_after_s / 10)
        self._closing = threading.Event()
        self._life: _Life | None = None
        self._thread = GuardedThread(
            self._run, name="edge-supervisor", on_failure=self._report_failure
        )

    @property
    def process_id(self) -> int | None:
        """Of the process that runs now; None between two."""
        life = self._life
        return life.process.pid if life is not None else None

    def start(self) -> None:
        """Start the child; returns at once."""
        self._thread.start()

    def send(self, message: object) -> None:
        """Tell the child something; never waits. One that cannot be told is killed."""
        life = self._life
        if life is not None and not life.link.send(message, wait=False):
            life.kill(f"{self._options.name} takes no orders")

    def tell(self, message: object) -> bool:
        """Tell the child what it may miss; never waits. False if it cannot be told now."""
        life = self._life
        return life is not None and life.link.send(message, wait=False)

    def kill(self, reason: str) -> None:
        """Replace the child; any thread may call, and the handler is told by another."""
        life = self._life
        if life is not None:
            life.kill(reason)

    def may_be_silent(self, *, while_loading: bool) -> None:
        """Say whether the child has to load something, during which it may give no sign of life."""
        life = self._life
        if life is not None:
            life.is_loading, life.load_due_s = while_loading, math.inf

    def keep_loading(self) -> None:
        """Give the child as long again for what it loads, which it says moves on."""
        life = self._life
        if life is not None and life.is_loading and math.isfinite(life.load_due_s):
            life.load_due_s = time.monotonic() + (self._options.load_within_s or 0.0)

    def close(self) -> None:
        """End the child and the thread, within 3 s; a second call does nothing."""
        self._closing.set()
        if self._thread.ident is None:  # never started
            self.heartbeat.close()
        elif self._thread is not threading.current_thread():
            self._thread.join()
            self.heartbeat.close()

    def _run(self) -> None:
        try:
            self._keep_running()
        finally:
            if self._closing.is_set():
                self.heartbeat.close()

    def _keep_running(self) -> None:
        attempt = 0
        while not self._closing.is_set():
            began = time.monotonic()
            self._run_once()
            attempt = 0 if time.monotonic() - began > HEALTHY_S else attempt
            if self._closing.wait(PAUSES_S[min(attempt, len(PAUSES_S) - 1)]):
                return
            attempt += 1
            self.restarts += 1

    def _run_once(self) -> None:
        """One life of the child; the handler is told of its end once, unless this is closed."""
        first = self._handler.on_start()
        try:
            life = self._life = self._start()
        except OSError as error:
            self._report_loss(
                Ending.NOT_STARTED, f"{self._options.name} cannot be started: {error}"
            )
            return
        try:
            life.link.send(first)  # if it is gone already, that is seen in a moment
            self._watch(life)
            was_killed = life.kill_reason != ""
            if was_killed:  # its end may keep us waiting
                self._report_loss(Ending.KILLED, life.kill_reason)
        finally:
            self._life = None
            life.link.close()
            status = reap(life.process)
            if life.process.stdout is not None:
                life.process.stdout.close()
        if not was_killed:
            self._report_loss(Ending.BY_ITSELF, f"{self._options.name} ended: {status}")

    def _report_failure(self, error: BaseException) -> None:
        """The thread failed, and with it ended the child; another one is started."""
        self.restarts += 1
        reason = f"{self._options.name} was ended: {type(error).__name__}: {error}"
        self._report_loss(Ending.KILLED, reason)

    def _report_loss(self, ending: Ending, reason: str) -> None:
        if not self._closing.is_set():
            self._handler.on_lost(ending, reason)

    def _start(self) -> _Life:
        options = self._options
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        handed = (theirs.fileno(), self.heartbeat.descriptor, *options.descriptors)
        self.heartbeat.due_ns = 0
        piped = options.read_line is not None
        try:
            process = subprocess.Popen(
                [*options.command, *map(str, handed)],
                pass_fds=handed,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else _STANDARD_ERROR,
                stderr=subprocess.STDOUT if piped else None,
                env={**os.environ, **options.environment},
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        if process.stdout is not None:
            os.set_blocking(process.stdout.fileno(), False)
        loading = options.load_within_s is not None
        due_s = time.monotonic() + (options.load_within_s or 0.0)
        return _Life(process, Link(ours, options.kinds), self.heartbeat.beats, due_s, loading)

    def _watch(self, life: _Life) -> None:
        """Hear what the child says until it is gone, has to go, or this is closed."""
        poll = select.poll()
        poll.register(life.link, select.POLLIN)
        output = life.process.stdout
        if output is not None:
            poll.register(output, select.POLLIN)
        last_s = time.monotonic()
        while not self._closing.is_set() and not life.kill_reason:
            ready = dict(poll.poll(self._tick_s * 1000))
            # First what libraries wrote: it explains what the process then says.
            if (
                output is not None
                and output.fileno() in ready
                and not self._read_output(life, output)
            ):
                poll.unregister(output)
            if life.link.fileno() in ready and not self._take_message(life):
                return
            now_s = time.monotonic()
            if reason := self._find_kill_reason(life, min(now_s - last_s, 2 * self._tick_s)):
                life.kill(reason)
            last_s = now_s

    def _take_message(self, life: _Life) -> bool:
        """Take one message; False if there will be no more."""
        try:
            message = life.link.receive()
        except EOFError:
            return False
        except LinkError as error:
            life.kill(f"{self._options.name} sent an unreadable message: {error}")
            return True
        life.is_alive = True
        if not life.kill_reason:
            self._handler.on_message(message)
        return True

    def _find_kill_reason(self, life: _Life, awake_s: float) -> str:
        """Why the child has to be killed, or an empty string.

        Args:
            life: the child's.
            awake_s: since the last time, no more than two ticks. Only time counts that this
                process was awake for: it may have been held up as well, with the whole machine,
                and the child may not have had its turn since.
        """
        options = self._options
        beats = self.heartbeat.beats
        is_silent = beats == life.beats and not life.is_loading
        life.silent_s = life.silent_s + awake_s if is_silent else 0.0
        life.is_alive = life.is_alive or beats != life.beats
        life.beats = beats
        due_ns = self.heartbeat.due_ns
        overdue = due_ns != 0 and time.monotonic_ns() > due_ns
        life.overdue_s = life.overdue_s + awake_s if overdue else 0.0
        if life.is_loading:
            late = time.monotonic() > life.load_due_s
            return (
                f"{options.name} was not ready within {options.load_within_s:g} s" if late else ""
            )
        patience_s = options.silent_after_s if life.is_alive else START_WITHIN_S
        # One that has not had its turn does not hang; one that never leaves a loop does.
        if life.silent_s >= patience_s * STARVED or (
            life.silent_s >= patience_s and not _is_runnable(life.process.pid)
        ):
            return f"{options.name} gave no sign of life for {life.silent_s:.2g} s"
        return options.overdue if life.overdue_s >= OVERDUE_AFTER_S else ""

    def _read_output(self, life: _Life, output: IO[bytes]) -> bool:
        """Hand on the lines that the child wrote; False if there will be no more."""
        try:
            data = os.read(output.fileno(), 1 << 16)
        except BlockingIOError:
            return True
        *lines, rest = (life.rest + data).split(b"\n")
        life.rest = rest[-_LINE_BYTES:]
        for line in lines:
            if self._options.read_line is not None:
                self._options.read_line(line)
        return bool(data)


def reap(process: subprocess.Popen[bytes]) -> str:
    """Wait for the end of a process, force it if need be; how it ended, in words."""
    try:
        status = process.wait(CLOSE_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        try:
            status = process.wait(CLOSE_WITHIN_S)
        except subprocess.TimeoutExpired:  # in a driver that does not return, such as a GPU's
            LOG.error("process %d does not end even when killed", process.pid)
            return "does not end"
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"


def _is_runnable(process_id: int) -> bool:
    """Whether a process waits for nothing but its turn: on a busy machine that is no fault."""
    states = set()
    for task in Path(f"/proc/{process_id}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # the thread has just ended
            states.add(task.read_bytes().rpartition(b")")[2].split()[0])
    return b"R" in states
