"""The commands: what they print, for people and for machines, and how they find their input."""

from __future__ import annotations

import importlib.metadata
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from edge.cli.commands import COMMANDS
from edge.prove import prove

pytestmark = pytest.mark.usefixtures("light_builds")

EDGE = [sys.executable, "-c", "from edge.cli.main import main; main()"]
LATENCIES = {"p50", "p95", "p99"}


def test_help_names_every_command_in_the_order_of_use(run) -> None:
    outcome = run("--help")
    assert outcome.code == 0
    listed = re.findall(r"^  ([a-z]+)  ", outcome.out.partition("Commands:")[2], re.MULTILINE)
    assert listed == list(COMMANDS)
    first = ["demo", "init", "capture", "check", "build", "evaluate", "stream"]
    assert listed[: len(first)] == first
    assert "..." not in outcome.out.partition("Commands:")[2]  # every summary fits on its line


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_its_own_help(run, name) -> None:
    outcome = run(name, "--help")
    assert outcome.code == 0
    assert COMMANDS[name][1] in " ".join(outcome.out.split())


def test_the_version(run) -> None:
    assert run("--version").out == f"protoedge {importlib.metadata.version('protoedge')}\n"


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("edge bu", "build"),
        ("edge build --prec", "--precision"),
        ("edge plc sim", "simulate"),
        ("edge build --model p", "protoad"),
    ],
)
def test_the_shell_completes_commands_options_and_choices(words, completed) -> None:
    asked = {"_EDGE_COMPLETE": "complete_bash", "COMP_WORDS": words}
    position = {"COMP_CWORD": str(len(words.split()) - 1)}
    environment = {**os.environ, **asked, **position}
    code = "import sys; sys.argv = ['edge']; from edge.cli.main import main; main()"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert completed in done.stdout.split()


def test_alone_it_shows_the_help(run) -> None:
    for words in ((), ("backbone",)):
        outcome = run(*words)
        assert outcome.code == 2
        assert outcome.err.startswith("Usage: edge")


def test_help_imports_nothing_heavy() -> None:
    heavy = "cv2 numpy onnx onnxruntime openvino pydantic scipy sklearn torch tensorrt"
    code = (
        "import sys; sys.argv = ['edge', '--help']; import edge.cli.main as cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        f"print('HEAVY', sorted(set(sys.modules) & set({heavy.split()!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_build_prints_one_object(run, drawn, small) -> None:
    outcome = run("build", drawn, *small, "--json", "--output", "b/x.edge")
    assert outcome.code == 0, outcome.err
    done = json.loads(outcome.out)
    wanted = {"bundle", "model", "precision", "prototypes", "threshold", "false_reject_bound"}
    assert wanted | {"seconds", "engines"} <= set(done)
    assert done["bundle"] == "b/x.edge"
    assert done["prototypes"] == 64
    assert Path("b/x.edge/manifest.json").exists()
    assert [line.partition(" ")[0] for line in outcome.err.splitlines()[:2]] == ["12", "images:"]


def test_build_for_a_person(run, drawn, small) -> None:
    outcome = run("build", drawn, *small)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].startswith("build/flange.edge: built in ")
    rows = {line.split("  ")[0]: line for line in reversed(lines[1:])}
    assert "with 95% confidence" in rows["threshold"]  # a long line stays one line
    assert rows["escapes"].endswith("of 6 defective images")
    assert "warning: 12 good images are far too few" in outcome.err


def test_build_and_stream_from_edge_toml_alone(run, drawn, tmp_path) -> None:
    (tmp_path / "edge.toml").write_text(
        f"[build]\nimages = '{drawn}'\nsize = '128'\nprototypes = 32\noutput = 'out/part.edge'\n"
        f"engine = 'onnxruntime'\n[stream]\nsource = '{drawn}/test/good'\nresults = 'r.jsonl'\n"
        "engine = 'onnxruntime'\n"
    )
    done = run("build", "--precision", "fp32", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["bundle"] == "out/part.edge"
    assert json.loads(done.out)["prototypes"] == 32
    streamed = run("stream", "--json")
    assert json.loads(streamed.out)["frames"] == 4
    assert len(Path("r.jsonl").read_text().splitlines()) == 4


def test_the_command_line_wins_over_edge_toml(run, drawn, small, tmp_path) -> None:
    (tmp_path / "edge.toml").write_text("[build]\nimages = 'nowhere'\nprototypes = 5\n")
    done = json.loads(run("build", drawn, *small, "--json").out)
    assert done["prototypes"] == 64


def test_stream_finds_the_only_bundle(run, built, drawn, tmp_path) -> None:
    shutil.copytree(built, tmp_path / "build" / "only.edge")
    outcome = run("stream", drawn / "test/good", "--json", "--max-frames", "3")
    assert outcome.code == 0, outcome.err
    done = json.loads(outcome.out)
    assert {"frames", "ok", "ng", "error", "dropped", "rate_hz", "latency_ms"} <= set(done)
    assert done["frames"] == 3 == done["ok"] + done["ng"] + done["error"]
    assert set(done["latency_ms"]) == LATENCIES


def test_stream_summary_for_a_person(run, built, drawn, tmp_path) -> None:
    words = ("--bundle", built, "--pictures", "p", "--record", "o.mp4", "--threshold", "1000")
    outcome = run("stream", drawn / "test/good", *words)
    assert outcome.code == 0, outcome.err
    assert outcome.out == ""
    assert outcome.err.splitlines()[-1].startswith("4 frames: 4 OK, 0 NG, 0 ERROR; 0 dropped; ")
    assert len(list(Path("p").glob("*_OK_*.jpg"))) == 4
    assert Path("o.mp4").stat().st_size > 0


def test_stream_ignores_what_the_mask_covers(run, built, drawn, tmp_path) -> None:
    import cv2
    import numpy as np

    mask = np.zeros((128, 128), np.uint8)
    mask[:100] = 255
    cv2.imwrite(str(tmp_path / "most.png"), mask)
    words = ("--bundle", built, "--ignore", "most.png", "--json")
    outcome = run("stream", drawn / "test/good", *words)
    assert json.loads(outcome.out)["error"] == 0
    assert "the ignore mask takes out 78% of what is inspected" in outcome.err
    for side, says in {64: "has 64x64 px", 128: "leaves nothing"}.items():
        cv2.imwrite(str(tmp_path / "most.png"), np.full((side, side), 255, np.uint8))
        outcome = run("stream", drawn / "test/good", *words)
        assert (outcome.code, says in outcome.err) == (2, True)


def test_evaluate_prints_one_object(run, built, drawn) -> None:
    outcome = run("evaluate", built, drawn, "--json", "--grid", "grid.png", "--report", "page.html")
    assert outcome.code == 0, outcome.err
    done = json.loads(outcome.out)
    wanted = {"image_auroc", "pixel_auroc", "aupro", "f1_max", "false_rejects", "escapes"}
    assert wanted | {"good_images", "defect_images", "threshold"} <= set(done)
    assert (done["good_images"], done["defect_images"]) == (4, 6)
    assert Path("grid.png").read_bytes().startswith(b"\x89PNG")
    page = Path("page.html").read_text()
    assert "flange: evaluation" in page
    assert f"{done['escapes']} of 6 defective ones pass" in page
    curve = page[page.index("defects that pass") :].partition("</svg>")[0]
    assert "<polyline" in curve
    assert curve.count("<circle") == len(done["operating_points"]) + 1, "and the one in use"
    for shown in ("recommended", "missing_hole", "data:image/jpeg", "fp32"):
        assert shown in page
    table = run("evaluate", built, drawn).out
    assert "image_auroc" in table and "missing_hole" in table
    assert "Operating points" in table and "recommended" in table


def test_evaluate_counts_at_other_thresholds_and_tells_blindness(run, built, drawn) -> None:
    done = json.loads(run("evaluate", built, drawn, "--json").out)
    points = done["operating_points"]
    assert 5 <= len(points) <= 9
    assert bool(done["alarm"]) == (2 * done["escapes"] >= 6)
    (own,) = [one for one in points if one["recommended"]]
    assert own["threshold"] == done["threshold"]
    assert (own["false_rejects"], own["escapes"]) == (done["false_rejects"], done["escapes"])
    other = points[-1]
    words = ("--threshold", other["threshold"], "--json")
    there = json.loads(run("evaluate", built, drawn, *words).out)
    assert there["false_rejects"] == other["false_rejects"]
    assert there["escapes"] == other["escapes"]
    blind = run("evaluate", built, drawn, "--threshold", 1000, "--json")
    alarm = "all your 6 labelled defects pass: the inspector is blind to them at this threshold"
    assert f"ALARM: {alarm}" in blind.err
    assert json.loads(blind.out)["alarm"] == alarm
    assert blind.code == 0


def test_bench_prints_one_object(run, built, drawn) -> None:
    words = ("bench", built, "--engine", "onnxruntime", "--frames", "5")
    outcome = run(*words, "--json")
    assert outcome.code == 0, outcome.err
    done = json.loads(outcome.out)
    assert {"engine", "precision", "rate_hz", "ratio_to_engine"} <= set(done)
    assert set(done["engine_ms"]) == LATENCIES == set(done["end_to_end_ms"])
    assert (done["engine"], done["precision"]) == ("onnxruntime", "fp32")
    assert done["layers"] is None, "nobody asked"
    table = run(*words, "--camera", "640x480", "--layers").out
    assert "end to end" in table and "The slowest of" in table and "%" in table
    assert run(*words, drawn / "test/good").code == 0
    assert run(*words, drawn / "test/good/000.png").code == 0


def test_bench_of_a_region_of_interest(run, drawn, small) -> None:
    assert run("build", drawn, *small, "--roi", "20,10,80,100").code == 0
    outcome = run("bench", "build/flange.edge", "--frames", "2", "--camera", "64x64", "--json")
    assert outcome.code == 0, outcome.err


def test_info_for_machines_and_people(run, built) -> None:
    done = json.loads(run("info", built, "--json").out)
    assert done["precision"] == "fp32" and done["size"] == [128, 128]
    table = run("info", built).out
    assert "128, 128" in table and "backbone.name" in table


def test_doctor_tells_what_is_here(run) -> None:
    done = json.loads(run("doctor", "--json").out)
    assert done["ok"] is True
    assert {"python", "engine onnxruntime", "gpu"} <= {check["name"] for check in done["checks"]}
    assert "engine auto" in run("doctor").out


def test_doctor_proves_nothing_where_there_is_no_card_and_says_why(run, monkeypatch) -> None:
    of_gpu = tuple(claim for claim in prove.CLAIMS if claim.needs_card)
    monkeypatch.setattr(prove, "choose_flavour", lambda engine: (engine, "no GPU; get one"))
    monkeypatch.setattr(prove, "prove", partial(prove.prove, claims=of_gpu))
    outcome = run("doctor", "--prove", "--engine", "tensorrt", "--json")
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1] == "nothing is proven of a GPU: no GPU; get one"
    done = json.loads(outcome.out)
    assert (done["outcome"], done["engine"]) == ("no card", "tensorrt")
    assert [claim["state"] for claim in done["claims"]] == ["not possible here"] * len(of_gpu)
    assert done["versions"]["protoedge"]
    told = run("doctor", "--prove", "--output", "proof.json")
    assert json.loads(Path("proof.json").read_text())["claims"] == done["claims"]
    lost = run("doctor", "--prove", "--output", "nowhere/proof.json")
    assert lost.code == 2 and "is no folder; give another --output" in lost.line()
    assert told.out.startswith("auto: no card, in 0 s")
    assert all(claim.name in told.out for claim in of_gpu)


def test_init_writes_once(run, tmp_path) -> None:
    assert run("init", "bottle").code == 0
    assert 'output = "build/bottle.edge"' in (tmp_path / "edge.toml").read_text()
    (tmp_path / "edge.toml").write_text("# mine")
    again = run("init", "bottle")
    assert again.code == 2 and "already exists" in again.line()
    assert (tmp_path / "edge.toml").read_text() == "# mine"


def test_backbone_export_of_an_unknown_network(run) -> None:
    outcome = run("backbone", "export", "alexnet", "--output", "a.onnx")
    assert outcome.code == 2
    assert "alexnet: no such network" in outcome.line()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nonsense",), "no such command 'nonsense'; see edge --help"),
        (("biuld",), "no such command 'biuld'; did you mean 'build'? See edge --help"),
        (("stream", "--nonsense"), "see edge stream --help"),
        (("evaluate",), "missing argument 'BUNDLE'; see edge evaluate --help"),
        (("stream",), "no source: name one"),
        (("build",), "no images: name a folder"),
    ],
)
def test_bad_use_is_one_line(run, words, says) -> None:
    outcome = run(*words)
    assert outcome.code == 2
    assert says in outcome.line()


def test_a_reader_that_leaves_is_no_error(built) -> None:
    process = subprocess.Popen(
        [*EDGE, "info", str(built), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert err == b""


def test_a_bug_is_called_one_and_debugging_shows_where(run, monkeypatch, built) -> None:
    import edge.plans

    def broken(_: Path) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(edge.plans, "bundle_info", broken)
    outcome = run("info", built)
    assert outcome.code == 1
    assert outcome.err == (
        "edge: internal error, KeyError: 'oops'; EDGE_DEBUG=1 shows where; please report it\n"
    )
    monkeypatch.setenv("EDGE_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["edge", "info", str(built)])
    from edge.cli.main import main

    with pytest.raises(KeyError):
        main()


LIGHT = [
    sys.executable,
    "-c",
    "import pytest; from plain_builds import leave_out; from edge.cli.main import main\n"
    "leave_out(pytest.MonkeyPatch(), compared=False); main()",
]


def test_on_a_terminal_a_build_shows_bars_and_fits_the_width(drawn, tmp_path, small) -> None:
    ours, theirs = pty.openpty()
    words = [*LIGHT, "build", str(drawn), *small, "--output", str(tmp_path / "x.edge")]
    rig = {"PYTHONPATH": str(Path(__file__).parents[2] / "rig")}
    environment = {**os.environ, **rig, "TERM": "xterm", "COLUMNS": "60"}
    process = subprocess.Popen(words, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux answers so when the other side is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    assert process.wait(timeout=60) == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(parts).decode())
    assert "held-out scores" in shown and "━" in shown
    table = shown[shown.index("engine ") :]
    body = table[: table.index("warning:")]
    assert max(len(line.rstrip()) for line in body.splitlines()) <= 60


def test_edge_toml_decides_alike_in_stream_evaluate_and_serve(run, built, drawn, tmp_path) -> None:
    """A part that scores between the two thresholds has one verdict."""
    from edge.config import read_config
    from edge.plc.serve import judge_options
    from edge.plc.station.inspector_judge import InspectorJudge

    source = drawn / "test/scratch"
    name = json.dumps(str(source))
    plain = json.loads(run("stream", source, "--bundle", built, "--json").out)
    toml = f"[stream]\nbundle = {json.dumps(str(built))}\nsource = {name}\nthreshold = 0.01\n"
    (tmp_path / "edge.toml").write_text(toml)
    streamed = json.loads(run("stream", "--json").out)
    assert (plain["ok"], streamed["ok"], streamed["ng"]) == (1, 0, 1)
    found = json.loads(run("evaluate", built, drawn, "--json").out)
    assert (round(found["threshold"], 6), found["escapes"]) == (0.01, 0)
    own = json.loads(run("evaluate", built, drawn, "--threshold", "9", "--json").out)
    assert (own["threshold"], own["escapes"]) == (9.0, own["defect_images"])
    judge = InspectorJudge(judge_options(read_config()))
    try:
        assert judge.load(1).threshold == pytest.approx(0.01)
    finally:
        judge.close()
