"""The register map: every value where it belongs, in every order, and the page that shows it."""

from __future__ import annotations

import math
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import get_args

import plc_modbus_tables
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.plc.modbus import register_map, word_order
from edge.plc.modbus.register_map import control_from_words, words_from_snapshot
from edge.plc.modbus.section import WordOrder
from edge.plc.station.snapshot import (
    CommandState,
    Control,
    Counters,
    DefectBox,
    ErrorCode,
    InspectionResult,
    OfflineReason,
    ResultEvaluation,
    Snapshot,
    State,
)

PAGE = Path(__file__).resolve().parents[4] / "docs" / "modbus.md"
RESULT = InspectionResult(
    station="press",
    boot_id=0xB007,
    seq=70_000,
    trigger_id=0x1234,
    part_id=0xDEADBEEF,
    recipe_id=7,
    model_hash="ab",
    evaluation=ResultEvaluation.OK,
    state=State.COMPLETED,
    error=ErrorCode.NONE,
    reason="",
    score=0.125,
    threshold=0.25,
    defects=3,
    worst=DefectBox(11, 22, 33, 44),
    triggered_at_ns=1,
    acquired_at_ns=2,
    decided_at_ns=1_700_000_000_987_654_321,
    acquire_us=5,
    process_us=6,
    latency_us=0x1_0002,
)
IDLE = Snapshot(
    station="press",
    boot_id=0xB007,
    online=True,
    offline_reason=OfflineReason.ONLINE,
    ready=True,
    heartbeat=0xFFFE,
    seq=70_000,
    recipe_id=7,
    threshold=0.25,
    counters=Counters(missed=65_537, timeouts=2),
)
VALID = replace(IDLE, ready=False, valid=True, completed=True, result=RESULT)
THRESHOLD = struct.unpack(">HH", struct.pack(">f", 0.25))
TIMES_10 = struct.unpack(">HH", struct.pack(">f", 0.125))


def float_from_registers(first: int, second: int, order: WordOrder = "ABCD") -> float:
    bits = word_order.u32_from_registers(first, second, order)
    (value,) = struct.unpack(">f", bits.to_bytes(4, "big"))
    return float(value)


def test_a_valid_result_stands_where_the_map_says() -> None:
    words = words_from_snapshot(VALID)
    expected = {
        0: 1 << 7 | 1 << 9 | 1 << 11,
        1: 0xFFFE,
        2: 1,
        3: 0xB007,
        4: 70_000 - 65_535,
        5: 0x1234,
        6: 0xDEAD,
        7: 0xBEEF,
        8: 1,
        9: 1,
        10: 0,
        11: 7,
        12: TIMES_10[0],
        13: TIMES_10[1],
        14: 125,
        15: 250,
        16: 1,
        17: 2,
        18: 3,
        19: 11,
        20: 22,
        21: 33,
        22: 44,
        23: 1_700_000_000 >> 16,
        24: 1_700_000_000 & 0xFFFF,
        25: 987,
        26: 1,
        27: 2,
        28: THRESHOLD[0],
        29: THRESHOLD[1],
        30: 0,
        31: 70_000 - 65_535,
    }
    assert dict(enumerate(words)) == expected


def test_without_a_valid_result_its_words_are_zero() -> None:
    left = {0, 1, 2, 3, 11, 26, 27, 28, 29}
    for snapshot in (IDLE, replace(VALID, valid=False), replace(VALID, result=None)):
        words = words_from_snapshot(snapshot)
        assert {at for at, word in enumerate(words) if word} <= left
        assert not words[0] >> 11 & 1


def test_a_fault_shows_both_bits_and_no_result() -> None:
    fault = replace(VALID, fault=True, online=False, error=ErrorCode.WORKER_LOST)
    words = words_from_snapshot(replace(fault, offline_reason=OfflineReason.FAULT))
    assert words[8] == 3
    assert words[10] == ErrorCode.WORKER_LOST
    assert words[0] >> 15 == 1 and words[0] >> 4 & 7 == 3
    assert not words[0] >> 7 & 1 and not words[0] >> 11 & 1
    assert words[4] == words[5] == words[31] == 0


@pytest.mark.parametrize(
    ("change", "bit"),
    [
        ({"ready": True}, 0),
        ({"trigger_acknowledged": True}, 1),
        ({"missed": True}, 3),
        ({"offline_reason": OfflineReason.STARTING}, 4),
        ({"offline_reason": OfflineReason.REQUESTED}, 5),
        ({"offline_reason": OfflineReason.CLOSED}, 6),
        ({"online": True}, 7),
        ({"busy": True}, 8),
        ({"completed": True}, 9),
        ({"overrun": True}, 10),
        ({"valid": True, "result": RESULT}, 11),
        ({"command": CommandState.EXECUTING}, 12),
        ({"command": CommandState.COMPLETED}, 13),
        ({"command": CommandState.FAILED}, 14),
        ({"fault": True}, 15),
    ],
)
def test_each_status_bit_alone(change: dict[str, object], bit: int) -> None:
    quiet = Snapshot(station="s", boot_id=1, offline_reason=OfflineReason.ONLINE)
    assert words_from_snapshot(quiet)[0] == 0
    assert words_from_snapshot(replace(quiet, **change))[0] == 1 << bit


@pytest.mark.parametrize(
    ("word", "level"),
    [
        (1 << 0, "enable"),
        (1 << 1, "trigger"),
        (1 << 3, "acknowledge"),
        (1 << 4, "execute"),
        (1 << 7, "offline"),
        (1 << 8, "clear_error"),
    ],
)
def test_each_control_bit_alone(word: int, level: str) -> None:
    assert control_from_words([word, *[0] * 7]) == Control(**{level: True})


def test_control_values() -> None:
    assert control_from_words([0xFE64, 1, 2, 0xDEAD, 0xBEEF, 5, 6, 9]) == Control(
        heartbeat=1, trigger_id=2, part_id=0xDEADBEEF, command=5, argument=6
    )


def test_why_a_command_failed_is_in_error_unless_there_is_worse() -> None:
    failed = replace(IDLE, command=CommandState.FAILED, command_error=ErrorCode.UNKNOWN_RECIPE)
    assert words_from_snapshot(failed)[10] == ErrorCode.UNKNOWN_RECIPE
    assert words_from_snapshot(replace(failed, error=ErrorCode.ENGINE))[10] == ErrorCode.ENGINE
    assert words_from_snapshot(replace(failed, command=CommandState.IDLE))[10] == 0


@pytest.mark.parametrize(
    ("score", "permille", "value"),
    [(None, 0, 0.0), (-0.5, 0, -0.5), (1e9, 65535, 1e9), (0.0004, 0, 0.0004), (1.5, 1500, 1.5)],
)
def test_scores_that_fit_badly(score: float | None, permille: int, value: float) -> None:
    words = words_from_snapshot(replace(VALID, result=replace(RESULT, score=score)))
    assert words[14] == permille
    assert float_from_registers(*words[12:14]) == pytest.approx(value)


def test_measures_that_do_not_fit_are_as_large_as_can_be() -> None:
    large = replace(
        RESULT, defects=70_000, worst=DefectBox(1 << 20, 0, 65_535, 65_536), latency_us=1 << 40
    )
    words = words_from_snapshot(replace(VALID, result=large))
    assert words[18] == words[19] == words[21] == words[22] == 0xFFFF
    assert words[16:18] == (0xFFFF, 0xFFFF)


@pytest.mark.parametrize(
    ("order", "registers"),
    [
        ("ABCD", (0x1122, 0x3344)),
        ("CDAB", (0x3344, 0x1122)),
        ("BADC", (0x2211, 0x4433)),
        ("DCBA", (0x4433, 0x2211)),
    ],
)
def test_orders(order: WordOrder, registers: tuple[int, int]) -> None:
    assert word_order.registers_from_u32(0x11223344, order) == registers
    part = replace(RESULT, part_id=0x11223344)
    words = words_from_snapshot(replace(VALID, result=part), order=order)
    assert words[6:8] == registers
    assert control_from_words([0, 0, 0, *registers, 0, 0, 0], order=order).part_id == 0x11223344
    straight = words_from_snapshot(replace(VALID, result=part))
    long = {6, 7, 12, 13, 16, 17, 23, 24, 28, 29}
    assert all(words[at] == straight[at] for at in set(range(32)) - long)


@given(st.integers(0, 0xFFFFFFFF), st.sampled_from(get_args(WordOrder)))
def test_an_integer_comes_back(value: int, order: WordOrder) -> None:
    registers = word_order.registers_from_u32(value, order)
    assert word_order.u32_from_registers(*registers, order) == value


@given(st.floats(), st.sampled_from(get_args(WordOrder)))
def test_a_float_comes_back_finite_and_as_near_as_can_be(value: float, order: WordOrder) -> None:
    registers = word_order.registers_from_f32(value, order)
    back = float_from_registers(*registers, order)
    assert math.isfinite(back)
    if not math.isfinite(value):
        assert back == 0.0
    elif abs(value) <= 3.4028234663852886e38:
        assert back == struct.unpack(">f", struct.pack(">f", value))[0]


def test_the_blocks_are_covered_once_and_nothing_reaches_beyond() -> None:
    for registers, words in (
        (register_map.RESULT, register_map.RESULT_WORDS),
        (register_map.CONTROL, register_map.CONTROL_WORDS),
    ):
        covered = [
            at
            for register in registers
            for at in range(register.address, register.address + register.kind.words)
        ]
        assert covered == list(range(words))


def test_the_page_shows_the_map_that_the_code_has() -> None:
    for path in (PAGE, PAGE.with_name("plc.md")):
        page = path.read_text(encoding="utf-8")
        assert page == plc_modbus_tables.text_with_tables(page), (
            f"{path.name} is out of date: run just plc-docs"
        )


def test_a_page_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("lacks the line")):
        plc_modbus_tables.text_with_tables("# nothing here")


def test_rows_name_every_register_and_bit_once() -> None:
    rows = register_map.map_rows()
    assert len({row.address for row in rows}) == len({row.name for row in rows}) == len(rows)
    by_name = {row.name: row for row in rows}
    assert by_name["Status.Ready"].address == "input 0, holding 1000, b0"
    assert by_name["PartId"].address == "holding 3-4"
    assert by_name["PartId"].access == "read-write"
    assert by_name["SequenceTail"].access == "read"
