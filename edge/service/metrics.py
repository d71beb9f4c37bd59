"""A report in Prometheus' text format; needs the extra ``metrics``."""

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

from edge.service.metrics_station import station_metrics

_Of: TypeAlias = Callable[[Mapping[str, Any]], Any]
_MS_PER_S = 1e3


def metrics_from_report(report: Mapping[str, Any]) -> tuple[bytes, str]:
    """The text of ``/metrics`` and its type.

    Args:
        report: `edge.service.supervisor.Life.to_json`, or
            `edge.plc.serve_report.StationReport.to_json`.
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
        yield GaugeMetricFamily(
            "edge_ready", "1 when every camera can be relied on.", float(self._report["ready"])
        )
        yield GaugeMetricFamily(
            "edge_shared_sinks_in_trouble",
            "Places of all cameras' results that cannot be written now.",
            float(len(self._report["troubles"])),
        )
        yield CounterMetricFamily(
            "edge_shared_results_not_written",
            "Lost by sinks of all cameras.",
            float(self._report["not_written"]),
        )
        if "station" in self._report:
            own = self._report["station"]
            yield from station_metrics(own)
            yield _latency("edge_station_latency_seconds", "station", {own["name"]: own})
            return
        cameras: Mapping[str, Mapping[str, Any]] = self._report["cameras"]
        yield from _gauges(cameras)
        yield from _counters(cameras)
        yield _latency("edge_latency_seconds", "camera", cameras)


def _gauges(cameras: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    found: dict[str, tuple[str, _Of]] = {
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
            lambda one: len(one["troubles"]),
        ),
    }
    for name, (what, of) in found.items():
        family = GaugeMetricFamily(name, what, labels=["camera"])
        for camera, one in cameras.items():
            value = of(one)
            if value is not None:
                family.add_metric([camera], float(value))
        yield family


def _counters(cameras: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    results = CounterMetricFamily("edge_results", "Verdicts.", labels=["camera", "verdict"])
    stages = CounterMetricFamily(
        "edge_stage_seconds", "Time spent in each stage.", labels=["camera", "stage"]
    )
    for camera, one in cameras.items():
        for verdict in ("ok", "ng", "error"):
            results.add_metric([camera, verdict.upper()], one[verdict])
        for stage, ms in one["stage_ms"].items():
            stages.add_metric([camera, stage], ms / _MS_PER_S)
    yield from (results, stages)
    found: dict[str, tuple[str, _Of]] = {
        "edge_frames_dropped": ("Captured and not inspected.", lambda one: one["dropped"]),
        "edge_results_not_written": ("Lost by sinks.", lambda one: one["not_written"]),
        "edge_self_test_failures": ("Failed.", lambda one: one["self_test"]["failures"]),
        "edge_reloads": ("Inspectors exchanged.", lambda one: one["reloads"]["done"]),
        "edge_reloads_refused": (
            "Bundles that were not taken.",
            lambda one: one["reloads"]["refused"],
        ),
    }
    for name, (what, of) in found.items():
        family = CounterMetricFamily(name, what, labels=["camera"])
        for camera, one in cameras.items():
            family.add_metric([camera], of(one))
        yield family


def _latency(name: str, label: str, each: Mapping[str, Mapping[str, Any]]) -> Metric:
    what = {"camera": "From capture to result.", "station": "From trigger to result."}[label]
    family = HistogramMetricFamily(name, what, labels=[label])
    for whose, one in each.items():
        total, buckets = 0, []
        for end, count in one["latency_ms"]["buckets"].items():
            total += count
            shown = end if end == "+Inf" else str(float(end) / _MS_PER_S)
            buckets.append((shown, float(total)))
        family.add_metric([whose], buckets, one["latency_ms"]["sum"] / _MS_PER_S)
    return family
