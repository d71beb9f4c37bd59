"""Write the tables of docs/modbus.md and docs/plc.md anew, from what the bridge serves from.

python scripts/plc_modbus_tables.py docs/modbus.md docs/plc.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from edge.plc.modbus.register_map import CONTROL, MIRROR, RESULT
from edge.plc.station.error_meanings import ERROR_MEANINGS


def main(*paths: Path) -> None:
    """Write pages anew."""
    for path in paths:
        path.write_text(text_with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")


def text_with_tables(text: str) -> str:
    """Return a page with what stands between its marks written anew.

    Raises:
        ValueError: the page has the two marks of no table, in order.
    """
    found = 0
    for what, make in (("tables", tables), ("error codes", error_table)):
        begin, end = f"<!-- begin of the {what}: just plc-docs -->", f"<!-- end of the {what} -->"
        before, is_there, rest = text.partition(begin)
        _, ends, after = rest.partition(end)
        if is_there and ends:
            found += 1
            text = f"{before}{begin}\n{make()}\n{end}{after}"
    if not found:
        raise ValueError(f"the page lacks the line {begin} or, after it, {end}; add both")
    return text


def tables() -> str:
    """Return the tables in Markdown, without the two marks around them."""
    return "\n\n".join(
        (
            "### Control: holding registers 0 to 7, written by the PLC",
            _table(("holding", "4xxxx", "name", "type", "meaning"), _control_lines()),
            "### Result: input registers 0 to 31, mirrored at holding 1000 to 1031",
            _table(("input", "3xxxx", "holding", "name", "type", "meaning"), _result_lines()),
            "### Error: what register 10 says",
            error_table(),
        )
    )


def error_table() -> str:
    """Return the table of error codes in Markdown."""
    lines = (
        [str(int(code)), f"`{code.name}`", meaning.happened, meaning.remedy]
        for code, meaning in ERROR_MEANINGS.items()
    )
    return _table(("code", "name", "what happened", "what to do"), lines)


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
    main(*map(Path, sys.argv[1:]))
