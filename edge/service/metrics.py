"""A report in Prometheus' text format: cameras of a stream, or a station."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

_One: TypeAlias = Mapping[str, Any]  # a camera's or a station's part of the report
_Metrics: TypeAlias = Mapping[str, tuple[str, Callable[[_One], float | None]]]
_MS_PER_S = 1e3

_CAMERA_GAUGES: _Metrics = {
    "edge_camera_ready": ("1 when the camera can be relied on.", lambda one: one["ready"]),
    "edge_frame_age_seconds": ("Age of the newest frame.", lambda one: one["frame_age_s"]),
    "edge_self_test_passed": (
        "1 when the golden images last gave the scores that they have to.",
        lambda one: one["self_test"]["passed"],
    ),
    "edge_self_test_age_seconds": (
        "Time since the golden images last passed.",
        lambda one: one["self_test"]["age_s"],
    ),
    "edge_sinks_in_trouble": (
        "Places of results that cannot be written now.",
        lambda one: one["sinks_in_trouble"],
    ),
    "edge_scores_drifted": (
        "1 when the last parts' scores have shifted from those of the build.",
        lambda one: _drift(one, "state") not in (None, "unknown", "steady"),
    ),
    "edge_score_median": ("Of the last parts.", lambda one: _drift(one, "median")),
    "edge_score_spread": (
        "Median absolute deviation of the last parts' scores.",
        lambda one: _drift(one, "spread"),
    ),
    "edge_built_score_median": (
        "Of good images at the build that were not learnt from.",
        lambda one: _drift(one, "built_median"),
    ),
    "edge_built_score_spread": (
        "Median absolute deviation of theirs.",
        lambda one: _drift(one, "built_spread"),
    ),
    "edge_other_source": (
        "1 when pictures have another size or colour than the good images.",
        lambda one: bool(one.get("other_source")),
    ),
}
_CAMERA_COUNTERS: _Metrics = {
    "edge_frames_dropped": ("Captured and not inspected.", lambda one: one["dropped"]),
    "edge_results_not_written": ("Lost by sinks.", lambda one: one["not_written"]),
    "edge_self_test_failures": ("Failed.", lambda one: one["self_test"]["failures"]),
    "edge_reloads": ("Inspectors exchanged.", lambda one: one["reloads"]["done"]),
    "edge_reloads_refused": (
        "Bundles that were not taken.",
        lambda one: one["reloads"]["refused"],
    ),
}
_STATION_GAUGES: _Metrics = {
    "edge_station_online": (
        "1 when triggers are accepted, or one is at work.",
        lambda one: one["ready"],
    ),
    "edge_station_scores_drifted": (
        "1 when the last parts' scores have shifted from those of the build.",
        lambda one: one["drift"] not in ("", "unknown", "steady"),
    ),
}
_STATION_COUNTERS = {
    "triggers": "Accepted.",
    "missed": "Triggers that came while the station was not ready.",
    "timeouts": "Deadlines missed; each was answered with REJECT in time.",
    "late": "Answers that came after their deadline and were thrown away.",
    "faults": "Times the station went to FAULT.",
    "restarts": "Times the worker was started again.",
}


def _drift(one: _One, name: str) -> Any:
    """A figure of `edge.service.input_watch`; None where nobody watches."""
    return one.get("drift", {}).get(name)


def metrics_from_report(report: Mapping[str, Any]) -> tuple[bytes, str]:
    """The text of ``/metrics`` and its type.

    Args:
        report: `edge.service.supervisor.Supervisor.to_json`, or
            `edge.plc.station_report.StationReport.to_json`.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Reported(report))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Reported(Collector):
    """Metrics of one report."""

    def __init__(self, report: Mapping[str, Any]) -> None:
        self._report = report

    def collect(self) -> Iterable[Metric]:
        report = self._report
        yield GaugeMetricFamily(
            "edge_ready", "1 when every camera can be relied on.", float(report["ready"])
        )
        yield GaugeMetricFamily(
            "edge_shared_sinks_in_trouble",
            "Places of all cameras' results that cannot be written now.",
            float(report.get("sinks_in_trouble", len(report["troubles"]))),
        )
        yield CounterMetricFamily(
            "edge_shared_results_not_written",
            "Lost by sinks of all cameras.",
            float(report["not_written"]),
        )
        yield CounterMetricFamily(
            "edge_thread_failures",
            "What nobody foresaw in a thread of the program.",
            float(report["thread_failures"]),
        )
        if "station" in report:
            own = {report["station"]["name"]: report["station"]}
            yield from _from_table(GaugeMetricFamily, "station", own, _STATION_GAUGES)
            yield from _from_table(CounterMetricFamily, "station", own, _station_counters())
            yield from _from_counts("edge_station", "station", own, "From trigger to result.")
            yield _today("edge_station", "station", own)
        else:
            cameras: Mapping[str, _One] = report["cameras"]
            yield from _from_table(GaugeMetricFamily, "camera", cameras, _CAMERA_GAUGES)
            yield from _from_table(CounterMetricFamily, "camera", cameras, _CAMERA_COUNTERS)
            yield from _from_counts("edge", "camera", cameras, "From capture to result.")
            yield _today("edge", "camera", cameras)


def _today(prefix: str, label: str, each: Mapping[str, _One]) -> Metric:
    today = GaugeMetricFamily(
        f"{prefix}_results_today",
        "Verdicts of this day of the machine's clock, those of earlier runs included.",
        labels=[label, "verdict"],
    )
    for whose, one in each.items():
        for verdict, count in one["today"].items():
            today.add_metric([whose, verdict.upper()], count)
    return today


def _from_table(
    kind: type[GaugeMetricFamily | CounterMetricFamily],
    label: str,
    each: Mapping[str, _One],
    table: _Metrics,
) -> Iterator[Metric]:
    for name, (what, value_of) in table.items():
        family = kind(name, what, labels=[label])
        for whose, one in each.items():
            value = value_of(one)
            if value is not None:
                family.add_metric([whose], float(value))
        yield family


def _station_counters() -> _Metrics:
    def value_of(name: str) -> Callable[[_One], float]:
        return lambda one: float(one["counters"][name])

    return {
        f"edge_station_{name}": (what, value_of(name)) for name, what in _STATION_COUNTERS.items()
    }


def _from_counts(
    prefix: str, label: str, each: Mapping[str, _One], latency: str
) -> Iterator[Metric]:
    """Metrics of `edge.service.result_counts.ResultCounts.to_json`."""
    results = CounterMetricFamily(f"{prefix}_results", "Verdicts.", labels=[label, "verdict"])
    stages = CounterMetricFamily(
        f"{prefix}_stage_seconds", "Time spent in each stage.", labels=[label, "stage"]
    )
    times = HistogramMetricFamily(f"{prefix}_latency_seconds", latency, labels=[label])
    for whose, one in each.items():
        for verdict in ("ok", "ng", "error"):
            results.add_metric([whose, verdict.upper()], one[verdict])
        for stage, ms in one["stage_ms"].items():
            stages.add_metric([whose, stage], ms / _MS_PER_S)
        total, buckets = 0, []
        for end, count in one["latency_ms"]["buckets"].items():
            total += count
            shown = end if end == "+Inf" else str(float(end) / _MS_PER_S)
            buckets.append((shown, float(total)))
        times.add_metric([whose], buckets, one["latency_ms"]["sum"] / _MS_PER_S)
    yield from (results, stages, times)
