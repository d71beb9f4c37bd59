"""Words become values, or an error that says what to give; layers of options."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.fields import (
    LARGEST_SIZE,
    ParseError,
    names_from_text,
    overlay,
    roi_from_text,
    size_from_text,
)
from edge.options import BuildOptions, CameraOptions, StreamOptions

SIDES = st.integers(1, LARGEST_SIZE)


@given(SIDES, SIDES)
def test_a_size_is_width_by_height_and_becomes_height_and_width(width, height) -> None:
    assert size_from_text(f"{width}x{height}") == (height, width)
    assert size_from_text(str(width)) == (width, width)


@given(st.tuples(st.integers(0, 9999), st.integers(0, 9999), SIDES, SIDES))
def test_a_region_comes_back_as_it_was(roi) -> None:
    assert roi_from_text(",".join(map(str, roi))) == roi
    assert roi_from_text(" , ".join(map(str, roi))) == roi


@pytest.mark.parametrize("text", ["", "x", "0", "12x", "x12", "-5", "1.5", "1x2x3", "4097", "1x0"])
def test_wrong_sizes(text) -> None:
    with pytest.raises(ParseError, match="size"):
        size_from_text(text)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "-1,2,3,4", "1,2,0,4", "a,b,c,d"])
def test_wrong_regions(text) -> None:
    with pytest.raises(ParseError, match="region of interest"):
        roi_from_text(text)


@given(st.text(max_size=12))
def test_any_text_gives_a_value_or_a_parse_error(text) -> None:
    for parse in (size_from_text, roi_from_text, names_from_text):
        try:
            parse(text)
        except ParseError as error:
            assert repr(text) in str(error)


def test_names() -> None:
    assert names_from_text("layer2, layer3") == ("layer2", "layer3")
    assert names_from_text(["sm86", "sm89,sm90"]) == ("sm86", "sm89", "sm90")
    assert names_from_text(()) == ()
    for text in ("", ",", "layer2,,layer3", "layer2,layer2"):
        with pytest.raises(ParseError, match="give names with commas"):
            names_from_text(text)


def test_values_stay_what_they_are() -> None:
    assert size_from_text((64, 32)) == (64, 32)
    assert size_from_text(256) == (256, 256)
    assert roi_from_text((1, 2, 3, 4)) == (1, 2, 3, 4)
    assert names_from_text(3) == 3


def test_options_of_several_layers() -> None:
    file = BuildOptions(precision="int8", size="512x256", layers=("layer2",))
    given = BuildOptions(layers="layer3, layer4", prototypes=7)
    options = overlay(BuildOptions, file, given)
    assert (options.precision, options.size, options.prototypes) == ("int8", (256, 512), 7)
    assert (options.layers, options.seed) == (("layer3", "layer4"), 0)
    assert overlay(CameraOptions, StreamOptions(source="0", threshold=0.5)).threshold == 0.5
