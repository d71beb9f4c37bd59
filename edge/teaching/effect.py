"""What a correction changes: all that was ever marked, the golden images, and drawn defects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
from engines.bundle import Bundle
from engines.changes import built_roi
from engines.manifest import Manifest

DRAWN = 40  # defects into each good golden image
PartKind: TypeAlias = Literal["good", "defective", "drawn"]
VerdictAndScore: TypeAlias = tuple[Verdict, float | None]


@dataclass(frozen=True, slots=True, eq=False)
class PartSample:
    """A picture of a part of which is known what it is.

    Attributes:
        name: of the picture.
        kind: good, defective, or a good one with a drawn defect.
        picture: file of a camera's picture; or (H, W, 3) uint8 BGR of what is inspected, and no
            more.
    """

    name: str
    kind: PartKind
    picture: Path | Image

    @property
    def is_marked(self) -> bool:
        """Whether people have marked it; others lie in the bundle."""
        return isinstance(self.picture, Path)

    def fitted(self, manifest: Manifest) -> Image:
        """(H, W, 3) uint8 BGR of the model's size.

        Raises:
            ImageError: the file cannot be read.
        """
        if not isinstance(self.picture, Path):
            return fit_image(self.picture, manifest.size)
        roi = manifest.roi.box if manifest.roi else None
        return fit_image(image_from_file(self.picture), manifest.size, roi)

    def judged_by(self, inspector: Inspector) -> VerdictAndScore:
        """What an inspector says of it.

        Raises:
            ImageError: the file cannot be read.
        """
        if isinstance(self.picture, Path):
            result = inspector.inspect(image_from_file(self.picture))
            return result.verdict, result.score
        settings = replace(inspector.settings, roi=None, ignore=None)
        maps, scores = inspector.engine.infer(self.fitted(inspector.bundle.manifest)[None])
        shape = self.picture.shape
        judged = decide(maps[0], float(scores[0]), settings=settings, frame_shape=shape)
        return judged.verdict, judged.score


@dataclass(frozen=True, slots=True)
class ComparedPart:
    """A part as the inspector judges it before and after.

    Attributes:
        sample: the part.
        before: verdict and score.
        after: likewise.
    """

    sample: PartSample
    before: VerdictAndScore
    after: VerdictAndScore

    @property
    def name(self) -> str:
        """Of its picture."""
        return self.sample.name

    @property
    def kind(self) -> PartKind:
        """What it is."""
        return self.sample.kind

    @property
    def is_changed(self) -> bool:
        """Whether the verdict is another."""
        return self.before[0] is not self.after[0]

    @property
    def is_lost(self) -> bool:
        """Whether it is a defect that was found, and is not any more."""
        is_found = self.before[0] is Verdict.NG
        return self.kind != "good" and is_found and self.after[0] is not Verdict.NG


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

    def lost(self) -> list[PartSample]:
        """Defects that were found, and are not any more."""
        return [one.sample for one in self.parts if one.is_lost]

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

    One that was built for another part of the picture has never seen what golden images show, and
    is not asked.

    Args:
        before: at work.
        after: in its place.
        marked: parts.

    Raises:
        ImageError: a golden image cannot be read.
    """
    samples = marked_samples(marked)
    if built_roi(before.bundle.manifest) == built_roi(after.bundle.manifest):
        samples += golden_samples(before.bundle)
    return effect_on([*judge_samples(before, samples)], after)


def judge_samples(
    inspector: Inspector, samples: Iterable[PartSample]
) -> Iterator[tuple[PartSample, VerdictAndScore]]:
    """Judge parts; those whose pictures cannot be read are left out: teaching tells of them."""
    for sample in samples:
        try:
            yield sample, sample.judged_by(inspector)
        except ImageError:
            continue


def effect_on(
    judged: Sequence[tuple[PartSample, VerdictAndScore]], after: Inspector
) -> CorrectionEffect:
    """Judge parts that were judged before by another inspector."""
    verdicts = dict(judge_samples(after, (sample for sample, _ in judged)))
    return CorrectionEffect(
        tuple(
            ComparedPart(sample, before, verdicts[sample])
            for sample, before in judged
            if sample in verdicts
        )
    )


def marked_samples(marked: MarkedParts) -> list[PartSample]:
    """The parts that people have marked."""
    kinds: tuple[tuple[PartKind, Sequence[Path]], ...] = (
        ("good", marked.good),
        ("defective", marked.defective),
    )
    return [
        PartSample(printable_path(path.name), kind, path) for kind, paths in kinds for path in paths
    ]


def golden_samples(bundle: Bundle) -> list[PartSample]:
    """The golden images, and defects that are drawn into the good ones, always the same.

    What an inspector gets blind to shows in them even where nobody has marked a defect yet.

    Raises:
        ImageError: a golden image cannot be read.
    """
    samples = []
    for record in bundle.manifest.golden:
        golden = image_from_bytes(bundle.read(record.file))
        kind: PartKind = "good" if record.kind == "good" else "defective"
        samples.append(PartSample(record.file, kind, golden))
        if record.kind == "good":
            drawn = draw_defects([golden], seed=bundle.manifest.seed, per_image=DRAWN)
            for number, one in enumerate(drawn):
                what = f"{one.defect.kind}, {one.defect.size:.0%} of the side, {number}"
                samples.append(PartSample(what, "drawn", one.image))
    return samples
