"""The bridges by name: their sections of ``edge.toml``, how to open them, what a PLC sees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any

from edge.config import Config, checked
from edge.plc.address_map import MapRow
from edge.plc.station.port import Bridge, Port
from edge.plc.station.snapshot import StationError

COMMANDING = frozenset({"modbus", "opcua"})
"""Bridges whose peer can trigger, acknowledge and clear a fault."""
_LIBRARIES = MappingProxyType({"pymodbus": "pymodbus", "asyncua": "asyncua", "paho": "paho-mqtt"})
"""Packages of the extra `plc`, by the module that is imported."""


def section_of(name: str, config: Config) -> Any:
    """A bridge's section of `edge.toml`, checked.

    Raises:
        ConfigError: a key or value that makes no sense.
    """
    module = import_module(f"edge.plc.{name}.section")
    section = getattr(module, f"{name.capitalize()}Section")
    return checked(section, getattr(config, name), section=name)


def open_bridge(name: str, port: Port, section: Any) -> Bridge:
    """Open a bridge: it serves until it is closed.

    Args:
        name: ``modbus``, ``opcua`` or ``mqtt``.
        port: the station.
        section: of `section_of`.

    Raises:
        StationError: as the bridge says, or its library is not installed.
    """
    try:
        module = import_module(f"edge.plc.{name}.bridge")
    except ModuleNotFoundError as error:
        library = _LIBRARIES.get((error.name or "").partition(".")[0])
        if library is None:
            raise
        raise StationError(
            f"{name}: {library} is not installed; pip install 'protoedge[plc]'"
        ) from error
    bridge: Bridge = getattr(module, f"{name.capitalize()}Bridge")(port, section)
    return bridge


def map_rows_of(names: Iterable[str], config: Config) -> list[MapRow]:
    """What a PLC sees of a station through some bridges, as `edge.toml` names station and topics.

    Raises:
        ConfigError: `edge.toml` says something that makes no sense.
    """
    return [row for name in names for row in _ROWS[name](config)]


def _modbus_rows(_config: Config) -> Sequence[MapRow]:
    from edge.plc.modbus.register_map import map_rows

    return map_rows()


def _opcua_rows(config: Config) -> Sequence[MapRow]:
    from edge.plc.opcua.nodes import map_rows

    # The names alone: who may connect need not be settled yet.
    return map_rows(str(config.opcua.get("station") or config.station.name))


def _mqtt_rows(config: Config) -> Sequence[MapRow]:
    from edge.plc.mqtt.topics import map_rows

    return map_rows(section_of("mqtt", config).topic_root(config.station.name))


_ROWS = MappingProxyType[str, Callable[[Config], Sequence[MapRow]]](
    {"modbus": _modbus_rows, "opcua": _opcua_rows, "mqtt": _mqtt_rows}
)
