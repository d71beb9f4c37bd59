"""Result lines: whole as soon as they are written, counted when they cannot be."""

from __future__ import annotations

import contextlib
import json

import pytest
from results import largest_file, result_of

from edge.sinks.json_lines import JsonLinesSink
from edge.sinks.sink import SinkError


def test_each_result_is_a_line_as_soon_as_it_is_written(tmp_path) -> None:
    path = tmp_path / "out.jsonl"
    with JsonLinesSink(path) as sink:
        for number in range(3):
            sink.write(result_of(number, source="parts/été 1.png"))
            lines = path.read_text("utf-8").splitlines()
            assert len(lines) == number + 1
    assert json.loads(lines[2]) == result_of(2, source="parts/été 1.png").to_json()
    assert "été" in lines[0]


def test_lines_replace_or_append(tmp_path) -> None:
    path = tmp_path / "out.jsonl"
    for append, count in ((False, 1), (True, 2), (False, 1)):
        with JsonLinesSink(path, append=append) as sink:
            sink.write(result_of(0))
        assert len(path.read_text("utf-8").splitlines()) == count


def test_a_full_disk_is_said_once_and_every_lost_line_is_counted(caplog) -> None:
    with JsonLinesSink("/dev/full") as sink:
        for number in range(50):
            sink.write(result_of(number))
    assert sink.losses.total == 50
    (record,) = caplog.records
    assert "/dev/full: No space left" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_a_line_that_was_cut_off_does_not_damage_the_next(tmp_path, caplog) -> None:
    path = tmp_path / "out.jsonl"
    with JsonLinesSink(path) as sink:
        with largest_file(1000):
            for number in range(20):
                sink.write(result_of(number))
        written = 20 - sink.losses.total
        for number in range(20, 25):
            sink.write(result_of(number))
    assert 0 < written < 20
    whole = []
    for line in path.read_text("utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            whole.append(json.loads(line)["frame"])
    assert whole == [*range(written), *range(20, 25)]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


@pytest.mark.parametrize("name", [".", "none/out.jsonl"])
def test_a_file_that_cannot_be_opened_is_told_before_the_start(tmp_path, name) -> None:
    with pytest.raises(SinkError, match="name a file to write") as caught:
        JsonLinesSink(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n", b'{\n  "schema_version": 1', b"a,b\n"])
def test_nothing_else_than_lines_of_json_is_added_to(tmp_path, content) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(SinkError, match="it holds something else than lines of JSON; name a file"):
        JsonLinesSink(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == content
