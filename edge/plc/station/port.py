"""What a bridge gets of a station, and what a bridge is.

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
    """What a bridge gets of a station. Thread-safe; nothing here waits, except where it says so."""

    def snapshot(self) -> Snapshot:
        """Everything there is to show, of this moment; deadlines that have passed are in it."""
        ...

    def control(self, control: Control, *, source: str = "plc") -> Snapshot:
        """Take the levels that a PLC sets, find the edges, act; returns what follows from them.

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

        It is called in a thread of the station that does nothing else, so that it delays neither
        the PLC nor the inspection. It shall return soon: 1000 results wait at most, what comes
        then is lost and logged. One that raises is logged and not called again.
        """
        ...

    def on_change(self, listener: Listener) -> Cancel:
        """Call a listener whenever anything but the heartbeat changed; the rules of `on_result`."""
        ...

    def flush(self, timeout_s: float = 2.0) -> bool:
        """Wait until every listener has got what was decided so far; False if it takes longer.

        For the end of a bridge, before it takes its listeners off. A station's `close` does it
        too. A listener that calls it gets False at once: it would wait for itself.
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
