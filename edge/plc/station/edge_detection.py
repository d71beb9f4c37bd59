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
    changed: bool = False  # anything but the heartbeat is another than before


@dataclass(slots=True)
class LevelTracker:
    """The latest control of each source."""

    _held: dict[str, Control] = field(default_factory=dict)
    _accepted: str | None = None  # the source whose trigger was accepted and is still high
    heartbeat: int = 0

    @property
    def acknowledge(self) -> bool:
        """Whether any source holds it."""
        return any(control.acknowledge for control in self._held.values())

    @property
    def offline(self) -> bool:
        """Whether any source wants it."""
        return any(control.offline for control in self._held.values())

    @property
    def trigger_held(self) -> bool:
        """Whether the trigger that was accepted is still high."""
        return self._accepted is not None

    def update(self, control: Control, *, source: str) -> Edges:
        """Remember a control and return its edges; the first of a source has none."""
        before = self._held.get(source)
        self._held[source] = control
        self.heartbeat = control.heartbeat
        if self._accepted == source and not control.trigger:
            self._accepted = None
        if before is None:
            return Edges(changed=True)
        return Edges(
            trigger=control.trigger and not before.trigger,
            acknowledge=control.acknowledge and not before.acknowledge,
            execute=control.execute and not before.execute,
            execute_fell=before.execute and not control.execute,
            clear_error=control.clear_error and not before.clear_error,
            changed=_lines(control) != _lines(before),
        )

    def hold_trigger(self, source: str) -> None:
        """Hold the acknowledgement of a trigger until the source lets it go."""
        self._accepted = source

    def forget_trigger(self) -> None:
        """Hold it no longer."""
        self._accepted = None


def _lines(control: Control) -> tuple[bool, ...]:
    return (
        control.enable,
        control.trigger,
        control.acknowledge,
        control.execute,
        control.offline,
        control.clear_error,
    )
