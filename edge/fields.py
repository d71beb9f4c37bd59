"""How an option is declared: its texts, its type, and how words become its value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo

SHOWN = "shown"


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


def setting(default: Any, text: str, *, unset: str = "", example: Any = None) -> Any:
    """Declare a key of `edge.toml` alone."""
    return option(default, text, unset=unset, example=example, name=None)


def shown_of(field: FieldInfo) -> Shown:
    """How a field is shown; one that says nothing of it is a key of `edge.toml` alone."""
    extra = field.json_schema_extra
    found = extra.get(SHOWN) if isinstance(extra, dict) else None
    return found if isinstance(found, Shown) else Shown(name=None)


class OptionsModel(BaseModel):
    """Options of a command, or a section of `edge.toml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")


OptionsType = TypeVar("OptionsType", bound=OptionsModel)


def overlay(kind: type[OptionsType], *layers: OptionsModel) -> OptionsType:
    """Lay options over each other: what a later layer sets wins; defaults fill the rest."""
    values: dict[str, Any] = {}
    for layer in layers:
        values |= {name: getattr(layer, name) for name in layer.model_fields_set}
    return kind(**{name: value for name, value in values.items() if name in kind.model_fields})


LARGEST_SIZE = 4096


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
        raise ParseError(f"size {value!r}: give 256, or WIDTHxHEIGHT such as 512x256")
    width = int(match[1])
    height = int(match[2] or match[1])
    if not (0 < width <= LARGEST_SIZE and 0 < height <= LARGEST_SIZE):
        raise ParseError(f"size {value!r}: must lie between 1 and {LARGEST_SIZE} px")
    return height, width


def roi_from_text(value: Any) -> Any:
    """``x,y,width,height`` in px to numbers; a region stays what it is.

    Raises:
        ParseError: not four whole numbers, or an empty rectangle.
    """
    if isinstance(value, tuple):
        return value
    match = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*", str(value))
    if match is None or int(match[3]) == 0 or int(match[4]) == 0:
        raise ParseError(f"region of interest {value!r}: give x,y,width,height in px, not empty")
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


Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Milliseconds = Annotated[float, Field(gt=0, le=3_600_000, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Settling = Annotated[float, Field(ge=0, le=60_000, allow_inf_nan=False)]  # ms
Names = Annotated[tuple[str, ...], BeforeValidator(names_from_text)]
SizeText = Annotated[tuple[int, int], BeforeValidator(size_from_text)]  # (height, width), px
RoiText = Annotated[tuple[int, int, int, int], BeforeValidator(roi_from_text)]  # px
