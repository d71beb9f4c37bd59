"""Draw the handshake's timing diagram, docs/plc_timing.png: what the station really does.

The lines are not drawn by hand: a station's machine runs through two parts, one in time and one
whose deadline passes, and what it shows at each moment is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge.plc.station.messages import Answer, Recipe, StationOptions
from edge.plc.station.snapshot import Control, ErrorCode, ResultEvaluation, Snapshot
from edge.plc.station.state_machine import StationMachine

OUTPUT = "docs/plc_timing.png"
MS = 1_000_000
DEADLINE_MS, END_MS = 40, 172
PX_PER_MS, ROW, LEFT, TOP = 7, 44, 176, 62  # px
PLC, STATION, GREY, RED = (170, 90, 20), (40, 120, 30), (150, 150, 150), (40, 40, 200)
FONT = cv2.FONT_HERSHEY_SIMPLEX

LOW = Control(enable=True)
FIRST = Control(enable=True, trigger=True, trigger_id=7)
SECOND = Control(enable=True, trigger=True, trigger_id=8)
ACK = Control(enable=True, acknowledge=True)
GOOD = Answer(1, ResultEvaluation.OK, score=0.1)
LATE = Answer(2, ResultEvaluation.OK, score=0.1)


class HandClock:
    """Goes on by a millisecond when told."""

    now_ns = 0

    def monotonic_ns(self) -> int:
        """See `edge.plc.station.messages.Clock`."""
        return self.now_ns

    def time_ns(self) -> int:
        """See `edge.plc.station.messages.Clock`."""
        return self.now_ns


@dataclass(frozen=True)
class Line:
    """One row of the diagram."""

    name: str
    colour: tuple[int, int, int]
    level: Callable[[Control, Snapshot], bool]


LINES = (
    Line("Trigger", PLC, lambda held, _: held.trigger),
    Line("ResultsAck", PLC, lambda held, _: held.acknowledge),
    Line("Ready", STATION, lambda _, shown: shown.ready),
    Line("TriggerAck", STATION, lambda _, shown: shown.trigger_acknowledged),
    Line("Busy", STATION, lambda _, shown: shown.busy),
    Line("ResultsValid", STATION, lambda _, shown: shown.valid),
    Line("Completed", STATION, lambda _, shown: shown.completed),
    Line("PASS", STATION, lambda _, shown: shown.decision == 1),
    Line("REJECT", STATION, lambda _, shown: shown.decision == 2),
)
NOTES = (
    (8, "1 trigger"),
    (28, "2 result"),
    (38, "3 acknowledge"),
    (70, "4 trigger"),
    (110, "5 deadline: REJECT"),
    (138, "6 late answer"),
)


def main() -> None:
    """Run the machine, draw, write."""
    moments = list(_moments())
    width = LEFT + END_MS * PX_PER_MS + 24
    picture = np.full((TOP + len(LINES) * ROW + 34, width, 3), 255, np.uint8)
    for at_ms, text in NOTES:
        x = LEFT + at_ms * PX_PER_MS
        cv2.line(picture, (x, TOP - 16), (x, picture.shape[0] - 26), GREY, 1, cv2.LINE_AA)
        cv2.putText(picture, text, (x - 4, TOP - 24), FONT, 0.48, (60, 60, 60), 1, cv2.LINE_AA)
    for row, line in enumerate(LINES):
        _draw(picture, TOP + row * ROW, line, [line.level(*moment) for moment in moments])
    note = "blue: the PLC; green: the station; Ready stays low until the worker is idle"
    cv2.putText(
        picture, note, (LEFT, picture.shape[0] - 8), FONT, 0.46, (90, 90, 90), 1, cv2.LINE_AA
    )
    cv2.imwrite(OUTPUT, picture)


def _moments() -> Iterator[tuple[Control, Snapshot]]:
    """What the PLC holds and what the station shows, each millisecond."""
    clock = HandClock()
    machine = StationMachine(1, StationOptions(deadline_ms=DEADLINE_MS), clock)
    machine.worker_ready(Recipe(1, threshold=0.5))
    held = LOW
    script: dict[int, Control | Answer] = {
        8: FIRST, 14: LOW, 28: GOOD, 38: ACK, 46: LOW,
        70: SECOND, 76: LOW, 118: ACK, 128: LOW, 138: LATE,
    }  # fmt: skip
    machine.control(held)
    for moment in range(END_MS):
        clock.now_ns = moment * MS
        event = script.get(moment)
        if isinstance(event, Answer):
            machine.worker_answer(event)
        elif event is not None:
            held = event
            machine.control(held)
        shown = machine.snapshot()
        assert shown.error in (ErrorCode.NONE, ErrorCode.DEADLINE)
        yield held, shown


def _draw(picture: npt.NDArray[np.uint8], top: int, line: Line, levels: list[bool]) -> None:
    """One row: a name and its level over time."""
    high, low = top + 6, top + ROW - 14
    cv2.putText(picture, line.name, (14, low - 4), FONT, 0.58, line.colour, 1, cv2.LINE_AA)
    cv2.line(picture, (LEFT, low), (picture.shape[1] - 24, low), (225, 225, 225), 1)
    points = []
    for moment, level in enumerate(levels):
        y = high if level else low
        points += [(LEFT + moment * PX_PER_MS, y), (LEFT + (moment + 1) * PX_PER_MS, y)]
    colour = RED if line.name == "REJECT" else line.colour
    cv2.polylines(picture, [np.array(points, np.int32)], False, colour, 2, cv2.LINE_AA)


if __name__ == "__main__":
    main()
