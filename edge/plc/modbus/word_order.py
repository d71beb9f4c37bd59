"""Numbers as Modbus registers: what fits into 16 bits, and 32 bits in two registers.

Modbus says how the bytes of one register travel, high byte first, and nothing about two of them.
PLCs differ, so the order of the four bytes of a 32-bit value can be chosen. It is named as
integrators name it: `A` is the most significant byte, and registers are written left to right.
"""

from __future__ import annotations

import math
import struct
from operator import itemgetter
from typing import get_args

from edge.plc.modbus.section import WordOrder

WORD = 0xFFFF
LONG = 0xFFFF_FFFF

_ORDERS: tuple[WordOrder, ...] = get_args(WordOrder)
_TO_REGISTERS = {order: itemgetter(*map("ABCD".index, order)) for order in _ORDERS}
_FROM_REGISTERS = {order: itemgetter(*map(order.index, "ABCD")) for order in _ORDERS}
_MAX_FLOAT = 3.4028234663852886e38  # of those with 32 bits


def u16_wrapped(count: int) -> int:
    """Return a counter's low 16 bits, so that the difference of two readings stays right."""
    return count & WORD


def u16_saturated(value: float | None) -> int:
    """Return a measure as 0–65535, rounded; what is larger stays 65535, what is not finite is 0."""
    if value is None or math.isnan(value):
        return 0
    return round(min(max(value, 0.0), float(WORD)))


def u32_saturated(value: float | None) -> int:
    """Return a measure as 0–4294967295, rounded; what is larger stays there, NaN is 0."""
    if value is None or math.isnan(value):
        return 0
    return round(min(max(value, 0.0), float(LONG)))


def registers_from_u32(value: int, order: WordOrder = "ABCD") -> tuple[int, int]:
    """Return the two registers of an unsigned 32-bit value, at the lower address first."""
    return _registers_from_bytes((value & LONG).to_bytes(4, "big"), order)


def registers_from_f32(value: float | None, order: WordOrder = "ABCD") -> tuple[int, int]:
    """Return the two registers of an IEEE 754 single; what is absent or not finite is 0.0."""
    number = 0.0 if value is None or not math.isfinite(value) else value
    limited = min(max(number, -_MAX_FLOAT), _MAX_FLOAT)
    return _registers_from_bytes(struct.pack(">f", limited), order)


def u32_from_registers(first: int, second: int, order: WordOrder = "ABCD") -> int:
    """Return the unsigned 32-bit value of two registers, the one at the lower address first."""
    raw = struct.pack(">HH", first, second)
    return int.from_bytes(bytes(_FROM_REGISTERS[order](raw)), "big")


def _registers_from_bytes(raw: bytes, order: WordOrder) -> tuple[int, int]:
    """Lay four bytes, most significant first, into two registers."""
    first, second = struct.unpack(">HH", bytes(_TO_REGISTERS[order](raw)))
    return int(first), int(second)
