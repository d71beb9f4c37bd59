"""What a correction changes: all that was ever marked, the golden images, and drawn defects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from calibrate.defects.draw import draw_defects
from calibrate.images import fit_image
from cameras.errors import ImageError
from cameras.image_files import image_from_bytes, image_from_file
from cameras.redaction import printable_path
from edge.inspection.inspector import Inspector
from edge.inspection.verdict import decide
from edge.result import Image, Verdict
from edge.teaching.marked_parts import MarkedParts
from engines.changes import built_roi

DRAWN = 40  # defects into each good golden image
PartKind: TypeAlias = Literal["good", "defective", "drawn"]


@dataclass(frozen=True, slots=True)
class ComparedPart:
    """A part as the inspector judges it before and after.

    Attributes:
        name: of its picture.
        kind: what it is: good, defective, or a good one with a drawn defect.
        before: verdict and score.
        after: likewise.
    """

    name: str
    kind: PartKind
    before: tuple[Verdict, float | None]
    after: tuple[Verdict, float | None]

    @property
    def is_changed(self) -> bool:
        """Whether the verdict is another."""
        return self.before[0] is not self.after[0]


class EffectRow(NamedTuple):
    """How many parts of a kind are judged wrongly.

    Attributes:
        kind: of parts.
        what: that is in words.
        parts: how many there are.
        before: how many the inspector at work judges wrongly.
        after: how many the other one does.
    """

    kind: PartKind
    what: str
    parts: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class CorrectionEffect:
    """All parts that were compared."""

    parts: tuple[ComparedPart, ...]

    def count(self, kind: PartKind, *, wrong: bool, after: bool) -> int:
        """How many of a kind are judged wrongly (or rightly), before or after."""
        right = Verdict.OK if kind == "good" else Verdict.NG
        verdicts = [
            (one.after if after else one.before)[0] for one in self.parts if one.kind == kind
        ]
        return sum((verdict is not right) is wrong for verdict in verdicts)

    def problems(self) -> list[str]:
        """Why nobody should take the new one without looking; empty if nothing speaks against."""
        found = []
        kinds: dict[PartKind, str] = {"defective": "marked defects", "drawn": "drawn defects"}
        for kind, what in kinds.items():
            before, after = (self.count(kind, wrong=True, after=one) for one in (False, True))
            if after > before:
                found.append(f"{what} that pass: {after}, before: {before}")
        return found

    def rows(self) -> list[EffectRow]:
        """What each kind of parts comes to."""
        names: dict[PartKind, str] = {
            "good": "good parts that are rejected",
            "defective": "marked defects that pass",
            "drawn": "drawn defects that pass",
        }
        return [
            EffectRow(
                kind,
                name,
                sum(one.kind == kind for one in self.parts),
                self.count(kind, wrong=True, after=False),
                self.count(kind, wrong=True, after=True),
            )
            for kind, name in names.items()
        ]

    def to_json(self) -> list[dict[str, Any]]:
        """Each part, in JSON types."""
        return [
            {
                "name": one.name,
                "kind": one.kind,
                "before": str(one.before[0]),
                "after": str(one.after[0]),
                "score_before": one.before[1],
                "score_after": one.after[1],
            }
            for one in self.parts
        ]


def compare_inspectors(
    before: Inspector, after: Inspector, marked: MarkedParts
) -> CorrectionEffect:
    """Judge everything that was ever marked, and drawn defects, by both.

    A defect is drawn into the golden images that are good, always the same ones, so that what an
    inspector gets blind to shows even where nobody has marked a defect yet. One that was built for
    another part of the picture has never seen what they show, and is not asked.

    Args:
        before: at work.
        after: in its place.
        marked: parts.

    Raises:
        ImageError: a golden image cannot be read.
    """
    parts = [*_compare_marked(before, after, marked)]
    if built_roi(before.bundle.manifest) == built_roi(after.bundle.manifest):
        parts += _compare_drawn(before, after)
    return CorrectionEffect(tuple(parts))


def _compare_marked(
    before: Inspector, after: Inspector, marked: MarkedParts
) -> Iterator[ComparedPart]:
    kinds: tuple[tuple[PartKind, Sequence[Path]], ...] = (
        ("good", marked.good),
        ("defective", marked.defective),
    )
    for kind, paths in kinds:
        for path in paths:
            try:
                image = image_from_file(path)
            except ImageError:
                continue  # it cannot be taught either, and that is told there
            results = [one.inspect(image) for one in (before, after)]
            verdicts = [(result.verdict, result.score) for result in results]
            yield ComparedPart(printable_path(path.name), kind, *verdicts)


def _compare_drawn(before: Inspector, after: Inspector) -> Iterator[ComparedPart]:
    bundle = before.bundle
    for record in bundle.manifest.golden:
        golden = image_from_bytes(bundle.read(record.file))
        kind: PartKind = "good" if record.kind == "good" else "defective"
        yield _compared(record.file, kind, golden, before, after)
        if record.kind == "good":
            drawn = draw_defects([golden], seed=bundle.manifest.seed, per_image=DRAWN)
            for number, one in enumerate(drawn):
                what = f"{one.defect.kind}, {one.defect.size:.0%} of the side, {number}"
                yield _compared(what, "drawn", one.image, before, after)


def _compared(
    name: str, kind: PartKind, image: Image, before: Inspector, after: Inspector
) -> ComparedPart:
    """Judge what lies in a bundle: it is what is inspected, and nothing else."""
    found = []
    for inspector in (before, after):
        settings = replace(inspector.settings, roi=None, ignore=None)
        fitted = fit_image(image, inspector.bundle.manifest.size)
        maps, scores = inspector.engine.infer(fitted[None])
        judged = decide(maps[0], float(scores[0]), settings=settings, frame_shape=image.shape)
        found.append((judged.verdict, judged.score))
    return ComparedPart(name, kind, *found)
