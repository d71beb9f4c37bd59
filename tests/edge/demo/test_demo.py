"""The demo: it works with nothing else, and the verdicts are right."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from plain_builds import leave_out

from edge.cli.tables import print_demo
from edge.demo import demo as module
from edge.demo.demo import MARKER, DemoError, run_demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A demo as the first command of the README runs it, of a third of its parts.

    The comparison with fp32 and defects drawn into its drawn parts, more than half of its time,
    are left to their own tests.
    """
    with pytest.MonkeyPatch.context() as patch:
        leave_out(patch, compared=False)
        few = partial(module.draw_dataset, good=30, test_good=8, defects_each=3)
        patch.setattr(module, "draw_dataset", few)
        patch.setattr(module, "draw_conveyor", partial(module.draw_conveyor, parts=5))
        return run_demo(tmp_path_factory.mktemp("demo") / "demo")


@pytest.mark.slow
def test_the_verdicts_are_right(demo) -> None:
    told = demo.to_json()
    assert told["verdicts"] == told["stream"]["frames"] > 50
    assert told["verdicts_right"] >= 0.95 * told["verdicts"]
    figures = told["build"]["figures"]
    assert figures["image_auroc"] > 0.95
    assert figures["pixel_auroc"] > 0.95
    assert figures["false_rejects"] <= 2
    assert figures["escapes"] <= 2


@pytest.mark.slow
def test_all_that_is_promised_is_there(demo) -> None:
    folder = demo.folder
    for name in ("flange.edge/report.html", "grid.png", "overlay.mp4", "results.jsonl"):
        assert (folder / name).stat().st_size > 0
    lines = (folder / "results.jsonl").read_text().splitlines()
    assert len(lines) == demo.frames
    rejected = sum(json.loads(line)["verdict"] == "NG" for line in lines)
    assert len(list((folder / "pictures").glob("*_NG_*"))) == rejected > 0


@pytest.mark.slow
def test_it_is_printed_for_a_person(demo, capfd) -> None:
    print_demo(demo)
    out, err = capfd.readouterr()
    assert f"{demo.right} of {demo.frames} verdicts right" in out
    assert err.startswith("next: ")


def test_files_that_are_not_from_a_demo_are_kept(run, tmp_path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/note").write_text("mine")
    outcome = run("demo", "--output", "mine")
    assert outcome.code == 2
    assert "holds files that are not from a demo" in outcome.line()
    assert (tmp_path / "mine/note").read_text() == "mine"
    outcome = run("demo", "--output", "mine/note")
    assert outcome.code == 2
    assert (tmp_path / "mine/note").read_text() == "mine"


def test_an_earlier_demo_is_replaced(tmp_path, monkeypatch) -> None:
    import edge.demo.demo

    def stop(*_: object, **__: object) -> int:
        raise DemoError("far enough")

    monkeypatch.setattr(edge.demo.demo, "draw_dataset", stop)
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / MARKER).touch()
    (folder / "old.txt").touch()
    with pytest.raises(DemoError, match="far enough"):
        run_demo(folder)
    assert [path.name for path in Path(folder).iterdir()] == [MARKER]
