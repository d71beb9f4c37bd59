"""The catalogue of words: whole in each language, and nothing in it that nobody says."""

from __future__ import annotations

import re
import string

import pytest
from packages import ROOT

from edge.studio.app import GROUPS
from edge.studio.words import DEFAULT, FOLDER, Words

STUDIO = ROOT / "edge" / "studio"
WORDS = Words()
LANGUAGES = WORDS.languages


def placeholders(text) -> set[str]:
    forms = text.values() if isinstance(text, dict) else [text]
    return {name for form in forms for _, name, _, _ in string.Formatter().parse(form) if name}


def used_words() -> tuple[set[str], tuple[str, ...]]:
    """Keys that stand in the sources, and beginnings of those that are put together."""
    whole, begins = set(), []
    for path in (*STUDIO.rglob("*.py"), *STUDIO.rglob("*.html"), *STUDIO.rglob("*.js")):
        text = path.read_text(encoding="utf-8")
        whole |= set(re.findall(r"""["'`]([a-z_]+(?:\.[a-z0-9_]+)+)["'`]""", text))
        begins += re.findall(r"""`([a-z_]+\.(?:[a-z0-9_]+[._])*)\$\{""", text)
        begins += re.findall(r"""["']([a-z_]+\.(?:[a-z0-9_]+[._])*)["'] ~ """, text)
    return whole, tuple(begins)


def test_there_are_two_languages() -> None:
    assert {"de", "en"} <= set(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_the_same_words_with_the_same_placeholders(language) -> None:
    ours, first = WORDS.catalogue(language), WORDS.catalogue(DEFAULT)
    assert set(ours) == set(first)
    for key, text in ours.items():
        assert placeholders(text) == placeholders(first[key]), key
        assert isinstance(text, dict) == isinstance(first[key], dict), key
        assert not isinstance(text, dict) or set(text) == {"one", "other"}, key


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.json")), ids=lambda path: path.name)
def test_the_keys_of_a_file_begin_with_its_name(path) -> None:
    keys = re.findall(r'^  "([^"]+)":', path.read_text(encoding="utf-8"), re.MULTILINE)
    assert all(key.startswith(f"{path.stem}.") for key in keys)
    assert len(keys) == len(set(keys))


def test_each_word_is_said_and_each_that_is_said_is_there() -> None:
    whole, begins = used_words()
    titles = {f"{group.NAME}.title" for group in GROUPS} | {"login.title"}
    known = set(WORDS.catalogue(DEFAULT))
    unused = {key for key in known - titles - whole if not key.startswith(begins)}
    assert unused == set()
    groups = {group.NAME for group in GROUPS} | {"login", "studio"}
    whole = {key for key in whole if not key.endswith("_")}
    said = {key for key in whole if key.partition(".")[0] in groups}
    files = {key for key in said if key.endswith((".js", ".css", ".html", ".json", ".py", ".toml"))}
    settings = {key for key in said if key.startswith("studio.") and key in SETTINGS}
    assert titles | said - files - settings <= known


SETTINGS = {"studio.audit", "studio.hosts", "studio.token_file"}  # of edge.toml


@pytest.mark.parametrize(
    ("wanted", "accepted", "language"),
    [
        ("", "", "en"),
        ("de", "en", "de"),
        ("xx", "de-AT,de;q=0.9", "de"),
        ("", "fr-CH, fr;q=0.9, en;q=0.8, de;q=0.7", "en"),
        ("", "en;q=0.1,de;q=0.2", "de"),
        ("", "de;q=0", "en"),
        ("../de", "*;q=0.5, ,;;=", "en"),
        ("", "de;q=" + "9" * 10_000, "en"),
    ],
)
def test_the_language_is_the_one_that_is_liked_best(wanted, accepted, language) -> None:
    assert WORDS.choose(wanted, accepted) == language


def test_plural_forms() -> None:
    assert WORDS.text("de", "studio.wait", count=1).startswith("Warten Sie eine Sekunde")
    assert "3 Sekunden" in WORDS.text("de", "studio.wait", count=3)
