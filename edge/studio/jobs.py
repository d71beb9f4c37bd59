"""Long work in processes of its own, one of a kind at a time; it outlives the browser's visit."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any, Literal

from cameras.child_process import python_command
from edge.studio.child import JobInput, JobWork
from edge.studio.refusals import RefusalError
from process.threads import GuardedThread

MAX_LINES = 200
END_WITHIN_S = 15.0
"""From a cancel to the end by force: what runs a line completes its records."""
JobState = Literal["running", "done", "failed", "cancelled", "killed"]


@dataclass(slots=True)
class JobStage:
    """How far a part of a job is.

    Attributes:
        name: of the stage.
        share: from 0 to 1.
        seconds: since its begin, or that it took.
        line: how it goes.
    """

    name: str
    share: float = 0.0
    seconds: float = 0.0
    line: str = ""
    begun_s: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class StudioJob:
    """A job, running or ended.

    Attributes:
        kind: there is one of a kind at a time.
        number: another for each, since the studio began.
        given: what it was started with.
        by: who started it.
        state: ``killed`` if its process ended without a word.
        stages: in their order.
        lines: that it said, the last ones.
        result: when it is done.
        error: why it failed.
        seconds: that it took, or has taken so far.
    """

    kind: str
    number: int
    given: JobInput
    by: str
    state: JobState = "running"
    stages: dict[str, JobStage] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    result: JobInput | None = None
    error: str = ""
    seconds: float = 0.0
    begun_s: float = field(default_factory=time.monotonic)
    process: subprocess.Popen[bytes] | None = None
    is_cancelled: bool = False

    def to_json(self) -> dict[str, Any]:
        """As the page has it."""
        stages = [
            {"name": one.name, "share": one.share, "line": one.line, "seconds": one.seconds}
            for one in self.stages.values()
        ]
        return {
            "kind": self.kind,
            "number": self.number,
            "given": self.given,
            "state": self.state,
            "stages": stages,
            "lines": list(self.lines),
            "result": self.result,
            "error": self.error,
            "seconds": round(self.seconds, 1),
        }


class Jobs:
    """Starts, follows and ends jobs; any thread may call.

    Args:
        on_end: told of each job that has ended.
    """

    def __init__(self, on_end: Callable[[StudioJob], None]) -> None:
        self._on_end = on_end
        self._lock = threading.Condition()
        self._latest: dict[str, StudioJob] = {}
        self._threads: dict[str, GuardedThread] = {}
        self._number = 0
        self._is_closed = False

    def start(self, kind: str, work: JobWork, given: JobInput, *, by: str) -> StudioJob:
        """Start a job.

        Args:
            kind: of which none may run.
            work: a function at the top of a module.
            given: to it, plain values.
            by: who starts it.

        Raises:
            RefusalError: one of the kind runs.
        """
        with self._lock:
            if self._is_closed or self._is_running(kind):
                raise RefusalError("studio.job_runs")
            self._number += 1
            job = StudioJob(kind, self._number, given, by)
            # The kernel ties the process to the thread that starts it.
            thread = GuardedThread(
                lambda: self._run(job, work), name=f"edge-job-{kind}", goes_on=False
            )
            self._latest[kind], self._threads[kind] = job, thread
            thread.start()
        return job

    def latest(self, kind: str) -> dict[str, Any] | None:
        """The last job of a kind, as the page has it; None before the first."""
        with self._lock:
            job = self._latest.get(kind)
            if job is None:
                return None
            self._tick(job)
            return job.to_json()

    def is_running(self, kind: str) -> bool:
        """Whether one of a kind runs."""
        with self._lock:
            return self._is_running(kind)

    def cancel(self, kind: str) -> None:
        """Tell a job to end; it is killed if it does not.

        Raises:
            RefusalError: none runs.
        """
        with self._lock:
            job = self._latest.get(kind)
            if job is None or job.state != "running":
                raise RefusalError("studio.no_job")
            job.is_cancelled = True
            _signal(job.process, signal.SIGTERM)
        GuardedThread(lambda: self._end(job), name=f"edge-end-{kind}", goes_on=False).start()

    def close(self) -> None:
        """End all jobs and wait for them."""
        with self._lock:
            self._is_closed = True
            running = [job for job in self._latest.values() if job.state == "running"]
            for job in running:
                job.is_cancelled = True
                _signal(job.process, signal.SIGTERM)
            threads = list(self._threads.values())
        for job in running:
            self._end(job)
        for thread in threads:
            thread.join()

    def _is_running(self, kind: str) -> bool:
        job = self._latest.get(kind)
        return job is not None and job.state == "running"

    def _run(self, job: StudioJob, work: JobWork) -> None:
        """Start a job's process, hear it, and find out how it ended."""
        try:
            process, pipe = _start(work)
        except OSError as error:
            self._finish(job, "failed", f"cannot be started: {error}")
            return
        with pipe, process:
            with self._lock:
                job.process = process
                if job.is_cancelled:
                    _signal(process, signal.SIGTERM)
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError), process.stdin:
                process.stdin.write(json.dumps(job.given).encode())
            for line in pipe:
                with self._lock, contextlib.suppress(ValueError):  # a kill tore the last one
                    _take(job, json.loads(line))
            status = process.wait()
        if job.result is not None:
            self._finish(job, "done")
        elif job.is_cancelled:
            self._finish(job, "cancelled")
        elif job.error:
            self._finish(job, "failed", job.error)
        else:
            how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
            self._finish(job, "killed", how)

    def _finish(self, job: StudioJob, state: JobState, error: str = "") -> None:
        with self._lock:
            self._tick(job)
            job.state, job.error, job.process = state, error, None
            self._lock.notify_all()
        self._on_end(job)

    def _end(self, job: StudioJob) -> None:
        with self._lock:
            if not self._lock.wait_for(lambda: job.state != "running", timeout=END_WITHIN_S):
                _signal(job.process, signal.SIGKILL)

    def _tick(self, job: StudioJob) -> None:
        """Bring the times up to now."""
        if job.state != "running":
            return
        now = time.monotonic()
        job.seconds = now - job.begun_s
        for stage in job.stages.values():
            if stage.share < 1:
                stage.seconds = round(now - stage.begun_s, 1)


def _take(job: StudioJob, entry: dict[str, Any]) -> None:
    """Take what a job's process told."""
    if "stage" in entry:
        stage = job.stages.setdefault(entry["stage"], JobStage(entry["stage"]))
        stage.line = entry.get("line", stage.line)
        stage.share = entry.get("share", stage.share)
        stage.seconds = round(time.monotonic() - stage.begun_s, 1)
    if "say" in entry:
        job.lines = [*job.lines[1 - MAX_LINES :], entry["say"]]
    job.result = entry.get("result", job.result)
    job.error = entry.get("error", job.error)


def _start(work: JobWork) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """Start a process for a function of a module's top; with it comes what it reports."""
    ours, theirs = os.pipe()
    try:
        process = subprocess.Popen(
            [*python_command("edge.studio.child"), work.__module__, work.__name__, str(theirs)],
            stdin=subprocess.PIPE,
            stdout=2,  # what libraries print, beside the log
            pass_fds=(theirs,),
            start_new_session=True,
        )
    except OSError:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return process, os.fdopen(ours, "rb")


def _signal(process: subprocess.Popen[bytes] | None, number: signal.Signals) -> None:
    """Send a signal to a process and all that it has started."""
    if process is not None and process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
