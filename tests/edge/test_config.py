"""`edge.toml`: what is read, what is refused, and which bundle is found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge.config import Config, ConfigError, find_bundle, read_config, write_config


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_no_file_is_no_wish() -> None:
    assert read_config() == Config()


def test_the_example_is_valid_with_every_line_in_force(tmp_path) -> None:
    path = tmp_path / "edge.toml"
    write_config(path, name="bottle")
    assert read_config(path).stream.bundle == Path("build/bottle.edge")
    text = re.sub(r"^# (?=\w+ = )", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    path.write_text(text, encoding="utf-8")
    config = read_config(path)
    for section in (config.build, config.stream, config.station):
        unset = [name for name, value in section.model_dump().items() if value is None]
        assert unset == []  # the example names every setting


def test_the_example_states_the_defaults_that_hold(tmp_path) -> None:
    from edge.building.build import Options
    from edge.building.protoad import PROTOTYPES

    path = tmp_path / "edge.toml"
    write_config(path, name="x")
    text = re.sub(r"^# (?=\w+ = )", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    path.write_text(text, encoding="utf-8")
    build = read_config(path).build
    assert build.prototypes == PROTOTYPES
    same = ("precision", "backbone", "method", "score", "false_rejects", "model", "prn_size")
    for name in (*same, "steps", "batch"):
        assert getattr(build, name) == getattr(Options(), name)
    assert build.memory == Options().memory_mib
    assert build.seed == Options().seed


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[build]\nimage = 'x'", "build.image"),
        ("[bild]\n", "bild"),
        ("build = 3", "build"),
        ("[build]\nprecision = 'fp8'", "build.precision"),
        ("[build]\nmin_area = -1", "build.min_area"),
        ("[stream]\nthreshold = nan", "stream.threshold"),
        ("x = ", "not TOML"),
    ],
)
def test_what_makes_no_sense_is_named(text, says) -> None:
    Path("edge.toml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(says)):
        read_config()


def test_bytes_that_are_no_text_and_a_folder() -> None:
    Path("edge.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not TOML"):
        read_config()
    Path("edge.toml").unlink()
    Path("edge.toml").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config()


def test_an_example_where_none_can_be_written() -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        write_config(Path("nowhere/edge.toml"), name="x")


def test_the_bundle_that_is_named_comes_first() -> None:
    config = Config.model_validate({"stream": {"bundle": "s.edge"}, "build": {"output": "b.edge"}})
    assert find_bundle(Path("given.edge"), config) == Path("given.edge")
    assert find_bundle(None, config) == Path("s.edge")
    assert find_bundle(None, Config.model_validate({"build": {"output": "b.edge"}})) == Path(
        "b.edge"
    )


def test_the_only_bundle_is_found_and_leftovers_are_not() -> None:
    Path("build/one.edge").mkdir(parents=True)
    Path("build/.two.edge.new-12").mkdir()
    Path("build/three.edge").write_text("a file")
    assert find_bundle(None, Config()) == Path("build/one.edge")
