"""Writes docs/edge_toml.md from the models of the options: ``python scripts/edge_toml_page.py``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from edge.cli.edge_toml import SECTIONS, summary_of, toml_value
from edge.cli.options import bounds_of, choices_of, option_names
from edge.fields import shown_of
from process.wrong_values import plain_type

PAGE = Path(__file__).resolve().parents[1] / "docs" / "edge_toml.md"
HEAD = """\
# edge.toml

What the commands default to, in the folder in which they run. `edge init NAME` writes an example \
with every key. Paths are relative to that folder. The command line wins over `[cameras.NAME]`, \
that over `[stream]`, that over the default; an unknown key is an error that names the nearest \
known one.

This page is made from the same declarations as the command line and its `--help` \
(`just edge-toml`).
"""
WORDS: Mapping[type, str] = {
    bool: "`true` or `false`",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    dict: "table",
}
BOUNDS: Mapping[str, str] = {
    "ge": "≥",
    "gt": ">",
    "le": "≤",
    "lt": "<",
    "multiple_of": "a multiple of",
}


def page_text() -> str:
    """Return the whole page."""
    parts = [HEAD]
    for name, (kind, page) in SECTIONS.items():
        summary = summary_of(kind)
        parts.append(f"## `[{name}]`\n\n{summary[:1].upper()}{summary[1:]}: [{page}]({page}).\n")
        rows = [_row(key, field) for key, field in kind.model_fields.items()]
        parts.append("| key | option | value | default | what |\n|---|---|---|---|---|")
        parts[-1] += "".join(f"\n| {' | '.join(row)} |" for row in rows) + "\n"
    return "\n".join(parts)


def _row(key: str, field: FieldInfo) -> Iterator[str]:
    yield f"`{key}`"
    names = option_names(key, field)
    yield f"`{names}`".replace("/", "`, `") if names else ""
    yield _value(field)
    yield _default(field)
    yield (field.description or "").replace("|", "\\|")


def _value(field: FieldInfo) -> str:
    plain = plain_type(field.annotation)[0]
    if get_origin(plain) is Union:
        return " or ".join(map(_word, get_args(plain)))
    several = "list of " if get_origin(plain) is tuple and get_args(plain)[-1] is Ellipsis else ""
    choices = choices_of(field)
    if choices:
        return several + ", ".join(f"`{choice}`" for choice in choices)
    if several:
        return "list of names"
    words = WORDS.get(get_origin(plain) or plain, "text")
    bounds = (f"{BOUNDS[name]} {value}" for name, value in bounds_of(field).items())
    return ", ".join((words, *bounds))


def _word(part: type) -> str:
    if get_origin(part) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(part))
    return WORDS[part]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "has to be set"
    shown = shown_of(field)
    if field.default in (None, (), {}):
        return shown.unset
    return f"`{toml_value(shown.example if isinstance(field.default, tuple) else field.default)}`"


if __name__ == "__main__":
    PAGE.write_text(page_text(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}: written\n")
