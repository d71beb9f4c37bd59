"""Where a station's parts go: as they were decided, under an address that stays."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from pathlib import Path

import pytest
from results import SOFT, START_NS, result_of
from waiting import wait_until

from cameras.child_link import Link
from edge.config import Config
from edge.given import GivenSettings
from edge.options import LifeOptions, ServeOptions
from edge.plc.station.decided_part import PictureAddresses, part_from_decision
from edge.plc.station.messages import FROM_WORKER, Decided, Drawn, JudgeOptions, RecorderOptions
from edge.plc.station.part_recorder import PartRecorder
from edge.plc.station.shown_parts import drawn_from_message
from edge.plc.station.snapshot import (
    DefectBox,
    ErrorCode,
    InspectionResult,
    ResultEvaluation,
    State,
)
from edge.plc.station_records import StationPictures, claim_places, page_address
from edge.result import Region, Verdict
from edge.service.shown_pictures import ShownPictures
from edge.sinks.sink import SinkError

REJECT = InspectionResult(
    *("line3", 7, 12, 0, 4711, 2, "", ResultEvaluation.NOT_OK, State.COMPLETED, ErrorCode.NONE, ""),
    *(0.7, 0.5, 1, DefectBox(), START_NS, START_NS + 1, START_NS + 2, 2000, 6000, 9000),
)
LATE = dataclasses.replace(
    REJECT,
    evaluation=ResultEvaluation.UNDEFINED,
    state=State.FAILED,
    error=ErrorCode.DEADLINE,
    reason="no answer within 5 ms",
    score=None,
    acquired_at_ns=0,
)
NO_PICTURE = dataclasses.replace(LATE, error=ErrorCode.NO_PICTURE)
NAME = "20260131T095500.123Z_000012_NG_video0"
JUDGE = JudgeOptions({1: "build/a.edge"}, "/dev/video0")


def test_a_reject_has_an_address_before_its_picture_is_there() -> None:
    addresses = PictureAddresses("/dev/video0", keeps=True)
    assert addresses(REJECT) == f"line3/20260131/{NAME}_drawn.jpg"
    assert addresses(LATE).endswith("_ERROR_video0_drawn.jpg")  # it comes with the late answer
    good = dataclasses.replace(REJECT, evaluation=ResultEvaluation.OK)
    assert addresses(NO_PICTURE) == addresses(good) == ""
    addresses.page = "http://hall1:9464"
    assert addresses(REJECT) == f"http://hall1:9464/cameras/line3/rejects/{NAME}.jpg"
    assert PictureAddresses("/dev/video0", keeps=False)(REJECT) == ""


@pytest.mark.parametrize(
    ("hosts", "host", "address"),
    [
        ((), "127.0.0.1", "http://127.0.0.1:9464"),
        ((), "0.0.0.0", ""),
        (("line3.plant.example",), "0.0.0.0", "http://line3.plant.example:9464"),
        (("localhost:8080",), "127.0.0.1", "http://localhost:8080"),
    ],
)
def test_the_page_is_called_as_others_reach_it(hosts, host, address) -> None:
    config = Config(life=LifeOptions(monitor=f"{host}:9464", monitor_hosts=hosts))
    assert page_address(config, host, 9464) == address


@pytest.fixture
def recorder(tmp_path):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    records = {"keep": str(tmp_path / "kept"), "keep_ok": 1.0, "keep_free_mb": 0}
    options = RecorderOptions("line3", "/dev/video0", records, True, 2, GivenSettings())
    with PartRecorder(options, Link(theirs, ()), say=print) as made:
        yield made, Link(ours, FROM_WORKER)
    ours.close(), theirs.close()


def test_a_picture_is_kept_as_it_was_decided_and_shown_under_its_address(
    recorder, tmp_path
) -> None:
    recorder, station = recorder
    judged = dataclasses.replace(
        result_of(3, Verdict.NG, image=SOFT), regions=(Region(1, 2, 3, 4, 5, 0.9),)
    )
    day = tmp_path / "kept" / "line3" / "20260131"
    for seq, decided in ((11, REJECT), (12, REJECT), (13, dataclasses.replace(LATE, seq=13))):
        recorder.hold(seq, judged)  # the first is not the one that was decided
        recorder.keep(Decided(decided))
    late = NAME.replace("12_NG", "13_ERROR")
    wait_until((day / f"{late}_drawn.jpg").exists)
    lines = {path.stem: json.loads(path.read_text()) for path in day.glob("*.json")}
    assert set(lines) == {NAME, late}
    assert (lines[NAME]["part"], lines[NAME]["recipe"]) == (4711, 2)
    assert len(lines[NAME]["regions"]) == 1
    assert lines[late]["reason"] == "no answer within 5 ms"
    assert lines[late]["regions"] == []
    assert lines[late]["decided"]["error"] == ErrorCode.DEADLINE
    told = station.receive(5.0)
    assert isinstance(told, Drawn)
    shown = drawn_from_message(told)
    assert (shown.id, shown.verdict, told.rejected) == (NAME, "NG", True)
    with pytest.raises(OSError):
        os.fstat(told.descriptor)

    pictures = StationPictures("line3", ShownPictures(), keep=tmp_path / "kept")
    assert pictures.kept("line3", NAME) == (day / f"{NAME}_drawn.jpg").read_bytes()
    (day / f"{NAME}_drawn.jpg").unlink()
    (day / f"{NAME}_drawn.jpg").symlink_to("/etc/passwd")
    for asked in (NAME, "../../etc/passwd", f"{NAME}/..", "20260131"):
        assert pictures.kept("line3", asked) is None
    assert pictures.kept("line4", NAME) is None


def config_of(folder: Path, **station) -> Config:
    return Config(station=ServeOptions(**{"name": "line3", "keep": folder, **station}))


def test_two_stations_share_a_folder_but_not_a_name(tmp_path) -> None:
    with claim_places(config_of(tmp_path), JUDGE):
        with (
            pytest.raises(SinkError, match="another program"),
            claim_places(config_of(tmp_path), JUDGE),
        ):
            pass
        with claim_places(config_of(tmp_path, name="line4"), JUDGE):
            pass
    with claim_places(config_of(tmp_path), JUDGE):
        pass
    with (
        pytest.raises(SinkError, match="give the camera another name"),
        claim_places(config_of(tmp_path, name="shadow"), JUDGE),
    ):
        pass


def test_a_part_is_a_result_like_any_other() -> None:
    part = part_from_decision(REJECT, source="/dev/video0")
    assert (part.verdict, part.frame, part.captured_at_ns) == (Verdict.NG, 12, START_NS)
    assert (part.camera, part.part, part.recipe) == ("line3", 4711, 2)
    assert part_from_decision(LATE, source="x").verdict is Verdict.ERROR
    line = part.to_json()
    assert line["decided"]["decision"] == "REJECT"
    assert list(line)[:-1] == list(result_of(0).to_json())
