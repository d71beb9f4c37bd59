"""What a PLC sees of a station: the rows of `edge plc map`, and how they are written.

The rows come from the tables that the bridges serve from.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass

HEAD = ("bridge", "address", "name", "kind", "access", "meaning")
PLACE = ("holding", "input", "registers", "bit", "bits")
"""More columns for engineering tools: where in Modbus a value is, in numbers from 0."""
Cell = str | int | None


@dataclass(frozen=True, slots=True)
class RegisterPlace:
    """Where a value is in Modbus, in numbers for engineering tools.

    Attributes:
        holding: first holding register, from 0.
        input: first input register, from 0; None for what the PLC writes.
        count: registers.
        bit: first bit of the register, 0 the least significant; None for all of it.
        bits: how many.
    """

    holding: int
    input: int | None
    count: int
    bit: int | None = None
    bits: int | None = None


@dataclass(frozen=True, slots=True)
class MapRow:
    """One row of `edge plc map`, and of a table for engineering tools.

    Attributes:
        bridge: ``modbus``, ``opcua`` or ``mqtt``.
        address: register, node id or topic.
        name: what it is called there.
        kind: its type: ``uint16``, ``float32``, ``Boolean``, ``JSON``.
        access: ``read``, ``write``, ``read-write`` or ``call``.
        meaning: one line.
        registers: where it is in Modbus; None for other bridges.
    """

    bridge: str
    address: str
    name: str
    kind: str
    access: str
    meaning: str
    registers: RegisterPlace | None = None


def texts_of(row: MapRow) -> tuple[str, ...]:
    """What stands below `HEAD`."""
    return row.bridge, row.address, row.name, row.kind, row.access, row.meaning


def cells_of(row: MapRow) -> tuple[Cell, ...]:
    """What stands below `HEAD` and `PLACE`; None where there is nothing to say."""
    place = row.registers
    if place is None:
        return (*texts_of(row), *(None,) * len(PLACE))
    return (*texts_of(row), place.holding, place.input, place.count, place.bit, place.bits)


def csv_from_rows(rows: Iterable[MapRow]) -> str:
    """The rows with a head, as RFC 4180 has it."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow((*HEAD, *PLACE))
    writer.writerows(map(cells_of, rows))
    return text.getvalue()
