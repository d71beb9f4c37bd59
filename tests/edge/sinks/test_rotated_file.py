"""Lines that are appended for months: none is lost or torn by rotation, kills or other programs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.sinks import rotated_file
from edge.sinks.rotated_file import RotatedFile


def lines_of(path: Path) -> list[bytes]:
    """All lines, from the oldest file to the newest."""
    files = sorted(path.parent.glob(f"{path.name}.*"), key=lambda one: -int(one.suffix[1:]))
    return [line for file in (*files, path) for line in file.read_bytes().splitlines()]


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 60), max_size=40),
    st.integers(10, 200),
    st.lists(st.booleans(), min_size=40, max_size=40),
)
def test_every_line_is_in_one_of_the_files_and_none_is_too_large(sizes, most, reopens) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.jsonl"
        written = [b"%d " % number + b"x" * size for number, size in enumerate(sizes)]
        file = RotatedFile(path, max_bytes=most, backups=50)
        for line, reopen in zip(written, reopens, strict=False):
            file.write(line)
            if reopen:
                file.close()
                file = RotatedFile(path, max_bytes=most, backups=50)
        file.close()
        assert lines_of(path) == written
        for one in Path(folder).iterdir():
            lines = one.read_bytes().splitlines()
            assert one.stat().st_size <= most or len(lines) == 1


def test_old_files_are_limited_in_number(tmp_path) -> None:
    file = RotatedFile(tmp_path / "out", max_bytes=10, backups=3)
    for number in range(100):
        file.write(b"line %d" % number)
    file.close()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out", "out.1", "out.2", "out.3"]
    assert lines_of(tmp_path / "out")[-1] == b"line 99"


def test_a_line_that_a_kill_cut_off_does_not_swallow_the_next(tmp_path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b'{"a": 1}\n{"a": ')
    file = RotatedFile(path)
    file.write(b'{"a": 2}')
    file.close()
    assert [json.loads(line)["a"] for line in path.read_bytes().splitlines()[::2]] == [1, 2]


def test_a_file_that_another_program_moved_away_is_begun_anew(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(rotated_file, "_LOOK_S", 0.0)
    path = tmp_path / "here" / "out"
    path.parent.mkdir()
    file = RotatedFile(path)
    file.write(b"1")
    path.rename(tmp_path / "taken")
    file.write(b"2")
    assert (path.read_bytes(), (tmp_path / "taken").read_bytes()) == (b"2\n", b"1\n")
    path.unlink()
    path.parent.rmdir()
    with pytest.raises(OSError, match="No such file"):
        file.write(b"3")
    path.parent.mkdir()
    file.write(b"4")
    file.close()
    assert path.read_bytes() == b"4\n"


def test_where_files_cannot_be_renamed_the_lines_still_come(tmp_path) -> None:
    path = tmp_path / "out"
    (tmp_path / "out.1").mkdir()
    (tmp_path / "out.1" / "inside").touch()
    file = RotatedFile(path, max_bytes=5, backups=1)
    for number in range(20):
        file.write(b"%d" % number)
    file.close()
    assert path.read_bytes().splitlines() == [b"%d" % number for number in range(20)]


def test_what_is_no_file_is_written_all_the_same() -> None:
    reading, writing = os.pipe()
    file = RotatedFile(f"/dev/fd/{writing}", append=False, max_bytes=10)
    os.close(writing)
    file.write(b"hello")
    file.close()
    assert os.read(reading, 100) == b"hello\n"
    os.close(reading)


def test_each_day_has_its_own_file_also_after_a_restart(tmp_path, monkeypatch) -> None:
    path = tmp_path / "out"
    now = [1_764_590_000.0]
    monkeypatch.setattr(rotated_file.time, "time", lambda: now[0])
    file = RotatedFile(path)
    file.write(b"monday")
    now[0] += 86_400
    file.write(b"tuesday")
    file.write(b"tuesday, later")
    file.close()
    os.utime(path, (now[0], now[0]))  # the file's own time is not ours to turn
    now[0] += 86_400
    file = RotatedFile(path)
    file.write(b"wednesday")
    file.close()
    found = {one.name: one.read_bytes().splitlines() for one in tmp_path.iterdir()}
    assert found == {
        "out.2": [b"monday"],
        "out.1": [b"tuesday", b"tuesday, later"],
        "out": [b"wednesday"],
    }


def test_a_pipe_keeps_its_name(tmp_path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    file = RotatedFile(pipe, max_bytes=10)
    for number in range(5):
        file.write(b"line %d" % number)
    file.close()
    assert os.read(reader, 100).count(b"\n") == 5
    os.close(reader)
    assert [one.name for one in tmp_path.iterdir()] == ["pipe"]
