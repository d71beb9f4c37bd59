"""Training of PRN on good images and synthesised defects.

Measured at 256 px, batch 8, bf16, on ResNet-18's channels: `compact` takes 1.3 GiB in all, `paper`
3.2 GiB for the network and its optimiser alone; fp32 a third more. An image costs 0.2 MiB while
it is held in a list, and 0.9 MiB while k-means runs, up to the latter's bound.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.optim import AdamW

from calibrate.backbones.backbone import Backbone
from calibrate.images import Image, evenly
from calibrate.metrics import PixelTally, image_auroc
from calibrate.prn.batches import Batch, Batches, Synthesise, validation_batches
from calibrate.prn.checkpoint import (
    Checkpoint,
    History,
    identity,
    load_checkpoint,
    restore,
    save_checkpoint,
)
from calibrate.prn.graph.torch_backbone import FrozenBackbone
from calibrate.prn.network.losses import prn_loss
from calibrate.prn.network.network import PRN
from calibrate.prn.options import (
    DIVERGED,
    SCORE_PIXELS,
    Progress,
    Run,
    TrainingError,
    TrainingOptions,
    TrainingPrecision,
    Validation,
    prn_stages,
    shape_of,
)
from calibrate.prn.prototypes import default_count, feature_prototypes

WARM_UP = 0.05  # share of the steps in which the rate rises
VALIDATIONS = 5  # times in a training
MAX_HELD_OUT = 32  # images to validate on: more take time that training could use
RECENT = 0.98  # how slowly the shown loss forgets


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A training's result.

    Attributes:
        network: in evaluation mode, on the CPU.
        history: losses and validations.
        precision: that the trained part ran at.
        earlier: seconds of the calls that it goes on from.
    """

    network: PRN
    history: History
    precision: TrainingPrecision
    earlier: float


def train(
    images: Sequence[Image],
    *,
    backbone: Backbone,
    synthesise: Synthesise,
    held_out: Sequence[Image],
    options: TrainingOptions | None = None,
    run: Run | None = None,
) -> Trained:
    """Learn prototypes, then train to the last step; nothing is chosen by validation.

    A run whose folder holds a checkpoint goes on from it. On a CPU with as many threads the weights
    are those of a run that was never stopped, bit by bit.

    Args:
        images: good ones to learn from, (H, W, 3) uint8 BGR, all of the model's size. They are
            read again and again: a sequence that decodes lazily costs time, a list memory.
        backbone: stays as it is.
        synthesise: makes a defective image and its mask; called in other threads.
        held_out: good images that are only validated on; may be empty.
        options: what decides the result.
        run: device, checkpoints, progress.

    Raises:
        TrainingError: too few images, an unusable checkpoint or precision, or the loss diverged.
        PrototypesError: more prototypes than images or than a model can hold.
        BackboneError: the backbone lacks a stage, or an operator is not known here.
        ValueError: a size that 32 does not divide.
    """
    run = run or Run()
    options = options or TrainingOptions()
    if not images:
        raise TrainingError("no images to train on; give good images")
    trainer = _Trainer(images, backbone, synthesise, held_out, options=options, run=run)
    trainer.go()
    network = trainer.network.to("cpu").eval()
    return Trained(network, trainer.history, trainer.options.precision, trainer.earlier)


class _Trainer:
    """One run: what it holds between two steps."""

    def __init__(
        self,
        images: Sequence[Image],
        backbone: Backbone,
        synthesise: Synthesise,
        held_out: Sequence[Image],
        *,
        options: TrainingOptions,
        run: Run,
    ) -> None:
        self.began = time.monotonic()
        self.run = run
        self.device = torch.device(_device(run.device))
        self.options = replace(options, precision=_precision(options.precision, self.device))
        self.frozen = FrozenBackbone(backbone, stages=prn_stages(backbone)).to(self.device)
        self.batches = Batches(images, synthesise, self.options.batch, self.options.seed)
        self.held_out = evenly(held_out, MAX_HELD_OUT)
        self.losses: list[float] = []
        self.validations: list[Validation] = []
        self.recent: float | None = None
        self.identity = ""
        found = self._load_checkpoint(backbone)
        self.earlier = found.seconds if found else 0.0
        self.network = self._network(backbone, found).to(self.device).train()
        self.optimiser = _optimiser(self.network, self.options)
        half = self.options.precision == "fp16"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=half)
        if found:
            restore(found, network=self.network, optimiser=self.optimiser)
            self.losses = list(found.history.losses)
            self.validations = list(found.history.validations)
            if found.scaler:
                self.scaler.load_state_dict(dict(found.scaler))
        else:
            self._save()

    @property
    def history(self) -> History:
        """So far."""
        return History(tuple(self.losses), tuple(self.validations))

    @property
    def seconds(self) -> float:
        """Since this call began."""
        return time.monotonic() - self.began

    def go(self) -> None:
        """Make the remaining steps."""
        first, last = len(self.losses), self.options.steps
        every = max(1, math.ceil(last / VALIDATIONS))
        began = saved = time.monotonic()
        for batch in self.batches.ahead(first, last, threads=self.run.threads):
            self._step(batch)
            done = len(self.losses)
            if self.held_out and (done % every == 0 or done == last):
                self._validate()
            left = (time.monotonic() - began) / (done - first) * (last - done)
            self._tell("training", done / last, seconds_left=left)
            if time.monotonic() - saved >= self.run.checkpoint_seconds or done == last:
                self._save()
                saved = time.monotonic()

    def _step(self, batch: Batch) -> None:
        done = len(self.losses)
        for group in self.optimiser.param_groups:
            group["lr"] = self.options.rate * rate_at(done, self.options.steps)
        stages = self.frozen(torch.from_numpy(batch.images).to(self.device))
        kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.options.precision)
        with torch.autocast(self.device.type, kind, enabled=kind is not None):
            logits: Tensor = self.network(stages)
        loss = prn_loss(logits, torch.from_numpy(batch.masks).to(self.device))
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self._note(loss.item())

    def _note(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise TrainingError(f"step {len(self.losses)}: {DIVERGED}")
        self.recent = loss if self.recent is None else RECENT * self.recent + (1 - RECENT) * loss
        self.losses.append(loss)

    def _validate(self) -> None:
        self._tell("validation", 0.0)
        batches = validation_batches(
            self.held_out,
            self.batches.synthesise,
            size=self.options.batch,
            seed=self.options.seed,
        )
        result = validate(self.frozen, self.network, batches, step=len(self.losses))
        self.validations.append(result)

    def _tell(self, stage: str, share: float, *, seconds_left: float | None = None) -> None:
        if self.run.progress:
            self.run.progress(
                Progress(
                    stage="validation" if stage == "validation" else "training",
                    share=share,
                    step=len(self.losses),
                    steps=self.options.steps,
                    loss=self.recent,
                    seconds_left=seconds_left,
                    validation=self.validations[-1] if self.validations else None,
                )
            )

    def _save(self) -> None:
        if self.run.folder:
            save_checkpoint(
                self.run.folder,
                network=self.network,
                optimiser=self.optimiser,
                history=self.history,
                identity=self.identity,
                scaler=self.scaler.state_dict(),
                seconds=self.earlier + self.seconds,
            )

    def _load_checkpoint(self, backbone: Backbone) -> Checkpoint | None:
        if self.run.folder is None:
            return None
        self.identity = identity(
            self.options,
            images=self.batches.images,
            backbone=backbone.sha256,
            note=self.run.note,
        )
        return load_checkpoint(self.run.folder, identity=self.identity)

    def _network(self, backbone: Backbone, found: Checkpoint | None) -> PRN:
        if found:
            return PRN(found.shape)
        images, options = self.batches.images, self.options

        def advance(share: float) -> None:
            if self.run.progress:
                self.run.progress(Progress("prototypes", share, 0, options.steps))

        learnt = feature_prototypes(
            self.frozen,
            images,
            count=options.prototypes or default_count(len(images)),
            seed=options.seed,
            progress=advance,
        )
        height, width = images[0].shape[:2]
        counts = [len(maps) for maps in learnt.maps]
        shape = shape_of(backbone, image_size=(height, width), prototypes=counts, size=options.size)
        with torch.random.fork_rng(devices=[]):  # the caller's generator stays as it is
            torch.manual_seed(options.seed)
            network = PRN(shape)
        network.learn(learnt.maps, scale=learnt.scale)
        return network


def image_scores(maps: Tensor) -> Tensor:
    """Mean of the 100 highest pixels: (N, H, W) to (N,)."""
    flat = maps.flatten(1)
    return flat.topk(min(SCORE_PIXELS, flat.shape[1]), dim=1).values.mean(dim=1)


@torch.no_grad()
def anomaly_maps(backbone: FrozenBackbone, network: PRN, images: Tensor) -> Tensor:
    """Maps in float32, as an inspector gives them.

    Args:
        backbone: of the network.
        network: in whichever mode; it is run in evaluation mode.
        images: (N, H, W, 3) uint8 BGR, on their device.

    Returns:
        (N, H, W), from 0 to 1.
    """
    was_training = network.training
    network.eval()
    logits: Tensor = network(backbone(images))
    network.train(was_training)
    return logits.float().sigmoid().squeeze(1)


def validate(
    backbone: FrozenBackbone, network: PRN, batches: Iterable[Batch], *, step: int
) -> Validation:
    """Figures over all batches.

    Raises:
        TrainingError: a map is not finite: the training has diverged.
    """
    pixels, scores, defects = PixelTally(), list[float](), list[bool]()
    for batch in batches:
        images = torch.from_numpy(batch.images).to(backbone.mean.device)
        maps = anomaly_maps(backbone, network, images).cpu()
        if not bool(torch.isfinite(maps).all()):
            raise TrainingError(f"step {step}: {DIVERGED}")
        scores += image_scores(maps).tolist()
        defects += [bool(mask.any()) for mask in batch.masks]
        for anomaly_map, mask in zip(maps.numpy(), batch.masks, strict=True):
            pixels.add(anomaly_map, mask=mask)
    figures = pixels.figures()
    return Validation(
        step=step,
        image_auroc=image_auroc(scores, defects=defects).value,
        pixel_auroc=figures.auroc.value,
        average_precision=figures.average_precision.value,
    )


def rate_at(step: int, steps: int) -> float:
    """Fraction of the full rate: a short rise, then half a cosine to zero."""
    rise = min(1.0, (step + 1) / max(1.0, WARM_UP * steps))
    return rise * 0.5 * (1 + math.cos(math.pi * step / steps))


def _optimiser(network: PRN, options: TrainingOptions) -> AdamW:
    """AdamW; scales and biases do not decay, for 0 is not where they should end."""
    kernels = [value for value in network.parameters() if value.ndim == 4]
    others = [value for value in network.parameters() if value.ndim != 4]
    groups = [
        {"params": kernels, "weight_decay": options.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=options.rate)


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def _precision(asked: TrainingPrecision, device: torch.device) -> TrainingPrecision:
    if asked == "fp16" and device.type == "cpu":
        raise TrainingError("fp16 is for training on a GPU; give bf16 or fp32")
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    # Older versions of torch cannot tell.
    able: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "fp32"
