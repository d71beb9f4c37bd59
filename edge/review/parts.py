"""Every part that a station has inspected, with what people say of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from cameras.redaction import printable_path
from edge.options.review import Mark, PartsOptions, ReviewOptions
from edge.review.hour_sums import PartSums, SumPlace, sums_between
from edge.review.moments import LAST_NS, local_time, ns_from_moment
from edge.review.pictures import KeptPictures, MarkedPictures
from edge.review.store_file import open_store, telling_errors
from edge.sinks.database import DATABASE, SHADOW
from edge.sinks.sink import SinkError

_NAMES = "id, camera, source, frame, captured_at_ns, verdict, score, threshold, reason, recipe"
_ORDERS = {"time": "captured_at_ns DESC, id DESC", "score": "score DESC, id DESC"}
_MARKED_IDS = "SELECT result FROM (SELECT result, mark, max(id) FROM marks GROUP BY result)"
_SHADOW = (
    "candidate, camera, frame, captured_at_ns, verdict, score, "
    "shadow_verdict, shadow_score, shadow_reason"
)


@dataclass(frozen=True, slots=True)
class ReviewedPart:
    """A part that was inspected.

    Attributes:
        id: its number in the database.
        camera: the camera's name; empty where there is one alone.
        source: as in the result line.
        frame: as in the result line.
        captured_at_ns: Unix time in ns.
        verdict: OK, NG or ERROR.
        score: compared with the threshold; None for an ERROR.
        threshold: of the inspector that judged it.
        reason: why it is an ERROR; empty otherwise.
        recipe: of a station, that inspected it; None elsewhere.
        mark: what somebody said of it last; empty without any.
        marked_by: who.
        marked_at_ns: when, Unix time.
        picture: as it came, where it is kept.
    """

    id: int
    camera: str
    source: str
    frame: int
    captured_at_ns: int
    verdict: str
    score: float | None
    threshold: float | None
    reason: str
    recipe: int | None = None
    mark: str = ""
    marked_by: str = ""
    marked_at_ns: int | None = None
    picture: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """In JSON types; times as ISO 8601 on the machine's clock."""
        return {
            "id": self.id,
            "time": _time_of(self.captured_at_ns),
            "camera": self.camera,
            "recipe": self.recipe,
            "verdict": self.verdict,
            "score": self.score,
            "threshold": self.threshold,
            "mark": self.mark,
            "marked_by": self.marked_by,
            "marked_at": _time_of(self.marked_at_ns),
            "source": self.source,
            "frame": self.frame,
            "reason": self.reason,
            "picture": "" if self.picture is None else printable_path(self.picture),
        }


@dataclass(frozen=True, slots=True)
class ShadowedPart:
    """A part of which a candidate says otherwise than the inspector at work.

    Attributes:
        candidate: what tells it from another.
        camera, frame, captured_at_ns: as in the result line.
        verdict, score: of the inspector at work.
        shadow_verdict, shadow_score, shadow_reason: of the candidate.
        picture: as it came, where it is kept.
    """

    candidate: str
    camera: str
    frame: int
    captured_at_ns: int
    verdict: str
    score: float | None
    shadow_verdict: str
    shadow_score: float | None
    shadow_reason: str
    picture: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """In JSON types."""
        return {
            "time": _time_of(self.captured_at_ns),
            "camera": self.camera,
            "frame": self.frame,
            "verdict": self.verdict,
            "score": self.score,
            "shadow_verdict": self.shadow_verdict,
            "shadow_score": self.shadow_score,
            "shadow_reason": self.shadow_reason,
            "picture": "" if self.picture is None else printable_path(self.picture),
        }


@dataclass(frozen=True, slots=True)
class ShadowDifferences:
    """What a candidate would change.

    Attributes:
        candidate: what tells it from another.
        judged: how many parts it judged.
        differing: in how many of them it says otherwise.
        parts: of these, those that were asked for.
    """

    candidate: str
    judged: int
    differing: int
    parts: tuple[ShadowedPart, ...]


class PartStore(AbstractContextManager["PartStore"]):
    """The parts of a folder that ``edge stream --keep`` fills; it may be at work meanwhile.

    Args:
        folder: of kept parts.

    Raises:
        SinkError: it holds no results, or they cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / DATABASE
        self._kept, self._marked = KeptPictures(folder), MarkedPictures(folder)
        self._pictures = (KeptPictures(folder / SHADOW), self._kept)
        if not self._path.is_file():
            raise SinkError(
                f"{printable_path(folder)}: no {DATABASE} in it; name the folder that "
                "`edge stream --keep FOLDER` fills"
            )
        with self._telling():
            self._database, self._is_writable = open_store(self._path)

    def close(self) -> None:
        """Close the database; a second call does nothing."""
        self._database.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def parts(self, options: PartsOptions) -> list[ReviewedPart]:
        """The parts that are asked for, those that come first.

        Raises:
            ValueError: a moment that is none.
            SinkError: the database cannot be read.
        """
        where, values = self._condition(options)
        order = _ORDERS[options.sort]
        with self._telling():
            rows = self._database.execute(
                f"SELECT {_NAMES} FROM results WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?",
                (*values, options.limit, options.skip),
            ).fetchall()
            return [self._part(row) for row in rows]

    def count(self, options: ReviewOptions) -> int:
        """How many parts there are of those that are asked for."""
        where, values = self._condition(options)
        with self._telling():
            found = self._database.execute(f"SELECT count(*) FROM results WHERE {where}", values)
            return int(found.fetchone()[0])

    def sums(self, options: ReviewOptions) -> dict[SumPlace, PartSums]:
        """The parts that are asked for, summed up by quarter of an hour, camera and verdict."""
        self._check_camera(options)
        since, until = bounds_of(options)
        with self._telling():
            found = sums_between(
                self._database,
                since or 0,
                LAST_NS if until is None else until,
                may_write=self._is_writable,
            )
        return {
            place: part
            for place, part in found.items()
            if options.camera in (None, place.camera)
            and place.verdict in (options.verdict or (place.verdict,))
        }

    def cameras(self) -> tuple[str, ...]:
        """The names of all cameras, in order; empty before the first part."""
        with self._telling():
            query = "SELECT DISTINCT camera FROM results ORDER BY camera"
            return tuple(name for (name,) in self._database.execute(query))

    def shadow_differences(self, options: PartsOptions) -> ShadowDifferences:
        """The parts in which the last candidate differs, and how many it judged in all.

        The newest first; `verdict`, `marked` and `sort` are those of all parts, and not looked at.

        Raises:
            ValueError: a moment that is none.
            SinkError: the database cannot be read, or no candidate has judged anything.
        """
        chosen = options.model_copy(update={"verdict": (), "marked": None})
        with self._telling():
            last = "SELECT candidate FROM shadow ORDER BY id DESC LIMIT 1"
            (candidate,) = self._database.execute(last).fetchone() or (None,)
        if candidate is None:
            raise SinkError("no candidate has judged anything here; `edge stream --shadow BUNDLE`")
        where, values = self._condition(chosen)
        where, values = f"candidate = ? AND {where}", [candidate, *values]
        with self._telling():
            counting = f"SELECT count(*) FROM shadow WHERE {where}"
            differs = "AND verdict <> shadow_verdict"  # which has an index
            (judged,) = self._database.execute(counting, values).fetchone()
            (differing,) = self._database.execute(f"{counting} {differs}", values).fetchone()
            rows = self._database.execute(
                f"SELECT {_SHADOW} FROM shadow WHERE {where} {differs} "
                "ORDER BY captured_at_ns DESC LIMIT ? OFFSET ?",
                (*values, options.limit, options.skip),
            ).fetchall()
        parts = tuple(self._shadowed(row) for row in rows)
        return ShadowDifferences(candidate, judged, differing, parts)

    def _shadowed(self, row: tuple[Any, ...]) -> ShadowedPart:
        _, camera, frame, captured_at_ns, verdict, *_ = row
        found = [kept.find(camera, captured_at_ns, frame, verdict) for kept in self._pictures]
        return replace(ShadowedPart(*row), picture=next(filter(None, found), None))

    def mark(self, ids: Sequence[int], mark: Mark, *, by: str) -> list[ReviewedPart]:
        """Say of parts what they are; what was said before stays on record.

        Args:
            ids: their numbers.
            mark: good, defective, or ignored: of no use for either.
            by: who says so.

        Returns:
            Those parts.

        Raises:
            SinkError: there is no such part, the picture of one that is good or defective is not
                kept, or nothing can be written; then none of them is marked.
        """
        if not self._is_writable:
            raise SinkError(f"{printable_path(self._path)}: not writable; nothing can be marked")
        parts = [self.part(number) for number in dict.fromkeys(ids)]
        for part in parts:
            if part.picture is None and mark != "ignored":
                raise SinkError(
                    f"part {part.id}: its picture is not kept, so that nothing can be learnt from "
                    "it; stream.keep_ok keeps some of the OK parts, too; mark another one"
                )
        now = time.time_ns()
        with self._telling(), self._database:
            for part in parts:
                name = "" if part.picture is None else part.picture.name
                self._database.execute(
                    "INSERT INTO marks (result, mark, by, at_ns, picture) VALUES (?, ?, ?, ?, ?)",
                    (part.id, mark, by, now, name),
                )
            self._put_pictures(parts, mark)
        return [self.part(part.id) for part in parts]

    def _put_pictures(self, parts: Sequence[ReviewedPart], mark: Mark) -> None:
        """Give all pictures their places, or none: what is taught lies in these folders."""
        put: list[ReviewedPart] = []
        try:
            for part in parts:
                if part.picture is not None:
                    self._marked.put(part.picture, part.camera, mark)
                    put.append(part)
        except SinkError:
            for part in put:
                assert part.picture is not None
                now_at = self._marked.find(part.picture.name, part.camera) or part.picture
                self._marked.put(now_at, part.camera, cast(Mark, part.mark or "ignored"))
            raise

    def part(self, number: int) -> ReviewedPart:
        """The part of a number.

        Raises:
            SinkError: there is none, or the database cannot be read.
        """
        with self._telling():
            row = self._database.execute(
                f"SELECT {_NAMES} FROM results WHERE id = ?", (number,)
            ).fetchone()
        if row is None:
            raise SinkError(f"part {number}: there is none of this number; `edge review parts`")
        return self._part(row)

    def _part(self, row: tuple[Any, ...]) -> ReviewedPart:
        number, camera, _, frame, captured_at_ns, verdict, *_ = row
        part = ReviewedPart(*row)
        query = (
            "SELECT mark, by, at_ns, picture FROM marks WHERE result = ? ORDER BY id DESC LIMIT 1"
        )
        said = self._database.execute(query, (number,)).fetchone()
        picture = self._kept.find(camera, captured_at_ns, frame, verdict)
        if said is None:
            return replace(part, picture=picture)
        mark, by, at_ns, name = said
        picture = (self._marked.find(name, camera) if name else None) or picture
        return replace(part, mark=mark, marked_by=by, marked_at_ns=at_ns, picture=picture)

    def _condition(self, options: ReviewOptions) -> tuple[str, list[Any]]:
        """As `condition_of`, of a camera that is there."""
        self._check_camera(options)
        return condition_of(options)

    def _check_camera(self, options: ReviewOptions) -> None:
        """Refuse a camera that is not there, and name those that are.

        Raises:
            ValueError: no part is of that camera.
        """
        if options.camera is None:
            return
        with self._telling():
            query = "SELECT 1 FROM results WHERE camera = ? LIMIT 1"
            is_there = self._database.execute(query, (options.camera,)).fetchone()
        if not is_there and (cameras := self.cameras()):
            names = ", ".join(name or "one without a name" for name in cameras)
            raise ValueError(f"camera {options.camera}: no part here is of it; there are {names}")

    def _telling(self) -> AbstractContextManager[None]:
        return telling_errors(self._path)


def condition_of(options: ReviewOptions) -> tuple[str, list[Any]]:
    """The SQL condition on ``results`` for the parts that are asked for, and its values.

    Raises:
        ValueError: a moment that is none, or no moment lies between the two.
    """
    terms = ["1"]
    values: list[Any] = []
    if options.verdict:
        terms.append(f"verdict IN ({', '.join('?' * len(options.verdict))})")
        values += list(options.verdict)
    if options.camera is not None:
        terms.append("camera = ?")
        values.append(options.camera)
    for moment, comparison in zip(bounds_of(options), (">=", "<"), strict=True):
        if moment is not None:
            terms.append(f"captured_at_ns {comparison} ?")
            values.append(moment)
    if isinstance(options, PartsOptions) and options.marked in ("any", "none"):
        terms.append(f"id {'NOT ' * (options.marked == 'none')}IN ({_MARKED_IDS})")
    elif isinstance(options, PartsOptions) and options.marked is not None:
        terms.append(f"id IN ({_MARKED_IDS} WHERE mark = ?)")
        values.append(options.marked)
    return " AND ".join(terms), values


def bounds_of(options: ReviewOptions) -> tuple[int | None, int | None]:
    """The first moment that is asked for, and that before which; Unix times in ns, None is open.

    Raises:
        ValueError: one that is none, or no moment lies between the two.
    """
    since, until = (
        None if one is None else ns_from_moment(one) for one in (options.since, options.until)
    )
    if since is not None and until is not None and since >= until:
        raise ValueError(
            f"--since {options.since} is not before --until {options.until}; "
            "give the day, too, such as 2026-01-31T22:00"
        )
    return since, until


def _time_of(ns: int | None) -> str:
    return "" if ns is None else local_time(ns).isoformat(timespec="milliseconds")
