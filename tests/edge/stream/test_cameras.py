"""Which cameras the user means, and several of them through the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edge.config import ConfigError, read_config
from edge.options import StreamOptions
from edge.stream.cameras import camera_configs

TOML = """
[stream]
source = "/dev/video9"
bundle = "build/all.edge"
threshold = 0.5
stall_after = 2.0

[cameras.left]
source = "left"
roi = "1,2,30,40"
options = { fps = 30 }

[cameras.right]
source = "right"
bundle = "build/right.edge"
threshold = 0.25
deadline_ms = 200
health_off = ["occluded"]
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "edge.toml"
    path.write_text(TOML)
    return read_config(path)


def test_cameras_of_the_file_take_what_they_do_not_say_from_stream(config) -> None:
    left, right = camera_configs(StreamOptions(), config)
    assert (left.name, left.source, left.bundle) == ("left", "left", Path("build/all.edge"))
    assert (left.roi, left.threshold, left.options) == ((1, 2, 30, 40), 0.5, {"fps": 30})
    assert (left.stall_after, left.deadline_ms, left.health_off) == (2.0, None, ())
    assert (right.bundle, right.threshold) == (Path("build/right.edge"), 0.25)
    assert (right.roi, right.deadline_ms, right.health_off) == (None, 200, ("occluded",))


def test_the_command_line_wins_and_chooses(config) -> None:
    (right,) = camera_configs(StreamOptions(source=("right",), threshold=0.1), config)
    assert (right.name, right.source, right.threshold) == ("right", "right", 0.1)
    (alone,) = camera_configs(StreamOptions(source=("rtsp://line3",)), config)
    assert (alone.name, alone.source, alone.threshold) == ("", "rtsp://line3", 0.5)
    several = camera_configs(StreamOptions(source=("a.mp4", "left")), config)
    assert [(one.name, one.source) for one in several] == [("camera1", "a.mp4"), ("left", "left")]


def test_without_cameras_there_is_the_one_of_stream(tmp_path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text('[stream]\nsource = "0"\nbundle = "x.edge"')
    (one,) = camera_configs(StreamOptions(), read_config(path))
    assert (one.name, one.source) == ("", "0")


@pytest.mark.parametrize(
    ("text", "sources", "says"),
    [
        ("", (), "no source"),
        ('[cameras.a]\nsource = "x"', ("a", "a"), "the same camera twice"),
        ('[cameras."a/b"]\nsource = "x"', (), "cameras.a/b"),
        ("[cameras.a]\nthreshold = 1", (), "cameras.a.source"),
        ('[cameras.a]\nsource = "x"\nroi = "1,2"', (), "region of interest"),
        ('[cameras.a]\nsource = "x"\nrecipe = 1', (), "cameras.a.recipe"),
    ],
)
def test_what_makes_no_sense_is_said(tmp_path, text, sources, says) -> None:
    path = tmp_path / "edge.toml"
    path.write_text('stream.bundle = "x.edge"\n' + text)
    with pytest.raises(ValueError, match=says) as refused:
        camera_configs(StreamOptions(source=sources), read_config(path))
    assert isinstance(refused.value, ConfigError) or "region" in says


def test_several_cameras_through_the_command(run, built, drawn, tmp_path) -> None:
    for name in ("left", "right"):
        shutil.copytree(drawn / "train" / "good", tmp_path / name)
    (tmp_path / "edge.toml").write_text(
        f'[stream]\nbundle = "{built}"\nengine = "onnxruntime"\nresults = "out.jsonl"\n'
        '[cameras.left]\nsource = "left"\n'
        '[cameras.right]\nsource = "right"\nthreshold = -1.0\nroi = "0,0,128,64"\n'
    )
    outcome = run("stream", "--json", "--no-show", "--record", "v.avi", "--pictures", "shown")
    assert outcome.code == 0, outcome.err
    summary = json.loads(outcome.out)
    assert summary["cameras"]["left"]["frames"] == summary["cameras"]["right"]["frames"] == 12
    assert summary["cameras"]["right"]["ng"] + summary["cameras"]["right"]["error"] == 12
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert {line["threshold"] for line in lines if line["camera"] == "right"} == {-1.0}
    assert sorted(path.name for path in tmp_path.glob("v-*.avi")) == ["v-left.avi", "v-right.avi"]
    assert len(list((tmp_path / "shown" / "left").iterdir())) == 12


def test_one_wrong_source_among_several_ends_it_before_the_start(run, built, good) -> None:
    outcome = run("stream", good, "nowhere", "--bundle", built, "--results", "o.jsonl", "--no-show")
    assert outcome.code == 2
    assert "nowhere" in outcome.line()
    assert not Path("o.jsonl").exists()


def test_what_is_drawn_is_not_inspected_again(run, built, tmp_path) -> None:
    """Each drawn picture would be a new one in the watched folder, without end."""
    (tmp_path / "in").mkdir()
    for folder in ("in", "in/../in", str(tmp_path / "in")):
        outcome = run("stream", "watch:in", "--bundle", built, "--no-show", "--pictures", folder)
        assert outcome.code == 2
        assert "in: pictures there are inspected; name another folder" in outcome.line()
    assert run("capture", "watch:in", "in").code == 2
    assert list((tmp_path / "in").iterdir()) == []


def test_what_is_inspected_is_not_written_over(run, built, good, tmp_path) -> None:
    words = ("--bundle", built, "--no-show")
    assert run("stream", good, *words, "--record", "film.avi", "--max-frames", 3).code == 0
    filmed = (tmp_path / "film.avi").read_bytes()
    outcome = run("stream", "film.avi", *words, "--record", "film.avi")
    assert (outcome.code, "film.avi: it is inspected" in outcome.line()) == (2, True)
    assert (tmp_path / "film.avi").read_bytes() == filmed
