"""What is wrong with a manifest is told in our own words, wherever in it."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from bundle_files import manifest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from engines.manifest import Manifest
from engines.manifest_file import first_problem

CONTENT = manifest().model_dump(mode="json")
OTHERS_WORDS = re.compile(
    r"[Ii]nput|valid |unable|Value error|[Ss]tring|pydantic|Extra|permitted|pattern|makes no sense"
)
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(["", "x", "5", [], {}, [1], {"a": 1}, "2026-01-31", "2026-01-31T12:00:00"]),
)


def places(content: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Of everything inside."""
    inside: list[tuple[Any, Any]] = []
    if isinstance(content, dict):
        inside = list(content.items())
    elif isinstance(content, list):
        inside = list(enumerate(content))
    found = [place] if place else []
    return found + [deep for key, one in inside for deep in places(one, (*place, key))]


@settings(deadline=None)
@given(st.sampled_from(places(CONTENT)), ODD)
def test_every_wrong_value_is_told_in_our_words(place, value) -> None:
    content = copy.deepcopy(CONTENT)
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    try:
        Manifest.model_validate(content)
    except ValidationError as error:
        told = first_problem(error).replace(repr(value), "").replace(str(value), "")
        assert "\n" not in told
        assert not OTHERS_WORDS.search(told), told


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"treshold": 1}, "treshold: no such key; did you mean threshold?"),
        ({"min_area": "many"}, "min_area: 'many' should be a whole number"),
        ({"created": "yesterday"}, "created: 'yesterday' should be a time"),
    ],
)
def test_the_place_and_the_remedy_are_told(change, says) -> None:
    with pytest.raises(ValidationError) as caught:
        Manifest.model_validate(CONTENT | change)
    assert first_problem(caught.value).startswith(says)
