"""What the commands found, as tables for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edge import console

if TYPE_CHECKING:
    from edge.bench import BenchReport
    from edge.build import Built
    from edge.doctor import Check


def print_built(built: Built) -> None:
    """Which inspector was built, what its threshold promises, and what it measured."""
    from edge.build_report import statement

    manifest = built.bundle.manifest
    rows: list[tuple[str, object]] = [
        ("engine", built.why_engine),
        ("executes", f"{manifest.precision} graph as {manifest.executes}"),
        ("prototypes", f"{manifest.prototypes} from {manifest.images.used} images"),
        ("threshold", statement(built.threshold)),
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
        if isinstance(value, dict) and value:
            rows += [(f"{name}.{part}", item) for part, item in value.items()]
        else:
            rows.append((name, value))
    console.print_table(title, rows)


def print_bench(title: str, report: BenchReport) -> None:
    """Latencies of the engine and of the whole inspector."""
    rows = [
        (what, *(f"{value:.2f}" for value in (times.p50, times.p95, times.p99)))
        for what, times in (("engine", report.engine_ms), ("end to end", report.end_to_end_ms))
    ]
    console.print_columns(title, ("ms", "p50", "p95", "p99"), rows)
    console.print_table(
        f"{report.rate_hz:.1f} frames/s",
        [
            ("engine", f"{report.engine} on {report.device}"),
            ("executes", f"{report.precision} graph as {report.executes}"),
            ("end to end / engine", f"{report.ratio_to_engine:.2f}"),
            ("frames", report.iterations),
        ],
    )


def print_checks(checks: list[Check]) -> None:
    """What was looked at, and for what is amiss what to do about it."""
    rows = [(check.status, check.name, check.detail) for check in checks]
    console.print_columns("This machine", ("", "what", "found"), rows)
    fixes = [(check.name, check.fix) for check in checks if check.fix and check.status != "ok"]
    if fixes:
        console.print_table("What to do", fixes)


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
