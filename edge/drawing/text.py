"""Letters in pictures: one font, sized by the height of its capitals."""

from __future__ import annotations

import cv2

from edge.drawing.palette import Colour
from edge.result import Image

_FONT = cv2.FONT_HERSHEY_DUPLEX
_FONT_HEIGHT = 21.0  # pixels of this font's capital letters at scale 1
# OpenCV 5 writes any letter in a real font, whose thickness is its weight; OpenCV 4 ASCII alone,
# with strokes.
_REAL_FONT = int(cv2.__version__.split(".")[0]) >= 5
_LETTERS_PER_STROKE = 30 if _REAL_FONT else 11


def write_text(
    picture: Image, text: str, place: tuple[int, int], *, letter: int, colour: Colour
) -> None:
    """Write one line.

    Args:
        picture: (H, W, 3) uint8 BGR, changed in place.
        text: what leaves the picture is not drawn.
        place: (x, y) of the first letter's left end, on the line that it stands on.
        letter: height of a capital letter in pixels.
        colour: BGR.
    """
    style = (_FONT, letter / _FONT_HEIGHT, colour, _weight(letter), cv2.LINE_AA)
    cv2.putText(picture, _drawable(text), place, *style)


def text_width(text: str, letter: int) -> int:
    """Width in pixels of a line whose capital letters are so high."""
    if not text:
        return 0
    style = (_FONT, letter / _FONT_HEIGHT, _weight(letter))
    return int(cv2.getTextSize(_drawable(text), *style)[0][0])


def cut_text(text: str, width: int, letter: int) -> str:
    """As much of a line as is not wider than so many pixels, with dots where it was cut."""
    if text_width(text, letter) <= width:
        return text
    cuts = (text[:end].rstrip() + "..." for end in range(len(text) - 1, 0, -1))
    return next((cut for cut in cuts if text_width(cut, letter) <= width), "")


def wrap_text(text: str, width: int, letter: int) -> list[str]:
    """Break text into lines that are not wider than so many pixels."""
    lines: list[str] = []
    for word in text.split():
        for piece in _pieces(word, width, letter):
            longer = f"{lines[-1]} {piece}" if lines else piece
            if lines and text_width(longer, letter) <= width:
                lines[-1] = longer
            else:
                lines.append(piece)
    return lines


def _pieces(word: str, width: int, letter: int) -> list[str]:
    """Cut a word that is wider than a line, such as a path, into pieces that fit."""
    pieces = [""]
    for character in word:
        if pieces[-1] and text_width(pieces[-1] + character, letter) > width:
            pieces.append("")
        pieces[-1] += character
    return pieces


def _weight(letter: int) -> int:
    """Thickness of the letters' lines."""
    return max(1, round(letter / _LETTERS_PER_STROKE))


def _drawable(text: str) -> str:
    # A name of a file need not be valid Unicode.
    coding = "utf-8" if _REAL_FONT else "ascii"
    return text.encode(coding, "replace").decode(coding)
