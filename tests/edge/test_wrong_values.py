"""What is wrong with a value is told in our own words, whichever key it stands at."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge.cli.edge_toml import SECTIONS
from edge.config import Config, ConfigError, checked
from edge.fields import MAY_BE_EMPTY
from edge.plc.simulate import SimulationOptions
from process.wrong_values import SENTENCES, place_and_reason, plain_type

KINDS = [*(kind for kind, _ in SECTIONS.values()), SimulationOptions]
KEYS = [(kind, key) for kind in KINDS for key in kind.model_fields]
NUMBERS = [
    (kind, key)
    for kind, key in KEYS
    if plain_type(kind.model_fields[key].annotation)[0] in (int, float)
]
SWITCHES = [
    (kind, key) for kind, key in KEYS if plain_type(kind.model_fields[key].annotation)[0] is bool
]
PATHS = [
    (kind, key) for kind, key in KEYS if plain_type(kind.model_fields[key].annotation)[0] is Path
]
OTHERS_WORDS = re.compile(r"[Ii]nput|valid |unable|Value error|[Ss]tring|pydantic|makes no sense")
VALUES = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=9),
    st.sampled_from(["", "none", "5", "true", "a\0b", datetime.date(2026, 1, 31), b"\xff"]),
    st.lists(st.one_of(st.integers(), st.text(max_size=3), st.booleans()), max_size=3),
    st.dictionaries(st.text(max_size=3), st.one_of(st.integers(), st.booleans()), max_size=2),
)


def reason_of(kind: Any, key: str, value: Any) -> str:
    """What is said of a value; empty where it is taken, or another key is wrong."""
    try:
        kind.model_validate({key: value})
    except ValidationError as error:
        place, reason = place_and_reason(error, kind)
        return reason if place.partition(".")[0] == key else ""
    return ""


@given(st.sampled_from(KEYS), VALUES)
def test_every_wrong_value_is_told_in_our_words(where, value) -> None:
    reason = reason_of(*where, value)
    assert "\n" not in reason
    told = reason.replace(repr(value), "").replace(str(value), "")
    assert not OTHERS_WORDS.search(told), reason


@pytest.mark.parametrize(("kind", "key"), NUMBERS, ids=str)
def test_neither_a_switch_nor_a_text_is_a_number(kind, key) -> None:
    for value, shown in ((True, "true"), (False, "false"), ("5", "'5'")):
        assert re.match(rf"{shown} should be a (whole )?number", reason_of(kind, key, value))


@pytest.mark.parametrize(("kind", "key"), SWITCHES, ids=str)
def test_neither_a_number_nor_a_text_is_a_switch(kind, key) -> None:
    for value, shown in ((1, "1"), (0, "0"), (1.0, "1.0"), ("on", "'on'"), ("true", "'true'")):
        assert reason_of(kind, key, value).startswith(f"{shown} should be true or false")


@pytest.mark.parametrize(("kind", "key"), PATHS, ids=str)
def test_no_path_has_a_control_character(kind, key) -> None:
    for char in "\0\n\t\x1b\x7f":
        assert repr(char) in reason_of(kind, key, f"build/{char}x")


@pytest.mark.parametrize(("kind", "key"), PATHS, ids=str)
def test_every_path_may_begin_with_a_home_folder(kind, key, monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/somebody")
    field = kind.model_fields[key]
    assert getattr(fields_of(kind, key, "~/x"), key) == Path("/somebody/x"), field
    assert getattr(fields_of(kind, key, "~nobody-of-this-name/x"), key) == Path(
        "~nobody-of-this-name/x"
    )


def fields_of(kind: Any, key: str, value: Any) -> Any:
    """The section with this key set, whatever others have to go with it."""
    together = {"certificate": "key", "key": "certificate"}
    given = {key: value}
    if key in together:
        given[together[key]] = "other"
    for name, field in kind.model_fields.items():
        if field.is_required() and name not in given:
            given[name] = "0"
    if "password_file" in kind.model_fields:
        given = {"user": "line3", "password_file": "password"} | given
    return kind.model_validate(given)


@pytest.mark.parametrize(("kind", "key"), KEYS, ids=str)
def test_an_empty_text_is_called_empty(kind, key) -> None:
    if MAY_BE_EMPTY in kind.model_fields[key].metadata:
        return
    for value in ("", "  "):
        if "dict" not in str(kind.model_fields[key].annotation):
            assert "the text is empty" in reason_of(kind, key, value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"stream": {"threshold": True}}, "stream.threshold: true should be a number"),
        ({"build": {"memory": "many"}}, "build.memory: 'many' should be a whole number"),
        ({"build": {"memory": 1.5}}, "build.memory: 1.5 should be a whole number"),
        ({"build": {"size": True}}, "build.size: size true: give 256"),
        ({"build": {"roi": [1, 2]}}, "build.roi: region of interest a list: give x,y,width"),
        ({"build": {"memory": 1}}, "build.memory: 1 should be at least 16"),
        ({"stream": {"deadline_ms": 4e6}}, "4000000.0 should be at most 3600000"),
        ({"stream": {"results": "a\0b"}}, "stream.results: the text has the control character"),
        ({"stream": {"source": ["0", ""]}}, "stream.source: the text is empty"),
        ({"build": 3}, "build: 3 should be a section of keys"),
        ({"cameras": {"a b": {"source": "0"}}}, "'a b' should be a name of at most 64"),
        ({"cameras": {"x": {}}}, "cameras.x.source: is missing"),
        ({"cameras": {"x": {"source": "0", "options": {"a": True}}}}, "a: true should be a text"),
        ({"station": {"recipes": {"x": "a"}}}, "station.recipes.x: 'x' should be a whole number"),
    ],
)
def test_the_key_is_named(content, says) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        checked(Config, content)


def test_a_source_with_a_password_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match="control character") as caught:
        checked(Config, {"stream": {"source": "rtsp://op:secret\0@h"}})
    assert "secret" not in str(caught.value)


def test_a_pipeline_may_have_lines() -> None:
    assert checked(Config, {"stream": {"source": "gst:a !\n b"}}).stream.source == ("gst:a !\n b",)


def test_every_sentence_follows_its_value() -> None:
    assert all(re.match("should |is missing", says) for says in SENTENCES.values())
