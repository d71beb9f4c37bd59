"""A station: the handshake between a PLC and an inspector."""

from edge.station.contract import (
    Box,
    Control,
    Counters,
    InspectionResult,
    Snapshot,
    word_from_sequence,
)
from edge.station.port import Bridge, Cancel, Listener, MapRow, Port, ResultListener
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

__all__ = [
    "SCHEMA",
    "Box",
    "Bridge",
    "Cancel",
    "CommandCode",
    "CommandState",
    "Control",
    "Counters",
    "Decision",
    "ErrorCode",
    "Evaluation",
    "InspectionResult",
    "Listener",
    "MapRow",
    "OfflineReason",
    "Phase",
    "Port",
    "ResultListener",
    "Snapshot",
    "State",
    "StationError",
    "word_from_sequence",
]
