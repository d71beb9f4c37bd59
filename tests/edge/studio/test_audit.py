"""The record of changes: on the disk before a change is answered, or there is no change."""

from __future__ import annotations

import errno
import json

import pytest
from studio_client import client_of, running_studio

from edge.sinks.rotated_file import RotatedFile
from edge.studio import audit as module
from edge.studio.audit import MAX_TEXT, Audit


def lines_of(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_are_appended_over_starts_and_long_values_are_cut(tmp_path) -> None:
    path = tmp_path / "logs" / "audit.jsonl"
    for number in range(2):
        audit = Audit(path)
        audit.write(who="anna", address="::1", what="/x", outcome="done", set="a" * 9000, n=number)
        audit.close()
    assert [line["n"] for line in lines_of(path)] == [0, 1]
    assert len(lines_of(path)[0]["set"]) == MAX_TEXT + 1


def test_old_files_go_and_the_last_lines_are_found_across_two(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    path = tmp_path / "audit.jsonl"
    audit = Audit(path)
    for number in range(200):
        audit.write(who="", address="", what="/x", outcome="done", n=number)
    assert len([*tmp_path.glob("audit.jsonl*")]) == 1 + module.KEPT
    assert [one["n"] for one in audit.last(10)] == [*range(199, 189, -1)]
    audit.close()


def test_refusals_are_counted_each_minute_and_at_the_end(tmp_path, monkeypatch) -> None:
    path = tmp_path / "audit.jsonl"
    audit = Audit(path)
    for number in range(100):
        audit.refuse(who="", address=f"10.0.0.{number}", what="/x", why="studio.no_csrf")
    for _ in range(50):
        audit.refuse(who="", address="10.0.0.1", what="/x", why="studio.no_csrf")
    audit.close()
    told = lines_of(tmp_path / "audit.refused.jsonl")
    assert len(told) < 40
    assert sum(one.get("times", 1) for one in told) == 150
    assert path.read_text() == ""


def test_without_a_record_there_is_no_change(tmp_path, monkeypatch) -> None:
    def refuse(_file: RotatedFile) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    with running_studio(tmp_path) as server, client_of(server) as client:
        client.page("history")
        with monkeypatch.context() as patch:
            patch.setattr(RotatedFile, "sync", refuse)
            assert client.post("/language", {"language": "de"}).status_code == 507
            assert client.post("/language", {"language": "de"}).status_code == 507
            assert client.state("/build/job") == {"job": None}  # what changes nothing goes on
        client.command("/language", language="de")
        told = [one["outcome"] for one in client.state("/history/lines")["lines"]]
        assert "writable again" in told


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\n", b"{", b"[]\n1\n", b'{"n": 1}\n{"torn'])
def test_a_damaged_record_is_read_as_far_as_it_goes(tmp_path, content) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(content)
    audit = Audit(path)
    audit.write(who="", address="", what="/x", outcome="done")
    assert audit.last(5)[0]["what"] == "/x"
    audit.close()
