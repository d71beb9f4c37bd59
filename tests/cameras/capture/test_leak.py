"""A camera's library that leaks with each opening: the process that captures ends in time."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from cameras.capture import child
from cameras.capture.messages import Lost
from cameras.errors import CameraError


class Leaking:
    """A camera that is off, and whose library keeps memory with each attempt."""

    def __init__(self, leaked: int) -> None:
        self.kept: list[np.ndarray] = []
        self._leaked = leaked

    def open(self):
        self.kept.append(np.ones(self._leaked, np.uint8))
        raise CameraError("is not there")


class Outlet:
    """Where the process would tell its parent."""

    def __init__(self, stop: threading.Event) -> None:
        self.heartbeat = self
        self.told: list[str] = []
        self._stop = stop

    def tell(self, message: Lost) -> None:
        self.told.append(message.reason)
        if len(self.told) == 60:
            self._stop.set()


@pytest.mark.parametrize(("leaked", "most"), [(40 << 20, 40), (0, 60)])
def test_a_process_whose_library_leaks_ends_and_one_that_does_not_goes_on(
    monkeypatch, leaked, most
) -> None:
    monkeypatch.setattr(child, "MAX_LEAKED_BYTES", 16 << 20)
    monkeypatch.setattr(child, "BACKOFF_S", (0.0,))
    stop = threading.Event()
    outlet = Outlet(stop)
    capture = child._Capture(Leaking(leaked), outlet, stall_ns=10**9, stop=stop)
    capture.run()
    assert set(outlet.told) == {"is not there"}
    assert len(outlet.told) <= most
    assert stop.is_set() is not bool(leaked)
