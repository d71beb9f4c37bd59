"""What the page says, in the languages that there are: a folder of JSON files for each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

FOLDER = Path(__file__).with_name("words")
DEFAULT = "en"
Sentence: TypeAlias = str | dict[str, str]
"""A text, or one for each plural form: ``one`` and ``other``, chosen by ``count``."""


class Words:
    """The catalogue of all languages.

    Args:
        folder: a folder for each language; in it a JSON file for each group of pages, whose keys
            begin with the file's name.

    Attributes:
        languages: codes of those that there are, such as ``de``.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self._texts = {one.name: dict(_read(one)) for one in sorted(folder.iterdir())}
        self.languages = tuple(self._texts)

    def catalogue(self, language: str) -> Mapping[str, Sentence]:
        """All sentences of a language."""
        return MappingProxyType(self._texts[language])

    def text(self, language: str, key: str, **values: Any) -> str:
        """A sentence with its placeholders filled.

        Args:
            language: one of `languages`.
            key: of the sentence, such as ``camera.title``.
            values: by the names of the placeholders; ``count`` chooses the plural form.

        Raises:
            KeyError: there is no such sentence.
        """
        found = self._texts[language][key]
        if isinstance(found, dict):
            found = found["one" if values.get("count") == 1 else "other"]
        return found.format(**values)

    def for_page(self, language: str, group: str) -> dict[str, Sentence]:
        """The sentences that a page's script may need: the common ones, and its group's."""
        begins = ("studio.", f"{group}.")
        texts = self.catalogue(language)
        return {key: text for key, text in texts.items() if key.startswith(begins)}

    def choose(self, wanted: str, accepted: str) -> str:
        """The language of somebody.

        Args:
            wanted: chosen on the page; anything if nothing was.
            accepted: the browser's Accept-Language.
        """
        if wanted in self._texts:
            return wanted
        for tag in _by_weight(accepted):
            if tag in self._texts:
                return tag
        return DEFAULT


def _read(folder: Path) -> Iterator[tuple[str, Sentence]]:
    for path in sorted(folder.glob("*.json")):
        yield from json.loads(path.read_text(encoding="utf-8")).items()


def _by_weight(accepted: str) -> list[str]:
    """The languages of an Accept-Language header, the dearest first, without their countries."""
    found: list[tuple[float, str]] = []
    for part in accepted[:500].split(","):
        match = re.fullmatch(
            r"\s*([A-Za-z]{1,8})[A-Za-z0-9-]*\s*(?:;\s*q=([01](?:\.\d*)?))?\s*", part
        )
        if match is not None:
            found.append((float(match[2] or 1), match[1].lower()))
    return [tag for weight, tag in sorted(found, key=lambda one: -one[0]) if weight > 0]
