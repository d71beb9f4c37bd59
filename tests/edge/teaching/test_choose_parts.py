"""Parts that show what defects show are left out; whatever is taught costs no defect."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibrate.protoad.prototypes import unit_rows
from calibrate.protoad.taught_head import TaughtPatches
from calibrate.threshold import reaches
from edge.teaching.choose_parts import choose_parts
from edge.teaching.new_scores import score_with
from engines.bundle import Bundle

USUAL = 0.01


def image(places: dict[int, np.ndarray], known: np.ndarray) -> TaughtPatches:
    """8x8 patches that are known, but for some."""
    vectors = np.repeat(known[None], 64, axis=0)
    for place, vector in places.items():
        vectors[place] = vector
    vectors = unit_rows(vectors.astype(np.float32))
    return TaughtPatches(vectors, np.maximum(1 - vectors @ known, 0), (8, 8))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32 - 1), shown=st.lists(st.integers(0, 9), min_size=1, max_size=5))
def test_no_defect_is_lost_and_what_is_taught_passes(bundle, seed, shown) -> None:
    manifest = Bundle.open(bundle).manifest.model_copy(update={"score_kind": "raw"})
    threshold = manifest.threshold.value
    rng = np.random.default_rng(seed)
    looks = unit_rows(rng.normal(size=(10, 6)).astype(np.float32))
    known = looks[0]
    parts = [image({9: looks[one]}, known) for one in shown]
    defects = [image({5: looks[one]}, known) for one in (1, 2, 3)]
    choice = choose_parts(parts, defects, manifest, usual=USUAL)
    for defect in defects:
        if reaches(float(defect.distances.max()), threshold):
            assert reaches(score_with(defect, choice.prototypes, manifest), threshold)
    for index in choice.parts:
        assert not reaches(score_with(parts[index], choice.prototypes, manifest), threshold)
    harmless = {at for at, one in enumerate(shown) if one == 0}
    assert harmless <= set(choice.parts)
    alone = choose_parts(parts, [], manifest, usual=USUAL)
    assert alone.parts == tuple(range(len(parts)))
