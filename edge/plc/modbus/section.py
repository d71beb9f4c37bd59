"""The section ``[modbus]`` of ``edge.toml``; needs no Modbus library."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from edge.fields import MAY_BE_EMPTY, Host, OptionsModel, setting

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
WordOrder: TypeAlias = Literal["ABCD", "CDAB", "BADC", "DCBA"]
"""How the four bytes of a 32-bit value lie in two registers; `A` is the most significant."""


class ModbusSection(OptionsModel):
    """Where the Modbus TCP bridge listens, and who may connect."""

    host: Annotated[Host, MAY_BE_EMPTY] = setting(
        "127.0.0.1",
        "Address to listen on; other machines reach it with peers alone: Modbus has no password.",
    )
    port: Annotated[int, Field(ge=0, le=65535)] = setting(
        5020,
        "TCP port; PLCs expect 502, which needs the right to bind it, and 0 takes any free one.",
    )
    peers: tuple[str, ...] = setting(
        (),
        "Addresses or networks that may connect.",
        unset="loopback alone",
        example=("192.168.0.10",),
    )
    order: WordOrder = setting(
        "ABCD",
        "Order of the bytes of 32-bit values, the lower register first; A is most significant.",
    )
    connections: Annotated[int, Field(ge=1, le=256)] = setting(
        16,
        "Largest number of connections; one more closes one that never asked anything, or else the "
        "one that was idle longest.",
    )

    @model_validator(mode="after")
    def _check_peers(self) -> ModbusSection:
        networks_from_names(self.peers)
        if not self.peers and not _is_loopback(self.host):
            raise ValueError(
                f"modbus: {self.host or 'every interface'} can be reached from outside and Modbus "
                'knows no password; name the PLC in peers, such as peers = ["192.168.0.10"]'
            )
        return self


def networks_from_names(names: tuple[str, ...]) -> tuple[Network, ...]:
    """Read addresses and networks.

    Raises:
        ValueError: one that is neither.
    """
    networks = []
    for name in names:
        try:
            networks.append(ipaddress.ip_network(name, strict=False))
        except ValueError as error:
            raise ValueError(
                f"modbus: peers: {name!r} is no IP address or network; "
                "write one such as 192.168.0.10 or 192.168.0.0/24"
            ) from error
    return tuple(networks)


def _is_loopback(host: str) -> bool:
    """Tell whether an address cannot be reached from outside; of names, ``localhost`` alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
