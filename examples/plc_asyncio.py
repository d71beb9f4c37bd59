"""A bridge of your own on asyncio: the handshake in this process, inspections in a thread.

    python examples/plc_asyncio.py build/bottle.edge images/test/good

Each line on standard input is a part's number; each gets one line as answer within the deadline.
"""

from __future__ import annotations

import asyncio
import sys

from edge.plc.station import JudgeOptions, Station, StationError, StationOptions, ThreadWorker
from edge.plc.station.inspector_judge import InspectorJudge

DEADLINE_MS = 500.0


async def main(bundle: str, source: str) -> None:
    """Answer until the input ends."""
    judge = InspectorJudge(JudgeOptions({1: bundle}, source, deadline_ms=DEADLINE_MS))
    with Station(ThreadWorker(judge), options=StationOptions(deadline_ms=DEADLINE_MS)) as station:
        await asyncio.wrap_future(station.when(lambda shown: shown.ready or shown.fault))
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            try:
                result = await station.inspect_async(part_id=int(line))
            except StationError as error:
                print(f"{line.strip()}: reject, {error}", flush=True)
                continue
            print(f"{result.part_id}: {result.decision.name} {result.reason}", flush=True)
            await asyncio.wrap_future(station.when(lambda shown: shown.ready or shown.fault))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
