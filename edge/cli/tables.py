"""What the commands found, as tables for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edge import console

if TYPE_CHECKING:
    from edge.building.build import Built
    from edge.doctor import Check
    from edge.evaluation.bench import BenchReport


def print_built(built: Built) -> None:
    """Which inspector was built, what its threshold promises, and what it measured."""
    from edge.building.report import parity_line, statement

    manifest = built.bundle.manifest
    rows: list[tuple[str, object]] = [
        ("engine", built.engine_reason),
        ("executes", f"{manifest.precision} graph as {manifest.executes}"),
        ("prototypes", f"{manifest.prototypes} from {manifest.images.used} images"),
        ("threshold", statement(built.threshold)),
        *([("parity", parity_line(manifest.parity))] if manifest.parity else []),
        *figure_rows(manifest.figures),
        ("plans", built.plans),
        ("report", built.bundle.path / "report.html"),
    ]
    console.print_table(f"{built.bundle.path}: built in {built.seconds:.1f} s", rows)
    if built.threshold.warning:
        console.say(f"warning: {built.threshold.warning}")


def figure_rows(figures: Mapping[str, float]) -> list[tuple[str, object]]:
    """A manifest's figures under the names that people know; empty without labelled images."""
    if not figures:
        return []
    names = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "aupro": "AUPRO"}
    rejects = f"{figures['false_rejects']:.0f} of {figures['good_images']:.0f} good images"
    escapes = f"{figures['escapes']:.0f} of {figures['defect_images']:.0f} defective images"
    rows: list[tuple[str, object]] = [(text, figures.get(name)) for name, text in names.items()]
    return [*rows, ("false rejects", rejects), ("escapes", escapes)]


def print_info(title: str, facts: Mapping[str, Any]) -> None:
    """A bundle's facts; groups of them are opened to one line each."""
    rows: list[tuple[str, object]] = []
    for name, value in facts.items():
        if name == "parity" and value:
            rows.append((name, _parity(value)))
        elif isinstance(value, dict) and value:
            rows += [(f"{name}.{part}", item) for part, item in value.items()]
        else:
            rows.append((name, value))
    console.print_table(title, rows)


def _parity(value: Mapping[str, Any]) -> str:
    from edge.building.report import parity_line
    from engines.manifest import ParityRecord

    return parity_line(ParityRecord.model_validate(value))


def print_bench(title: str, report: BenchReport) -> None:
    """Latencies of the engine, of the whole and of the host's part; then what it all means."""
    steps = [("engine", report.engine_ms), ("end to end", report.end_to_end_ms)]
    if report.host_ms is not None:
        steps.append(("host", report.host_ms))
    rows = [
        (what, *(f"{value:.2f}" for value in (times.p50, times.p95, times.p99)))
        for what, times in steps
    ]
    console.print_columns(title, ("ms", "p50", "p95", "p99"), rows)
    copied = None
    if report.copies is not None and report.copied_bytes is not None:
        copied = f"{report.copies}, {report.copied_bytes / 2**20:.2f} MiB"
    power = report.power
    if report.watts is not None and report.hz_per_watt is not None:
        power = f"{report.watts:.1f} W, {report.hz_per_watt:.2f} frames/s per W ({report.power})"
    console.print_table(
        f"{report.rate_hz:.1f} frames/s",
        [
            ("engine", f"{report.engine} on {report.device}"),
            ("executes", f"{report.precision} graph as {report.executes}"),
            ("end to end / engine", f"{report.ratio_to_engine:.2f}"),
            ("launches a call", report.launches),
            ("copies a call", copied),
            ("power", power or None),
            *_roofline_rows(report),
            ("frames", report.iterations),
        ],
    )


def _roofline_rows(report: BenchReport) -> list[tuple[str, object]]:
    found = report.roofline
    if found is None:
        return []
    peaks = ", ".join(f"{kind} {peak:.0f} GFLOP/s" for kind, peak in found.peak_gflops.items())
    return [
        ("the graph", f"{found.gflop:.2f} GFLOP, {found.mib:.1f} MiB read and written"),
        ("this machine", f"{peaks}; {found.bandwidth_gb_s:.0f} GB/s"),
        ("roofline", f"{found.bound_ms:.2f} ms: {found.share:.0%} of the engine's time"),
    ]


def print_checks(checks: list[Check]) -> None:
    """What was looked at, and for what is amiss what to do about it."""
    rows = [(check.status, check.name, check.detail) for check in checks]
    console.print_columns("This machine", ("", "what", "found"), rows)
    fixes = [(check.name, check.fix) for check in checks if check.fix and check.status != "ok"]
    if fixes:
        console.print_table("What to do", fixes)


def say_summary(summary: Mapping[str, Any]) -> None:
    """A stream's summary: a line for each of several cameras, and one for all."""
    for name, one in summary.get("cameras", {}).items():
        console.say(f"{name}: {summary_line(one)}")
    console.say(summary_line(summary))


def summary_line(summary: Mapping[str, Any]) -> str:
    """A stream's summary in one line."""
    latency: Mapping[str, float] | None = summary["latency_ms"]
    times = (
        ", ".join(f"{name} {value:.1f} ms" for name, value in latency.items()) if latency else "-"
    )
    lost = f"; {summary['not_written']} not written" if summary["not_written"] else ""
    undrawn = f"; {summary['not_drawn']} not drawn" if summary["not_drawn"] else ""
    return (
        f"{summary['frames']} frames: {summary['ok']} OK, {summary['ng']} NG, "
        f"{summary['error']} ERROR; {summary['dropped']} dropped{undrawn}{lost}; "
        f"{summary['rate_hz']:.1f} Hz; latency {times}"
    )
