"""Bad input through the real command: one clear line, an exit code, nothing broken."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from PIL import Image as Pillow

from edge import console
from edge.cli.commands import COMMANDS

pytestmark = pytest.mark.usefixtures("light_builds")

ODD = os.fsdecode(b"teil-\xff\xfe.png")  # a name that is not UTF-8
USAGE, FAILURE = 2, 1


def built_json(outcome) -> dict:
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises more than it holds."""
    data = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + data
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(data))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 0)
        + b"IDAT"
        + struct.pack(">I", zlib.crc32(b"IDAT"))
    )


# --- images that are not there, or too few


def test_an_empty_folder(run, tmp_path) -> None:
    (tmp_path / "none").mkdir()
    outcome = run("build", "none")
    assert outcome.code == USAGE
    assert "none: no good images" in outcome.line()
    assert not (tmp_path / "build").exists()


def test_a_missing_folder_and_a_file_for_a_folder(run, good) -> None:
    assert "nowhere: no such folder" in run("build", "nowhere").line()
    outcome = run("build", good / "000.png")
    assert outcome.code == USAGE
    assert "is a file" in outcome.line()


def test_one_image_is_not_enough(run, drawn, tmp_path, small) -> None:
    (tmp_path / "one").mkdir()
    shutil.copy(drawn / "train/good/000.png", tmp_path / "one")
    outcome = run("build", "one", *small)
    assert outcome.code == USAGE
    assert "1" in outcome.line() and "5" in outcome.line()


# --- images that cannot be read


def test_many_unreadable_images_are_an_error(run, good, small) -> None:
    for name in ("000.png", "001.png", "002.png"):
        (good / name).write_bytes((good / name).read_bytes()[:300])
    outcome = run("build", good, *small)
    assert outcome.code == USAGE
    assert "3 of 12 images cannot be used" in outcome.line()
    assert "000.png" in outcome.line()


def test_every_kind_of_pixels_is_taken_and_a_few_bad_files_are_named_and_skipped(
    run, good, small
) -> None:
    """Of 31 files three are bad, below a tenth; a header of 50 000 x 50 000 is left unread."""
    first = cv2.imread(str(good / "000.png"))
    cv2.imwrite(str(good / "grey.png"), cv2.cvtColor(first, cv2.COLOR_BGR2GRAY))
    cv2.imwrite(str(good / "deep.png"), first.astype(np.uint16) * 257)
    alpha = np.full((*first.shape[:2], 1), 200, np.uint8)
    cv2.imwrite(str(good / "alpha.png"), np.concatenate([first, alpha], axis=2))
    cv2.imwrite(str(good / "tiny.png"), cv2.resize(first, (40, 24)))
    cv2.imwrite(str(good / "large.png"), cv2.resize(first, (700, 500)))
    picture = Pillow.fromarray(first[:, :, ::-1])
    picture.convert("CMYK").save(good / "cmyk.jpg", quality=95)
    turned = Pillow.Exif()
    turned[0x0112] = 6  # orientation: a quarter turn
    picture.save(good / "turned.jpg", exif=turned, quality=95)
    for index in range(12, 23):
        shutil.copy(good / f"{index - 12:03}.png", good / f"{index:03}.png")
    (good / "003.png").write_bytes((good / "003.png").read_bytes()[:400])
    (good / "004.png").write_bytes(b"")
    (good / "bomb.png").write_bytes(png_header(50_000, 50_000))
    outcome = run("build", good, *small, "--json")
    done = built_json(outcome)
    assert done["images"] == 28
    skipped = [str(good / name) for name in ("003.png", "004.png", "bomb.png")]
    assert sorted(done["skipped"]) == skipped
    assert outcome.err.count("skipped: ") == 3
    assert "50000 x 50000 pixels" in outcome.err


# --- names that are not UTF-8


def test_odd_names_build_evaluate_and_stream(run, drawn, tmp_path, small, built) -> None:
    data = tmp_path / os.fsdecode(b"produkt-\xfc")
    shutil.copytree(drawn, data)
    (data / "train/good/000.png").rename(data / "train/good" / ODD)
    (data / "test/good/000.png").rename(data / "test/good" / ODD)
    (data / "train/good" / os.fsdecode(b"kaputt-\xff.png")).write_bytes(b"no image")
    outcome = run("build", data, *small)
    assert outcome.code == 0, outcome.err
    assert "kaputt-\\xff.png" in outcome.err
    evaluated = built_json(run("evaluate", built, data, "--engine", "onnxruntime", "--json"))
    assert evaluated["good_images"] == 4
    streamed = run("stream", data / "test/good", "--bundle", built, "--results", "r.jsonl")
    assert streamed.code == 0, streamed.err
    sources = [json.loads(line)["source"] for line in Path("r.jsonl").read_text().splitlines()]
    assert any("teil-\\xff\\xfe.png" in source for source in sources)
    record = run("stream", data / "test/good", "--bundle", built, "--record", "o.avi", "--json")
    assert json.loads(record.out)["frames"] == 4


# --- outputs that cannot be written


def test_an_output_below_a_file_is_refused_before_the_work(run, good, tmp_path) -> None:
    (tmp_path / "file").write_text("mine")
    outcome = run("build", good, "--output", "file/x.edge")
    assert outcome.code == USAGE
    assert "choose another --output" in outcome.line()
    assert (tmp_path / "file").read_text() == "mine"


def test_an_output_that_is_something_else_is_kept(run, good, tmp_path, snapshot) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("mine")
    before = snapshot(tmp_path / "mine")
    outcome = run("build", good, "--output", "mine")
    assert outcome.code == USAGE
    assert "mine: exists and is no bundle" in outcome.line()
    assert snapshot(tmp_path / "mine") == before


def test_an_output_in_proc(run, good) -> None:
    outcome = run("build", good, "--output", "/proc/x.edge")
    assert outcome.code == USAGE
    assert "/proc/x.edge: cannot be written" in outcome.line()


def test_a_read_only_folder(run, read_only, monkeypatch) -> None:
    monkeypatch.chdir(read_only)
    outcome = run("build", read_only, "--output", "build/x.edge")
    assert outcome.code == USAGE
    assert "cannot be written" in outcome.line()


def test_a_full_disk_leaves_the_old_bundle(
    run, good, bundle, tmp_path, small, little_disk, snapshot
) -> None:
    before = snapshot(tmp_path)
    with little_disk(200_000):
        outcome = run("build", good, "--output", bundle, *small)
    assert outcome.code == FAILURE
    assert "the bundle that was there is untouched" in outcome.line()
    assert snapshot(tmp_path) == before


def test_an_interrupted_build_leaves_the_old_bundle(good, bundle, tmp_path, snapshot) -> None:
    before = snapshot(tmp_path)
    # Whoever starts the tests in the background has SIGINT ignored, and children inherit that.
    code = (
        "import signal as s; s.signal(s.SIGINT, s.default_int_handler); import edge.cli.main as c"
    )
    command = [sys.executable, "-c", f"{code}; c.main()", "build", str(good)]
    options = ["--output", str(bundle), "--prototypes", "64", "--engine", "onnxruntime"]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert any(line.startswith("images") for line in process.stderr)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "edge: interrupted; what was there before is unchanged"
    assert "Traceback" not in err
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("option", ["--record=x/y.mp4", "--results=x/y.jsonl", "--record=o.txt"])
def test_a_stream_that_cannot_write_does_not_start(run, built, drawn, option) -> None:
    outcome = run("stream", drawn / "test/good", "--bundle", built, option)
    assert outcome.code == USAGE
    assert option.partition("=")[2] in outcome.err.splitlines()[-1]


# --- bundles


def test_one_changed_byte_is_noticed(run, bundle, drawn) -> None:
    model = bundle / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    for words in (("info", bundle), ("evaluate", bundle, drawn), ("bench", bundle)):
        outcome = run(*words)
        assert outcome.code == USAGE
        assert "model.onnx: the bundle is damaged" in outcome.line()


def test_a_bundle_of_a_newer_version(run, bundle) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["schema_version"] += 1
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    outcome = run("info", bundle)
    assert outcome.code == USAGE
    assert "newer protoedge" in outcome.line()


def test_a_symbolic_link_is_told_and_no_damage(run, bundle) -> None:
    manifest = bundle / "manifest.json"
    manifest.rename(bundle.parent / "elsewhere.json")
    manifest.symlink_to(bundle.parent / "elsewhere.json")
    outcome = run("info", bundle)
    assert outcome.code == USAGE
    assert f"{manifest}: a bundle holds no symbolic links; copy" in outcome.line()
    assert "damaged" not in outcome.line()


def test_a_manifest_that_is_too_large_is_not_called_no_json(run, bundle) -> None:
    (bundle / "manifest.json").write_bytes(b" " * (5 << 20))
    line = run("info", bundle).line()
    assert "more than the 4194304 that it may have" in line and "JSON" not in line


def test_no_bundle_and_several(run, tmp_path, bundle, drawn) -> None:
    assert "no such bundle" in run("info", "nowhere.edge").line()
    assert "no bundle" in run("stream", drawn / "test/good").line()
    for name in ("one", "two"):
        shutil.copytree(bundle, tmp_path / "build" / f"{name}.edge")
    outcome = run("stream", drawn / "test/good")
    assert outcome.code == USAGE
    assert "several bundles" in outcome.line()


# --- backbones and options


def test_wrong_backbones(run, good, small, built, tmp_path) -> None:
    (tmp_path / "text.onnx").write_text("no graph")
    value = onnx.helper.make_tensor_value_info
    given, made = value("x", 1, [2]), value("y", 1, [2])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "other", [given], [made])
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]),
        tmp_path / "other.onnx",
    )
    for name in ("text.onnx", "other.onnx", str(built / "model.onnx"), "missing.onnx", "resnet18"):
        outcome = run("build", good, *small, "--backbone", name)
        assert outcome.code == USAGE
        assert name in outcome.line()


@pytest.mark.parametrize(
    ("option", "word"),
    [
        (("--layers", "layer9"), "layer9"),
        (("--layers", "layer2,,"), "layer2,,"),
        (("--size", "12x"), "'12x'"),
        (("--size", "0"), "'0'"),
        (("--size", "99999"), "4096"),
        (("--roi", "1,2,3"), "'1,2,3'"),
        (("--roi", "0,0,9999,9999"), "reaches beyond the image"),
        (("--false-rejects", "0"), "'--false-rejects': 0.0 should be greater than 0"),
        (("--false-rejects", "nan"), "'--false-rejects': nan should be less than 1"),
        (("--batch", "3"), "'--batch': 3 should be a multiple of 2"),
        (("--prototypes", "0"), "'0': give a whole number from 1 to 65536, or auto"),
        (("--precision", "fp8"), "--precision"),
        (("--model", "padim"), "'--model': 'padim' is not one of 'protoad'"),
        (("--engine", "coral"), "--engine"),
        (("--gpu", "sm999"), "gpu 'sm999'"),
    ],
)
def test_wrong_options(run, good, tmp_path, option, word) -> None:
    outcome = run("build", good, *option)
    assert outcome.code == USAGE
    assert word in outcome.line()
    assert not (tmp_path / "build").exists()


def test_tensorrt_where_there_is_none(run, good, built, drawn) -> None:
    from engines.choose import ENGINES

    if ENGINES["tensorrt"].unavailable_reason() is None:
        pytest.skip("TensorRT works here")
    for words in (("build", good), ("evaluate", built, drawn), ("bench", built)):
        outcome = run(*words, "--engine", "tensorrt")
        assert outcome.code == FAILURE
        assert "cannot use tensorrt" in outcome.line()


@pytest.mark.parametrize(
    "source", ["nowhere.mp4", "nowhere/", "ftp://host/x", "/dev/video97", "*.png", ""]
)
def test_sources_that_are_not_there(run, built, source) -> None:
    outcome = run("stream", source, "--bundle", built)
    assert outcome.code == USAGE
    assert "Traceback" not in outcome.err
    assert outcome.err.splitlines()[-1].startswith("edge: ")


def test_a_grid_where_there_is_no_folder(run, built, drawn) -> None:
    outcome = run("evaluate", built, drawn, "--report", "nowhere/page.html")
    assert (outcome.code, "nowhere is no folder" in outcome.line()) == (2, True)
    outcome = run("evaluate", built, drawn, "--grid", "nowhere/grid.png")
    assert outcome.code == USAGE
    assert "nowhere/grid.png: nowhere is no folder" in outcome.line()


def test_wrong_settings_of_a_stream(run, built, drawn) -> None:
    for option, says in {
        "--threshold=nan": "'--threshold': nan should be a finite number",
        "--stall-after=-1": "'--stall-after': -1.0 should be greater than 0",
        "--ignore=nowhere.png": "nowhere.png",
        "--max-frames=0": "--max-frames",
    }.items():
        outcome = run("stream", drawn / "test/good", "--bundle", built, option)
        assert outcome.code == USAGE
        assert says in outcome.err.splitlines()[-1]


def test_labelled_images_of_which_none_counts(run, built, drawn, tmp_path) -> None:
    images = Path(shutil.copytree(drawn, tmp_path / "images"))
    labelled = sorted((images / "test").glob("*/*.png"))
    kept = labelled[0].read_bytes()
    for path in labelled:
        path.write_bytes(b"no image")
    says = f"images: none of {len(labelled)} images counts; the first: "
    for form in ((), ("--json",)):
        outcome = run("evaluate", built, "images", "--engine", "onnxruntime", *form)
        assert outcome.code == FAILURE
        assert says in outcome.line()
    outcome = run("compare", built, built, "images", "--engine", "onnxruntime", "--frames", "1")
    assert outcome.code == FAILURE
    labelled[0].write_bytes(kept)
    assert run("evaluate", built, "images", "--engine", "onnxruntime").code == 0


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (("stream", "x", "--ignore", ""), "after '--ignore'"),
        (("stream", "x", "--results="), "'--results'"),
        (("set", ""), "after 'set'"),
        (("evaluate", "a.edge", " "), "after 'a.edge'"),
        (("init", ""), "after 'init'"),
    ],
)
def test_an_empty_word_is_called_empty(run, words, where) -> None:
    outcome = run(*words)
    assert outcome.code == USAGE
    assert f"{where}: the text is empty" in outcome.line()


@pytest.mark.parametrize("port", ["99999", "-1", "http", ""])
def test_a_port_that_cannot_be(run, built, drawn, port) -> None:
    line = run("stream", drawn, "--bundle", built, "--monitor", f"127.0.0.1:{port}").line()
    says = "the port must be a number from 0 to 65535" if port else "the port is missing"
    assert f"monitor 127.0.0.1:{port}: {says}" in line


def test_evaluate_on_what_was_learnt(run, built, good) -> None:
    line = run("evaluate", built, good).err.splitlines()[-1]
    assert "none of 12 images counts; the first:" in line and "learnt from it" in line
    (good / "000.png").write_bytes((good / "000.png").read_bytes() + b"another file")
    assert built_json(run("evaluate", built, good, "--json"))["good_images"] == 1


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("[build", "not TOML"),
        ("[build]\nprecison = 'fp16'", "build.precison"),
        ("[build]\nengine = 'coral'", "build.engine"),
        ("[build]\nfalse_rejects = 2", "build.false_rejects"),
        ("[stream]\nstall_after = 0", "stream.stall_after"),
        ("[build]\nprototypes = 'many'", "build.prototypes"),
    ],
)
def test_a_wrong_edge_toml(run, good, tmp_path, content, word) -> None:
    (tmp_path / "edge.toml").write_text(content)
    for words in (("build", good), ("stream", good)):
        outcome = run(*words)
        assert outcome.code == USAGE
        assert "edge.toml: " in outcome.line() and word in outcome.line()


def command_functions() -> list[Any]:
    found = []
    for where, _ in COMMANDS.values():
        module, _, name = where.partition(":")
        command = getattr(importlib.import_module(f"edge.cli.{module}"), name)
        inner = getattr(command, "registered_commands", None)
        found += [command] if inner is None else [one.callback for one in inner]
    return found


def test_every_command_s_own_paths_may_begin_with_a_home_folder() -> None:
    without = [
        command.__qualname__
        for command in command_functions()
        if "Path" in str(inspect.signature(command)) and not hasattr(command, "__wrapped__")
    ]
    assert without == []


def test_no_name_of_a_file_speaks_to_the_terminal(capsys) -> None:
    name = "a\x1b[31m\r\nOK \udcff\u202e.png"
    console.say(name)
    console.print_table(name, [(name, name), ("names", [name, name])])
    console.print_columns(name, ("images", "such as"), [(1, name)])
    out, err = capsys.readouterr()
    assert "\\x1b[31m\\r\\nOK \\xff\\u202e.png" in out
    assert all(line.isprintable() for line in (out + err).splitlines())
    assert len(out.splitlines()) == 6
