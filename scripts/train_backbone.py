"""Distil the bundled backbone from an ImageNet ResNet-18.

    python scripts/train_backbone.py --images DATA/unlabelled --weights resnet18.safetensors \
        --output runs/bundled --steps 9000

Each step draws new views, runs the teacher and the student on them, and pulls the student's three
outputs towards the leading directions of the teacher's stages. In the second half every other step
rounds the student as an INT8 graph would. Views depend on the seed and the step alone, so that a
run that was stopped goes on from its checkpoint (OUTPUT/checkpoint.safetensors) as if it had not
been. OUTPUT/loss.csv holds the loss of every step.
The result is OUTPUT/student.safetensors and, with FP16 storage, OUTPUT/backbone.onnx; copy the
latter over calibrate/backbones/bundled.onnx to ship it.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from backbone.pack import pack_slim
from backbone.parts import Image
from backbone.resnet import ResNet, resnet18
from backbone.rounding import set_rounding
from backbone.slim import Ranks, SlimResNet, start_from
from backbone.views import read_images, view
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from process.plain_files import sha256_of

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
STAGE_WEIGHTS = {"layer1": 0.5, "layer2": 1.0, "layer3": 1.0}


@dataclass(frozen=True)
class Settings:
    """What decides a run's result."""

    steps: int
    batch: int
    size: int
    rate: float
    seed: int


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of unlabelled images")
    parser.add_argument("--weights", type=Path, required=True, help="ResNet-18, .safetensors")
    parser.add_argument("--output", type=Path, required=True, help="folder for the run")
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=160, help="side of a view in px")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep-every", type=int, default=200, help="steps between checkpoints")
    parser.add_argument("--origin", help="the ONNX file's note on teacher, images and licences")
    return parser.parse_args()


def main() -> None:
    """Train, or go on with, one run."""
    options = arguments()
    settings = Settings(options.steps, options.batch, options.size, options.rate, options.seed)
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    torch.manual_seed(settings.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    options.output.mkdir(parents=True, exist_ok=True)
    images = read_images(options.images)
    print(f"{len(images)} images, {device}, {settings}", flush=True)
    teacher = read_teacher(options.weights)
    student = SlimResNet(Ranks(), shape_of=teacher)
    start = list(start_batches(images, settings))
    start_from(teacher, student=student, batches=start)
    objective = Objective(student, teacher, start).to(device)
    run = Run(images, settings, options.output, device, options.keep_every)
    train(student.to(device), teacher.to(device), objective, run=run)
    weights = {name: value.cpu().contiguous() for name, value in student.state_dict().items()}
    save_file(weights, options.output / "student.safetensors")
    origin = options.origin or described_origin(options.images, weights=options.weights)
    path = options.output / "student.safetensors"
    print(pack_slim(path, origin=origin, output=options.output / "backbone.onnx"))


def described_origin(images: Path, *, weights: Path) -> str:
    """What went in: the teacher's file and the names of the image folders."""
    folders = ", ".join(sorted(path.name for path in images.iterdir() if path.is_dir()))
    digest = sha256_of(weights)
    return f"distilled from {weights.name} (sha256 {digest}) on {folders or images.name}"


def read_teacher(path: Path) -> ResNet:
    """ResNet-18 with the given weights, frozen, in evaluation mode."""
    teacher = resnet18()
    known = teacher.state_dict()
    loaded = {name: value for name, value in load_file(path).items() if name in known}
    counters = {name for name in known if name.endswith("num_batches_tracked")}
    missing = sorted(set(known) - set(loaded) - counters)
    if missing:
        raise SystemExit(f"{path}: {missing[0]} is missing; give ResNet-18 weights")
    teacher.load_state_dict(loaded, strict=False)
    return teacher.eval().requires_grad_(False)


def batch_of(images: Sequence[Image], *, settings: Settings, step: int) -> Tensor:
    """The normalised (N, 3, size, size) views of one step; step -1, -2, … are for the start."""
    rng = np.random.default_rng([settings.seed, step % 2**32])
    views = [view(images, size=settings.size, rng=rng) for _ in range(settings.batch)]
    stacked = torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return ((stacked - mean) / std).contiguous(memory_format=torch.channels_last)


def start_batches(images: Sequence[Image], settings: Settings) -> Iterator[Tensor]:
    """Views for the low-rank start."""
    for step in range(1, 21):
        yield batch_of(images, settings=settings, step=-step)


class Objective(torch.nn.Module):
    """How far the student's outputs are from the leading directions of the teacher's stages.

    The error of each output channel is measured in that channel's deviation over training views;
    the cosine term is what a prototype network compares, after the 3x3 average it applies.
    """

    def __init__(self, student: SlimResNet, teacher: ResNet, batches: Sequence[Tensor]) -> None:
        """Take the directions from a student that has just been started."""
        super().__init__()
        self.heads = copy.deepcopy(student.heads).requires_grad_(False)
        moments: dict[str, list[Tensor]] = {}
        with torch.no_grad():
            for batch in batches:
                for name, stage in teacher(batch).items():
                    moments.setdefault(name, []).append(self.heads[name](stage).var(dim=(0, 2, 3)))
        for name, values in moments.items():
            variance = torch.stack(values).mean(0).clamp_min(1e-4).view(1, -1, 1, 1)
            self.register_buffer(f"{name}_scale", 0.5 / variance + 0.5 / variance.mean())

    def forward(self, student: dict[str, Tensor], teacher: dict[str, Tensor]) -> Tensor:
        """One number; 0 where both agree."""
        total = torch.zeros((), device=teacher["layer1"].device)
        for name, weight in STAGE_WEIGHTS.items():
            mine, theirs = student[name].float(), self.heads[name](teacher[name]).float()
            error = ((mine - theirs).square() * self.get_buffer(f"{name}_scale")).mean()
            smooth = [functional.avg_pool2d(x, 3, 1, 1) for x in (mine, theirs)]
            cosine = functional.cosine_similarity(smooth[0], smooth[1], dim=1)
            total = total + weight * (error + 2 * (1 - cosine).mean())
        return total


@dataclass(frozen=True)
class Run:
    """What a run works on and where it keeps its state."""

    images: Sequence[Image]
    settings: Settings
    folder: Path
    device: torch.device
    keep_every: int

    def batches(self, first: int) -> Iterator[tuple[int, Tensor]]:
        """(step, views) from a step to the last; the next views are drawn meanwhile."""
        with ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(batch_of, self.images, settings=self.settings, step=first)
            for step in range(first, self.settings.steps):
                batch = coming.result()
                coming = ahead.submit(batch_of, self.images, settings=self.settings, step=step + 1)
                yield step, batch.to(self.device)


def train(student: SlimResNet, teacher: ResNet, objective: Objective, *, run: Run) -> None:
    """Run the remaining steps; write a checkpoint every few."""
    settings = run.settings
    teacher.to(memory_format=torch.channels_last)
    student.to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(student.parameters(), lr=settings.rate, weight_decay=1e-4)
    first, losses = resume(student, optimiser, run=run)
    began = time.monotonic()
    for step, batch in run.batches(first):
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * rate_at(step / settings.steps)
        set_rounding(student, step >= settings.steps // 2 and step % 2 == 1)
        with torch.autocast(run.device.type, torch.bfloat16):
            with torch.no_grad():
                wanted = teacher(batch)
            loss = objective(student(batch), wanted)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
        if step % 50 == 0:
            pace = (time.monotonic() - began) / (step - first + 1)
            left = pace * (settings.steps - step) / 60
            recent = float(np.mean(losses[-50:]))
            print(
                f"step {step} loss {recent:.4f} {pace:.3f} s/step {left:.1f} min left", flush=True
            )
        if (step + 1) % run.keep_every == 0 or step + 1 == settings.steps:
            checkpoint(student, optimiser, losses, run=run)


def rate_at(progress: float) -> float:
    """Fraction of the full rate: a short rise, then half a cosine to zero."""
    rise = min(1.0, (progress + 1e-3) / 0.03)
    return rise * 0.5 * (1 + float(np.cos(np.pi * progress)))


def checkpoint(
    student: SlimResNet, optimiser: torch.optim.AdamW, losses: Sequence[float], *, run: Run
) -> None:
    """Write weights, moments, the step and the losses so far, whole or not at all."""
    tensors = {f"model.{name}": value for name, value in student.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        for name in ("exp_avg", "exp_avg_sq", "step"):
            tensors[f"optimiser.{index}.{name}"] = state[name]
    tensors["losses"] = torch.tensor(losses, dtype=torch.float64)
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    path = run.folder / "checkpoint.safetensors"
    save_file(tensors, path.with_suffix(".part"), metadata=note(run.settings))
    path.with_suffix(".part").replace(path)
    rows = "".join(f"{step},{loss:.6f}\n" for step, loss in enumerate(losses))
    (run.folder / "loss.csv").write_text(f"step,loss\n{rows}")


def note(settings: Settings) -> dict[str, str]:
    """What a checkpoint says of its run."""
    return {"settings": json.dumps(asdict(settings))}


def resume(
    student: SlimResNet, optimiser: torch.optim.AdamW, *, run: Run
) -> tuple[int, list[float]]:
    """Load the checkpoint, when there is one; the step to go on with, and the losses before it."""
    path = run.folder / "checkpoint.safetensors"
    if not path.is_file():
        return 0, []
    with safe_open(path, "pt") as file:
        if file.metadata() != note(run.settings):
            raise SystemExit(
                f"{run.folder}: holds a run with other settings; give another --output"
            )
    tensors = load_file(path)
    weights = {name[6:]: value for name, value in tensors.items() if name.startswith("model.")}
    student.load_state_dict(weights)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, index, kind = name.split(".")
            state.setdefault(int(index), {})[kind] = value
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})
    losses = tensors["losses"].tolist()
    return len(losses), losses


if __name__ == "__main__":
    main()
