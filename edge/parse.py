"""Words of the command line become values."""

from __future__ import annotations

import re

Size = tuple[int, int]
Roi = tuple[int, int, int, int]

LARGEST_SIZE = 4096


class ParseError(ValueError):
    """A word on the command line or in `edge.toml` that makes no sense."""


def size_from_text(text: str) -> Size:
    """``256`` or ``WIDTHxHEIGHT`` to (height, width).

    Raises:
        ParseError: neither, or out of range.
    """
    match = re.fullmatch(r"(\d+)(?:[xX](\d+))?", text.strip())
    if match is None:
        raise ParseError(f"size {text!r}: give 256, or WIDTHxHEIGHT such as 512x256")
    width = int(match[1])
    height = int(match[2] or match[1])
    if not (0 < width <= LARGEST_SIZE and 0 < height <= LARGEST_SIZE):
        raise ParseError(f"size {text!r}: must lie between 1 and {LARGEST_SIZE} px")
    return height, width


def roi_from_text(text: str) -> Roi:
    """``x,y,width,height`` in px.

    Raises:
        ParseError: not four whole numbers, or an empty rectangle.
    """
    match = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*", text)
    if match is None or int(match[3]) == 0 or int(match[4]) == 0:
        raise ParseError(f"region of interest {text!r}: give x,y,width,height in px, not empty")
    x, y, width, height = (int(part) for part in match.groups())
    return x, y, width, height


def layers_from_text(text: str) -> tuple[str, ...]:
    """``layer2,layer3`` to names.

    Raises:
        ParseError: no name in it, or a name twice.
    """
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) != len(names):
        raise ParseError(f"layers {text!r}: give names with commas, such as layer2,layer3")
    return names


def checked_rate(rate: float) -> float:
    """A rate of false rejects, in (0, 1).

    Raises:
        ParseError: outside; not a number.
    """
    if not 0 < rate < 1:
        raise ParseError(f"false rejects {rate}: give a rate between 0 and 1, such as 0.001")
    return rate
