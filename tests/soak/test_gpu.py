"""A thousand ways in which two cameras, a loss, a reopening and an end can meet; on a fake GPU.

And what `edge doctor --prove` learns, which its own tests replace by something small.
"""

from __future__ import annotations

import pytest
from fake_pycuda import on_pycuda
from two_cameras import TwoCameras

from edge.prove.answers import compare_with_reference
from edge.prove.subject import SubjectOptions, learn_subject, open_reference, train_subject

pytestmark = pytest.mark.soak


@pytest.mark.parametrize(
    "through", [lambda machine: machine, on_pycuda], ids=["bindings", "pycuda"]
)
@pytest.mark.parametrize("part", range(10))
def test_two_cameras_a_loss_and_an_end(part, through) -> None:
    for seed in range(part * 100, (part + 1) * 100):
        TwoCameras(seed, through).play()


def test_what_is_proven_is_learnt_from_drawn_pictures_the_same_each_time(tmp_path) -> None:
    options = SubjectOptions(size=64, good=8, prototypes=32)
    for precision in ("fp32", "fp16", "int8"):
        subject = learn_subject(tmp_path, precision, options)
        assert subject.model == learn_subject(tmp_path, precision, options).model
        assert 0 < subject.margin < subject.threshold
        with open_reference(subject.model, precision) as engine:
            assert "0 of 18 verdicts differ" in compare_with_reference(engine, subject)


def test_a_prn_is_trained_in_a_process_of_its_own(tmp_path) -> None:
    pytest.importorskip("torch")
    subject = train_subject(tmp_path, SubjectOptions(size=64, good=8))
    with open_reference(subject.model, "fp16") as engine:
        assert "0 of 18 verdicts differ" in compare_with_reference(engine, subject)
