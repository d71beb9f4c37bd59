"""Words of the command line and of `edge.toml` become values, for the models of `edge.options`."""

from __future__ import annotations

import re
from typing import Any

Size = tuple[int, int]  # (height, width), px
Roi = tuple[int, int, int, int]  # x, y, width, height, px

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
