"""`edge plc map`: what a PLC sees of a station, from the tables that the bridges serve from."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from types import MappingProxyType

from edge.config import Config, read_config
from edge.plc.station.port import MapRow

HEAD = ("bridge", "address", "name", "kind", "access", "meaning")
PLACE = ("holding", "input", "registers", "bit", "bits")
"""More columns for engineering tools: where in Modbus a value is, in numbers from 0."""
Cell = str | int | None


def map_of(bridges: Iterable[str]) -> list[MapRow]:
    """The rows of some bridges, as `edge.toml` names station and topics.

    Args:
        bridges: ``modbus``, ``opcua``, ``mqtt``.

    Raises:
        ConfigError: `edge.toml` says something that makes no sense.
    """
    config = read_config()
    return [row for name in bridges for row in _ROWS[name](config)]


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


def _modbus(_config: Config) -> Sequence[MapRow]:
    from edge.plc.modbus.tables import map_rows

    return map_rows()


def _opcua(config: Config) -> Sequence[MapRow]:
    from edge.plc.opcua.nodes import map_rows

    return map_rows(str(config.opcua.get("station") or config.station.name))


def _mqtt(config: Config) -> Sequence[MapRow]:
    from edge.plc.mqtt.topics import map_rows
    from edge.plc.serve import section_of

    section = section_of("mqtt", config)
    return map_rows(section.topic_root(config.station.name))


_ROWS = MappingProxyType[str, Callable[[Config], Sequence[MapRow]]](
    {"modbus": _modbus, "opcua": _opcua, "mqtt": _mqtt}
)
