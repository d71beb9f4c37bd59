"""The second start imports what the first compiled, and nothing that this machine did not make."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest

from engines.cpu import openvino_cache, openvino_compile
from engines.cpu.openvino import OpenVinoEngine

FILES = ("openvino-latency.blob", "openvino-latency.json")


@pytest.fixture(autouse=True)
def own_machine(tmp_path, monkeypatch):
    """A key and a cache of this test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def compiled(monkeypatch):
    """One entry for each graph that was really compiled."""
    found: list[str] = []
    original = openvino_compile._compile

    def noted(core, request, config):
        found.append(request.precision)
        return original(core, request, config)

    monkeypatch.setattr(openvino_compile, "_compile", noted)
    return found


def opened(model, plans, precision="fp32", **options):
    return OpenVinoEngine(model, precision=precision, plans=plans, threads=1, **options)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_second_start_compiles_nothing_and_answers_the_same(
    precision, inspector_graph, images, tmp_path, compiled
) -> None:
    model = inspector_graph(precision)
    answers, executed = [], []
    for _ in range(2):
        with opened(model, tmp_path / "engines", precision) as engine:
            answers.append(engine.infer(images))
            executed.append(engine.executes)
    assert compiled == [precision]
    assert executed[0] == executed[1]
    for first, second in zip(*answers, strict=True):
        np.testing.assert_array_equal(first, second)
    assert {path.name for path in (tmp_path / "engines").iterdir()} == set(FILES)


def test_what_does_not_fit_is_compiled_again(
    inspector_graph, tmp_path, compiled, monkeypatch
) -> None:
    plans, model = tmp_path / "engines", inspector_graph("fp16")

    def start(model=model, precision="fp16") -> int:
        before = len(compiled)
        opened(model, plans, precision).close()
        return len(compiled) - before

    assert start() == 1
    assert start() == 0
    assert start(inspector_graph("fp16", seed=1)) == 1  # another graph takes its place
    assert start() == 1
    assert start(precision="int8") == 1  # the same file, asked for as something else
    assert start() == 1
    with monkeypatch.context() as patch:
        patch.setattr(openvino_compile, "cpu_instructions", lambda: frozenset({"avx2"}))
        assert start() == 1
    assert start() == 1
    with monkeypatch.context() as patch:
        patch.setattr(openvino_compile, "RECIPE", 999)
        assert start() == 1
    assert start() == 1
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    assert start() == 1  # whose key did not seal it
    assert start() == 0


def _flip(path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _forge(path) -> None:
    """A sidecar that fits another blob, without the key."""
    import hashlib

    blob = path.with_suffix(".blob")
    _flip(blob)
    record = json.loads(path.read_text())
    record["blob_sha256"] = hashlib.sha256(blob.read_bytes()).hexdigest()
    path.write_text(json.dumps(record))


DAMAGE = {
    "blob changed": lambda blob, record: _flip(blob),
    "blob cut": lambda blob, record: blob.write_bytes(blob.read_bytes()[:-1]),
    "blob empty": lambda blob, record: blob.write_bytes(b""),
    "blob lost": lambda blob, record: blob.unlink(),
    "sidecar lost": lambda blob, record: record.unlink(),
    "sidecar no JSON": lambda blob, record: record.write_bytes(b"\xff{"),
    "sidecar forged": lambda blob, record: _forge(record),
    "blob a link": lambda blob, record: (
        shutil.move(blob, blob.with_name("aside")),
        blob.symlink_to(blob.with_name("aside")),
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_blob_is_never_imported(name, inspector_graph, tmp_path, monkeypatch) -> None:
    plans, model = tmp_path / "engines", inspector_graph()
    opened(model, plans).close()
    blob, record = (plans / file for file in FILES)
    DAMAGE[name](blob, record)
    imported = []
    with monkeypatch.context() as patch:
        patch.setattr(openvino_compile, "_import", lambda *args: imported.append(args))
        opened(model, plans).close()
    assert imported == []
    monkeypatch.setattr(openvino_compile, "_compile", _never)
    opened(model, plans).close()  # it was repaired


def _never(*args):
    raise AssertionError("compiled again")


def test_a_blob_that_computes_otherwise_than_it_says_is_compiled_again(
    inspector_graph, tmp_path, compiled
) -> None:
    plans, model = tmp_path / "engines", inspector_graph()
    opened(model, plans).close()
    openvino = pytest.importorskip("openvino")
    request = openvino_compile.CompileRequest(model, "fp32", mixed=False, threads=1, plans=plans)
    config = openvino_compile.plugin_config(1, mode="latency")
    key = openvino_compile._blob_key(openvino, request, config)
    kept = openvino_cache.load_blob(plans, key, mode="latency")
    assert kept is not None
    for changed in ({"executes": "bf16"}, {"blob": b"no graph"}):
        other = dataclasses.replace(kept, **changed)
        assert openvino_cache.store_blob(plans, key, other, mode="latency") == ""
        opened(model, plans).close()
    assert compiled == ["fp32"] * 3


def test_a_folder_that_cannot_be_written_leaves_it_to_the_users_cache(
    inspector_graph, tmp_path, compiled
) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")  # no folder can be made below it, whoever asks
    model, told = inspector_graph(), []
    for _ in range(2):
        opened(model, blocked / "engines", say=told.append).close()
    assert (compiled, told) == (["fp32"], [])
    assert len(list((tmp_path / "cache" / "protoedge" / "openvino").glob("*.blob"))) == 1


def test_where_nothing_can_be_written_it_is_said_and_works(
    inspector_graph, images, tmp_path, compiled, monkeypatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    model = inspector_graph()
    for variable in ("XDG_CACHE_HOME", "XDG_STATE_HOME"):
        told: list[str] = []
        monkeypatch.setenv(variable, str(blocked / "below"))
        with opened(model, blocked / "engines", say=told.append) as engine:
            engine.infer(images[:1])
        (line,) = told
        assert "compiled anew at each start" in line and "\n" not in line
    assert compiled == ["fp32", "fp32"]


def test_the_users_cache_does_not_grow_without_end(inspector_graph, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(openvino_cache, "MAX_USER_BLOBS", 2)
    (tmp_path / "file").write_bytes(b"")
    for seed in range(4):
        opened(inspector_graph(seed=seed), tmp_path / "file" / "engines").close()
    left = sorted(path.suffix for path in openvino_cache.user_blobs().iterdir())
    assert left == [".blob", ".blob", ".json", ".json"]


def test_without_a_folder_nothing_is_written(inspector_graph, tmp_path) -> None:
    before = set(tmp_path.rglob("*"))
    opened(inspector_graph(), None).close()
    assert set(tmp_path.rglob("*")) == before
