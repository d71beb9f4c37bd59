"""A candidate beside the inspector at work: recorded, compared, without effect; then promoted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edge.inspection.settings import change_settings
from engines.bundle import Bundle
from engines.versions import history_of, versions_of


@pytest.fixture
def candidate(bundle, tmp_path) -> Path:
    """The same inspector with a threshold that hardly anything reaches."""
    path = Path(shutil.copytree(bundle, tmp_path / "candidate.edge"))
    change_settings(path, threshold=1e3)
    return path


def results_in(path: Path) -> list[dict]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    names = ("frame", "verdict", "score", "regions")
    return [{name: line[name] for name in names} for line in lines]


def test_a_candidate_is_compared_and_has_no_effect(run, bundle, candidate, drawn, tmp_path) -> None:
    words = ("stream", drawn / "test" / "*" / "*", "--bundle", bundle, "--engine", "onnxruntime")
    assert run(*words, "--no-show", "--results", "alone.jsonl").code == 0
    both = run(*words, "--no-show", "--results", "r.jsonl", "--keep", "kept", "--shadow", candidate)
    assert both.code == 0, both.err
    alone = results_in(tmp_path / "alone.jsonl")
    assert results_in(tmp_path / "r.jsonl") == alone
    rejects = [line["frame"] for line in alone if line["verdict"] == "NG"]
    assert rejects
    assert f"candidate.edge: differs in {len(rejects)} of {len(alone)} parts" in both.err
    listed = json.loads(run("review", "shadow", "kept", "--json").out)
    assert (listed["judged"], listed["differing"]) == (len(alone), len(rejects))
    parts = listed["parts"]
    assert sorted(part["frame"] for part in parts) == rejects
    assert {(part["verdict"], part["shadow_verdict"]) for part in parts} == {("NG", "OK")}
    assert all(Path(part["picture"]).is_file() for part in parts)
    assert (
        f"differs in {len(rejects)} of {len(alone)} parts"
        in run("review", "shadow", "kept", "--limit", 1).out
    )

    before = Bundle.open(bundle).manifest
    done = run("promote", candidate, bundle, "--engine", "onnxruntime")
    assert done.code == 0, done.err
    after, history = Bundle.open(bundle).manifest, [one.what for one in history_of(bundle)]
    assert after.model_copy(update={"history": ()}) == Bundle.open(candidate).manifest
    assert (history[-1], after.history[-1].detail) == ("promoted", repr(candidate.name))
    (version,) = versions_of(bundle)
    assert Bundle.open(version.path).manifest == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--shadow", "{candidate}"), "add --keep or --database"),
        (("--keep", "kept", "--shadow", "nowhere.edge"), "nowhere.edge: no such bundle"),
    ],
)
def test_what_cannot_be_is_one_line(run, bundle, candidate, drawn, words, says) -> None:
    filled = [word.format(candidate=candidate) for word in words]
    outcome = run("stream", drawn / "train" / "good", "--bundle", bundle, "--no-show", *filled)
    assert outcome.code == 2, outcome.err
    assert says in outcome.err


def test_a_candidate_that_fails_its_test_is_not_promoted(run, bundle, candidate) -> None:
    graph = candidate / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    before = Bundle.open(bundle).manifest
    outcome = run("promote", candidate, bundle)
    assert outcome.code == 2
    assert str(graph) in outcome.err
    assert Bundle.open(bundle).manifest == before
