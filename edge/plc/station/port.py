"""What a bridge sees of a station, and what a bridge is.

A bridge reads `Snapshot`, which is a copy and never changes, and calls the methods of `Port`, which
any thread may call and none of which waits for an inspection.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, TypeAlias

from edge.plc.station.snapshot import Control, ErrorCode, InspectionResult, Snapshot

Listener: TypeAlias = Callable[[Snapshot], None]
ResultListener: TypeAlias = Callable[[InspectionResult], None]
Cancel: TypeAlias = Callable[[], None]


class Port(Protocol):
    """What a bridge sees of a station. Thread-safe; nothing waits unless it says so."""

    def snapshot(self) -> Snapshot:
        """Return everything there is to show now; deadlines that have passed count."""
        ...

    def control(self, control: Control, *, source: str = "plc") -> Snapshot:
        """Take the levels that a PLC sets, act on their edges, and return what follows.

        Args:
            control: all levels of this source.
            source: whose levels they are, such as ``modbus``; edges are found within a source.
        """
        ...

    def trigger(
        self, *, trigger_id: int = 0, part_id: int = 0, deadline_ms: float | None = None
    ) -> int | None:
        """Start an inspection; its `seq`, or None if the station is not ready (counted as missed).

        Raises:
            ValueError: an id or a deadline out of range.
        """
        ...

    def acknowledge(self, seq: int | None = None) -> bool:
        """Acknowledge and clear the result; False if there is none or it has another `seq`."""
        ...

    def reset(self) -> None:
        """Clear a fault and what was latched; the station comes back when the worker is there."""
        ...

    def recipe(self, recipe_id: int) -> bool:
        """Begin to change the recipe; False if it is not possible now. See `Snapshot.command`."""
        ...

    async def inspect_async(
        self, *, trigger_id: int = 0, part_id: int = 0, deadline_ms: float | None = None
    ) -> InspectionResult:
        """Trigger, wait for the result, which is acknowledged. Waits without blocking the loop.

        A deadline that passes gives REJECT with DEADLINE, a fault meanwhile REJECT and ABORTED.

        Raises:
            StationError: not ready; counted as missed.
            ValueError: an id or a deadline out of range.
        """
        ...

    async def recipe_async(self, recipe_id: int) -> ErrorCode:
        """Change the recipe and wait until it is loaded; NONE, or why it was not."""
        ...

    def on_result(self, listener: ResultListener) -> Cancel:
        """Call a listener once for each result, in order.

        It is called in a thread of its own, so it delays neither the PLC nor the inspection. It
        should return soon: when 1000 calls are waiting, further ones are lost, which is logged.
        A listener that raises is logged and not called again.
        """
        ...

    def on_change(self, listener: Listener) -> Cancel:
        """Call a listener whenever anything but the heartbeat has changed; see `on_result`."""
        ...

    def flush(self, timeout_s: float = 2.0) -> bool:
        """Wait until every listener has seen what was decided so far; False if it takes longer.

        Bridges call it when they close, before they remove their listeners; a station's `close`
        does the same. A listener that calls it gets False at once: it would wait for itself.
        """
        ...


class Bridge(Protocol):
    """What a bridge is: complete at birth, it serves until it is closed.

    `edge.plc.NAME.bridge` has ``NAMEBridge(port: Port, section: NAMESection)``, and
    `edge.plc.NAME.section` that pydantic section of ``edge.toml``; see `edge.plc.bridges`.
    """

    @property
    def where(self) -> str:
        """Its address, for the log: ``modbus tcp://127.0.0.1:502``."""
        ...

    @property
    def trouble(self) -> str:
        """What it cannot do now although it serves; empty if nothing. Any thread may ask."""
        ...

    def close(self) -> None:
        """Stop serving; a second call does nothing."""
        ...

    def __enter__(self) -> Bridge: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
