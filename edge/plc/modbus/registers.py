"""A station as Modbus registers."""

from __future__ import annotations

from collections.abc import Sequence

from edge.plc.modbus.register_map import (
    CONTROL_WORDS,
    MIRROR,
    RESULT_WORDS,
    control_from_words,
    words_from_snapshot,
)
from edge.plc.modbus.section import WordOrder
from edge.plc.station.port import Port
from edge.plc.station.snapshot import Snapshot

SOURCE = "modbus"
"""Whose levels these are; one for all connections, since there is one block of control words."""


class NoRegisterError(LookupError):
    """A request reaches registers that do not exist, or that only the station writes."""


class StationRegisters:
    """A station as registers: a read is one snapshot, a write is one change of the levels.

    Args:
        port: the station.
        order: of the bytes of 32-bit values.
    """

    def __init__(self, port: Port, *, order: WordOrder = "ABCD") -> None:
        self._port = port
        self._order: WordOrder = order
        self._control = [0] * CONTROL_WORDS
        self._levels_known = False
        self._encoded: tuple[Snapshot, tuple[int, ...]] | None = None

    def read_input(self, address: int, count: int) -> Sequence[int]:
        """Return input registers, all of the same moment; NoRegisterError where there is none."""
        if address + count > RESULT_WORDS:
            raise NoRegisterError
        return self._words()[address : address + count]

    def read_holding(self, address: int, count: int) -> Sequence[int]:
        """Return registers of the control block as they were written, or of the mirror."""
        if address >= MIRROR:
            return self.read_input(address - MIRROR, count)
        if address + count > CONTROL_WORDS:
            raise NoRegisterError
        return self._control[address : address + count]

    def write(self, address: int, values: Sequence[int]) -> None:
        """Write registers of the control block, all or none, and pass all levels to the station.

        Nothing reaches the station before register 0 was written for the first time: levels that
        nobody set would make an edge of a trigger that was high all the while.
        """
        end = address + len(values)
        if end > CONTROL_WORDS:
            raise NoRegisterError
        self._control[address:end] = values
        self._levels_known = self._levels_known or address == 0
        if self._levels_known:
            self._port.control(control_from_words(self._control, order=self._order), source=SOURCE)

    def _words(self) -> tuple[int, ...]:
        """The result block of this moment; a PLC asks far more often than anything changes."""
        snapshot = self._port.snapshot()
        if self._encoded is None or self._encoded[0] is not snapshot:
            self._encoded = snapshot, words_from_snapshot(snapshot, order=self._order)
        return self._encoded[1]
