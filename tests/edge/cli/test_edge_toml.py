"""The models, the command line, the example of `edge.toml` and its page say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge.cli.edge_toml import SECTIONS, example_text, toml_value
from edge.cli.options import bounds_of, choices_of, default_text, option_names
from edge.config import Config, read_config
from edge.fields import shown_of
from edge.options import BuildOptions, CameraSection, ServeOptions, StreamOptions

COMMANDS = {"build": ("build", BuildOptions), "stream": ("stream", StreamOptions)}
COMMANDS |= {"serve": ("station", ServeOptions)}
COMMAND_LINE_ALONE = {"--json", "--help"}


def uncommented(text: str) -> str:
    """The example with every line in force."""
    return re.sub(r"^# (?=\w+ = |\[)", "", text, flags=re.MULTILINE)


def test_the_sections_are_those_of_the_file() -> None:
    assert {name.partition(".")[0] for name in SECTIONS} == set(Config.model_fields)
    for name in ("build", "stream", "life", "log", "station"):
        assert Config.model_fields[name].annotation is SECTIONS[name][0]


def test_each_section_names_a_page_that_is_there() -> None:
    import edge_toml_page

    for _, page in SECTIONS.values():
        assert (edge_toml_page.PAGE.parent / page).is_file()


def test_the_example_is_valid_as_it_is(tmp_path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text(example_text("bottle"), encoding="utf-8")
    config = read_config(path)
    assert config.stream.bundle == config.build.output == Path("build/bottle.edge")
    assert not config.cameras and not config.log.model_fields_set


def test_the_example_has_every_key_and_each_is_valid(tmp_path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text(uncommented(example_text("bottle")), encoding="utf-8")
    config = read_config(path)
    for name, (kind, _) in SECTIONS.items():
        section = getattr(config, name.partition(".")[0])
        section = section.get("NAME", section) if isinstance(section, dict) else section
        found = section if isinstance(section, dict) else dict(section)
        assert set(found) == set(kind.model_fields), name
        checked = kind.model_validate(found)
        assert checked.model_fields_set == set(kind.model_fields)


def test_a_key_without_an_example_shows_the_default_that_holds(tmp_path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text(uncommented(example_text("bottle")), encoding="utf-8")
    config = read_config(path)
    for name in ("build", "stream", "life", "log", "station"):
        kind = SECTIONS[name][0]
        for key, field in kind.model_fields.items():
            if shown_of(field).example is None:
                assert getattr(getattr(config, name), key) == field.default, f"{name}.{key}"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_line_has_every_option_of_the_model(run, command) -> None:
    kind = COMMANDS[command][1]
    words = " ".join(run(command, "--help").out.split())
    for name, field in kind.model_fields.items():
        names = option_names(name, field)
        if not names:
            continue
        assert names.replace("/", " / ") in words
        assert (field.description or "").rstrip(".") in words
        assert default_text(field) in words


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_the_command_line_is_of_a_model(run, command) -> None:
    told = set(re.findall(r"^  (--[a-z-]+)", run(command, "--help").out, re.MULTILINE))
    kinds = (COMMANDS[command][1], SECTIONS["life"][0])
    known = {
        option_names(name, field).partition("/")[0]
        for kind in kinds
        for name, field in kind.model_fields.items()
    }
    assert told - COMMAND_LINE_ALONE <= known


@pytest.mark.parametrize("name", SECTIONS)
def test_each_key_is_described_in_a_sentence(name) -> None:
    for key, field in SECTIONS[name][0].model_fields.items():
        says = field.description or ""
        assert says[:1].isupper() and says.endswith("."), f"{name}.{key}"


def test_the_page_is_what_the_script_writes() -> None:
    import edge_toml_page

    written = edge_toml_page.PAGE.read_text(encoding="utf-8")
    assert written == edge_toml_page.page_text(), "run `just edge-toml`"
    for kind, _ in SECTIONS.values():
        for key in kind.model_fields:
            assert f"| `{key}` |" in written


def test_defaults_that_words_tell_are_those_that_hold() -> None:
    from calibrate.precision.parity import SCORE_ERRORS

    told = default_text(BuildOptions.model_fields["max_score_error"])
    assert told == f"{SCORE_ERRORS['fp16']}; {SCORE_ERRORS['fp32']} in fp32"
    assert SCORE_ERRORS["int8"] == SCORE_ERRORS["fp16"]


def test_what_is_told_of_fields() -> None:
    fields = BuildOptions.model_fields
    assert bounds_of(ServeOptions.model_fields["warm_up"]) == {"ge": 1, "le": 1000}
    assert bounds_of(fields["false_rejects"]) == {"gt": 0, "lt": 1}
    assert choices_of(fields["model"]) == ("protoad", "prn")
    assert choices_of(ServeOptions.model_fields["bridges"]) == ("modbus", "opcua", "mqtt")
    assert option_names("images", fields["images"]) == "IMAGES"
    assert option_names("show", StreamOptions.model_fields["show"]) == "--show/--no-show"
    assert option_names("roi", CameraSection.model_fields["roi"]) == ""
    assert default_text(fields["tiles"]) == "1x1"


def test_values_as_toml_writes_them() -> None:
    assert toml_value({"a": 1, "b": ("x", True)}) == '{ a = 1, b = ["x", true] }'
    assert toml_value(Path("ä/b")) == '"ä/b"'
