"""A station: the handshake between a PLC and an inspector."""

from edge.station.contract import (
    Box,
    Control,
    Counters,
    InspectionResult,
    Snapshot,
    word_from_sequence,
)
from edge.station.jobs import Answer, Change, Job, Recipe, StationOptions
from edge.station.judging import JudgeOptions
from edge.station.port import (
    Bridge,
    Cancel,
    Listener,
    MapRow,
    Port,
    Registers,
    ResultListener,
)
from edge.station.process_worker import ProcessWorker
from edge.station.station import Station
from edge.station.thread_worker import ThreadWorker
from edge.station.words import (
    SCHEMA,
    CommandCode,
    CommandState,
    Decision,
    ErrorCode,
    Evaluation,
    OfflineReason,
    Phase,
    State,
    StationError,
)
from edge.station.worker import Judge, JudgeError, Worker

__all__ = [
    "SCHEMA",
    "Answer",
    "Box",
    "Bridge",
    "Cancel",
    "Change",
    "CommandCode",
    "CommandState",
    "Control",
    "Counters",
    "Decision",
    "ErrorCode",
    "Evaluation",
    "InspectionResult",
    "Job",
    "Judge",
    "JudgeError",
    "JudgeOptions",
    "Listener",
    "MapRow",
    "OfflineReason",
    "Phase",
    "Port",
    "ProcessWorker",
    "Recipe",
    "Registers",
    "ResultListener",
    "Snapshot",
    "State",
    "Station",
    "StationError",
    "StationOptions",
    "ThreadWorker",
    "Worker",
    "word_from_sequence",
]
