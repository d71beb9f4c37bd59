"""Prints an evaluation for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge import console
from edge.cli.tables import FIGURES, print_points

if TYPE_CHECKING:
    from collections.abc import Mapping

    from calibrate.evaluate import Evaluation, JudgedImage
    from edge.options import EvaluateOptions

SHOWN = 10  # images of a kind; all of them are in --json
DECIDING = ("threshold", "min_area", "ignore", "roi", "bit_depth", "health_off")


def settings_of_config(options: EvaluateOptions, given: EvaluateOptions) -> list[str]:
    """A line that names what `edge.toml` decides, so that figures are not taken for the bundle's.

    Args:
        options: in force.
        given: on the command line.
    """
    names = (options.model_fields_set - given.model_fields_set) & set(DECIDING)
    found = [f"{name} {getattr(options, name)}" for name in DECIDING if name in names]
    return [f"from edge.toml, as in the stream: {', '.join(found)}"] if found else []


def print_evaluation(evaluation: Evaluation) -> None:
    """Print the figures, those of each defect, which images stand out, and why any is missing."""
    rows: list[tuple[str, object]] = [("threshold", evaluation.threshold)]
    if evaluation.defect_images:
        rows = [(name, getattr(evaluation, name)) for name in (*FIGURES, "threshold")]
    rows.append(("false rejects", f"{evaluation.false_rejects} of {evaluation.good_images}"))
    if evaluation.defect_images:
        rows.append(("escapes", f"{evaluation.escapes} of {evaluation.defect_images}"))
    if evaluation.errors:
        all_images = evaluation.good_images + evaluation.defect_images + len(evaluation.errors)
        rows.append(("ERROR", f"{len(evaluation.errors)} of {all_images}"))
    console.print_table("Figures", rows)
    print_points(evaluation.operating_points, used=evaluation.threshold)
    if evaluation.per_defect:
        console.print_columns(
            "Defects",
            ("kind", "images", "escapes", "image AUROC"),
            [(n, d.images, d.escapes, d.image_auroc) for n, d in evaluation.per_defect.items()],
        )
    _print_images(evaluation)
    reasons = evaluation.reasons if evaluation.defect_images else {}
    for name, reason in {**reasons, **evaluation.errors}.items():
        console.say(f"{name}: {reason}")
    _say_skipped(evaluation.skipped)


def _print_images(evaluation: Evaluation) -> None:
    """Good images with the highest scores, and defective ones that pass with the lowest."""
    scored = [one for one in evaluation.images if one.score is not None]
    good = [one for one in scored if one.label == "good"]
    passed = [one for one in scored if one.label != "good" and one.verdict == "OK"]
    _print_extremes("Good images, the highest scores", sorted(good, key=_score, reverse=True))
    _print_extremes("Defective images that pass", sorted(passed, key=_score))


def _print_extremes(title: str, images: list[JudgedImage]) -> None:
    if images:
        more = f", {SHOWN} of {len(images)}" if len(images) > SHOWN else ""
        rows = [(one.path, f"{one.score:.4g}", one.verdict) for one in images[:SHOWN]]
        console.print_columns(f"{title}{more}", ("image", "score", "verdict"), rows)


def _score(image: JudgedImage) -> float:
    return image.score or 0.0


def _say_skipped(skipped: Mapping[str, str]) -> None:
    """One line for each reason."""
    for reason in dict.fromkeys(skipped.values()):
        names = [name for name, why in skipped.items() if why == reason]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        console.say(f"{names[0]}{more}: {reason}")
