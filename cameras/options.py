"""What follows a source's name: ``/dev/video0?size=1280x720&fps=30``, as words with values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import unquote

from cameras.errors import SourceError
from cameras.redaction import one_line

_SIZE = re.compile(r"(\d{1,5})[xX](\d{1,5})")
_BOX = re.compile(r"(\d{1,5}),(\d{1,5}),(\d{1,5}),(\d{1,5})", re.ASCII)
_YES = {"1": True, "on": True, "yes": True, "true": True}
_NO = {"0": False, "off": False, "no": False, "false": False}


class OpenOptions:
    """What the user asked for beside the address: two times, and words with values.

    Each word is asked for by the kind of source that knows it. What nobody asked for is an error,
    so that a mistyped word is never silently ignored; the words that were asked for are those that
    the error lists. Values never appear in a message when their word could stand for a secret,
    which `cameras.redaction` decides.

    Args:
        name: of the source, credentials redacted, for messages.
        words: in the order in which they were written.
        stall_after: live only: seconds without a frame that count as a stall.
        open_timeout: network only: seconds in which the camera has to answer.
        bit_depth: of the values in 16-bit files; None is all 16.
    """

    def __init__(
        self,
        name: str,
        words: Mapping[str, str],
        *,
        stall_after: float = 1.0,
        open_timeout: float = 2.0,
        bit_depth: int | None = None,
    ) -> None:
        self.name = name
        self.stall_after = stall_after
        self.bit_depth = bit_depth
        self.open_timeout = open_timeout
        self._words = dict(words)
        self._known: list[str] = []

    def with_query(self, name: str, query: str) -> OpenOptions:
        """Return the same for a source of this name, with the words of its query below these.

        Raises:
            SourceError: a query that cannot be read.
        """
        words = words_from_query(name, query) | self._words
        return OpenOptions(
            name,
            words,
            stall_after=self.stall_after,
            open_timeout=self.open_timeout,
            bit_depth=self.bit_depth,
        )

    def text(self, word: str) -> str | None:
        """Return the value as it was written; None when it was not given."""
        self._known.append(word)
        return self._words.get(word)

    def number(self, word: str, *, low: float, high: float) -> float | None:
        """Return a finite number between two limits, both included.

        Raises:
            SourceError: not a number, or outside.
        """
        value = self.text(word)
        if value is None:
            return None
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not low <= number <= high:
            raise self._wrong_value(word, f"must be a number from {low:g} to {high:g}")
        return number

    def whole(self, word: str, *, low: int, high: int) -> int | None:
        """Return a whole number between two limits, both included.

        Raises:
            SourceError: not a whole number, or outside.
        """
        number = self.number(word, low=low, high=high)
        if number is None:
            return None
        if number != int(number):
            raise self._wrong_value(word, "must be a whole number")
        return int(number)

    def size(self, word: str) -> tuple[int, int] | None:
        """Return (width, height) in px of ``WIDTHxHEIGHT``.

        Raises:
            SourceError: not of this form, or zero.
        """
        value = self.text(word)
        if value is None:
            return None
        found = _SIZE.fullmatch(value)
        if found is None or not int(found[1]) * int(found[2]):
            raise self._wrong_value(word, "must be WIDTHxHEIGHT, such as 1280x720")
        return int(found[1]), int(found[2])

    def box(self, word: str, *, within: tuple[int, int]) -> tuple[int, int, int, int] | None:
        """Return (left, top, width, height) in px of ``X,Y,WIDTH,HEIGHT``, all even.

        The numbers are even because a camera's colours are stored for two pixels at a time.

        Args:
            word: it belongs to.
            within: (width, height) of the picture.

        Raises:
            SourceError: not of this form, odd, empty, or not within the picture.
        """
        value = self.text(word)
        if value is None:
            return None
        found = _BOX.fullmatch(value)
        left, top, width, height = (int(number) for number in found.groups()) if found else [0] * 4
        inside = left + width <= within[0] and top + height <= within[1]
        if not width * height or not inside or (left | top | width | height) % 2:
            what = f"even numbers, within {within[0]}x{within[1]}"
            raise self._wrong_value(word, f"must be X,Y,WIDTH,HEIGHT: {what}")
        return left, top, width, height

    def flag(self, word: str) -> bool | None:
        """Return whether it is on; None when it was not given.

        Raises:
            SourceError: neither on nor off.
        """
        value = self.text(word)
        if value is None:
            return None
        known = (_YES | _NO).get(value.lower())
        if known is None:
            raise self._wrong_value(word, "must be on or off")
        return known

    def choice(self, word: str, choices: Sequence[str]) -> str | None:
        """Return one of some words.

        Raises:
            SourceError: another one.
        """
        value = self.text(word)
        if value is not None and value not in choices:
            raise self._wrong_value(word, f"must be {' or '.join(choices)}")
        return value

    def matching(self, kind: str, belongs: Callable[[str], bool]) -> dict[str, str]:
        """Return all words of a kind that only a camera can know, in their order.

        Args:
            kind: what they are called among the known words.
            belongs: tells whether a word is one of them.
        """
        matching = {word: value for word, value in self._words.items() if belongs(word)}
        self._known += [*matching, kind]
        return matching

    def refuse_unknown(self) -> None:
        """Refuse the words that nobody asked for.

        Raises:
            SourceError: an unknown word.
        """
        unknown = [word for word in self._words if word not in self._known]
        if unknown:
            known = f"known: {', '.join(self._known)}" if self._known else "it takes none"
            raise SourceError(f"{self.name}: unknown option '{one_line(unknown[0])}'; {known}")

    def _wrong_value(self, word: str, what: str) -> SourceError:
        return SourceError(f"{self.name}: {word} {what}")


def words_from_query(name: str, query: str) -> dict[str, str]:
    """Return the words and values of ``a=1&b=2``, percent signs decoded, ``+`` kept.

    Args:
        name: of the source, credentials redacted, for messages.
        query: what follows the ``?``; may be empty.

    Raises:
        SourceError: a word without a value, twice the same word, or a character that cannot be.
    """
    words: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        word, equals, value = part.partition("=")
        word, value = unquote(word), unquote(value)
        if not (word and equals):
            raise SourceError(f"{name}: '{one_line(word)}' has no value; write word=value")
        if "\0" in value:
            raise SourceError(f"{name}: {one_line(word)} has a NUL in its value")
        if word in words:
            raise SourceError(f"{name}: {one_line(word)} is given twice")
        words[word] = value
    return words
