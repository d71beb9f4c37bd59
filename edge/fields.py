"""How an option is declared: its texts, its type, and how words become its value."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo

from process.wrong_values import plain_type, shown_value

SHOWN = "shown"
MAY_BE_EMPTY = "may be empty"
"""Annotates a text of which an empty one means something."""
EMPTY = "the text is empty; give one, or leave it out"


@dataclass(frozen=True, slots=True)
class Shown:
    """How an option is shown, beside its name, type, range, default and description.

    Attributes:
        unset: in words, what holds where the default is None or nothing.
        example: value in the example of `edge.toml`; None takes the default.
        begin: whether the example sets it, since everybody has to.
        name: on the command line; a name without dashes is that of an argument, empty stands for
            `--` and the field's own name, and None for no option at all.
    """

    unset: str = ""
    example: Any = None
    begin: bool = False
    name: str | None = ""


def option(
    default: Any,
    text: str,
    *,
    unset: str = "",
    example: Any = None,
    begin: bool = False,
    name: str | None = "",
) -> Any:
    """Declare an option of the command line, which is a key of `edge.toml`, too."""
    shown: Any = {SHOWN: Shown(unset, example, begin, name)}
    return Field(default, description=text, json_schema_extra=shown)


def option_of(kind: type[OptionsModel], name: str) -> Any:
    """The declaration of another model's option, for one that means the same."""
    field = kind.model_fields[name]
    return Field(
        field.default,
        description=field.description,
        json_schema_extra=field.json_schema_extra,
    )


def setting(default: Any, text: str, *, unset: str = "", example: Any = None) -> Any:
    """Declare a key of `edge.toml` alone."""
    return option(default, text, unset=unset, example=example, name=None)


def shown_of(field: FieldInfo) -> Shown:
    """How a field is shown; one that says nothing of it is a key of `edge.toml` alone."""
    extra = field.json_schema_extra
    found = extra.get(SHOWN) if isinstance(extra, dict) else None
    return found if isinstance(found, Shown) else Shown(name=None)


class OptionsModel(BaseModel):
    """Options of a command, or a section of `edge.toml`.

    What pydantic would take for something else is refused: true is no number, "5" neither, and 1
    is not true. Nor does an empty text stand for anything.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_wrong_kind(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[str(info.field_name)]
        if value == "" and MAY_BE_EMPTY in field.metadata:
            return value
        problem = _find_wrong_kind(value, field.annotation)
        if problem:
            raise ValueError(problem)
        return _with_home(value, field.annotation)


def path_from_text(text: str | Path) -> Path:
    """A path that somebody wrote: ``~`` at its beginning is a home folder.

    Where nobody of that name has one, it is a file of this name.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def name_or_path_from_text(text: Any) -> Any:
    """A word, or a path where it begins with ``~``."""
    return str(path_from_text(text)) if isinstance(text, str) and text.startswith("~") else text


def _with_home(value: Any, annotation: Any) -> Any:
    """The value, with home folders in all that are declared as paths."""
    kind, _ = plain_type(annotation)
    if kind is Path and isinstance(value, str | Path):
        return path_from_text(value)
    if isinstance(value, Mapping) and get_origin(kind) is dict:
        of_values = get_args(kind)[1]
        return {key: _with_home(one, of_values) for key, one in value.items()}
    if isinstance(value, list | tuple) and get_args(kind)[1:] == (Ellipsis,):
        return [_with_home(one, get_args(kind)[0]) for one in value]
    return value


def _find_wrong_kind(value: Any, annotation: Any) -> str:
    """Why a value, or one inside it, is not of the kind that is declared; empty if it may be."""
    kind, _ = plain_type(annotation)
    if isinstance(value, str):
        return _find_wrong_text(value, kind)
    if isinstance(value, Mapping) and get_origin(kind) is dict:
        of_values = get_args(kind)[1]
        found = ((f"{key}: ", _find_wrong_kind(one, of_values)) for key, one in value.items())
        return next((where + problem for where, problem in found if problem), "")
    if isinstance(value, list | tuple) and get_args(kind)[1:] == (Ellipsis,):
        problems = (_find_wrong_kind(one, get_args(kind)[0]) for one in value)
        return next(filter(None, problems), "")
    wanted = _find_other_kind(value, kind)
    return f"{shown_value(value)} should be {wanted}" if wanted else ""


def _find_other_kind(value: Any, kind: Any) -> str:
    """What a value that is no text should be instead; empty if pydantic can tell."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is bool and not isinstance(value, bool):
        return "true or false"
    if kind in (int, float) and isinstance(value, bool):
        return "a whole number" if kind is int else "a number"
    if kind == str | float and not is_number:
        return 'a text or a number; a switch is "on" or "off"'
    return ""


def _find_wrong_text(text: str, kind: Any) -> str:
    if not text.strip():
        return EMPTY
    if kind in (int, float, bool):
        what = {int: "a whole number", float: "a number", bool: "true or false"}[kind]
        return f"{shown_value(text)} should be {what}, without quotes"
    # Not the text itself, which may be an address with a password. Only a pipeline has lines.
    found = [
        char
        for char in text
        if char == "\0" or (kind is Path and unicodedata.category(char) == "Cc")
    ]
    return f"the text has the control character {found[0]!r} in it" if found else ""


OptionsType = TypeVar("OptionsType", bound=OptionsModel)


def overlay(kind: type[OptionsType], *layers: OptionsModel) -> OptionsType:
    """Lay options over each other: what a later layer sets wins; defaults fill the rest."""
    values: dict[str, Any] = {}
    for layer in layers:
        values |= {name: getattr(layer, name) for name in layer.model_fields_set}
    return kind(**{name: value for name, value in values.items() if name in kind.model_fields})


LARGEST_SIZE = 4096
MAX_PROTOTYPES = 65536
MOST_TILES = 8  # in a row or a column


class ParseError(ValueError):
    """A word on the command line or in `edge.toml` that makes no sense."""


def size_from_text(value: Any) -> Any:
    """``256`` or ``WIDTHxHEIGHT`` to (height, width); a size stays what it is.

    Raises:
        ParseError: neither, or out of range.
    """
    if isinstance(value, tuple):
        return value
    match = re.fullmatch(r"(\d+)(?:[xX](\d+))?", str(value).strip())
    if match is None:
        raise ParseError(f"size {shown_value(value)}: give 256, or WIDTHxHEIGHT such as 512x256")
    width = int(match[1])
    height = int(match[2] or match[1])
    if not (0 < width <= LARGEST_SIZE and 0 < height <= LARGEST_SIZE):
        raise ParseError(f"size {shown_value(value)}: must lie between 1 and {LARGEST_SIZE} px")
    return height, width


def tiles_from_text(value: Any) -> Any:
    """``COLUMNSxROWS`` to numbers; tiles stay what they are.

    Raises:
        ParseError: something else, or out of range.
    """
    if isinstance(value, tuple):
        return value
    match = re.fullmatch(r"(\d+)[xX](\d+)", str(value).strip())
    if match is None or not all(1 <= int(count) <= MOST_TILES for count in match.groups()):
        most = f"{MOST_TILES}x{MOST_TILES}"
        raise ParseError(f"tiles {value!r}: give COLUMNSxROWS from 1x1 to {most}, such as 2x2")
    return int(match[1]), int(match[2])


def roi_from_text(value: Any) -> Any:
    """``x,y,width,height`` in px to numbers; a region stays what it is.

    Raises:
        ParseError: not four whole numbers, or an empty rectangle.
    """
    if isinstance(value, tuple):
        return value
    match = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*", str(value))
    if match is None or int(match[3]) == 0 or int(match[4]) == 0:
        raise ParseError(
            f"region of interest {shown_value(value)}: give x,y,width,height in px, not empty"
        )
    return tuple(map(int, match.groups()))


def names_from_text(value: Any) -> Any:
    """``layer2,layer3``, or several of such, to names.

    Raises:
        ParseError: an empty name, or a name twice.
    """
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        return value  # pydantic says what it should be
    names = tuple(name.strip() for word in words for name in word.split(","))
    if not all(names) or len(set(names)) != len(names):
        raise ParseError(f"{','.join(words)!r}: give names with commas between them, each once")
    return names


def source_from_number(value: Any) -> Any:
    """``0`` without quotes is the camera ``/dev/video0``, as it is on the command line."""
    is_index = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return str(value) if is_index else value


def sources_from_one(value: Any) -> Any:
    """One source to several; several stay what they are."""
    one = isinstance(value, str | int | Path) and not isinstance(value, bool)
    return (value,) if one else value


def check_host(host: str) -> str:
    """See that a host stands alone, without its port.

    Raises:
        ParseError: it has one, or is an address of another kind.
    """
    with_colon = ":" in host
    if with_colon:
        try:
            ipaddress.ip_address(host)
            with_colon = False
        except ValueError:
            pass
    if with_colon or "/" in host:
        raise ParseError(
            f"{shown_value(host)} should be a name or an IP address alone; the port has an option "
            "of its own, and an IPv6 address no brackets"
        )
    return host


def prototypes_from_text(value: Any) -> Any:
    """``auto`` or a number of prototypes.

    Raises:
        ParseError: neither, or out of range.
    """
    word = str(value).strip()
    if word == "auto":
        return word
    if not re.fullmatch(r"\d{1,5}", word) or not 1 <= int(word) <= MAX_PROTOTYPES:
        raise ParseError(f"{word!r}: give a whole number from 1 to {MAX_PROTOTYPES}, or auto")
    return int(word)


Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Milliseconds = Annotated[float, Field(gt=0, le=3_600_000, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Settling = Annotated[float, Field(ge=0, le=60_000, allow_inf_nan=False)]  # ms
Host = Annotated[str, AfterValidator(check_host)]
NameOrPath = Annotated[str, BeforeValidator(name_or_path_from_text)]
Names = Annotated[tuple[str, ...], BeforeValidator(names_from_text)]
SizeText = Annotated[tuple[int, int], BeforeValidator(size_from_text)]  # (height, width), px
TilesText = Annotated[tuple[int, int], BeforeValidator(tiles_from_text)]  # (columns, rows)
PrototypesText = Annotated[int | Literal["auto"], BeforeValidator(prototypes_from_text)]
RoiText = Annotated[tuple[int, int, int, int], BeforeValidator(roi_from_text)]  # px
