"""What is wrong with a value, in sentences of our own.

Pydantic checks the command line, `edge.toml`, manifests and records; its words are for programmers.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

MAX_SHOWN = 60  # characters of a wrong value in a message
_KEY = "[key]"  # pydantic's word for the name of an entry, where that is wrong
_SECTION = "should be a section of keys"
_TIME = "should be a time, such as 2026-01-31T12:00:00Z"
_LIST = 'should be a list, such as ["one", "two"]'
SENTENCES: Mapping[str, str] = MappingProxyType(
    {
        "bool_parsing": "should be true or false",
        "bool_type": "should be true or false",
        "date_from_datetime_parsing": _TIME,
        "datetime_from_date_parsing": _TIME,
        "datetime_parsing": _TIME,
        "datetime_type": _TIME,
        "dict_type": _SECTION,
        "finite_number": "should be a finite number",
        "float_parsing": "should be a number",
        "float_type": "should be a number",
        "greater_than": "should be greater than {gt}",
        "greater_than_equal": "should be at least {ge}",
        "int_from_float": "should be a whole number",
        "int_parsing": "should be a whole number",
        "int_parsing_size": "should be a smaller number",
        "int_type": "should be a whole number",
        "less_than": "should be less than {lt}",
        "less_than_equal": "should be at most {le}",
        "list_type": _LIST,
        "literal_error": "should be {expected}",
        "missing": "is missing",
        "model_attributes_type": _SECTION,
        "model_type": _SECTION,
        "multiple_of": "should be a multiple of {multiple_of}",
        "path_type": "should be a path in quotes",
        "string_pattern_mismatch": "should be a name of at most 64 letters, digits, -, _ and dots",
        "string_too_long": "should have at most {max_length} characters",
        "string_too_short": "should have at least {min_length} characters",
        "string_type": "should be a text in quotes",
        "string_unicode": "should be a text in UTF-8",
        "timezone_aware": "should say its time zone",
        "too_long": "should have at most {max_length} entries",
        "too_short": "should have at least {min_length} entries",
        "tuple_type": _LIST,
    }
)
"""By the type of pydantic's error: what follows the value."""


def place_and_reason(error: ValidationError, kind: type[BaseModel]) -> tuple[str, str]:
    """Where the first mistake is, such as ``stream.threshold``, and what is wrong there.

    Args:
        error: of the model.
        kind: the model.
    """
    first = error.errors()[0]
    place = tuple(part for part in first["loc"] if part != _KEY)
    return ".".join(map(str, place)), _reason(first, kind)


def plain_type(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without `None` and constraints, and these constraints; a union stays one."""
    constraints: tuple[Any, ...] = ()
    if get_origin(annotation) in (Union, UnionType):
        kinds = [one for one in get_args(annotation) if one is not type(None)]
        if len(kinds) > 1:
            return annotation, constraints
        (annotation,) = kinds
    if get_origin(annotation) is Annotated:
        annotation, *given = get_args(annotation)
        constraints = tuple(one for info in given for one in getattr(info, "metadata", [info]))
    return annotation, constraints


def shown_value(value: Any) -> str:
    """A wrong value as a message shows it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, str) and len(value) <= MAX_SHOWN:
        return repr(value)
    text = str(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]!r}…"


def _reason(first: ErrorDetails, kind: type[BaseModel]) -> str:
    context = first.get("ctx", {})
    if first["type"] == "extra_forbidden":
        *section, key = first["loc"]
        near = difflib.get_close_matches(str(key), _keys_at(kind, section), n=1)
        return f"no such key; did you mean {near[0]}?" if near else "no such key"
    if first["type"] == "value_error":
        return str(context["error"])
    says = SENTENCES.get(first["type"], "makes no sense")
    said = says.format_map({name: _number_text(value) for name, value in context.items()})
    return said if first["type"] == "missing" else f"{shown_value(first['input'])} {said}"


def _number_text(value: Any) -> str:
    """A limit without the zeros and the exponent that nobody wrote."""
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _keys_at(kind: Any, place: list[int | str]) -> list[str]:
    """Keys that a model, or one of its sections, has."""
    for name in place:
        if get_origin(kind) is dict:  # a section with names of the user's own
            kind = get_args(kind)[1]
            continue
        field = getattr(kind, "model_fields", {}).get(name)
        kind = plain_type(field.annotation)[0] if field is not None else None
    return list(getattr(kind, "model_fields", {}))
