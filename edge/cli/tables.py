"""Prints for a person what the commands return; everything heavy is imported when it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edge import console

if TYPE_CHECKING:
    from calibrate.threshold import Threshold
    from edge.building.built import Built
    from edge.demo.demo import Demo
    from edge.doctor import Check
    from edge.evaluation.bench import BenchReport
    from edge.evaluation.compare import ComparedBundle, Comparison
    from edge.evaluation.drift import DriftReport
    from edge.evaluation.layer_times import LayerShare
    from edge.plans import CompiledPlan
    from engines.threshold_records import OperatingPointRecord

SLOWEST_SHOWN = 15
FIGURES = ("image_auroc", "pixel_auroc", "pixel_ap", "aupro", "f1_max")


def print_demo(demo: Demo) -> None:
    """Print how well and how fast the demo inspects, and where its files are."""
    bundle, latency = demo.built.bundle, demo.summary.latency_ms or {}
    rows: list[tuple[str, object]] = [
        ("engine", demo.built.engine_reason),
        ("learnt from", f"{bundle.manifest.images.used} drawn good parts"),
        *figure_rows(bundle.manifest.figures),
        ("conveyor video", f"{demo.right} of {demo.frames} verdicts right"),
        ("rate", f"{demo.summary.rate_hz:.0f} frames/s, drawn and recorded"),
        ("latency", ", ".join(f"{name} {value:.1f} ms" for name, value in latency.items())),
    ]
    console.print_table(f"Demo: done in {demo.seconds:.0f} s", rows)
    files = [
        ("report", bundle.path / "report.html"),
        ("picture grid", demo.folder / "grid.png"),
        ("overlay video", demo.folder / "overlay.mp4"),
        ("overlay pictures", demo.folder / "pictures"),
        ("results", demo.folder / "results.jsonl"),
    ]
    console.print_table("Look at", files)
    console.say(f"next: edge build IMAGES --precision fp16; edge info {bundle.path}")


def print_built(built: Built) -> None:
    """Print which inspector was built, what its threshold promises, and what it measured."""
    from edge.building.drawn_report import describe_drawn
    from edge.building.odd_images import describe_odd_images, describe_rejected_images
    from edge.building.report import describe_parity, describe_regions, describe_threshold

    manifest = built.bundle.manifest
    drawn = manifest.drawn_defects
    rows: list[tuple[str, object]] = [
        ("engine", built.engine_reason),
        ("executes", f"{manifest.precision} graph as {manifest.executes}"),
        ("prototypes", f"{manifest.prototypes} from {manifest.images.used} images"),
        *([("form", manifest.tuning.reason)] if manifest.tuning else []),
        ("threshold", describe_threshold(built.threshold)),
        ("regions", describe_regions(manifest)),
        *([("parity", describe_parity(manifest.parity))] if manifest.parity else []),
        *([("drawn defects", describe_drawn(drawn))] if drawn else []),
        *figure_rows(manifest.figures),
        ("plans", built.plans),
        ("report", built.bundle.path / "report.html"),
    ]
    console.print_table(f"{built.bundle.path}: built in {built.seconds:.1f} s", rows)
    print_points(built.points, used=built.threshold.value)
    odd = describe_odd_images(built.odd, built.threshold)
    for line in (built.threshold.warning, odd, describe_rejected_images(built.rejected)):
        if line:
            console.say(f"warning: {line}")


def say_threshold(threshold: Threshold) -> None:
    """Say what a threshold promises, and what is to be known of it."""
    from edge.building.report import describe_threshold

    console.say(describe_threshold(threshold))
    if threshold.warning:
        console.say(f"warning: {threshold.warning}")


def print_points(points: Sequence[OperatingPointRecord], *, used: float) -> None:
    """Print what thresholds reject and let pass; nothing where none are known."""
    from edge.evaluation.points_table import POINTS_HEAD, POINTS_TITLE, point_rows

    if points:
        console.print_columns(POINTS_TITLE, POINTS_HEAD, point_rows(points, used=used))


def figure_rows(figures: Mapping[str, float]) -> list[tuple[str, object]]:
    """A manifest's figures under the names that people know; empty without labelled images."""
    if not figures:
        return []
    names = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "aupro": "AUPRO"}
    rejects = f"{figures['false_rejects']:.0f} of {figures['good_images']:.0f} good images"
    escapes = f"{figures['escapes']:.0f} of {figures['defect_images']:.0f} defective images"
    rows: list[tuple[str, object]] = [(text, figures.get(name)) for name, text in names.items()]
    return [*rows, ("false rejects", rejects), ("escapes", escapes)]


def print_changes(title: str, changes: Sequence[Mapping[str, Any]]) -> None:
    """Print what was changed in a bundle."""
    if changes:
        console.print_table(title, [(one["setting"], _old_and_new(one)) for one in changes])
    else:
        console.say(f"{title}: nothing changed: it was so already")


def print_info(title: str, facts: Mapping[str, Any]) -> None:
    """Print a bundle's facts; a group of them takes one line for each member."""
    from engines.threshold_records import OperatingPointRecord

    rows: list[tuple[str, object]] = []
    for name, value in facts.items():
        if name == "parity" and value:
            rows.append((name, _parity(value)))
        elif name == "drawn_defects" and value:
            rows.append(("drawn defects", _drawn_defects(value)))
        elif name == "tuning" and value:
            rows.append(("form", value["reason"]))
        elif name == "learnt_images":
            rows.append((name, f"{len(value)} files, told by --json"))
        elif name in ("changes", "history", "operating_points"):
            continue
        elif isinstance(value, dict) and value:
            rows += [(f"{name}.{part}", item) for part, item in value.items()]
        else:
            rows.append((name, value))
    console.print_table(title, rows)
    points = [OperatingPointRecord.model_validate(one) for one in facts["operating_points"]]
    print_points(points, used=facts["threshold"])
    print_history(facts["history"])
    if facts["changes"]:
        console.say("figures and report are those of the build; measure again with `edge evaluate`")


def print_history(events: Sequence[Mapping[str, Any]]) -> None:
    """Print who did what with a bundle, and when."""
    console.print_columns(
        "History",
        ("when, UTC", "what", "", "version", "by"),
        [
            (
                one["when"][:19].replace("T", " "),
                one["what"],
                one["detail"],
                one["version"],
                one["by"],
            )
            for one in events
        ],
    )


def _old_and_new(change: Mapping[str, Any]) -> str:
    """What a setting was and is; a region as its numbers."""
    old, new = (
        ",".join(map(str, value.values())) if isinstance(value, Mapping) else value
        for value in (change["old"], change["new"])
    )
    return f"{'none' if old is None else old} → {'none' if new is None else new}"


def _parity(value: Mapping[str, Any]) -> str:
    from edge.building.report import describe_parity
    from engines.parity_record import ParityRecord

    return describe_parity(ParityRecord.model_validate(value))


def _drawn_defects(value: Mapping[str, Any]) -> str:
    from edge.building.drawn_report import describe_drawn
    from engines.drawn_record import DrawnDefectsRecord

    known = {name: value[name] for name in DrawnDefectsRecord.model_fields if name in value}
    return describe_drawn(DrawnDefectsRecord.model_validate(known))


def print_bench(title: str, report: BenchReport) -> None:
    """Print the latencies of engine, whole and host, then what they mean."""
    steps = [("engine", report.engine_ms), ("end to end", report.end_to_end_ms)]
    if report.host_ms is not None:
        steps.append(("host", report.host_ms))
    rows = [
        (what, *(f"{value:.2f}" for value in (times.p50, times.p95, times.p99)))
        for what, times in steps
    ]
    console.print_columns(title, ("ms", "p50", "p95", "p99"), rows)
    console.print_table(
        f"{report.rate_hz:.1f} frames/s",
        [
            ("engine", f"{report.engine} on {report.device}"),
            ("executes", f"{report.precision} graph as {report.executes}"),
            *([("launches", report.launches)] if report.launches else []),
            ("end to end / engine", f"{report.ratio_to_engine:.2f}"),
            ("frames", report.iterations),
        ],
    )
    if report.layers is not None:
        _print_slowest(report.layers)


def _print_slowest(layers: Sequence[LayerShare]) -> None:
    """Print the slowest layers; the others in a line."""
    shown, rest = layers[:SLOWEST_SHOWN], layers[SLOWEST_SHOWN:]
    rows = [(one.name, one.kind, f"{one.ms:.3f}", f"{one.share:.1%}", one.kernel) for one in shown]
    if rest:
        ms, share = sum(one.ms for one in rest), sum(one.share for one in rest)
        rows.append((f"{len(rest)} more", "", f"{ms:.3f}", f"{share:.1%}", ""))
    title = f"The slowest of {len(layers)} layers"
    console.print_columns(title, ("layer", "kind", "ms", "share", "kernel"), rows)


def print_comparison(comparison: Comparison) -> None:
    """Print a column for each bundle."""
    entries = comparison.entries
    rows: list[tuple[object, ...]] = [
        ("method", *(entry.model for entry in entries)),
        ("precision", *(f"{entry.precision}, as {entry.bench.executes}" for entry in entries)),
        *(
            (name.replace("_", " "), *(getattr(entry.evaluation, name) for entry in entries))
            for name in FIGURES
        ),
        ("false rejects", *(_of(entry, "false_rejects", "good_images") for entry in entries)),
        ("escapes", *(_of(entry, "escapes", "defect_images") for entry in entries)),
        ("engine, ms (p50)", *(f"{entry.bench.engine_ms.p50:.1f}" for entry in entries)),
        ("end to end, ms (p50)", *(f"{entry.bench.end_to_end_ms.p50:.1f}" for entry in entries)),
        ("graph, MiB", *(f"{entry.model_mib:.1f}" for entry in entries)),
        ("build, s", *(_seconds(entry.build_seconds) for entry in entries)),
    ]
    names = [entry.name for entry in entries]
    console.print_columns(f"{comparison.images} images", ("", *names), rows)
    if comparison.left_out:
        console.say(f"left out: {comparison.left_out} images that one of the bundles learnt from")
    for entry in entries:
        for path, reason in {**entry.evaluation.reasons, **entry.evaluation.errors}.items():
            console.say(f"{entry.name}: {path}: {reason}")


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _of(entry: ComparedBundle, part: str, whole: str) -> str:
    return f"{getattr(entry.evaluation, part)} of {getattr(entry.evaluation, whole)}"


def print_checks(checks: list[Check]) -> None:
    """Print what was checked, and what to do where something is amiss."""
    rows = [(check.status, check.name, check.detail) for check in checks]
    console.print_columns("This machine", ("", "what", "found"), rows)
    fixes = [(check.name, check.fix) for check in checks if check.fix and check.status != "ok"]
    if fixes:
        console.print_table("What to do", fixes)


def say_summary(summary: Mapping[str, Any]) -> None:
    """Say a stream's summary: a line for each of several cameras, and one for all of them."""
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


def print_compiled(bundle: str, plans: Sequence[CompiledPlan]) -> None:
    """Print what was compiled, and how other machines come to load it."""
    from engines.plans.cache import trusted_path

    head = ("plan", "executes", "images", "kernels", "MiB", "s")
    rows = [
        (
            made.path.name,
            facts["executes"],
            facts["batch"],
            facts["kernels"],
            f"{facts['size'] / (1 << 20):.1f}",
            f"{made.seconds:.1f}",
        )
        for made, facts in ((made, made.to_json()) for made in plans)
    ]
    console.print_columns(bundle, head, rows)
    lines = [(made.mark, f"# {made.path.name}") for made in plans]
    console.print_columns(f"Another machine loads them once {trusted_path()} has there", (), lines)


def print_drift(report: DriftReport) -> None:
    """Print how far each layer is from float32, and where it begins."""
    rows = [
        (
            each.name,
            each.kind,
            "no number" if each.error is None else f"{each.error:.2e}",
            "beyond" if each.exceeds(report.tolerance) else "",
        )
        for each in report.layers
    ]
    title = (
        f"{report.precision} on {report.engine} ({report.executes}) against float32; up to "
        f"{report.tolerance:g} of a layer's size"
    )
    console.print_columns(title, ("layer", "kind", "error", ""), rows)
    first, worst = report.first, report.worst
    far = sum(each.exceeds(report.tolerance) for each in report.layers)
    begins = f"first beyond: {first.name}" if first else _count(far)
    console.say(f"{begins}; worst: {worst.name}")
    if report.score_error is not None:
        console.say(
            f"scores move by {report.score_error:.3f} of the margin below the threshold, "
            f"{report.flips} verdicts differ, and {report.score_limit:g} is allowed: "
            + ("sound" if report.is_sound else "not sound")
        )


def _count(layers: int) -> str:
    return "no layer is beyond" if not layers else f"beyond, to no effect: {layers}"


def print_layers(plans: Mapping[str, Mapping[str, Any]]) -> None:
    """Print each plan's layers: the graph's nodes, types in and out, kernel."""
    if not plans:
        console.say("no plan is kept in this bundle; make one with `edge compile`")
    for name, facts in plans.items():
        if "problem" in facts:
            console.print_table(name, [("problem", facts["problem"])])
            continue
        target = facts["device"] or " ".join(facts["gpu"]) or "Ampere and newer"
        several = f", 1 to {facts['batch']} images" if facts["batch"] > 1 else ""
        title = (
            f"{name}: {facts['kernels']} kernels, {facts['executes']}, {facts['engine']} "
            f"{facts['version']}, {target}, {facts['typing']}ly typed{several}"
        )
        rows = [
            (
                " ".join(layer["nodes"]) or layer["name"],
                layer["kind"],
                " ".join(layer["inputs"]),
                " ".join(layer["outputs"]),
                layer["tactic"],
            )
            for layer in facts["layers"]
            if layer["kind"] != "sync"
        ]
        console.print_columns(title, ("layer", "kind", "in", "out", "kernel"), rows)
        for note in facts["notes"]:
            console.say(f"{name}: {note}")
