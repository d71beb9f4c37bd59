"""What the studio does not do, and in which words it says so."""

from __future__ import annotations

from http import HTTPStatus


class StudioError(ValueError):
    """The studio cannot be opened there, or not so."""


class RefusalError(Exception):
    """Somebody asked for what is not done; the page shows why.

    Args:
        word: key of the sentence in the catalogue of words.
        status: of the answer.
        values: what the sentence's placeholders stand for.
    """

    def __init__(
        self, word: str, status: HTTPStatus = HTTPStatus.CONFLICT, **values: str | int
    ) -> None:
        super().__init__(word)
        self.word = word
        self.status = status
        self.values = values
