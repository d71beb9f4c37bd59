"""Linear parts of PRN, multiplied out for the exported graph; the results are the same.

Two things cost an engine more than they are worth. A grouped convolution of two channels a group
runs slower than the dense one with zeros in its place. And in `compact` nothing between the
stages and the attention is nonlinear: scaling, the first fusion of features and of residuals, and
the 1x1 convolution that narrows both are, for each pair of scales, one convolution of features ‖
residuals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from calibrate.prn.network.fusion import MultiScaleFusion, Up
from calibrate.prn.network.network import PRN


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """A dense convolution.

    Attributes:
        weight: (out, in, k, k).
        bias: (out,).
        stride: of it; the padding is half the kernel, rounded down.
        up: whether its result is a coarser scale's, to be up-sampled.
    """

    weight: Tensor
    bias: Tensor
    stride: int = 1
    up: bool = False


def dense(conv: nn.Conv2d, norm: nn.BatchNorm2d | None = None) -> Kernel:
    """A convolution, grouped or not, and the batch norm (in eval mode) behind it, in float64.

    Raises:
        ValueError: the padding is not half the kernel, or the batch norm keeps no running
            statistics.
    """
    if any(pad != side // 2 for pad, side in zip(conv.padding, conv.kernel_size, strict=True)):
        raise ValueError(f"padding {conv.padding} of a kernel {conv.kernel_size}; give half of it")
    weight = _ungroup(conv.weight.detach().double(), conv.groups)
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach().double()
    if norm is not None:
        if norm.running_mean is None or norm.running_var is None:
            raise ValueError("a batch norm without running statistics cannot be folded")
        gain = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
        weight = weight * gain[:, None, None, None]
        bias = norm.bias.detach().double() + (bias - norm.running_mean.double()) * gain
    return Kernel(weight, bias, stride=conv.stride[0])


def _ungroup(weight: Tensor, groups: int) -> Tensor:
    """(out, in / groups, k, k) to (out, in, k, k), with zeros between the groups."""
    blocks = weight.reshape(groups, -1, *weight.shape[1:])
    whole = blocks.new_zeros(groups, blocks.shape[1], groups, *weight.shape[1:])
    for group in range(groups):
        whole[group, :, group] = blocks[group]
    return whole.reshape(weight.shape[0], -1, *weight.shape[2:])


def fold_front(network: PRN) -> list[list[Kernel]]:
    """What leads from the stages to the attention, [target][source].

    Args:
        network: of a size whose entry is a 1x1 convolution (`compact`).

    Returns:
        Kernels that read a stage ‖ its residuals, unscaled and scaled, and whose results, summed
        over the sources, are the attention's input.
    """
    return [
        [_fold(network, source, target) for source in range(len(network.entry))]
        for target in range(len(network.entry))
    ]


def _fold(network: PRN, source: int, target: int) -> Kernel:
    conv, norm = cast(nn.Sequential, network.entry[target])
    entry = dense(cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm))
    narrow = entry.weight.flatten(1)
    fusions = (network.fuse_features, network.fuse_residuals)
    parts = [_path(fusion, source, target, channels=narrow.shape[1] // 2) for fusion in fusions]
    halves = narrow.chunk(2, dim=1)
    weights = [
        torch.einsum("oc,cikl->oikl", half, part.weight)
        for half, part in zip(halves, parts, strict=True)
    ]
    weights[0] = weights[0] * network.scale[source].double()  # residuals are scaled already
    biases = sum(half @ part.bias for half, part in zip(halves, parts, strict=True))
    total = biases + entry.bias if source == target else biases
    first = parts[0]
    return Kernel(torch.cat(weights, dim=1), cast(Tensor, total), first.stride, first.up)


def _path(fusion: MultiScaleFusion, source: int, target: int, *, channels: int) -> Kernel:
    path = cast(nn.ModuleList, fusion.paths[target])[source]
    if isinstance(path, Up):
        up = dense(path.conv)
        return Kernel(up.weight, up.bias, up=True)
    if isinstance(path, nn.Conv2d):
        return dense(path)
    unit = torch.eye(channels, dtype=torch.float64)[:, :, None, None]
    return Kernel(unit, unit.new_zeros(channels))
