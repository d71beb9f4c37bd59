"""The whole network: its shapes, what it depends on, and what it learns."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import Tensor  # noqa: E402

from calibrate.backbones.backbone import BackboneError, load_backbone  # noqa: E402
from calibrate.prn.network.network import PRN, grids_of  # noqa: E402
from calibrate.prn.options import PrnSize, Shape, prn_stages, shape_of  # noqa: E402

NAMES = ("layer1", "layer2", "layer3")


def shape(
    *,
    size: PrnSize = "compact",
    image_size: tuple[int, int] = (64, 96),
    channels: tuple[int, ...] = (8, 12, 16),
) -> Shape:
    return Shape(NAMES, channels, image_size, (3, 2, 1), size)


def stages_of(wanted: Shape, *, batch: int = 2, seed: int = 0) -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(batch, channels, *size, generator=source)
        for name, channels, size in zip(wanted.stages, wanted.channels, wanted.sizes, strict=True)
    }


def learnt(wanted: Shape) -> PRN:
    torch.manual_seed(0)
    network = PRN(wanted)
    maps = stages_of(wanted, batch=3, seed=1).values()
    kept = [stage[:count] for stage, count in zip(maps, wanted.prototypes, strict=True)]
    network.learn(kept, scale=torch.tensor([1.5, 2.0, 3.0]))
    return network


@pytest.mark.parametrize("size", ["compact", "paper"])
@pytest.mark.parametrize("image_size", [(64, 96), (128, 32)])
def test_one_logit_a_pixel(size: PrnSize, image_size: tuple[int, int]) -> None:
    wanted = shape(size=size, image_size=image_size)
    logits = learnt(wanted)(stages_of(wanted))
    assert logits.shape == (2, 1, *image_size)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("size", ["compact", "paper"])
def test_all_that_is_trained_gets_a_gradient_and_nothing_else(size: PrnSize) -> None:
    wanted = shape(size=size)
    network = learnt(wanted).train()
    network(stages_of(wanted)).square().sum().backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []
    trained = {name for name, _ in network.named_parameters()}
    assert not any("prototypes" in name or name == "scale" for name in trained)


def test_images_of_a_batch_do_not_meet() -> None:
    wanted = shape()
    network, stages = learnt(wanted).eval(), stages_of(wanted, batch=3)
    together = network(stages)
    alone = [network({n: s[i : i + 1] for n, s in stages.items()}) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_the_backbone_s_range_does_not_matter() -> None:
    wanted = shape()
    network, stages = learnt(wanted).eval(), stages_of(wanted)
    before = network(stages)
    known = zip(network.matching, network.scale, strict=True)
    maps = [matching.prototypes / factor for matching, factor in known]
    network.learn([100 * each for each in maps], scale=network.scale / 100)
    after = network({name: 100 * stage for name, stage in stages.items()})
    torch.testing.assert_close(before, after, rtol=1e-3, atol=1e-4)


def test_what_equals_a_prototype_leaves_no_residual() -> None:
    wanted = shape()
    network = learnt(wanted)
    known = {name: stage[:1] for name, stage in stages_of(wanted, batch=3, seed=1).items()}
    _, residuals = network.compare(known)
    assert all(residual.abs().max() < 1e-10 for residual in residuals)
    _, residuals = network.compare(stages_of(wanted, seed=5))
    assert all(residual.mean() > 0.01 for residual in residuals)


def test_the_paper_s_proportions() -> None:
    """ResNet-18's channels at 256 px: the re-implementation trains 77.5 M, layer4 aside."""
    wanted = Shape(NAMES, (64, 128, 256), (256, 256), (1, 1, 1), "paper")
    with torch.device("meta"):
        network = PRN(wanted)
    counts = {
        name: sum(p.numel() for p in part.parameters()) / 1e6
        for name, part in network.named_children()
    }
    assert 50 < counts["attention"] < 65
    assert 55 < sum(counts.values()) < 80
    branches = network.attention[0][0].branches
    assert [branch.patch for branch in branches] == [(64, 64), (32, 32), (16, 16), (8, 8)]
    assert [len(blocks) for blocks in network.attention] == [3, 3, 3]


def test_compact_costs_the_same_on_any_backbone() -> None:
    narrow, wide = shape(), shape(channels=(256, 512, 1024))
    assert narrow.proportions == wide.proportions


def test_patches_divide_the_map() -> None:
    assert grids_of((64, 64)) == (1, 2, 4, 8)
    assert grids_of((14, 14)) == (1, 2)
    assert grids_of((12, 16)) == (1, 2, 4)


@pytest.mark.parametrize("image_size", [(256, 250), (16, 16), (0, 32)])
def test_a_size_that_does_not_fit_is_refused(image_size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="multiples of 32 px"):
        shape(image_size=image_size)


def test_the_bundled_backbone_fits() -> None:
    backbone = load_backbone("bundled")
    wanted = shape_of(backbone, image_size=(256, 256), prototypes=(2, 2, 2))
    assert wanted.stages == NAMES
    assert wanted.channels == tuple(backbone.channels[name] for name in NAMES)


def test_a_backbone_without_a_scale_is_refused(small_backbone) -> None:
    from dataclasses import replace

    lacking = replace(small_backbone().backbone, stages={"layer1": 4, "layer3": 16})
    with pytest.raises(BackboneError, match="no stage at stride 8"):
        prn_stages(lacking)
