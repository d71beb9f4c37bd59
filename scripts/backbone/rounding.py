"""Convolutions that round as an INT8 graph does, so that a network learns to bear it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

STEPS = 127  # on each side of zero, as in `calibrate.precision.convert`
SMALLEST = 1e-8


class Convolution(nn.Conv2d):
    """A convolution that rounds its input per tensor and its weight per channel while `rounds`.

    Gradients pass the rounding unchanged (straight-through; Jacob et al., CVPR 2018, section 3).
    Ranges are those of the batch at hand.
    """

    rounds = False

    def forward(self, image: Tensor) -> Tensor:
        """(N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        if not self.rounds:
            return super().forward(image)
        scale = image.detach().abs().amax().float().clamp_min(SMALLEST) / STEPS
        zero = torch.zeros((), dtype=torch.int32, device=image.device)
        inner = torch.fake_quantize_per_tensor_affine(image.float(), scale, zero, -STEPS, STEPS)
        scales = self.weight.detach().abs().amax(dim=(1, 2, 3)).clamp_min(SMALLEST) / STEPS
        zeros = torch.zeros(len(scales), dtype=torch.int32, device=image.device)
        weight = torch.fake_quantize_per_channel_affine(
            self.weight, scales, zeros, 0, -STEPS, STEPS
        )
        result: Tensor = self._conv_forward(inner, weight, self.bias)
        return result


def set_rounding(network: nn.Module, rounds: bool) -> None:
    """Let all `Convolution`s of a network round, or not."""
    for module in network.modules():
        if isinstance(module, Convolution):
            module.rounds = rounds
