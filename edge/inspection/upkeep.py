"""A thread that cares for inspectors at work: tests them now and then, and takes newer bundles.

It stands between no frame and its verdict: opening a bundle may take minutes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cameras.closing import Closing
from edge.inspection.hot_swap import Exchange

LOOK_S = 1.0
RETRY_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds from a failed self-test to the next, the last one for ever."""
_CLOSE_S = 0.3


@dataclass(eq=False, slots=True)
class _Cared:
    """An inspector to care for."""

    exchange: Exchange
    bundle: Path | None
    seen: tuple[int, ...] | None
    test_due_s: float
    failures: int = 0


class Care(Closing):
    """Cares for inspectors, from `with` to its end.

    Args:
        self_test_s: seconds between two tests with the golden images; 0 = none but at birth.
        watch_bundles: whether a bundle that is built anew is taken into use.
        around: called before and after each exchange that is tried, with True and False.
    """

    def __init__(
        self,
        *,
        self_test_s: float,
        watch_bundles: bool = False,
        around: Callable[[bool], None] | None = None,
    ) -> None:
        self._self_test_s = self_test_s
        self._watch_bundles = watch_bundles
        self._around = around
        self._cared: list[_Cared] = []
        self._asked = threading.Event()  # to reload
        self._awake = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edge-care", daemon=True)

    def add(self, exchange: Exchange, *, bundle: Path | None = None) -> None:
        """Care for another inspector.

        Args:
            exchange: holds it.
            bundle: the folder that is watched for a newer one.
        """
        due = time.monotonic() + (self._self_test_s or float("inf"))
        self._cared.append(_Cared(exchange, bundle, _signature(bundle), due))

    def reload(self) -> None:
        """Open all inspectors anew, soon; any thread and a signal handler may call it."""
        self._asked.set()
        self._awake.set()

    def close(self) -> None:
        """End the thread; a test that is under way is not waited for. Twice is once."""
        self._over.set()
        self._awake.set()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_S)

    def __enter__(self) -> Care:
        self._thread.start()
        return self

    def _run(self) -> None:
        while not self._over.is_set():
            self._awake.wait(LOOK_S)
            self._awake.clear()
            asked = self._asked.is_set()
            self._asked.clear()
            for cared in list(self._cared):
                if self._over.is_set():
                    return
                self._look_after(cared, asked=asked)

    def _look_after(self, cared: _Cared, *, asked: bool) -> None:
        if asked or (self._watch_bundles and _is_newer(cared)):
            cared.seen = _signature(cared.bundle)
            self._reload(cared.exchange)
        if time.monotonic() < cared.test_due_s:
            return
        if cared.exchange.test():
            cared.failures = 0
            wait_s = self._self_test_s
        else:
            wait_s = RETRY_S[min(cared.failures, len(RETRY_S) - 1)]
            cared.failures += 1
        cared.test_due_s = time.monotonic() + wait_s

    def _reload(self, exchange: Exchange) -> None:
        if self._around is None:
            exchange.reload()
            return
        self._around(True)
        exchange.reload()
        self._around(False)


def _is_newer(cared: _Cared) -> bool:
    signature = _signature(cared.bundle)
    return signature is not None and signature != cared.seen


def _signature(bundle: Path | None) -> tuple[int, ...] | None:
    """What changes when a bundle is built anew; None while there is none."""
    if bundle is None:
        return None
    try:
        status = (bundle / "manifest.json").stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
