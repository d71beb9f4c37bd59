"""`edge.toml`: what is read, what is refused, and which bundle is found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge.config import Config, ConfigError, find_bundle, read_config, write_new
from edge.options import LifeOptions


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_a_file_the_defaults_hold() -> None:
    assert read_config() == Config()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "[build]\nimage = 'x'",
            "build.image: no such key; did you mean images? docs/edge_toml.md lists every key",
        ),
        ("[bild]\n", "bild: no such key; did you mean build?"),
        ("[stream]\nxyzzy = 1", "stream.xyzzy: no such key; docs/edge_toml.md lists every key"),
        (
            "[cameras.left]\nsource = '0'\nignor = 'x'",
            "ignor: no such key; did you mean ignore?",
        ),
        ("[build]\nroi = '1,2,3'", "build.roi: region of interest '1,2,3': give x,y,width,height"),
        ("[build]\nlayers = ['a', 'a']", "build.layers: 'a,a': give names"),
        ("build = 3", "build"),
        (
            "[build]\nprecision = 'fp8'",
            "build.precision: 'fp8' should be 'fp32', 'fp16' or 'int8';",
        ),
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
    for data, says in {
        b"\xff\xfe[\0b\0": "the text is UTF-16; save it as UTF-8",
        b"\xfe\xff\0[\0b": "the text is UTF-16; save it as UTF-8",
        b"[build]\nimages = '\xe4'": "the text is not UTF-8; save it as UTF-8",
    }.items():
        Path("edge.toml").write_bytes(data)
        with pytest.raises(ConfigError, match=says):
            read_config()
    Path("edge.toml").unlink()
    Path("edge.toml").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config()


def test_a_mark_before_the_text_is_left_out() -> None:
    Path("edge.toml").write_bytes(b"\xef\xbb\xbf[stream]\nsource = 0\nkeep = '~/kept'")
    read = read_config().stream
    assert read.source == ("0",)
    assert read.keep == Path.home() / "kept"


def test_a_camera_is_a_number_as_on_the_command_line() -> None:
    Path("edge.toml").write_text(
        "[stream]\nsource = [0, 'b.mp4']\n[station]\nsource = 1\n[cameras.x]\nsource = 2"
    )
    read = read_config()
    assert read.stream.source == ("0", "b.mp4")
    assert (read.station.source, read.cameras["x"].source) == ("1", "2")
    for wrong in ("true", "-1", "1.5"):
        Path("edge.toml").write_text(f"[stream]\nsource = {wrong}")
        with pytest.raises(ConfigError, match=f"{wrong} should be a"):
            read_config()


def test_a_new_file_is_written_once() -> None:
    write_new(Path("new"), "text")
    with pytest.raises(ConfigError, match="new: already exists"):
        write_new(Path("new"), "other")
    assert Path("new").read_text() == "text"
    with pytest.raises(ConfigError, match="cannot be written"):
        write_new(Path("nowhere/new"), "text")


def test_the_command_line_lies_over_the_file() -> None:
    config = Config.model_validate({"life": {"self_test_s": 5.0, "monitor": "127.0.0.1:1"}})
    over = config.override(life=LifeOptions(monitor="127.0.0.1:2"))
    assert (over.life.self_test_s, over.life.monitor) == (5.0, "127.0.0.1:2")
    assert config.override(life=LifeOptions()) == config


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
