"""The worker's process: ``python -m edge.plc.station.worker_process FD``; its station starts it.

It ends with its station, however that ends: the stream's end is seen by two threads, and the kernel
kills it when its parent is gone, even if it is stopped at that moment.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading

from cameras.child_process import leave_signals_to_parent, tie_to_parent
from edge.plc.station.messages import Change, Job, JudgeOptions, Recipe
from edge.plc.station.snapshot import ErrorCode
from edge.plc.station.thread_worker import answer_from_inspector, change_recipe
from edge.plc.station.worker import PartInspector, RecipeError
from edge.plc.station.worker_link import Beat, Changed, Failed, Ready, Wire, WorkerSetup

BEAT_S = 0.05
FAILED = 3
"""Exit status of a worker that has told why it cannot begin."""


def main(arguments: list[str]) -> int:
    """Serve the socket with this number until it ends."""
    wire = begin(int(arguments[0]))
    setup = wire.receive()
    if not isinstance(setup, WorkerSetup):
        return FAILED
    from edge.plc.station.inspector_judge import InspectorJudge  # OpenCV takes its time

    recipes = {int(key): path for key, path in setup.judge["recipes"].items()}
    options = JudgeOptions(**(setup.judge | {"recipes": recipes}))
    return serve(wire, InspectorJudge(options), setup.recipe_id)


def begin(descriptor: int) -> Wire:
    """Tie this process to its parent's life, leave signals to it, and open the wire."""
    tie_to_parent()
    leave_signals_to_parent(signal.SIGINT)  # Ctrl-C is for the parent, which ends us
    end = socket.socket(fileno=descriptor)
    end.set_inheritable(False)
    wire = Wire(end)
    threading.Thread(target=_beat, args=(wire,), name="edge-beat", daemon=True).start()
    return wire


def serve(wire: Wire, inspector: PartInspector, recipe_id: int) -> int:
    """Load, then inspect what comes until the station is gone; the exit status."""
    try:
        try:
            recipe = inspector.load(recipe_id)
        except RecipeError as error:
            slow = error.code is ErrorCode.TOO_SLOW
            code = ErrorCode.TOO_SLOW if slow else ErrorCode.WORKER_START
            wire.send(Failed(code, str(error)))
            return FAILED
        wire.send(Ready(recipe))
        return _work(wire, inspector, recipe)
    finally:
        inspector.close()


def _work(wire: Wire, inspector: PartInspector, recipe: Recipe) -> int:
    while True:
        try:
            order = wire.receive()
        except EOFError:
            return 0
        if isinstance(order, Job):
            wire.send(answer_from_inspector(inspector, order))
        elif isinstance(order, Change):
            recipe, error, reason = change_recipe(inspector, order, recipe)
            wire.send(Changed(recipe, error, reason))


def _beat(wire: Wire) -> None:
    """Say that the process lives; without a station to hear it, end."""
    pause = threading.Event()
    parent = os.getppid()
    while not pause.wait(BEAT_S):
        wire.send(Beat(), wait=False)
        if os.getppid() != parent:
            os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
