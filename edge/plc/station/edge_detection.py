"""Levels that PLCs hold, and the edges in them."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge.plc.station.snapshot import Control


@dataclass(frozen=True, slots=True)
class Edges:
    """What rose, or fell, between two controls of one source."""

    trigger: bool = False
    acknowledge: bool = False
    execute: bool = False
    execute_fell: bool = False
    clear_error: bool = False
    changed: bool = False  # any level is another than before


@dataclass(slots=True)
class LevelTracker:
    """The latest control of each source.

    Attributes:
        acknowledge: any source holds it.
        offline: any source wants it.
        heartbeat: what a PLC wrote last.
        trigger_source: whose trigger was accepted and is still high; None once it was let go.
    """

    acknowledge: bool = False
    offline: bool = False
    heartbeat: int = 0
    trigger_source: str | None = None
    _held: dict[str, Control] = field(default_factory=dict)

    def update(self, control: Control, *, source: str) -> Edges:
        """Remember a control and return its edges; the first of a source has none."""
        before = self._held.get(source)
        self._held[source] = control
        self.acknowledge = any(held.acknowledge for held in self._held.values())
        self.offline = any(held.offline for held in self._held.values())
        self.heartbeat = control.heartbeat
        if self.trigger_source == source and not control.trigger:
            self.trigger_source = None
        if before is None:
            return Edges(changed=True)
        return Edges(
            trigger=control.trigger and not before.trigger,
            acknowledge=control.acknowledge and not before.acknowledge,
            execute=control.execute and not before.execute,
            execute_fell=before.execute and not control.execute,
            clear_error=control.clear_error and not before.clear_error,
            changed=control.levels != before.levels,
        )
