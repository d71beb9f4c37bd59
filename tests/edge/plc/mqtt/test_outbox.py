"""The queue of results against a model."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from publishing import RESULT

from edge.plc.mqtt.outbox import Letter, Outbox
from edge.plc.mqtt.section import MAX_UNDER_WAY, MIN_QUEUE
from edge.plc.mqtt.topics import Delivery

MAX_RESULTS, EXPIRY_S = MIN_QUEUE + 3, 10.0


class OutboxMachine(RuleBasedStateMachine):
    """Each result ends exactly once: delivered or dropped; what is sent is in order and young."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.box = Outbox(MAX_RESULTS, expiry_s=EXPIRY_S, clock=lambda: self.now)
        self.given = 0
        self.numbers: list[int] = []
        self.last = 0
        self.since: dict[int, float] = {}
        self.letter: Letter | None = None

    @rule(count=st.integers(1, 2 * MAX_RESULTS))
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
        assert delivery.waiting <= MAX_RESULTS
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
