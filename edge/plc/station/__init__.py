"""A station: the handshake between a PLC and an inspector.

What an embedding program needs is here; the rest is in the modules of this package.
"""

from edge.plc.station.messages import JudgeOptions, StationOptions
from edge.plc.station.process_worker import ProcessWorker
from edge.plc.station.snapshot import InspectionResult, Snapshot, StationError
from edge.plc.station.station import Station
from edge.plc.station.thread_worker import ThreadWorker

__all__ = [
    "InspectionResult",
    "JudgeOptions",
    "ProcessWorker",
    "Snapshot",
    "Station",
    "StationError",
    "StationOptions",
    "ThreadWorker",
]
