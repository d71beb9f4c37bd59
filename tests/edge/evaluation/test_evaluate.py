"""`edge evaluate` judges as `edge stream` does, on any folder that a build reads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

ENGINE = ("--engine", "onnxruntime")


def verdicts_of_stream(run, folder: Path, *words: object) -> dict[str, tuple[str, float | None]]:
    outcome = run("stream", folder, *words, "--results", "r.jsonl")
    assert outcome.code == 0, outcome.err
    lines = [json.loads(line) for line in Path("r.jsonl").read_text().splitlines()]
    return {Path(one["source"]).name: (one["verdict"], one["score"]) for one in lines}


def evaluate(run, bundle: Path, folder: Path, *words: object) -> dict:
    outcome = run("evaluate", bundle, folder, *words, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


@pytest.fixture
def mixed(drawn: Path, tmp_path: Path) -> Path:
    """Good and bad parts in one folder; one is black, one of another size, one torn."""
    folder = tmp_path / "mixed"
    shutil.copytree(drawn / "test" / "good", folder)
    for kind in ("chip", "crack"):
        for path in (drawn / "test" / kind).iterdir():
            shutil.copy(path, folder / f"{kind}.png")
    first = cv2.imread(str(folder / "000.png"))
    cv2.imwrite(str(folder / "black.png"), np.zeros_like(first))
    cv2.imwrite(str(folder / "small.png"), first[:100, :100])
    (folder / "torn.png").write_bytes((folder / "000.png").read_bytes()[:300])
    return folder


@pytest.mark.parametrize("roi", ["", "10,10,100,100"])
def test_it_agrees_with_the_stream_verdict_for_verdict(run, built, mixed, roi) -> None:
    threshold = 0.9 * max(
        score for _, score in verdicts_of_stream(run, mixed, "--bundle", built, *ENGINE).values()
        if score is not None
    )  # fmt: skip
    mask = np.zeros((100, 100) if roi else (128, 128), np.uint8)
    mask[:40] = 255
    cv2.imwrite("ignore.png", mask)
    lines = [f"threshold = {threshold}", "min_area = 3", 'ignore = "ignore.png"']
    lines += [f'roi = "{roi}"', 'health_off = ["occluded", "blurred"]'] if roi else []
    Path("edge.toml").write_text("\n".join(["[stream]", *lines]))
    streamed = verdicts_of_stream(run, mixed, "--bundle", built, *ENGINE)
    found = evaluate(run, built, mixed, *ENGINE)
    judged = {Path(one["path"]).name: (one["verdict"], one["score"]) for one in found["images"]}
    assert {name: verdict for name, (verdict, _) in judged.items()} == {
        name: verdict for name, (verdict, _) in streamed.items()
    }
    scores = {name: (score, streamed[name][1]) for name, (_, score) in judged.items()}
    assert all(mine == theirs for mine, theirs in scores.values()), scores
    assert found["threshold"] == pytest.approx(threshold)
    assert {"torn.png", "black.png"} <= {Path(name).name for name in found["errors"]}
    assert found["good_images"] + len(found["errors"]) == len(streamed)
    rejects = sum(verdict == "NG" for verdict, _ in streamed.values())
    assert found["false_rejects"] == rejects


def test_the_command_line_wins_over_edge_toml_and_that_over_the_bundle(run, built, mixed) -> None:
    Path("edge.toml").write_text("[stream]\nthreshold = 1000\nmin_area = 4")
    outcome = run("evaluate", built, mixed, *ENGINE)
    assert "from edge.toml, as in the stream: threshold 1000.0, min_area 4" in outcome.err
    assert "Good images, the highest scores" in outcome.out
    assert evaluate(run, built, mixed, *ENGINE)["false_rejects"] == 0
    given = evaluate(run, built, mixed, *ENGINE, "--threshold", "0", "--min-area", "0")
    assert given["false_rejects"] == given["good_images"]
    assert "min_area" not in run("evaluate", built, mixed, *ENGINE, "--min-area", "0").err


def test_a_folder_without_images_to_learn_from(run, built, drawn, tmp_path) -> None:
    shutil.copytree(drawn / "test", tmp_path / "set" / "Test")
    (tmp_path / "set/notes.txt").touch()
    outcome = run("evaluate", built, "set", *ENGINE)
    assert outcome.code == 0, outcome.err
    assert "0 good images to learn from, 4 good and" in outcome.err
    assert "1 file not used: 1 .txt" in outcome.err
    assert "no good images" in run("build", "set").line()
