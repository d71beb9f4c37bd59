"""Choosing a form: only what is clearly better is taken, and a tie changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from calibrate.protoad.choose_form import TriedForm, choose_form, describe_choice
from calibrate.protoad.options import Form

IMAGES, EACH = 60, 5
USUAL, FEW, MANY = Form(), Form(prototypes=1024), Form(prototypes=8192)
COSINE, COSINE_MANY = Form(metric="cosine"), Form(metric="cosine", prototypes=8192)


def tried(form: Form, *, apart: float, own: float = 0.0, images: int = IMAGES) -> TriedForm:
    """Drawn scores so far above good ones; the pictures' noise is shared, but for `own` of it."""
    shared, alone = np.random.default_rng(1), np.random.default_rng(form.prototypes)
    noise = shared.normal(size=(images, EACH + 1)) + own * alone.normal(size=(images, EACH + 1))
    noise = noise.astype(np.float32)
    return TriedForm(form, noise[:, 0], noise[:, 1:] + np.float32(apart))


def chosen(*forms: TriedForm) -> Form:
    return forms[choose_form(forms)].form


def test_the_auroc_is_that_of_all_pictures() -> None:
    one = tried(USUAL, apart=1)
    labels = [False] * IMAGES + [True] * IMAGES * EACH
    scores = np.concatenate([one.good, one.drawn.ravel()])
    assert one.auroc == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)


def test_the_error_is_that_of_sets_drawn_anew() -> None:
    """Of many sets of images, the differences spread as one set's standard error says."""
    random = np.random.default_rng(0)
    gains = []
    for _ in range(300):
        skill = random.normal(size=(40, 1))  # of an image: its pictures are no strangers
        noise = [0.5 * skill + random.normal(size=(40, EACH + 1)) for _ in range(2)]
        pair = [TriedForm(USUAL, one[:, 0], one[:, 1:] + 1) for one in noise]
        gains.append(pair[0].gain(pair[1]))
    spread = np.std([gain.mean for gain in gains])
    assert np.mean([gain.error for gain in gains]) == pytest.approx(spread, rel=0.15)
    assert 0.9 < np.mean([abs(gain.mean) < gain.chance for gain in gains]) < 0.99


def test_a_clearly_better_form_is_taken() -> None:
    forms = tried(USUAL, apart=0.2), tried(FEW, apart=0.1), tried(COSINE, apart=1)
    assert chosen(*forms) == COSINE
    text = describe_choice(forms, 2)
    assert text.startswith("cosine, 4096 prototypes: AUROC 0.")
    assert "on 300 defects drawn into 60 held-out good images, +0." in text
    assert text.endswith("against whitened (shrinkage 2), 4096 prototypes")


def test_a_tie_keeps_the_usual_form() -> None:
    forms = tried(USUAL, apart=1), tried(COSINE, apart=1), tried(MANY, apart=1)
    assert chosen(*forms) == USUAL
    assert "no other is clearly better" in describe_choice(forms, 0)


@pytest.mark.parametrize(
    ("apart", "own", "images"),
    [
        (1.02, 0.0, IMAGES),  # surely better, by less than it is worth
        (2.2, 1.5, 12),  # better by chance, it may be
    ],
)
def test_what_is_hardly_better_is_left(apart, own, images) -> None:
    usual = tried(USUAL, apart=1, images=images)
    other = tried(COSINE_MANY, apart=apart, own=own, images=images)
    assert other.gain(usual).mean > 0
    assert chosen(usual, other) == USUAL


def test_of_better_ones_that_are_alike_the_faster_is_taken() -> None:
    usual = tried(USUAL, apart=0)
    assert chosen(usual, tried(COSINE_MANY, apart=1.01), tried(COSINE, apart=1)) == COSINE
    assert chosen(usual, tried(COSINE_MANY, apart=2), tried(COSINE, apart=1)) == COSINE_MANY


def test_fewer_prototypes_are_taken_only_where_nothing_is_lost() -> None:
    usual = tried(USUAL, apart=1)
    same, worse = tried(FEW, apart=1), tried(FEW, apart=0.98)
    assert chosen(usual, same) == FEW
    assert "nothing lost against 4096" in describe_choice((usual, same), 1)
    assert chosen(usual, worse) == USUAL
    assert chosen(usual, tried(FEW, apart=1.05, own=0.5)) == USUAL, "it may be by chance"
    other_metric = Form(metric="cosine", prototypes=1024)
    assert chosen(usual, tried(other_metric, apart=1)) == USUAL
