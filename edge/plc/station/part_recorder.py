"""Where the pictures of a worker's parts go, once the station has decided about them.

What was decided is recorded by the station's own process, and never waits for this one. Here are
pictures alone: kept, recorded, shown on the page, judged by a candidate. Each goes to a thread of
its own, and what finds no room there is left out and counted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import cv2

from cameras.child_link import Link
from cameras.redaction import printable_path
from edge.given import GivenSettings
from edge.inspection.hot_swap import REFUSALS
from edge.options import RecordOptions
from edge.plc.station.decided_part import add_picture, part_from_decision
from edge.plc.station.messages import Decided, RecorderOptions, RecordState
from edge.plc.station.shown_parts import SentPictures
from edge.result import Result, Say
from edge.service.camera_status import count_lost, troubles_from_sinks
from edge.service.gallery import Galleries
from edge.sinks.late_sink import LateSink
from edge.sinks.sink import Painter, SinkError
from edge.sinks.threads import SinkThreads
from edge.stream.open_sinks import database_of, kept_parts, limits_of, recording
from edge.stream.shadow import open_shadow

_REFUSALS = (*REFUSALS, SinkError, cv2.error)


class PartRecorder(AbstractContextManager["PartRecorder"]):
    """Holds the part that was inspected last, and hands its picture on when it is decided.

    Args:
        options: what goes where.
        link: to the station, whose page shows pictures.
        say: takes lines for people.
    """

    def __init__(self, options: RecorderOptions, link: Link, *, say: Say) -> None:
        self._options = options
        self._say = say
        self._held: tuple[int, Result] | None = None
        self._shown = SentPictures(link)
        self._stack = ExitStack()
        self._sinks = [self._stack.enter_context(sink) for sink in self._open_sinks()]
        self._threads = self._stack.enter_context(
            SinkThreads(self._sinks, live=True, stop=threading.Event())
        )

    @property
    def state(self) -> RecordState:
        """What cannot be written now, and what could not be so far."""
        return RecordState("; ".join(troubles_from_sinks(self._sinks)), count_lost(self._sinks))

    def hold(self, seq: int, result: Result) -> None:
        """Hold what an inspector said about a part, in place of the part before."""
        self._held = seq, result

    def keep(self, order: Decided) -> None:
        """Hand on the part that is held, if it is the one that was decided."""
        held, self._held = self._held, None
        if held is not None and held[0] == order.result.seq:
            part = part_from_decision(order.result, source=self._options.source)
            self._threads.put(add_picture(part, held[1]))

    def note_watched(self) -> None:
        """Somebody looks at the page."""
        self._shown.note_watched()

    def close(self) -> None:
        """Write what waits, in the time there is; a second call does nothing."""
        self._held = None
        self._stack.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_sinks(self) -> Iterator[Any]:
        options, station = self._options, self._options.station
        records = RecordOptions(**options.records)
        if options.page:
            yield Galleries().gallery(station, self._shown)
        if records.record is not None:
            yield _late(lambda: recording(records, station, paint=Painter()), records.record)
        if records.keep is not None:
            yield _late(lambda: kept_parts(records, station), records.keep)
        if records.shadow is not None:
            yield _late(lambda: self._open_shadow(records), records.shadow)

    def _open_shadow(self, records: RecordOptions) -> Any:
        assert records.shadow is not None
        options = self._options
        return open_shadow(
            records.shadow,
            options.given,
            engine=options.engine,
            name=options.station,
            recipe=options.recipe_id,
            database=database_of(records),
            keep=records.keep,
            limits=limits_of(records),
            say=self._say,
        )


def recorder_options_from_json(content: dict[str, Any]) -> RecorderOptions:
    """Of its own fields, which JSON has carried."""
    return RecorderOptions(**content | {"given": GivenSettings.from_json(content["given"])})


def _late(open_it: Callable[[], Any], where: Any) -> LateSink:
    return LateSink(open_it, where=printable_path(where), refusals=_REFUSALS)
