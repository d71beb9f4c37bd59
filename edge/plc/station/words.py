"""The words of a station: phases, evaluations, errors, commands."""

from __future__ import annotations

import enum

SCHEMA = 1
"""Version of the layout of results and registers."""
SEQUENCE_WORDS = 65535


class StationError(RuntimeError):
    """A station cannot do what it was asked: not ready, closed, or no such recipe."""


class Phase(str, enum.Enum):
    """Where the handshake is."""

    OFFLINE = "offline"  # starting, or sent offline
    READY = "ready"  # the worker is idle: a trigger is accepted
    BUSY = "busy"  # a part is being inspected
    RESULT = "result"  # the result is valid until it is acknowledged
    RELEASE = "release"  # acknowledged; waiting for acknowledge low and for an idle worker
    COMMAND = "command"  # a recipe is being changed
    FAULT = "fault"  # nothing is inspected until the fault is cleared

    def __str__(self) -> str:
        return self.value


class OfflineReason(enum.IntEnum):
    """Why a station is not online; three bits."""

    ONLINE = 0
    STARTING = 1
    REQUESTED = 2
    FAULT = 3
    CLOSED = 4


class Evaluation(enum.IntEnum):
    """What is said about a part (OPC 40001-101, ResultEvaluation)."""

    UNDEFINED = 0
    OK = 1
    NOT_OK = 2
    NOT_DECIDABLE = 3


class State(enum.IntEnum):
    """How an inspection ended."""

    NONE = 0
    COMPLETED = 1
    ABORTED = 3
    FAILED = 4


class Decision(enum.IntEnum):
    """What the PLC acts on: bit 0 PASS, bit 1 REJECT."""

    NONE = 0
    PASS = 1
    REJECT = 2
    FAULT = 3


class ErrorCode(enum.IntEnum):
    """Why a part, a command or the station failed; 0 is none."""

    NONE = 0
    DEADLINE = 1
    NO_PICTURE = 2
    BAD_PICTURE = 3
    ENGINE = 4
    ABORTED = 5
    WORKER_LOST = 10
    WORKER_HUNG = 11
    WORKER_START = 12
    TOO_SLOW = 13
    UNKNOWN_COMMAND = 20
    UNKNOWN_RECIPE = 21
    RECIPE_REFUSED = 22
    NOT_NOW = 23


class CommandCode(enum.IntEnum):
    """What the command word may ask."""

    NONE = 0
    RECIPE = 1  # argument: the recipe's id
    ZERO_COUNTERS = 2


class CommandState(enum.IntEnum):
    """How the latest command goes; bits 4 to 6 of status byte 1."""

    IDLE = 0
    EXECUTING = 1
    COMPLETED = 2
    FAILED = 4
