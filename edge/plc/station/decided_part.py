"""A station's part as a result like any other: for database, kept parts, recording and page."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import quote

from edge.plc.station.snapshot import (
    Decision,
    ErrorCode,
    InspectionResult,
    ResultEvaluation,
)
from edge.result import Result, Verdict
from edge.sinks.json_lines import JsonLinesFile
from edge.sinks.kept_parts import drawn_name
from edge.sinks.sink import name_from_result

US_PER_MS = 1e3


@dataclass(frozen=True, slots=True, eq=False)
class DecidedPart(Result):
    """What was decided about a part; its moment is that of the trigger, which every part has.

    Attributes:
        decided: as the PLC got it; in the result line below ``decided``.
    """

    decided: InspectionResult | None = None

    def to_json(self) -> dict[str, Any]:
        """See `Result.to_json`."""
        line = Result.to_json(self)
        return line if self.decided is None else line | {"decided": json_from_result(self.decided)}


class DecidedLinesSink(JsonLinesFile):
    """A line for each part, as the PLC got it."""

    lossless = True

    def write(self, result: Result) -> None:
        """Write one line; see `JsonLinesFile.add`."""
        if isinstance(result, DecidedPart) and result.decided is not None:
            self.add(json_from_result(result.decided))


@dataclass(slots=True)
class PictureAddresses:
    """Where the drawn picture of a rejected part can be seen.

    Attributes:
        source: of the station's pictures, as records have it.
        keeps: whether rejected parts are kept.
        page: address of the page; None where there is none.
    """

    source: str
    keeps: bool
    page: str | None = None

    def __call__(self, result: InspectionResult) -> str:
        """The address; empty where no picture is to be expected."""
        seen = result.acquired_at_ns or result.error is ErrorCode.DEADLINE
        if result.decision is Decision.PASS or not seen:
            return ""
        name = name_from_result(part_from_decision(result, source=self.source))
        if self.page is not None:
            return f"{self.page}/cameras/{quote(result.station)}/rejects/{name}.jpg"
        return f"{result.station}/{drawn_name(name)}" if self.keeps else ""


def json_from_result(result: InspectionResult) -> dict[str, Any]:
    """A part's line in the file of results."""
    return asdict(result) | {"decision": result.decision.name}


def verdict_of(result: InspectionResult) -> Verdict:
    """What was decided, in the words of every other result."""
    if result.decision is Decision.PASS:
        return Verdict.OK
    is_bad = result.evaluation is ResultEvaluation.NOT_OK and not result.error
    return Verdict.NG if is_bad else Verdict.ERROR


def part_from_decision(decided: InspectionResult, *, source: str) -> DecidedPart:
    """The part without its picture.

    Args:
        decided: as the PLC got it.
        source: of the station's pictures.
    """
    return DecidedPart(
        source=source,
        frame=decided.seq,
        captured_at_ns=decided.triggered_at_ns,
        verdict=verdict_of(decided),
        score=decided.score,
        threshold=decided.threshold,
        reason=decided.reason,
        speed={
            "acquire": decided.acquire_us / US_PER_MS,
            "process": decided.process_us / US_PER_MS,
        },
        camera=decided.station,
        part=decided.part_id,
        drift=decided.drift,
        recipe=decided.recipe_id,
        decided=decided,
    )


def add_picture(part: DecidedPart, judged: Result) -> DecidedPart:
    """The part with its picture, and with what the inspector saw in it.

    Args:
        part: what was decided.
        judged: what the inspector said; where its verdict was not the decision, since it came
            late, its picture alone is taken.
    """
    names = ("image", "roi", "ignored", "anomaly_map", "pixel_threshold", "regions", "defect_mask")
    taken = names if judged.verdict is part.verdict else names[:1]
    return replace(part, **{name: getattr(judged, name) for name in taken})
