"""What the two processes of a live capture say to each other; see `cameras.child_link`.

The first message, to the child, is the `CaptureTask`; the end of the link ends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class CaptureTask:
    """What the child shall capture.

    Attributes:
        device: from `cameras.capture.device.json_from_device`; may contain credentials.
        stall_ns: a wait for a picture of this length ends the connection.
    """

    device: dict[str, Any]
    stall_ns: int


@dataclass(frozen=True, slots=True)
class Connected:
    """The camera is open; its nominal rate."""

    rate_hz: float | None


@dataclass(frozen=True, slots=True)
class Lost:
    """The camera cannot be opened, or delivers no more; it is tried again."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotDue:
    """Data flow, but no picture is due: why, and up to which monotonic time that explains it."""

    reason: str
    until_ns: int


@dataclass(frozen=True, slots=True)
class Flawed:
    """A picture came that must not be judged; with its stamp (`cameras.capture.ring.Stamp`)."""

    number: int
    monotonic_ns: int
    captured_at_ns: int
    reason: str


@dataclass(frozen=True, slots=True)
class Memory:
    """The pictures are in new memory from now on."""

    height: int
    width: int
    descriptor: int
