"""The queue of results against a model, and what the section and the topics refuse."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pydantic import ValidationError

from edge.plc.mqtt.outbox import Letter, Outbox
from edge.plc.mqtt.section import MAX_UNDER_WAY, MIN_QUEUE, MqttSection, topic_from_levels
from edge.plc.mqtt.topics import (
    Delivery,
    Topics,
    heartbeat_from_snapshot,
    map_rows,
    payload_from_result,
    stats_from_snapshot,
)
from edge.plc.station.snapshot import (
    DefectBox,
    ErrorCode,
    InspectionResult,
    ResultEvaluation,
    Snapshot,
    State,
)

RESULT = InspectionResult(
    station="flange",
    boot_id=7,
    seq=1,
    trigger_id=2,
    part_id=3,
    recipe_id=1,
    model_hash="",
    evaluation=ResultEvaluation.UNDEFINED,
    state=State.ABORTED,
    error=ErrorCode.DEADLINE,
    reason="späť",
    score=None,
    threshold=0.5,
    defects=0,
    worst=DefectBox(),
    triggered_at_ns=1,
    acquired_at_ns=0,
    decided_at_ns=2,
    acquire_us=0,
    process_us=0,
    latency_us=50_000,
)
MOST, EXPIRY_S = MIN_QUEUE + 3, 10.0


class OutboxMachine(RuleBasedStateMachine):
    """Each result ends exactly once: delivered or dropped; what is sent is in order and young."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.box = Outbox(MOST, expiry_s=EXPIRY_S, clock=lambda: self.now)
        self.given = 0
        self.numbers: list[int] = []
        self.last = 0
        self.since: dict[int, float] = {}
        self.letter: Letter | None = None

    @rule(count=st.integers(1, 2 * MOST))
    def put(self, count: int) -> None:
        for _ in range(count):
            self.given += 1
            self.since[self.given] = self.now
            self.box.put(replace(RESULT, seq=self.given))

    @rule(seconds=st.sampled_from([0.0, 0.5, 4.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.letter is None)
    @rule()
    def take(self) -> None:
        """Others may put between this and `send`."""
        self.letter = self.box.take()
        if self.letter is not None:
            age = self.now - self.since[self.letter.result.seq]
            assert age < EXPIRY_S and self.letter.expires_in_s == pytest.approx(EXPIRY_S - age)

    @precondition(lambda self: self.letter is not None)
    @rule()
    def send(self) -> None:
        assert self.letter is not None
        number = self.letter.result.seq
        assert number > self.last
        self.last = number
        self.box.note_sent(number)
        self.numbers.append(number)
        self.letter = None

    @precondition(lambda self: self.numbers)
    @rule(taken=st.booleans(), which=st.integers(0, MAX_UNDER_WAY))
    def answer(self, taken: bool, which: int) -> None:
        number = self.numbers.pop(which % len(self.numbers))
        self.box.note_answer(number, taken=taken)
        self.box.note_answer(number, taken=taken)  # a second answer, or somebody else's number

    @rule()
    def end(self) -> None:
        waiting = self.box.delivery.waiting
        assert self.box.give_up() == waiting
        assert self.box.is_empty
        self.numbers.clear()
        self.letter = None

    @invariant()
    def nothing_is_lost_uncounted(self) -> None:
        delivery = self.box.delivery
        assert delivery.accepted == self.given
        assert delivery.accepted == delivery.delivered + delivery.dropped + delivery.waiting
        assert min(delivery.delivered, delivery.dropped, delivery.waiting) >= 0
        assert delivery.waiting <= MOST
        assert len(self.numbers) <= MAX_UNDER_WAY


OutboxMachine.TestCase.settings = settings(max_examples=50, deadline=None)
TestOutbox = OutboxMachine.TestCase


def test_many_threads_put_and_none_is_lost() -> None:
    box = Outbox(100, expiry_s=None)
    threads = [
        threading.Thread(target=lambda: [box.put(RESULT) for _ in range(1000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert box.delivery == Delivery(accepted=4000, delivered=0, dropped=3900, waiting=100)


def test_a_queue_is_never_smaller_than_what_is_on_its_way() -> None:
    with pytest.raises(ValueError, match="at least 17"):
        Outbox(MAX_UNDER_WAY, expiry_s=None)


def test_payloads_are_json_without_holes() -> None:
    result = json.loads(payload_from_result(RESULT))
    assert (result["decision"], result["evaluation"], result["error"]) == ("REJECT", "UNDEFINED", 1)
    assert result["score"] is None and result["acquired_at_ns"] is None and result["worst"] is None
    assert result["reason"] == "späť"
    snapshot = Snapshot(station="flange", boot_id=7, threshold=float("nan"), reason="\ud800")
    assert json.loads(stats_from_snapshot(snapshot, Delivery(), time_ns=5))["threshold"] is None
    beat = json.loads(heartbeat_from_snapshot(snapshot, time_ns=5))
    assert (beat["phase"], beat["ready"], beat["time_ns"]) == ("offline", False, 5)


@settings(deadline=None)
@given(st.text(max_size=20))
def test_a_level_is_taken_whole_or_refused(level: str) -> None:
    bad = not level or level.startswith("$") or any(char in "+#/" or char < " " for char in level)
    if bad:
        with pytest.raises(ValueError, match=r"part of a topic|belong to the broker"):
            topic_from_levels("a", level)
    else:
        assert Topics(topic_from_levels("a", level)).result == f"a/{level}/result"


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"password_file": "password"}, "without user"),
        ({"certificate": "a.pem"}, "belong together"),
        ({"plain": True, "ca": "ca.pem"}, "uses no certificate"),
        ({"site": "a/b"}, "cannot be part of a topic"),
        ({"prefix": "$SYS"}, "belong to the broker"),
        ({"queue": MAX_UNDER_WAY}, "greater than or equal to 17"),
        ({"insecure": True}, "not permitted"),
        ({"host": "broker..example"}, "not a host name"),
        ({"host": "b" * 64}, "not a host name"),
        ({"host": "a\0b"}, "not a host name"),
    ],
)
def test_a_section_that_makes_no_sense_is_refused(told: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        MqttSection.model_validate(told)


def test_ports_follow_the_encryption() -> None:
    assert MqttSection().broker_port == 8883
    assert MqttSection(plain=True).broker_port == 1883
    assert MqttSection(plain=True, port=2).broker_port == 2


def test_the_map_names_each_topic() -> None:
    topics = Topics("a/b")
    assert [row.address for row in map_rows("a/b")] == [
        *(topics.availability, topics.heartbeat, topics.result, topics.stats)
    ]
