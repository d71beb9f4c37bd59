"""An inspector that can be replaced while it inspects, without losing a frame.

Another one is opened and tested beside the one at work, takes over between two frames, and the old
one is released when its last inspection has ended. What cannot be opened, or fails its self-test,
changes nothing. One at work that no longer passes gives ERROR for everything until one does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from cameras.frame import Frame
from edge.health.checks import ImageChecks
from edge.inspection.failure_reason import reason_from_failure
from edge.inspection.inspector import Inspector
from edge.inspection.verdict import DecisionSettings
from edge.result import Result, error_from_frame
from engines.errors import BundleError, EngineError
from process.threads import FAILURES

REFUSALS = (BundleError, EngineError, ValueError, OSError, MemoryError)
"""What opening a bundle may raise."""
RELEASE_S = 5.0
CLOSE_S = 0.5
_log = logging.getLogger("edge.inspection.hot_swap")


@dataclass(eq=False, slots=True)
class _InspectorSlot:
    """An inspector, and why it failed its check; empty when it passed."""

    inspector: Inspector
    failed_check: str = ""


class HotSwapInspector(AbstractContextManager["HotSwapInspector"]):
    """Holds the inspector that is at work; complete at birth, released by `close`.

    Any thread may call it. Each `inspect` runs on one inspector from beginning to end.

    Args:
        open_it: opens an inspector, which tests itself.
        name: of the camera or station, for the log.

    Attributes:
        reloads: how often another one took over.
        refused: how often another one could not be opened, or failed its test.
        failed_tests: how often the one at work failed.
        tested_s: monotonic time at which the one at work last passed.
        judged: the inspector whose `inspect` ended last; None before the first.

    Raises:
        BundleError, EngineError, ValueError, OSError, MemoryError: `open_it` does, at birth.
    """

    def __init__(self, open_it: Callable[[], Inspector], *, name: str = "inspector") -> None:
        self.name = name
        self.reloads = 0
        self.refused = 0
        self.failed_tests = 0
        self.judged: Inspector | None = None
        self._closed = False
        self._open_it = open_it
        self._swapping = threading.Lock()
        self._changed = threading.Condition()
        self._at_work: dict[int, tuple[_InspectorSlot, float]] = {}  # by thread, since when
        self._slot: _InspectorSlot | None = _InspectorSlot(open_it())
        self.tested_s = time.monotonic()

    @property
    def inspector(self) -> Inspector:
        """The one at work.

        Raises:
            EngineError: it is closed.
        """
        return self._current().inspector

    @property
    def failed_check(self) -> str:
        """Why nothing that the one at work says can be trusted; empty when it can."""
        slot = self._slot
        return slot.failed_check if slot is not None else ""

    @property
    def settings(self) -> DecisionSettings:
        """Of the inspector at work."""
        return self.inspector.settings

    @property
    def health(self) -> ImageChecks:
        """Of the inspector at work."""
        return self._current().inspector.health

    @property
    def engine_reason(self) -> str:
        """Of the inspector at work."""
        return self.inspector.engine_reason

    def inspect(self, frame: Frame) -> Result:
        """Judge a frame, as `Inspector.inspect`; ERROR while the inspector is not trusted."""
        with self._using() as slot:
            result = slot.inspector.inspect(frame)
            self.judged = slot.inspector
            if slot.failed_check:  # asked afterwards: the test may have failed meanwhile
                threshold = slot.inspector.settings.threshold
                return error_from_frame(frame, threshold=threshold, reason=slot.failed_check)
            return result

    def busy_s(self) -> float:
        """Seconds that the longest inspection under way has taken; 0 without any."""
        with self._changed:
            begun = [since for _, since in self._at_work.values()]
        return time.monotonic() - min(begun) if begun else 0.0

    def swap(self, open_it: Callable[[], Inspector]) -> None:
        """Let another inspector take over; it is what `reload` opens from now on.

        Raises:
            Exception: what `open_it` raises; then nothing has changed.
        """
        with self._swapping:
            self._swap_in(open_it())
            self._open_it = open_it

    def reload(self) -> bool:
        """Open the inspector anew and let it take over, if it passes; else all stays as it was.

        Returns:
            Whether it took over; why not is in the log.
        """
        with self._swapping:
            return self._reload()

    def test(self) -> bool:
        """Test the inspector at work; one that fails is no longer trusted, and opened anew.

        Returns:
            Whether there is one that can be trusted.
        """
        with self._swapping:
            try:
                with self._using() as slot:
                    slot.inspector.check()
            except Exception as error:  # noqa: BLE001  # whatever it is, it did not pass
                self._lose_trust(slot, reason_from_failure(f"{self.name}: a self-test", error))
                return self._reload()
            self.tested_s = time.monotonic()
            if slot.failed_check:
                _log.warning("%s: passes its self-test again", self.name)
                slot.failed_check = ""
            return True

    def close(self) -> None:
        """Release the inspector; a second call does nothing.

        What hangs is abandoned; what is just being opened is released when it is open.
        """
        self._closed = True
        if not self._swapping.acquire(timeout=CLOSE_S):
            return
        try:
            self._swap_in(None, within_s=CLOSE_S)
        finally:
            self._swapping.release()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _current(self) -> _InspectorSlot:
        slot = self._slot
        if slot is None:
            raise EngineError(f"{self.name}: the inspector is closed; open it again")
        return slot

    @contextmanager
    def _using(self) -> Iterator[_InspectorSlot]:
        """The inspector at work, which is not released meanwhile."""
        thread = threading.get_ident()
        with self._changed:
            slot = self._current()
            self._at_work[thread] = (slot, time.monotonic())
        try:
            yield slot
        finally:
            with self._changed:
                del self._at_work[thread]
                self._changed.notify_all()

    def _reload(self) -> bool:
        try:
            inspector = self._open_it()
        except Exception as error:  # noqa: BLE001  # the border: the one at work goes on
            if not isinstance(error, REFUSALS):
                FAILURES.note(f"{self.name}: a reload", error, goes_on=True)
            self.refused += 1
            goes_on = "every verdict is ERROR" if self.failed_check else "the one at work goes on"
            _log.error("%s: not replaced, %s: %s", self.name, goes_on, error or "no memory")
            return False
        self._swap_in(inspector)
        return True

    def _swap_in(self, inspector: Inspector | None, *, within_s: float = RELEASE_S) -> None:
        """Let an inspector take over, then release the one before."""
        if self._closed and inspector is not None:
            inspector.close()
            inspector = None
        after = None if inspector is None else _InspectorSlot(inspector)
        with self._changed:
            before, self._slot = self._slot, after
            if after is not None:
                self.tested_s = time.monotonic()
                self.reloads += 1
            released = self._changed.wait_for(lambda: not self._is_used(before), within_s)
        if before is not None and released:
            before.inspector.close()
        elif before is not None:
            _log.warning("%s: an inspection did not stop; abandoning its engine", self.name)
        if inspector is not None:
            manifest = inspector.bundle.manifest
            _log.info("%s: %s of %s took over", self.name, manifest.name, manifest.created)

    def _is_used(self, slot: _InspectorSlot | None) -> bool:
        return any(one is slot for one, _ in self._at_work.values())

    def _lose_trust(self, slot: _InspectorSlot, why: str) -> None:
        self.failed_tests += 1
        slot.failed_check = f"self-test failed: {why}"
        since = time.monotonic() - self.tested_s
        _log.error(
            "%s: %s; every verdict is ERROR from here, and those of the last %.0f s are in doubt",
            *(self.name, slot.failed_check, since),
        )
