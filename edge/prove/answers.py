"""Claims about what the engines answer: compiled, right, and loaded again."""

from __future__ import annotations

import time
from dataclasses import replace
from importlib.util import find_spec

import numpy as np

from calibrate.precision.parity import SCORE_ERRORS
from calibrate.threshold import reaches
from edge.prove.errors import DisprovenError, NotPossibleError
from edge.prove.ground import ProvingGround
from edge.prove.subject import Subject, open_reference, train_subject
from engines.engine import Engine, Precision
from engines.gpu.engine import TensorRtEngine

MOST_OF_MAP = 99.9  # percentile of a map's differences: single values at edges may be further off
TOGETHER = 4  # images, as of so many cameras
COMPILING = "compiling"  # what is said of a plan that is compiled


def prove_executes(ground: ProvingGround, precision: Precision) -> str:
    """Prove that a precision is compiled on this GPU, in that precision, and runs."""
    images = ground.subject(precision).images[:1]
    begun = time.monotonic()  # learning is not part of it
    engine = ground.engine(precision)
    seconds = time.monotonic() - begun
    if not all(np.isfinite(output).all() for output in engine.infer(images)):
        raise DisprovenError(
            f"{precision} gives values that are no numbers", "use another --precision"
        )
    return f"runs {engine.executes}, compiled and opened in {seconds:.1f} s"


def prove_parity(ground: ProvingGround, precision: Precision) -> str:
    """Prove that the engine gives what ONNX Runtime gives of the same graph."""
    return compare_with_reference(ground.engine(precision), ground.subject(precision))


def prove_together(ground: ProvingGround) -> str:
    """Prove that images that are computed at once give what each gives alone."""
    ground.engine("fp16")  # without one this fails too, and says no more
    subject = ground.subject("fp16")
    with ground.open(subject, together=TOGETHER) as engine:
        if engine.batch != TOGETHER:
            raise DisprovenError(f"the engine takes {engine.batch} at once, not {TOGETHER}")
        compare_with_reference(engine, replace(subject, images=subject.images[:1]))
        return compare_with_reference(engine, subject)


def prove_prn(ground: ProvingGround) -> str:
    """Prove the same of a PRN."""
    if find_spec("torch") is None:
        raise NotPossibleError("torch trains it and is not installed: 'protoedge[train]'")
    subject = train_subject(ground.folder, ground.subject_options)
    with ground.open(subject) as engine:
        return compare_with_reference(engine, subject)


def prove_reload(ground: ProvingGround) -> str:
    """Prove that a plan that was compiled is loaded at the next start, and not compiled again."""
    ground.engine("fp16")  # so that there is one
    subject = ground.subject("fp16")
    said: list[str] = []
    options = ground.options(subject, said.append)
    begun = time.monotonic()
    with TensorRtEngine.from_model(subject.model, flavour=ground.flavour, options=options):
        seconds = time.monotonic() - begun
    again = [line for line in said if COMPILING in line]
    if again:
        raise DisprovenError(f"it was compiled again: {again[0]}")
    return f"loaded in {seconds:.1f} s"


def compare_with_reference(engine: Engine, subject: Subject) -> str:
    """Compare scores, maps and verdicts of all pictures with ONNX Runtime's.

    Differences of scores are shares of the margin, of maps shares of the highest value.

    Raises:
        DisprovenError: one is over its limit, or a verdict differs.
    """
    with open_reference(subject.model, subject.precision) as reference:
        maps, scores = reference.infer(subject.images)
    got_maps, got_scores = engine.infer(subject.images)
    limit = SCORE_ERRORS[subject.precision]
    off = np.abs(got_scores - scores).max() / subject.margin
    apart = np.percentile(np.abs(got_maps - maps), MOST_OF_MAP) / np.abs(maps).max()
    wrong = reaches(got_scores, subject.threshold) != reaches(scores, subject.threshold)
    seen = (
        f"scores off by at most {off:.2g} of the margin, maps by {apart:.2g}, "
        f"{int(wrong.sum())} of {len(wrong)} verdicts differ"
    )
    if not (off <= limit and apart <= limit) or wrong.any():
        raise DisprovenError(
            f"{seen} ({limit:g} and 0 may be)", "use another --precision, and report it"
        )
    return seen
