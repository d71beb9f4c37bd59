"""A station's part of ``/metrics``; needs the extra ``metrics``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

_MS_PER_S = 1e3
_COUNTERS = {
    "triggers": "Accepted.",
    "missed": "Triggers that came while the station was not ready.",
    "timeouts": "Deadlines missed; each was answered with REJECT in time.",
    "late": "Answers that came after their deadline and were thrown away.",
    "faults": "Times the station went to FAULT.",
    "restarts": "Times the worker was started again.",
}


def station_metrics(own: Mapping[str, Any]) -> Iterator[Metric]:
    """Metrics of what `edge.plc.serve_report.StationReport` tells of its station."""
    station = [own["name"]]
    online = GaugeMetricFamily(
        "edge_station_online",
        "1 when triggers are accepted, or one is at work.",
        labels=["station"],
    )
    online.add_metric(station, float(own["ready"]))
    yield online
    results = CounterMetricFamily(
        "edge_station_results", "Verdicts.", labels=["station", "verdict"]
    )
    for verdict in ("ok", "ng", "error"):
        results.add_metric([*station, verdict.upper()], own[verdict])
    yield results
    for name, what in _COUNTERS.items():
        family = CounterMetricFamily(f"edge_station_{name}", what, labels=["station"])
        family.add_metric(station, own["counters"][name])
        yield family
    stages = CounterMetricFamily(
        "edge_station_stage_seconds", "Time spent in each stage.", labels=["station", "stage"]
    )
    for stage, ms in own["stage_ms"].items():
        stages.add_metric([*station, stage], ms / _MS_PER_S)
    yield stages
