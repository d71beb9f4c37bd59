"""Writes docs/api.md from signatures and docstrings: ``python scripts/api_page.py``."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import edge
import edge.plc.station

PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"
HEAD = """\
# API

Everything public of `edge`, and of `edge.plc.station`, made from the docstrings (`just api`). \
[python.md](python.md) is the guide.

```python
import cv2

import edge

with edge.load("build/flange.edge") as inspector:
    result = inspector.inspect(cv2.imread("build/demo/images/test/crack/000.png"))
    print(result.verdict, result.score, result.threshold, result.regions)
    cv2.imwrite("result.png", edge.draw(result))
```

Images are (height, width, 3) uint8 BGR, pixels are counted from the upper left, times end in \
their unit (`_ms`, `_ns`, `_s`). What a method raises beyond what is listed is a mistake of ours; \
`edge.__version__` is the version to report.
"""
FIRST = ("load", "Inspector", "Result", "Region", "Verdict", "draw", "AsyncInspector")
SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises):$", re.MULTILINE)
ENTRY = re.compile(r"^    (?! )(\*{0,2}[\w, ]+): (.*)$")
BY_OTHERS = frozenset({"BuildOptions"})
"""Whose fields another page has."""


def page_text() -> str:
    """Return the whole page."""
    names = [*FIRST, *(name for name in edge.__all__ if name not in FIRST)]
    parts = [HEAD, "## `edge`\n"]
    parts += [_entry(f"edge.{name}", getattr(edge, name)) for name in names]
    parts.append("## `edge.plc.station`\n")
    station = edge.plc.station
    parts += [
        _entry(f"edge.plc.station.{name}", getattr(station, name))
        for name in station.__all__
        if name != "Station"
    ]
    return "\n".join(parts)


def _entry(name: str, what: Any) -> str:
    if not inspect.isclass(what):
        return "\n".join(_callable(name, what, level=3))
    lines = [f"### class `{name}`", "", *_described(what, where=name)]
    if issubclass(what, enum.Enum):
        lines += ["Values: " + ", ".join(f"`{value.name}`" for value in what) + ".", ""]
    if name.rpartition(".")[2] in BY_OTHERS:
        lines += [
            "Its fields are the options of `[build]`: [edge_toml.md](edge_toml.md#build).",
            "",
        ]
    elif dataclasses.is_dataclass(what):
        lines += [f"`{name}{_shown(inspect.signature(what))}`", ""]
    elif not issubclass(what, enum.Enum | Exception):
        lines += list(_callable(name, what.__init__, level=0))
    if name.rpartition(".")[2] not in BY_OTHERS:
        lines += _members(name, what)
    return "\n".join(lines)


def _members(name: str, what: type) -> Iterator[str]:
    """Public properties and methods that the class itself defines."""
    short = name.rpartition(".")[2]
    for member, value in vars(what).items():
        text = inspect.getdoc(value) or ""
        if member.startswith("_") or text.startswith("See `Events`"):  # for workers alone
            continue
        if isinstance(value, property):
            kind = inspect.get_annotations(value.fget).get("return", "") if value.fget else ""
            can_be_set = ", can be set" if value.fset else ""
            yield from (f"#### `{short}.{member}`: `{kind}`{can_be_set}", "")
            yield from _described(value, where=f"{name}.{member}")
        elif inspect.isfunction(value) or isinstance(value, classmethod):
            function = value if inspect.isfunction(value) else value.__func__
            yield from _callable(f"{short}.{member}", function, level=4)


def _callable(name: str, function: Any, *, level: int) -> Iterator[str]:
    """A function's signature, and what its docstring says."""
    signature = inspect.signature(function)
    if "self" in signature.parameters or "cls" in signature.parameters:
        bound = list(signature.parameters.values())[1:]
        signature = signature.replace(parameters=bound)
    begin = "async " if inspect.iscoroutinefunction(function) else ""
    if level:
        yield from (f"{'#' * level} `{name}`", "")
    yield from (f"`{begin}{name}{_shown(signature)}`", "")
    if level:
        yield from _described(function, where=name)


def _shown(signature: inspect.Signature) -> str:
    """A signature as it is written, without the quotes of annotations."""
    return re.sub(r"'([^']*)'", lambda found: found[1], _plain(signature)).replace(" -> None", "")


def _plain(signature: inspect.Signature) -> str:
    kept = [
        one.replace(default=_Default(one.default)) if one.default is not one.empty else one
        for one in signature.parameters.values()
    ]
    return str(signature.replace(parameters=kept))


class _Default:
    """A default as a page shows it: no addresses in memory."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __repr__(self) -> str:
        value = self._value
        if isinstance(value, str):
            return f'"{value}"'
        is_plain = value is None or isinstance(value, bool | int | float | tuple)
        return repr(value) if is_plain else "…"


def _described(what: Any, *, where: str) -> Iterator[str]:
    """A docstring as Markdown: its text, then its sections as lists.

    Raises:
        ValueError: there is none.
    """
    text = inspect.getdoc(what)
    if not text:
        raise ValueError(f"{where}: no docstring; everything public has one")
    beginning, *sections = SECTION.split(text.replace("``", "`"))
    for paragraph in beginning.strip().split("\n\n"):
        yield from (" ".join(paragraph.split()), "")
    for name, lines in zip(sections[::2], sections[1::2], strict=True):
        yield from _section(name, lines.splitlines())


def _section(name: str, lines: list[str]) -> Iterator[str]:
    """One section as a list, or as a paragraph where nothing in it has a name."""
    text = "\n".join(lines).rstrip()
    yield from (f"**{name}**", "")
    if name in ("Returns", "Yields"):
        yield from (" ".join(text.split()), "")
        return
    entries: list[str] = []
    for line in text.splitlines():
        entry = ENTRY.match(line)
        if entry:
            entries.append(f"- `{entry[1]}`: {entry[2]}")
        elif line.strip() and entries:
            entries[-1] += f" {line.strip()}"
    yield from (*entries, "")


if __name__ == "__main__":
    PAGE.write_text(page_text(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}: written\n")
