"""What was done with the bundles of one place, in one list, whichever of them remember it."""

from __future__ import annotations

from collections.abc import Iterable

from engines.history_record import MAX_HISTORY, HistoryRecord
from engines.manifest import ChangeRecord, Manifest, RoiRecord, SettingValue


def events_of(manifest: Manifest) -> list[HistoryRecord]:
    """What a bundle remembers: its history, the changes of its settings, and that it was built."""
    events = [*manifest.history, *map(_event_of_change, manifest.changes)]
    if not any(one.what == "built" for one in events):
        detail = f"{manifest.images.used} good images, {manifest.model}, {manifest.precision}"
        events.append(HistoryRecord(when=manifest.created, what="built", detail=detail))
    return events


def merge_events(events: Iterable[HistoryRecord]) -> tuple[HistoryRecord, ...]:
    """Each once, the latest last; of very many the first and the last."""
    merged = sorted(dict.fromkeys(events), key=lambda one: one.when)
    return tuple(merged if len(merged) <= MAX_HISTORY else [merged[0], *merged[1 - MAX_HISTORY :]])


def _event_of_change(change: ChangeRecord) -> HistoryRecord:
    detail = f"{change.setting} {_shown(change.old)} → {_shown(change.new)}"
    return HistoryRecord(when=change.changed, by=change.by, what="set", detail=detail[:1000])


def _shown(value: SettingValue) -> str:
    if value is None:
        return "none"
    return ",".join(map(str, value.box)) if isinstance(value, RoiRecord) else str(value)
