"""Write the register tables of docs/modbus.md anew, from the map that the bridge serves from.

python scripts/plc_modbus_tables.py docs/modbus.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from edge.plc.modbus.register_map import CONTROL, MIRROR, RESULT
from edge.plc.station.snapshot import ErrorCode

BEGIN = "<!-- begin of the tables: just plc-docs -->"
END = "<!-- end of the tables -->"


def main(path: Path) -> None:
    """Write a page anew."""
    path.write_text(text_with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")


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


def tables() -> str:
    """Return the tables in Markdown, without the two marks around them."""
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


def _control_lines() -> Iterable[list[str]]:
    for register in CONTROL:
        spans = [register.span(), register.span(40001)]
        yield [*spans, register.name, str(register.kind), register.meaning]
        for bit in register.bits:
            yield ["", "", f"· {bit.place} {bit.name}", "", bit.meaning]


def _result_lines() -> Iterable[list[str]]:
    for register in RESULT:
        spans = [register.span(), register.span(30001), register.span(MIRROR)]
        yield [*spans, register.name, str(register.kind), register.meaning]
        for bit in register.bits:
            yield ["", "", "", f"· {bit.place} {bit.name}", "", bit.meaning]


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
