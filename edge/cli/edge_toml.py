"""The example of `edge.toml`, made from the models; docs/edge_toml.md is made from them, too."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from edge.cli.options import choices_of
from edge.fields import shown_of
from edge.options import (
    BuildOptions,
    CameraSection,
    LifeOptions,
    LogOptions,
    ServeOptions,
    StreamOptions,
    StudioOptions,
)
from edge.plc.modbus.section import ModbusSection
from edge.plc.mqtt.section import MqttSection
from edge.plc.opcua.section import OpcuaSection

SECTIONS: Mapping[str, tuple[type[BaseModel], str]] = {  # and the page about it
    "build": (BuildOptions, "build.md"),
    "stream": (StreamOptions, "stream.md"),
    "cameras.NAME": (CameraSection, "stream.md"),
    "life": (LifeOptions, "operate.md"),
    "log": (LogOptions, "operate.md"),
    "station": (ServeOptions, "plc.md"),
    "studio": (StudioOptions, "studio.md"),
    "modbus": (ModbusSection, "modbus.md"),
    "opcua": (OpcuaSection, "opcua.md"),
    "mqtt": (MqttSection, "mqtt.md"),
}
_COLUMN = 34  # in which comments begin


def example_text(product: str) -> str:
    """An `edge.toml` with every key; what need not be set is commented out."""
    lines = [
        "# edge.toml: what `edge build`, `edge stream` and the other commands default to.",
        "# Paths are relative to the folder in which a command runs. The command line wins.",
    ]
    for name, (kind, page) in SECTIONS.items():
        off = "# " if "." in name else ""
        lines += ["", _commented(f"{off}[{name}]", f"docs/{page}: {summary_of(kind)}")]
        # What has to be set comes first.
        fields = sorted(kind.model_fields.items(), key=lambda item: not _has_to_be_set(item[1]))
        lines += [_line(key, field, begin=not off) for key, field in fields]
    return "\n".join(lines).replace("{name}", product) + "\n"


def toml_value(value: Any) -> str:
    """A value as TOML writes it.

    Raises:
        TypeError: a type that TOML does not have.
    """
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml_value(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


def summary_of(kind: type[BaseModel]) -> str:
    """The first sentence about a section, without the names of its commands."""
    text = (kind.__doc__ or "").partition("\n")[0].partition(": `")[0].rstrip(".")
    return text[:1].lower() + text[1:]


def _line(key: str, field: FieldInfo, *, begin: bool) -> str:
    shown = shown_of(field)
    value = field.default if shown.example is None else shown.example
    setting = f"{key} = {toml_value(value)}"
    text = setting if begin and shown.begin else f"# {setting}"
    return _commented(text, "".join(_comment(field)))


def _has_to_be_set(field: FieldInfo) -> bool:
    return field.is_required() or shown_of(field).begin


def _comment(field: FieldInfo) -> Iterator[str]:
    yield (field.description or "").rstrip(".")
    unset = shown_of(field).unset
    if unset:
        yield f"; default {unset}"
    choices = choices_of(field)
    if choices:
        yield f" ({', '.join(choices)})"


def _commented(text: str, comment: str) -> str:
    return f"{text.ljust(_COLUMN - 1)} # {comment}"
