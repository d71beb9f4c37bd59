"""No thread ends unnoticed: it goes on, whoever waits is told, and the process is not ready."""

from __future__ import annotations

import logging
import re
import threading
import time

import pytest
from packages import PACKAGES, ROOT

from process import threads
from process.threads import FAILURES, Failures, GuardedThread, noting_failures

BORN_S = 0.0


@pytest.fixture(autouse=True)
def failures(monkeypatch):
    """Failures of the test alone, and no pauses."""
    own = Failures()
    monkeypatch.setattr(threads, "FAILURES", own)
    monkeypatch.setattr(threads, "PAUSES_S", (0.0,))
    return own


class Work:
    """Raises what it is given, one after another, then ends."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)


def run(thread: GuardedThread) -> None:
    thread.start()
    while thread.is_alive():  # `join` would have it end at its next failure
        time.sleep(0.001)


@pytest.mark.parametrize(
    "error", [MemoryError(), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), SystemExit(1)]
)
def test_a_thread_goes_on_after_whatever_it_raised(error, failures, caplog) -> None:
    work, told = Work(error, error), []
    with caplog.at_level(logging.ERROR):
        run(GuardedThread(work, name="reader", on_failure=told.append))
    assert (work.calls, told) == (3, [error, error])
    assert failures.count == 2
    assert list(failures.reasons(since_s=BORN_S)) == ["reader"]
    assert type(error).__name__ in failures.reasons(since_s=BORN_S)["reader"]
    assert len(caplog.records) == 1, "what comes again and again is logged once"


def test_a_thread_that_cannot_go_on_ends_and_counts_for_good(failures, monkeypatch) -> None:
    work = Work(ValueError("x"))
    run(GuardedThread(work, name="loop", goes_on=False))
    monkeypatch.setattr(threads, "QUIET_S", -1.0)
    assert work.calls == 1
    assert failures.reasons(since_s=BORN_S) == {"loop": "loop failed: ValueError: x"}
    failures.forget("lo")
    assert failures.reasons(since_s=BORN_S) == {}


def test_one_that_went_on_counts_as_well_after_a_while(failures, monkeypatch) -> None:
    failures.note("reader", ValueError("x"), goes_on=True)
    assert failures.reasons(since_s=BORN_S)
    assert not failures.reasons(since_s=time.monotonic()), "before whoever asks was there"
    monkeypatch.setattr(threads, "QUIET_S", -1.0)
    assert not failures.reasons(since_s=BORN_S)
    assert failures.count == 1


def test_whoever_is_told_may_fail_too(failures) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("told")

    failures.listen(fail)
    work = Work(ValueError("x"))
    run(GuardedThread(work, name="reader", on_failure=fail))
    assert (work.calls, failures.count) == (2, 2)


def test_an_awaited_thread_pauses_no_longer(monkeypatch) -> None:
    monkeypatch.setattr(threads, "PAUSES_S", (60.0,))
    failed = threading.Event()
    thread = GuardedThread(
        Work(ValueError(), ValueError(), ValueError()),
        name="reader",
        on_failure=lambda _: failed.set(),
    )
    thread.start()
    assert failed.wait(5)
    thread.join(5)
    assert not thread.is_alive()


def test_the_end_of_a_librarys_thread_is_noted(failures, monkeypatch) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    failures.watch_foreign_threads()
    thread = threading.Thread(target=Work(ValueError("topic")), name="paho")
    thread.start()
    thread.join()
    assert failures.reasons(since_s=BORN_S) == {"paho": "paho failed: ValueError: topic"}


def test_what_a_library_calls_raises_nothing_into_its_thread(failures) -> None:
    noting_failures(Work(ValueError("x")), name="mqtt")()
    assert failures.reasons(since_s=BORN_S) == {"mqtt": "mqtt failed: ValueError: x"}


def test_every_thread_is_a_guarded_one() -> None:
    # Those of anyio, of which the studio has some, hand what fails to whoever waits for them.
    begins = re.compile(
        r"\bthreading\.(Thread|Timer)\b|_thread\b.*import|asyncio\.to_thread|run_in_executor"
        r"|ThreadingMixIn"
    )
    found = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if begins.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"process/threads.py"}
    assert isinstance(FAILURES, Failures)
