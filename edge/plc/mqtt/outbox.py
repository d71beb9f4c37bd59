"""Results on their way: a bounded queue that loses none without counting it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from edge.plc.mqtt.section import MAX_UNDER_WAY, MIN_QUEUE
from edge.plc.mqtt.topics import Delivery
from edge.plc.station.snapshot import InspectionResult


@dataclass(frozen=True, slots=True)
class Letter:
    """A result to be sent.

    Attributes:
        result: what is to be sent.
        expires_in_s: how long it is still of use; None for ever.
    """

    result: InspectionResult
    expires_in_s: float | None


@dataclass(frozen=True, slots=True)
class _QueuedResult:
    result: InspectionResult
    since: float


class Outbox:
    """Keeps results until the broker has acknowledged them.

    Any thread may call `put`, which never waits; the rest belongs to the thread that sends. When
    the queue is full, the oldest waiting result is dropped: what the line does now matters more.

    Args:
        max_results: results that wait or are on their way; at least `MIN_QUEUE`.
        expiry_s: older ones are dropped rather than sent; None keeps them.
        clock: monotonic, s.
    """

    def __init__(
        self,
        max_results: int,
        *,
        expiry_s: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_results < MIN_QUEUE:
            raise ValueError(f"a queue of {max_results}: must be at least {MIN_QUEUE}")
        self._max_results = max_results
        self._expiry_s = expiry_s
        self._clock = clock
        self._lock = threading.Lock()
        self._queue: deque[_QueuedResult] = deque()
        self._sent: set[int] = set()
        self._in_hand = 0
        self._accepted = self._delivered = self._dropped = 0

    def put(self, result: InspectionResult) -> None:
        """Take a result."""
        with self._lock:
            self._accepted += 1
            if self._waiting >= self._max_results:
                self._queue.popleft()  # never empty here: see MIN_QUEUE
                self._dropped += 1
            self._queue.append(_QueuedResult(result, self._clock()))

    def take(self) -> Letter | None:
        """Take out the next result to send; None if none is waiting, or enough are on their way.

        `note_sent` must follow before the next is taken.
        """
        with self._lock:
            now = self._clock()
            while self._queue and len(self._sent) < MAX_UNDER_WAY:
                first = self._queue.popleft()
                left = None if self._expiry_s is None else self._expiry_s - (now - first.since)
                if left is None or left > 0:
                    self._in_hand = 1
                    return Letter(first.result, left)
                self._dropped += 1
            return None

    def note_sent(self, number: int) -> None:
        """Note that the result that was taken is on its way under a number."""
        with self._lock:
            self._in_hand = 0
            self._sent.add(number)

    def note_answer(self, number: int, *, taken: bool) -> bool:
        """Note the broker's answer; False for the number of another message."""
        with self._lock:
            if number not in self._sent:
                return False
            self._sent.remove(number)
            if taken:
                self._delivered += 1
            else:
                self._dropped += 1
            return True

    def give_up(self) -> int:
        """Drop everything that is left and return how much that was."""
        with self._lock:
            left = self._waiting
            self._dropped += left
            self._queue.clear()
            self._sent.clear()
            self._in_hand = 0
            return left

    @property
    def is_awaiting(self) -> bool:
        """Something is on its way, and the broker owes an answer."""
        with self._lock:
            return bool(self._sent)

    @property
    def is_empty(self) -> bool:
        """Nothing waits and nothing is on its way."""
        with self._lock:
            return self._waiting == 0

    @property
    def delivery(self) -> Delivery:
        """What became of the results so far."""
        with self._lock:
            return Delivery(self._accepted, self._delivered, self._dropped, self._waiting)

    @property
    def _waiting(self) -> int:
        return len(self._queue) + self._in_hand + len(self._sent)
