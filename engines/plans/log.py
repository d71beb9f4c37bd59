"""What TensorRT says while it works: one logger for a module; each reader gets its part.

TensorRT keeps the first logger it is given for as long as anything made with it lives, and ignores
every later one. With a logger for each plan, the list of layers of a plan that is compiled while
another one runs would go to the wrong place, and nothing could be said about its precision.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

MAX_UNREAD = 64  # messages that nobody has asked for
LAYERS = "Layers:"  # how TensorRT-RTX's list of layers begins


@dataclass(slots=True)
class BuildMessages:
    """What was said meanwhile.

    Attributes:
        errors: in order.
        layers: TensorRT-RTX's list of layers; empty if it gave none.
    """

    errors: list[str] = field(default_factory=list)
    layers: str = ""

    def text(self) -> str:
        """The errors in one line, each once."""
        return "; ".join(dict.fromkeys(self.errors))


class _Messages:
    """What was said and not read yet, and who listens meanwhile."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._errors: deque[str] = deque(maxlen=MAX_UNREAD)
        self._listeners: list[BuildMessages] = []

    def record(self, message: str, *, is_error: bool) -> None:
        with self._lock:
            if is_error:
                self._errors.append(message)
            for listener in self._listeners:
                if is_error:
                    listener.errors.append(message)
                elif message.startswith(LAYERS):
                    listener.layers = message

    def take_errors(self) -> str:
        """The errors since this was last called, in one line."""
        with self._lock:
            errors = BuildMessages(list(self._errors))
            self._errors.clear()
        return errors.text()

    @contextmanager
    def collect(self) -> Iterator[BuildMessages]:
        """All that is said while the block runs."""
        said = BuildMessages()
        with self._lock:
            self._listeners.append(said)
        try:
            yield said
        finally:
            with self._lock:
                self._listeners.remove(said)


@cache
def quiet_logger(trt: Any) -> Any:
    """The logger of a TensorRT module: prints nothing, keeps what went wrong; see `_Messages`."""

    class Log(trt.ILogger, _Messages):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            _Messages.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            failures = (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR)
            self.record(message, is_error=severity in failures)

    return Log()
