"""Wrong, stale and tampered plans: 204 of them, and not one reaches the deserialiser.

From the graph to `deserialize_cuda_engine` everything is real but the two ends: the compiler, which
gives marked bytes at once, and the deserialiser, which records what it is handed.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from plan_world import CONVOLUTION, HERE, MODEL, OTHER_MODEL, RTX, World, stored

from engines.errors import EngineError
from engines.plans import find_or_compile
from engines.plans.cache import read_record, store_plan, trusted_path
from engines.plans.plan import UnloadablePlanError

SEEDS = 6
PLAN_TAIL = bytes(range(256)) * 4


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    """This machine with two bundles and their plans; copied for every case."""
    home = tmp_path_factory.mktemp("pristine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(home / "state"))
        content = b"KEPT" + PLAN_TAIL
        store_plan(home / "bottle.edge" / "engines", stored(MODEL, content=content))
        store_plan(home / "casting.edge" / "engines", stored(OTHER_MODEL, content=content[::-1]))
        spare = home / "spare"
        for gpu in ((), ("sm86",)):
            store_plan(spare, stored(MODEL, gpu=gpu, content=content))
        store_plan(spare, stored(MODEL, flavour="tensorrt", content=content))
        store_plan(spare / "old", stored(b"the graph as it was", content=content))
    return home


@pytest.fixture
def world(pristine, tmp_path, monkeypatch) -> Callable[[], World]:
    """A fresh copy of that machine, each time it is called."""
    count = iter(range(SEEDS * 2))

    def fresh() -> World:
        home = tmp_path / str(next(count))
        shutil.copytree(pristine, home)
        found = World(home)
        monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
        monkeypatch.setattr(find_or_compile, "compile_plan", found.compile)
        monkeypatch.setattr(
            find_or_compile,
            "import_flavour",
            lambda flavour: SimpleNamespace(__version__=found.version),
        )
        return found

    return fresh


Case = Callable[[World, random.Random], None]


def a_byte_of_the_plan(world: World, draw: random.Random) -> None:
    content = bytearray(world.plan.read_bytes())
    content[draw.randrange(len(content))] ^= draw.randrange(1, 256)
    world.plan.write_bytes(content)


def a_plan_cut_short(world: World, draw: random.Random) -> None:
    content = world.plan.read_bytes()
    world.plan.write_bytes(content[: draw.randrange(len(content))])


def a_plan_with_more_behind_it(world: World, draw: random.Random) -> None:
    world.plan.write_bytes(world.plan.read_bytes() + draw.randbytes(draw.randrange(1, 99)))


def another_plan_of_the_same_size(world: World, draw: random.Random) -> None:
    world.plan.write_bytes(draw.randbytes(world.plan.stat().st_size))


def another_plan_and_its_hash_in_the_sidecar(world: World, draw: random.Random) -> None:
    content = draw.randbytes(draw.randrange(1, 2000))
    world.plan.write_bytes(content)
    world.edit(plan_sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def the_same_with_a_seal_of_a_guessed_key(world: World, draw: random.Random) -> None:
    another_plan_and_its_hash_in_the_sidecar(world, draw)
    world.edit(sealed_with=draw.choice([b"", bytes(32), draw.randbytes(32)]))


def no_plan(world: World, draw: random.Random) -> None:
    world.plan.unlink()


def no_sidecar(world: World, draw: random.Random) -> None:
    world.sidecar.unlink()


def a_sidecar_cut_short(world: World, draw: random.Random) -> None:
    content = world.sidecar.read_bytes().rstrip()
    world.sidecar.write_bytes(content[: draw.randrange(len(content))])


def a_field_of_the_sidecar(world: World, draw: random.Random) -> None:
    """Each kind of edit that would let a plan pass for something else."""
    name, value = [
        ("version", "9.9.9"),
        ("gpu", ("sm86",)),
        ("flavour", "tensorrt"),
        ("compatible", ("version",)),
        ("typing", "weak"),
        ("notes", ("nothing to see",)),
    ][draw.seed_number]
    world.edit(**{name: value})
    if name in ("version", "gpu"):  # and the machine that it would be for
        setattr(world, name, value if isinstance(value, str) else value[0])


def layers_that_hide_the_precision(world: World, draw: random.Random) -> None:
    layers = [] if draw.random() < 0.5 else [CONVOLUTION.model_copy(update={"inputs": ("int8",)})]
    world.edit(layers=layers)


def the_hash_of_another_graph(world: World, draw: random.Random) -> None:
    world.model = draw.randbytes(40)
    world.edit(onnx_sha256=hashlib.sha256(world.model).hexdigest())


def a_seal_that_is_not_one(world: World, draw: random.Random) -> None:
    record = world.record()
    seals = ["", "0" * 64, str(record["seal"]).upper(), str(record["seal"])[:-1], "ß", None]
    world.sidecar.write_text(json.dumps({**record, "seal": seals[draw.seed_number]}))


def rubbish_for_a_sidecar(world: World, draw: random.Random) -> None:
    record = world.record()
    world.sidecar.write_bytes(
        [
            b"",
            b"\xff\xfe" + draw.randbytes(20),
            b"[" * 100_000,
            json.dumps({**record, "more": 1}).encode(),
            json.dumps({**record, "size": "NaN"}).encode(),
            json.dumps([record]).encode(),
        ][draw.seed_number]
    )


def a_sidecar_without_end(world: World, draw: random.Random) -> None:
    with world.sidecar.open("r+b") as file:
        file.truncate(draw.choice([1 << 30, 1 << 40]))


def a_size_that_lies(world: World, draw: random.Random) -> None:
    world.edit(size=draw.choice([0, -1, 1 << 62, world.plan.stat().st_size + 1]))


def the_plan_of_another_bundle(world: World, draw: random.Random) -> None:
    shutil.copy(world.other, world.plan)


def the_sidecar_of_another_bundle(world: World, draw: random.Random) -> None:
    shutil.copy(world.other.with_suffix(".json"), world.sidecar)


def plan_and_sidecar_of_another_bundle(world: World, draw: random.Random) -> None:
    the_plan_of_another_bundle(world, draw)
    the_sidecar_of_another_bundle(world, draw)


def a_renamed_pair(world: World, draw: random.Random) -> None:
    """Compiled here, of this graph, but for another GPU or another library."""
    source = world.home / "spare" / draw.choice([f"{RTX}-sm86.plan", f"tensorrt-{HERE}.plan"])
    shutil.copy(source, world.plan)
    shutil.copy(source.with_suffix(".json"), world.sidecar)


def a_pair_as_it_was_before_the_graph_changed(world: World, draw: random.Random) -> None:
    for suffix in (".plan", ".json"):
        source = world.home / "spare" / "old" / world.plan.name
        shutil.copy(source.with_suffix(suffix), world.plan.with_suffix(suffix))


def a_newer_or_older_library(world: World, draw: random.Random) -> None:
    world.version = ["1.7.2", "1.7.0", "1.7", "1.8.0", "11.0", "1.7.1.1"][draw.seed_number]


def another_gpu_in_the_machine(world: World, draw: random.Random) -> None:
    world.gpu = ["sm86", "sm120", "sm75", "sm80", "sm121", "sm130"][draw.seed_number]


def a_turing_and_a_portable_plan(world: World, draw: random.Random) -> None:
    """Portable begins at Ampere, whatever the file's name."""
    world.gpu = "sm75"
    for suffix in (".plan", ".json"):
        source = world.home / "spare" / f"{RTX}-portable{suffix}"
        shutil.copy(source, world.folder)
        if draw.random() < 0.5:
            shutil.copy(source, world.folder / f"{RTX}-sm75{suffix}")


def another_library_for_the_same_gpu(world: World, draw: random.Random) -> None:
    world.flavour = "tensorrt"
    for suffix in (".plan", ".json"):
        world.plan.with_suffix(suffix).rename(world.folder / f"tensorrt-{HERE}{suffix}")


def a_changed_graph(world: World, draw: random.Random) -> None:
    content = bytearray(world.model)
    content[draw.randrange(len(content))] ^= draw.randrange(1, 256)
    world.model = bytes(content)


def a_link_for_the_plan(world: World, draw: random.Random) -> None:
    target = world.home / "elsewhere"
    world.plan.rename(target)
    world.plan.symlink_to(target if draw.random() < 0.8 else world.home / "nowhere")


def a_link_for_the_sidecar(world: World, draw: random.Random) -> None:
    target = world.home / "elsewhere"
    world.sidecar.rename(target)
    world.sidecar.symlink_to(target if draw.random() < 0.8 else world.home / "nowhere")


def a_link_for_the_folder(world: World, draw: random.Random) -> None:
    target = world.home / "elsewhere"
    world.folder.rename(target)
    world.folder.symlink_to(target)


def something_else_than_a_file(world: World, draw: random.Random) -> None:
    path = draw.choice([world.plan, world.sidecar])
    path.unlink()
    if draw.random() < 0.5:
        os.mkfifo(path)
    else:
        path.mkdir()


def another_machines_plan(world: World, draw: random.Random) -> None:
    world.edit(sealed_with=draw.randbytes(32))


def a_machine_that_lost_its_key(world: World, draw: random.Random) -> None:
    [
        world.key.unlink,
        lambda: world.key.write_bytes(draw.randbytes(32)),
        lambda: world.key.write_bytes(b""),
        lambda: world.key.chmod(0o640),
        lambda: world.key.write_bytes(world.key.read_bytes()[:31]),
        lambda: shutil.rmtree(world.home / "state"),
    ][draw.seed_number]()


def a_listed_plan_that_was_changed(world: World, draw: random.Random) -> None:
    """Trust in one plan is no trust in what has taken its place."""
    another_machines_plan(world, draw)
    trusted_path().parent.mkdir(parents=True)
    trusted_path().write_text(f"{read_record(world.plan).mark}\n")
    draw.choice([a_byte_of_the_plan, a_changed_graph, layers_that_hide_the_precision])(world, draw)


def a_list_that_cannot_be_read(world: World, draw: random.Random) -> None:
    another_machines_plan(world, draw)
    trusted_path().mkdir(parents=True)


CASES: list[Case] = [
    value
    for name, value in list(globals().items())
    if callable(value) and getattr(value, "__annotations__", {}).get("draw") == "random.Random"
]


def test_there_are_two_hundred_cases() -> None:
    assert len(CASES) * SEEDS >= 200


def test_a_plan_as_it_should_be_is_deserialised_without_compiling(world) -> None:
    """The control: otherwise refusing everything would pass."""
    found = world()
    found.open()
    assert found.deserialised == [found.plan.read_bytes()]
    assert not found.compiled and not found.told
    portable = world()
    shutil.rmtree(portable.folder)
    shutil.copytree(portable.home / "spare", portable.folder)
    portable.gpu = "sm120"
    portable.open()
    assert portable.deserialised and not portable.compiled
    foreign = world()
    foreign.edit(sealed_with=bytes(32))
    trusted_path().parent.mkdir(parents=True)
    trusted_path().write_text(f"{read_record(foreign.plan).mark}  # from the office\n")
    foreign.open()
    assert foreign.deserialised and not foreign.compiled


def seeds_in_short(case: Case) -> range:
    """All where a seed stands for a kind of its own; the others in full are for `soak`."""
    return range(SEEDS if "seed_number" in case.__code__.co_names else 2)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
@pytest.mark.parametrize("in_full", [False, pytest.param(True, marks=pytest.mark.soak)])
def test_it_is_refused_or_rebuilt_and_never_deserialised(case, in_full, world) -> None:
    for seed in range(SEEDS) if in_full else seeds_in_short(case):
        draw = random.Random(f"{case.__name__} {seed}")
        draw.seed_number = seed
        found = world()
        case(found, draw)
        try:
            found.open()
        except EngineError as error:
            assert "\n" not in str(error)
        assert found.deserialised == found.compiled, (case.__name__, seed, found.told)
        assert len(found.compiled) == 1, "there is no reason not to run: the graph is fine"
        assert "compiling the plan: " in found.told[0]
        assert "\n" not in found.told[0]


def test_what_was_rebuilt_is_kept_and_loaded_the_next_time(world) -> None:
    for case in (a_byte_of_the_plan, no_sidecar, another_machines_plan, a_changed_graph):
        found = world()
        case(found, random.Random(0))
        found.open()
        found.open()
        assert len(found.compiled) == 1, case.__name__
        assert found.deserialised == found.compiled * 2


def test_a_plan_that_the_library_refuses_is_compiled_once_and_kept(world) -> None:
    """Its marks all fit, and it no longer loads: without this, it would fail at each start."""
    found = world()
    found.refused = (b"KEPT",)
    found.open()
    assert found.deserialised == [b"KEPT" + PLAN_TAIL, b"FRESH\0"]
    assert "is not taken any more" in found.told[0] and "the driver is another one" in found.told[0]
    found.open()
    assert found.compiled == [b"FRESH\0"]
    assert found.deserialised[2:] == found.compiled


def test_a_new_plan_that_the_library_refuses_is_not_compiled_twice(world) -> None:
    found = world()
    found.refused = (b"KEPT", b"FRESH")
    with pytest.raises(UnloadablePlanError, match="does not load: the driver is another one"):
        found.load()
    assert len(found.compiled) == 1


def test_two_models_of_one_architecture_each_keep_their_plan(world) -> None:
    """Both are sm89: in one machine, or in two that share a bundle, neither takes the other's."""
    found = world()
    found.flavour = "tensorrt"
    models = ("NVIDIA GeForce RTX 4070", "NVIDIA GeForce RTX 4090", "NVIDIA L4")
    for found.device in (*models, *models, *reversed(models)):
        found.open()
    assert len(found.compiled) == len(models)
    first = found.deserialised[:3]
    assert found.deserialised == [*first, *first, *reversed(first)]
    found.driver = "13.1"
    for found.device in models * 2:
        found.open()
    assert len(found.compiled) == 2 * len(models)
    assert len(list(found.folder.glob("tensorrt-sm89*.plan"))) == len(models), "in their places"


@pytest.mark.parametrize(
    ("mark", "value", "told"),
    [
        ("device", "NVIDIA GeForce RTX 4090", "compiled on NVIDIA GeForce RTX 4070, this is"),
        ("driver", "12.9", "under a driver for CUDA 13.0, this is 12.9"),
    ],
)
def test_what_tensorrt_timed_on_another_gpu_or_driver_is_compiled_again(
    world, mark, value, told
) -> None:
    found = world()
    found.flavour = "tensorrt"
    found.open()
    found.open()
    assert len(found.compiled) == 1
    setattr(found, mark, value)
    found.open()
    found.open()
    assert len(found.compiled) == 2
    assert told in found.told[-1]
    assert found.deserialised == [found.compiled[index] for index in (0, 0, 1, 1)]
