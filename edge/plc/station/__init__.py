"""A station: the handshake between a PLC and an inspector."""

from edge.plc.station.judging import JudgeOptions
from edge.plc.station.messages import Answer, Change, Job, Recipe, StationOptions
from edge.plc.station.port import (
    Bridge,
    Cancel,
    Listener,
    MapRow,
    Port,
    Registers,
    ResultListener,
)
from edge.plc.station.process_worker import ProcessWorker
from edge.plc.station.snapshot import (
    Box,
    Control,
    Counters,
    InspectionResult,
    Snapshot,
    word_from_sequence,
)
from edge.plc.station.station import Station
from edge.plc.station.thread_worker import ThreadWorker
from edge.plc.station.words import (
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
from edge.plc.station.worker import Judge, JudgeError, Worker

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
