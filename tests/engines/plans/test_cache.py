"""A plan is trusted only if this machine compiled it, whole, for this graph and this library."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibrate.symbolic_batch import with_symbolic_batch
from engines.cuda import Gpu
from engines.engine import EngineOptions
from engines.errors import EngineError
from engines.plans import find_or_compile
from engines.plans.cache import (
    MAX_OTHERS,
    PlanKey,
    UnusablePlanError,
    load_plan,
    plan_path,
    read_record,
    store_plan,
    trusted_path,
)
from engines.plans.find_or_compile import find_or_compile_plan
from engines.plans.layers import Layer
from engines.plans.plan import CompileSettings, Plan
from engines.sealed_files import machine_key

LAYER = Layer(
    name="c",
    kind="convolution",
    inputs=("fp16",),
    outputs=("fp16",),
    tactic="",
    nodes=("conv1",),
)
PLAN = Plan(
    plan=bytes(range(256)) * 8,
    flavour="tensorrt-rtx",
    version="1.7.1",
    gpu=("sm89",),
    onnx_sha256="a" * 64,
    layers=(LAYER,),
)
WANTED = PlanKey(flavour="tensorrt-rtx", version="1.7.1", gpu=("sm89",), onnx_sha256="a" * 64)


@pytest.fixture(autouse=True)
def state(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    return folder


def test_what_was_stored_is_loaded(tmp_path, state) -> None:
    path = store_plan(tmp_path / "engines", PLAN)
    assert path.name == "tensorrt-rtx-sm89.plan"
    assert path.read_bytes() == PLAN.plan, "the plan itself stays bare"
    assert load_plan(tmp_path / "engines", WANTED) == PLAN
    key = state / "protoedge" / "plan.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [found.name for found in key.parent.iterdir()] == ["plan.key"]
    assert machine_key() == machine_key()


def test_a_sidecar_of_before_a_field_was_known_keeps_its_seal_and_mark(tmp_path) -> None:
    path = store_plan(tmp_path, PLAN)
    mark = read_record(path).mark
    sidecar = path.with_suffix(".json")
    content = json.loads(sidecar.read_bytes())
    older = {name: value for name, value in content.items() if value is not None}
    assert content.keys() - older.keys() == {"workspace_mib", "optimization_level", "dla", "batch"}
    sidecar.write_text(json.dumps(older))
    assert load_plan(tmp_path, WANTED) == PLAN and read_record(path).mark == mark
    sidecar.write_text(json.dumps({**older, "dla": 0}))
    with pytest.raises(UnusablePlanError, match="not compiled on this machine"):
        load_plan(tmp_path, WANTED)


def test_no_plan_yet_is_a_reason(tmp_path) -> None:
    with pytest.raises(UnusablePlanError, match="there is none for tensorrt-rtx and sm89 yet"):
        load_plan(tmp_path, WANTED)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": "1.7.2"}, "stale: it was compiled by version 1.7.1, this is 1.7.2"),
        ({"onnx_sha256": "b" * 64}, "stale: the graph has changed"),
        ({"images": 8}, "stale: it is for a batch of 1, and 8 is asked for"),
    ],
)
def test_a_stale_plan_says_why(tmp_path, changes, said) -> None:
    store_plan(tmp_path, PLAN)
    with pytest.raises(UnusablePlanError, match=said):
        load_plan(tmp_path, dataclasses.replace(WANTED, **changes))


def test_a_plan_for_another_gpu_or_flavour_is_stale_even_under_the_right_name(tmp_path) -> None:
    for changes in ({"gpu": ("sm86",)}, {"flavour": "tensorrt"}):
        other = PLAN.model_copy(update=changes)
        path = store_plan(tmp_path, other)
        for suffix in (".plan", ".json"):
            target = plan_path(tmp_path, flavour=WANTED.flavour, gpu=WANTED.gpu)
            path.with_suffix(suffix).rename(target.with_suffix(suffix))
        with pytest.raises(UnusablePlanError, match="stale: it is for"):
            load_plan(tmp_path, WANTED)


def test_a_plan_from_another_machine_is_loaded_only_if_it_is_listed(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "engines"
    path = store_plan(folder, PLAN)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
    with pytest.raises(UnusablePlanError, match="not compiled on this machine, nor does"):
        load_plan(folder, WANTED)
    mark = read_record(path).mark
    trusted_path().parent.mkdir(parents=True)
    trusted_path().write_text(f"# line 3\n{'0' * 64}\n{mark.upper()}  # bottle.edge\n")
    assert load_plan(folder, WANTED) == PLAN
    other = PLAN.model_copy(update={"onnx_sha256": "b" * 64})
    path.with_suffix(".json").write_text(
        path.with_suffix(".json").read_text().replace("a" * 64, other.onnx_sha256)
    )
    with pytest.raises(UnusablePlanError, match="not compiled on this machine, nor does"):
        load_plan(folder, dataclasses.replace(WANTED, onnx_sha256="b" * 64))


def test_plans_of_machines_that_a_bundle_goes_between_stay_side_by_side(
    tmp_path, state, monkeypatch
) -> None:
    """Each would else compile anew whenever the other one had it."""
    folder = tmp_path / "engines"
    machines = [tmp_path / name for name in ("line1", "line2", "line3")]
    for machine in machines:
        monkeypatch.setenv("XDG_STATE_HOME", str(machine))
        with pytest.raises(UnusablePlanError, match=r"none for|was not compiled on this machine"):
            load_plan(folder, WANTED)
        store_plan(folder, PLAN.model_copy(update={"plan": machine.name.encode()}))
    for machine in (*machines, *machines):
        monkeypatch.setenv("XDG_STATE_HOME", str(machine))
        assert load_plan(folder, WANTED).plan == machine.name.encode()
        store_plan(folder, PLAN.model_copy(update={"plan": machine.name.encode()}))
    assert len(list(folder.glob("*.plan"))) == 3, "each has one place"
    newer = PLAN.model_copy(update={"onnx_sha256": "b" * 64})
    assert store_plan(folder, newer).name == "tensorrt-rtx-sm89.plan", "of use to nobody any more"


def test_containers_without_a_home_that_stays_do_not_fill_the_bundle(tmp_path, monkeypatch) -> None:
    for start in range(2 * MAX_OTHERS):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / str(start)))
        path = store_plan(tmp_path / "engines", PLAN)
        os.utime(path, (start, start))
        assert load_plan(tmp_path / "engines", WANTED) == PLAN
    assert len(list((tmp_path / "engines").iterdir())) == 2 * (MAX_OTHERS + 1)


def test_a_key_that_proves_nothing_is_made_anew(tmp_path, state) -> None:
    store_plan(tmp_path, PLAN)
    path = state / "protoedge" / "plan.key"
    before = machine_key()
    for spoil in (
        lambda: path.write_bytes(b""),
        lambda: path.write_bytes(before[:-1]),
        lambda: path.chmod(0o644),
        lambda: (path.unlink(), path.symlink_to(tmp_path / "elsewhere")),
    ):
        spoil()
        now = machine_key()
        assert len(now) == 32 and now != before
        with pytest.raises(UnusablePlanError, match="not compiled on this machine"):
            load_plan(tmp_path, WANTED)


def test_plans_move_to_newer_libraries_only_if_they_were_made_to(tmp_path) -> None:
    moving = PLAN.model_copy(
        update={"flavour": "tensorrt", "version": "10.3.0", "compatible": ("version",)}
    )
    wanted = dataclasses.replace(WANTED, flavour="tensorrt")
    store_plan(tmp_path, moving)
    for version in ("10.3.0", "10.3.0.1", "10.13.2", "10.16"):
        assert load_plan(tmp_path, dataclasses.replace(wanted, version=version)) == moving
    for version in ("10.2.9", "11.0.0", "8.6.1", "", "unknown"):
        with pytest.raises(UnusablePlanError, match="compiled by version 10"):
            load_plan(tmp_path, dataclasses.replace(wanted, version=version))


def test_a_forged_sidecar_is_not_believed(tmp_path) -> None:
    path = store_plan(tmp_path, PLAN).with_suffix(".json")
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "version": "1.7.2"}))
    with pytest.raises(UnusablePlanError, match="not compiled on this machine"):
        load_plan(tmp_path, dataclasses.replace(WANTED, version="1.7.2"))


def test_a_link_is_not_followed(tmp_path) -> None:
    path = store_plan(tmp_path / "real", PLAN)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnusablePlanError, match="symbolic link"):
        load_plan(tmp_path / "real", WANTED)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_one_changed_byte_is_never_loaded(tmp_path, data) -> None:
    path = plan_path(tmp_path, flavour=PLAN.flavour, gpu=PLAN.gpu)
    if not path.exists():
        store_plan(tmp_path, PLAN)
    path = data.draw(st.sampled_from([path, path.with_suffix(".json")]))
    before = path.read_bytes()
    content = bytearray(before)
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        loaded = load_plan(tmp_path, WANTED)
    except UnusablePlanError as error:
        assert "\n" not in str(error)
    else:
        assert loaded == PLAN, "only the layout of the sidecar may differ"
    finally:
        path.write_bytes(before)


GPU = Gpu(
    index=0,
    name="NVIDIA GeForce RTX 4070",
    compute_capability="sm89",
    memory_bytes=12 << 30,
    integrated=False,
    driver="13.0",
)


def test_a_plan_is_compiled_once_and_again_only_with_a_reason(tmp_path, features_graph) -> None:
    """All of the way from the graph to the plan, with the real compiler; running needs a GPU."""
    pytest.importorskip("tensorrt_rtx")
    told: list[str] = []

    def plan(model: bytes) -> Plan:
        precision = "fp16" if model == features_graph("fp16") else "fp32"
        return find_or_compile_plan(
            model,
            flavour="tensorrt-rtx",
            gpu=GPU,
            options=EngineOptions(precision, tmp_path, say=told.append),
            load=lambda plan: plan,
        )

    first = plan(features_graph("fp16"))
    assert plan(features_graph("fp16")) == first
    assert told == ["tensorrt-rtx: compiling the plan: there is none for tensorrt-rtx and sm89 yet"]
    plan(features_graph("fp32"))
    assert told[1:] == [
        "tensorrt-rtx: compiling the plan: tensorrt-rtx-sm89.plan is stale: the graph has changed"
    ]
    path = plan_path(tmp_path, flavour="tensorrt-rtx", gpu=("sm89",))
    path.write_bytes(path.read_bytes()[:-1])
    plan(features_graph("fp32"))
    assert told[2:] == ["tensorrt-rtx: compiling the plan: tensorrt-rtx-sm89.plan is damaged"]


def test_what_edge_compile_was_asked_for_outlives_the_plan(tmp_path, monkeypatch) -> None:
    """A plan that no longer fits is replaced by one that was asked for the same, if that can be."""
    old = PLAN.model_copy(update={"version": "1.6.0", "optimization_level": 5, "dla": 1})
    asked: list[CompileSettings] = []
    told: list[str] = []
    refused: list[int | None] = []

    def compile_plan(model: bytes, *, settings: CompileSettings, **_: object) -> Plan:
        asked.append(settings)
        if settings.dla in refused:
            raise EngineError("no DLA core 1")
        return PLAN.model_copy(update=settings.model_dump())

    def find() -> Plan:
        return find_or_compile_plan(
            b"the graph",
            flavour="tensorrt-rtx",
            gpu=GPU,
            options=EngineOptions("fp16", tmp_path, say=told.append),
            load=lambda plan: plan,
        )

    library = SimpleNamespace(__version__="1.7.1")
    monkeypatch.setattr(find_or_compile, "import_flavour", lambda flavour: library)
    monkeypatch.setattr(find_or_compile, "compile_plan", compile_plan)
    path = store_plan(tmp_path, old)
    assert (find().optimization_level, find().dla) == (5, 1)
    refused.append(1)
    assert find().dla is None and "no DLA core 1" in told[-1], "an inspector comes before a wish"
    asked.clear()
    store_plan(tmp_path, old)
    forged = read_record(path).model_copy(update={"seal": "of somebody else"})
    path.with_suffix(".json").write_text(forged.model_dump_json())
    assert find().dla is None and asked == [CompileSettings()], "nobody else's word counts"


def test_a_plan_for_another_number_of_images_is_compiled_again(tmp_path, features_graph) -> None:
    pytest.importorskip("tensorrt_rtx")
    told: list[str] = []

    def plan(model: bytes, batch: int) -> Plan:
        options = EngineOptions("fp32", tmp_path, say=told.append, batch=batch)
        given = {"flavour": "tensorrt-rtx", "gpu": GPU, "options": options}
        return find_or_compile_plan(model, **given, load=lambda plan: plan)

    fixed = features_graph()
    assert plan(fixed, 8).images == 1, "a graph of one image has plans for one"
    model = with_symbolic_batch(fixed)
    assert [plan(model, batch).images for batch in (1, 4, 4, 1)] == [1, 4, 4, 4]
    assert [line.rpartition(": ")[2] for line in told[1:]] == [
        "the graph has changed",
        "it is for a batch of 1, and 4 is asked for",
    ]


def test_a_folder_that_cannot_be_written_costs_the_cache_not_the_engine(
    tmp_path, features_graph
) -> None:
    pytest.importorskip("tensorrt_rtx")
    (tmp_path / "engines").write_bytes(b"a file where the folder should be")
    told: list[str] = []
    plan = find_or_compile_plan(
        features_graph(),
        flavour="tensorrt-rtx",
        gpu=GPU,
        options=EngineOptions("fp32", tmp_path / "engines", say=told.append),
        load=lambda plan: plan,
    )
    assert plan.gpu == ("sm89",)
    assert "the plan is not kept" in told[-1]
