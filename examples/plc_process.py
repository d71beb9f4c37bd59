"""A bridge of your own, with the inspector in a process of its own, beside a built-in bridge.

    python examples/plc_process.py build/bottle.edge images/test/good

What `edge serve --bridge modbus` does, in a program that may do more. The inspector may hang or
crash: this process answers, and starts another.
"""

from __future__ import annotations

import sys

from edge.plc.modbus.bridge import ModbusBridge
from edge.plc.modbus.section import ModbusSection
from edge.plc.station import (
    InspectionResult,
    JudgeOptions,
    ProcessWorker,
    Station,
    StationOptions,
)

DEADLINE_MS = 500.0


def tell(result: InspectionResult) -> None:
    """Write what was decided; called in a thread of the station that may take its time."""
    print(
        f"{result.seq}: part {result.part_id}: {result.decision.name} {result.reason}", flush=True
    )


def main(bundle: str, source: str, port: str = "5020") -> None:
    """Serve until the input ends."""
    worker = ProcessWorker(JudgeOptions({1: bundle}, source, deadline_ms=DEADLINE_MS))
    options = StationOptions(name="line3", deadline_ms=DEADLINE_MS, latch=False)
    with (
        Station(worker, options=options) as station,
        ModbusBridge(station, ModbusSection(port=int(port))) as bridge,
    ):
        station.on_result(tell)
        station.wait_ready(60)
        print(f"{bridge.where}: ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
