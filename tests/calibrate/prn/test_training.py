"""Training: it learns, it can be killed, and it says what is wrong."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from safetensors.torch import save_file  # noqa: E402

from calibrate.backbones.backbone import load_backbone  # noqa: E402
from calibrate.defects.synthesis import Synthesis  # noqa: E402
from calibrate.prn.checkpoint import FILE  # noqa: E402
from calibrate.prn.network.network import PRN  # noqa: E402
from calibrate.prn.options import (  # noqa: E402
    Progress,
    Run,
    TrainingError,
    TrainingOptions,
    steps_of_epochs,
)
from calibrate.prn.training import Trained, rate_at, train  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
SIZE = 64
SHORT = TrainingOptions(steps=4, batch=4, prototypes=2, precision="fp32", seed=5)


def good(count: int, *, seed: int = 0) -> list[np.ndarray]:
    """Stripes with some grain."""
    random = np.random.default_rng(seed)
    stripes = (np.arange(SIZE) // 8 % 2 * 60 + 90)[None, :, None]
    grain = random.integers(-8, 9, (count, SIZE, SIZE, 3))
    return list((stripes + grain).astype(np.uint8))


def trained(
    options: TrainingOptions = SHORT, *, run: Run | None = None, images: int = 6
) -> Trained:
    return train(
        good(images),
        backbone=load_backbone("bundled"),
        synthesise=Synthesis(scene="texture"),
        held_out=good(options.batch, seed=9),
        options=options,
        run=run or Run(device="cpu"),
    )


@pytest.fixture(scope="module")
def whole() -> Trained:
    """A short training that nothing stopped; read-only."""
    return trained()


def same(first: PRN, second: PRN) -> bool:
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


@pytest.mark.slow
def test_the_loss_falls() -> None:
    options = replace(SHORT, steps=80, batch=8, rate=3e-3)
    result = trained(options)
    losses = result.history.losses
    assert len(losses) == 80
    assert np.mean(losses[-8:]) < 0.5 * np.mean(losses[:8])
    assert not result.network.training
    last = result.history.validations[-1]
    assert last.step == 80
    assert last.pixel_auroc is not None
    assert last.pixel_auroc > 0.85


def test_the_same_seed_gives_the_same_weights_and_another_others(whole) -> None:
    assert same(whole.network, trained().network)
    assert not same(whole.network, trained(replace(SHORT, seed=6)).network)


def test_the_caller_s_random_numbers_are_left_alone() -> None:
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    trained(replace(SHORT, steps=1))
    assert torch.equal(torch.rand(3), wanted)


def test_progress_tells_stage_loss_and_time() -> None:
    told: list[Progress] = []
    trained(run=Run(device="cpu", progress=told.append))
    assert [item.stage for item in told[:1]] == ["prototypes"]
    steps = [item for item in told if item.stage == "training"]
    assert [item.step for item in steps] == [1, 2, 3, 4]
    assert all(item.loss and item.loss > 0 for item in steps)
    assert steps[-1].seconds_left == 0
    assert steps[-1].share == 1
    assert steps[-1].validation is not None


def test_stopped_by_its_caller_and_taken_up_again(whole, tmp_path: Path) -> None:
    class Stop(Exception):  # noqa: N818
        pass

    def stop(progress: Progress) -> None:
        if progress.step == 3:
            raise Stop

    run = Run(folder=tmp_path, device="cpu", checkpoint_seconds=0)
    with pytest.raises(Stop):
        trained(run=replace(run, progress=stop))
    told: list[Progress] = []
    resumed = trained(run=replace(run, progress=told.append))
    assert next(item.step for item in told if item.stage == "training") == 3
    assert len(resumed.history.losses) == 4
    assert same(resumed.network, whole.network)


KILLED = """
import sys, time
from pathlib import Path
from tests_of_training import Run, trained

def slowly(progress):
    print(progress.stage, progress.step, flush=True)
    time.sleep(0.2)

run = Run(folder=Path(sys.argv[1]), device="cpu", checkpoint_seconds=0, progress=slowly)
trained(run=run)
"""


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_weights(whole, tmp_path: Path) -> None:
    """Kill -9 in the middle."""
    loader = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('tests_of_training', {__file__!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "sys.modules[spec.name] = module\n"
        "spec.loader.exec_module(module)\n"
    )
    command = [sys.executable, "-c", loader + KILLED, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert any(line.strip() == "training 2" for line in child.stdout), "it ended before"
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    run = Run(folder=tmp_path, device="cpu")
    resumed = trained(run=run)
    assert resumed.earlier > 0 and whole.earlier == 0
    assert same(resumed.network, whole.network)
    assert same(trained(run=run).network, whole.network), "nothing was left to do"


def test_a_checkpoint_of_another_training_is_not_taken_up(tmp_path: Path) -> None:
    run = Run(folder=tmp_path, device="cpu")
    options = replace(SHORT, steps=1)
    trained(options, run=run)
    with pytest.raises(TrainingError, match="with other rate;"):
        trained(replace(options, rate=1e-4), run=run)
    with pytest.raises(TrainingError, match="with other images;"):
        trained(options, run=run, images=7)
    with pytest.raises(TrainingError, match="with other note;"):
        trained(options, run=replace(run, note="other textures"))


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"\xff" * 100)
    with pytest.raises(TrainingError, match=rf"{FILE}: cannot be read"):
        trained(run=Run(folder=tmp_path, device="cpu"))


def test_another_file_in_the_checkpoint_s_place_is_named(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / FILE)
    with pytest.raises(TrainingError, match="is no checkpoint"):
        trained(run=Run(folder=tmp_path, device="cpu"))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot be written"):
        trained(run=Run(folder=tmp_path / "file" / "run", device="cpu"))


@pytest.mark.parametrize("rate", [1e30, 1e12])
def test_a_training_that_diverges_is_stopped(rate: float) -> None:
    with pytest.raises(TrainingError, match="no finite numbers any more; give a lower rate"):
        trained(replace(SHORT, rate=rate))


def test_bfloat16_trains_as_well() -> None:
    result = trained(replace(SHORT, precision="bf16"))
    assert result.precision == "bf16"
    assert all(value.dtype == torch.float32 for value in result.network.parameters())


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(TrainingError, match="no images"):
        trained(images=0)
    with pytest.raises(TrainingError, match="fp16 is for training on a GPU"):
        trained(replace(SHORT, precision="fp16"))
    for wrong in ({"steps": 0}, {"batch": 3}, {"batch": 0}, {"rate": 0.0}):
        with pytest.raises(ValueError, match=r"give|may be"):
            TrainingOptions(**wrong)


def test_held_out_images_are_optional() -> None:
    result = train(
        good(4),
        backbone=load_backbone("bundled"),
        synthesise=Synthesis(scene="texture"),
        held_out=[],
        options=replace(SHORT, steps=1),
    )
    assert result.history.validations == ()


def test_the_rate_rises_and_falls() -> None:
    rates = [rate_at(step, 1000) for step in range(1000)]
    assert rates[0] < 0.05
    assert 0.95 < max(rates) <= 1
    assert rates[-1] < 1e-4
    assert all(rate > 0 for rate in rates)
    assert all(0 < rate_at(step, 2) <= 1 for step in range(2))


def test_epochs_in_steps() -> None:
    assert steps_of_epochs(1, images=10, batch=4) == 5
    assert steps_of_epochs(2, images=9, batch=4) == 9
    assert steps_of_epochs(1, images=1, batch=8) == 1
