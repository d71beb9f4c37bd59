"""A thread that looks after inspectors: tests them now and then, and loads newer bundles.

It stands between no frame and its verdict: opening a bundle may take minutes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from edge.inspection.hot_swap import HotSwapInspector
from process.threads import GuardedThread

LOOK_S = 1.0
RETRY_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds from a failed self-test to the next, the last one for ever."""
_CLOSE_S = 0.3


@dataclass(eq=False, slots=True)
class _Charge:
    """An inspector that is looked after."""

    inspector: HotSwapInspector
    bundle: Path | None
    seen: tuple[int, ...] | None
    test_due_s: float
    failures: int = 0


class Upkeep(AbstractContextManager["Upkeep"]):
    """Looks after inspectors, from `with` to its end.

    Args:
        self_test_s: seconds between two tests with the golden images; 0 = none but at birth.
        watch_bundles: whether a bundle that is built anew is taken into use.
        on_reload: called with True before each attempt to replace an inspector, with False after.
    """

    def __init__(
        self,
        *,
        self_test_s: float,
        watch_bundles: bool = False,
        on_reload: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._self_test_s = self_test_s
        self._watch_bundles = watch_bundles
        self._on_reload = on_reload
        self._charges: list[_Charge] = []
        self._asked = threading.Event()  # to reload
        self._awake = threading.Event()
        self._over = threading.Event()
        self._thread = GuardedThread(self._run, name="edge-upkeep")

    def add(self, inspector: HotSwapInspector, *, bundle: Path | None = None) -> None:
        """Look after another inspector.

        Args:
            inspector: is looked after.
            bundle: the folder that is watched for a newer one.
        """
        due = time.monotonic() + (self._self_test_s or float("inf"))
        self._charges.append(_Charge(inspector, bundle, _signature(bundle), due))

    def watch(self, inspector: HotSwapInspector, bundle: Path) -> None:
        """Watch another folder for a newer bundle of an inspector that is looked after."""
        for charge in self._charges:
            if charge.inspector is inspector:
                charge.seen, charge.bundle = _signature(bundle), bundle

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

    def __exit__(self, *_: object) -> None:
        self.close()

    def __enter__(self) -> Upkeep:
        self._thread.start()
        return self

    def _run(self) -> None:
        while not self._over.is_set():
            self._awake.wait(LOOK_S)
            self._awake.clear()
            asked = self._asked.is_set()
            self._asked.clear()
            for charge in list(self._charges):
                if self._over.is_set():
                    return
                self._look_after(charge, asked=asked)

    def _look_after(self, charge: _Charge, *, asked: bool) -> None:
        if asked or (self._watch_bundles and _is_newer(charge)):
            charge.seen = _signature(charge.bundle)
            self._reload(charge.inspector)
        if time.monotonic() < charge.test_due_s:
            return
        if charge.inspector.test():
            charge.failures = 0
            wait_s = self._self_test_s
        else:
            wait_s = RETRY_S[min(charge.failures, len(RETRY_S) - 1)]
            charge.failures += 1
        charge.test_due_s = time.monotonic() + wait_s

    def _reload(self, inspector: HotSwapInspector) -> None:
        self._on_reload(True)
        try:
            inspector.reload()
        finally:
            self._on_reload(False)


def _is_newer(charge: _Charge) -> bool:
    signature = _signature(charge.bundle)
    return signature is not None and signature != charge.seen


def _signature(bundle: Path | None) -> tuple[int, ...] | None:
    """What changes when a bundle is built anew; None while there is none."""
    if bundle is None:
        return None
    try:
        status = (bundle / "manifest.json").stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
