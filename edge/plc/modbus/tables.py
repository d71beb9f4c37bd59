"""The register map for people: rows for `edge plc map` and the tables in ``docs/modbus.md``.

``python -m edge.plc.modbus.tables docs/modbus.md`` writes the tables anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from edge.plc.modbus.register_map import (
    CONTROL,
    MIRROR,
    RESULT,
    Bit,
    ControlRegister,
    ResultRegister,
    StatusBit,
)
from edge.plc.station import ErrorCode, MapRow, Registers

BEGIN = "<!-- begin of the tables: python -m edge.plc.modbus.tables docs/modbus.md -->"
END = "<!-- end of the tables -->"


def map_rows() -> Sequence[MapRow]:
    """Return every register and every bit of it, as addressed on the wire, from 0."""
    rows: list[MapRow] = []
    for control in CONTROL:
        place = Registers(control.address, None, control.kind.words)
        rows += _rows(control, f"holding {_span(control)}", place, access="read-write")
    for result in RESULT:
        address = f"input {_span(result)}, holding {_span(result, MIRROR)}"
        place = Registers(MIRROR + result.address, result.address, result.kind.words)
        rows += _rows(result, address, place, access="read")
    return tuple(rows)


def tables() -> str:
    """Return the tables of the guide, in Markdown, without the two marks around them."""
    return "\n\n".join(
        (
            "### Control: holding registers 0 to 7, written by the PLC",
            _table(("holding", "4xxxx", "name", "type", "meaning"), _control_lines()),
            "### Result: input registers 0 to 31, mirrored at holding 1000 to 1031",
            _table(("input", "3xxxx", "holding", "name", "type", "meaning"), _result_lines()),
            "### Error: what register 10 says",
            _table(("code", "name"), ([str(int(code)), f"`{code.name}`"] for code in ErrorCode)),
        )
    )


def text_with_tables(text: str) -> str:
    """Return a page with the tables between its marks written anew.

    Raises:
        ValueError: the page does not have both marks, in order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks the line {BEGIN} or, after it, {END}; add both")
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def _rows(
    register: ControlRegister | ResultRegister, address: str, place: Registers, *, access: str
) -> list[MapRow]:
    kind, meaning = str(register.kind), register.meaning
    rows = [MapRow("modbus", address, register.name, kind, access, meaning, place)]
    for bit in register.bits:
        where, name = f"{address}, {_place(bit)}", f"{register.name}.{bit.name}"
        kind = "bool" if bit.width == 1 else f"uint{bit.width}"
        one = replace(place, bit=bit.number, bits=bit.width)
        rows.append(MapRow("modbus", where, name, kind, access, bit.meaning, one))
    return rows


def _span(register: ControlRegister | ResultRegister, base: int = 0) -> str:
    first = base + register.address
    return str(first) if register.kind.words == 1 else f"{first}-{first + 1}"


def _place(bit: Bit | StatusBit) -> str:
    return f"b{bit.number}" if bit.width == 1 else f"b{bit.number}-b{bit.number + bit.width - 1}"


def _control_lines() -> Iterable[list[str]]:
    for register in CONTROL:
        number = _span(register, 40001)
        yield [_span(register), number, register.name, str(register.kind), register.meaning]
        for bit in register.bits:
            yield ["", "", f"· {_place(bit)} {bit.name}", "", bit.meaning]


def _result_lines() -> Iterable[list[str]]:
    for register in RESULT:
        spans = [_span(register), _span(register, 30001), _span(register, MIRROR)]
        yield [*spans, register.name, str(register.kind), register.meaning]
        for bit in register.bits:
            yield ["", "", "", f"· {_place(bit)} {bit.name}", "", bit.meaning]


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _main(path: Path) -> None:
    path.write_text(text_with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
